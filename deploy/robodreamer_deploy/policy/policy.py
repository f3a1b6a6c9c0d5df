"""The policy on the robot: the graphs of one way to compute a step, and the noise they are fed.

`Policy` has no state; any number of `controller.Controller`s share one. Randomness is an input of
the graphs: zeros take the mode, and noise that is a pure function of (seed, step number) makes a
recorded drive repeatable.
"""

from collections.abc import Mapping

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy.bundle import Bundle
from robodreamer_deploy.policy.latents import Latents
from robodreamer_deploy.policy.manifest import ActionSelection
from robodreamer_deploy.policy.noise import Noise, draw_noise
from robodreamer_deploy.policy.onnx_graph import Graph
from robodreamer_deploy.policy.providers import Provider, require_provider

SPLIT = "split"
"""The sequence of graphs that a robot runs; see `bundle.interface`."""


class Policy:
    """The graphs of one sequence, loaded; may be shared."""

    def __init__(
        self, bundle: Bundle, *, sequence: str = SPLIT, provider: Provider = "cpu"
    ) -> None:
        """Load the graphs.

        Raises:
            BundleError: A graph cannot be loaded there, or does not fit the manifest.
        """
        require_provider(provider)
        manifest = bundle.manifest
        self.bundle = bundle
        self.provider = provider
        self.graphs = {
            name: load_graph(bundle, name, provider) for name in manifest.sequences[sequence]
        }

    @property
    def latents(self) -> Latents:
        """Rules of the latents' family."""
        return self.bundle.manifest.state.latents

    def step(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return the values of a whole step from those it begins with, all with a batch axis.

        These are the signals, `deter`, `stoch`, `action_previous`, `is_first`, `noise_stoch` and
        `noise_action`. For looking into a step; a robot is driven by a `Controller`.
        """
        known = dict(values)
        for graph in self.graphs.values():
            known |= graph.run(known)
        return known

    def noise(self, draw: ActionSelection, seed: int, counter: int) -> Noise:
        """Return the noise of step `counter`: a pure function of its arguments."""
        manifest = self.bundle.manifest
        shapes = {
            "noise_stoch": manifest.state.stoch,
            "noise_action": (manifest.contract.action.size,),
        }
        if draw == "mode":
            return Noise(*(np.zeros(shape, np.float32) for shape in shapes.values()))
        bits = np.random.Philox(key=seed, counter=[0, 0, 0, counter])  # 2^192 draws per step
        generator = np.random.Generator(bits)
        return Noise(
            *(draw_noise(manifest.noise[name], generator, shape) for name, shape in shapes.items())
        )


def load_graph(bundle: Bundle, name: str, provider: Provider = "cpu") -> Graph:
    """Load one of a bundle's graphs.

    Raises:
        BundleError: It cannot be loaded there, or does not fit the manifest.
    """
    spec = bundle.manifest.graphs[name]
    return Graph(bundle.folder / name, spec, provider, bundle.read(name))
