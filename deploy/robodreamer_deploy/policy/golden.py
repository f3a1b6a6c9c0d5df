"""The golden sequence: what the exporting machine saw and computed, to be repeated on the robot.

Every step starts from the recorded state (teacher forcing), so that one rounding difference does
not hide the next. Letters: n steps, A action, D deter, S stoch, K classes, P parameters, E tokens.
"""

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.bundle import (
    NPY_HEADER_BYTES,
    Bundle,
    read_arrays,
    require_size,
)
from robodreamer_deploy.policy.latents import FAMILIES, LatentFamily, Latents

OBSERVATION = "observation/"
MAX_STEPS = 10_000
LATENTS = {"stoch_next": "posterior", "stoch_prior": "prior"}
"""Latents that are drawn in a step, and the parameters that they are drawn from."""
NO_ARRAYS = {"family", "observations"}


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Inputs and the reference's outputs of n steps. float32 unless said."""

    family: LatentFamily
    """Family of the latents; not in the file, because the manifest states it."""
    observations: Mapping[str, Array]
    """Observations by signal, (n, ...), of the contract's types; in the file as
    `observation/<signal>`. Where the policy reads such bits, `is_valid/<camera>` as well, bool
    (n,)."""
    is_first: Array
    """bool (n,)."""
    action_previous: Array
    """(n, A), the action executed before the step."""
    deter: Array
    """(n, D), the state before the step."""
    stoch: Array
    """(n, S, K), the state before the step."""
    noise_stoch: Array
    """(n, S, K), noise of the latent draw; zeros are the mode."""
    noise_action: Array
    """(n, A), noise of the action draw; zeros are the mode."""
    tokens: Array
    """(n, E)."""
    deter_next: Array
    """(n, D)."""
    stoch_next: Array
    """(n, S, K)."""
    prior: Array
    """(n, S, P), parameters of the latents before the observation."""
    posterior: Array
    """(n, S, P), parameters of the latents with it."""
    action: Array
    """(n, A), from deter_next, stoch_next and noise_action."""
    action_logits: Array | None = None
    """(n, A), logs of the probabilities of a discrete action; None of a continuous one."""

    def __len__(self) -> int:
        """Return the number of steps n."""
        return len(self.is_first)

    @property
    def latents(self) -> Latents:
        """Rules of the latents' family."""
        return FAMILIES[self.family]

    @property
    def begin(self) -> tuple[str, ...]:
        """Names of the values that a step begins with; all others are computed."""
        state = ("deter", "stoch", "action_previous", "is_first", "noise_stoch", "noise_action")
        return (*self.observations, *state)

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of all that is not observed, by name."""
        names = [f.name for f in dataclasses.fields(self) if f.name not in NO_ARRAYS]
        arrays = {name: getattr(self, name) for name in names}
        return {name: array for name, array in arrays.items() if array is not None}

    def rows(self, rows: slice) -> "Golden":
        """Return some of the steps."""
        return Golden(
            family=self.family,
            observations={name: values[rows] for name, values in self.observations.items()},
            **{name: array[rows] for name, array in self.arrays().items()},
        )

    def values(self, i: int) -> dict[str, Array]:
        """Return all values of step i, as `bundle.interface` names them, with a batch axis of 1.

        Among them is what would have been drawn from the prior with the posterior's noise.
        """
        rows = slice(i, i + 1)
        values: dict[str, Array] = {name: array[rows] for name, array in self.arrays().items()}
        values["stoch_prior"] = self.latents.draw(values["prior"], values["noise_stoch"])
        return values | {name: value[rows] for name, value in self.observations.items()}

    def save(self, path: Path) -> None:
        """Write the npz file."""
        arrays: dict[str, Any] = self.arrays()
        for name, values in self.observations.items():
            arrays[f"{OBSERVATION}{name}"] = values
        np.savez_compressed(path, **arrays)


def load_golden(bundle: Bundle) -> Golden:
    """Read a bundle's golden sequence.

    Raises:
        BundleError: Unreadable, without a step, or not of the shapes that the manifest tells.
    """
    path, content = bundle.folder / "golden.npz", bundle.read("golden.npz")
    num_steps = _count_steps(path, content)
    manifest = bundle.manifest
    deter, stoch, parameters = manifest.state.deter, manifest.state.stoch, manifest.state.parameters
    action, tokens = (manifest.contract.action.size,), (manifest.token_size,)
    shapes = {
        "action_previous": action, "deter": deter, "stoch": stoch, "noise_stoch": stoch,
        "noise_action": action, "tokens": tokens, "deter_next": deter, "stoch_next": stoch,
        "prior": parameters, "posterior": parameters, "action": action,
    }  # fmt: skip
    if manifest.contract.action.kind == "discrete":
        shapes["action_logits"] = action
    expected = {name: ((num_steps, *shape), "float32") for name, shape in shapes.items()}
    for signal in manifest.contract.inputs:
        expected[f"{OBSERVATION}{signal.name}"] = ((num_steps, *signal.shape), signal.dtype)
    for bit in manifest.validity.values():
        expected[f"{OBSERVATION}{bit}"] = ((num_steps,), "bool")
    arrays = read_arrays(path, content, {**expected, "is_first": ((num_steps,), "bool")})
    names = [*(s.name for s in manifest.contract.inputs), *manifest.validity.values()]
    observations = {name: arrays.pop(f"{OBSERVATION}{name}") for name in names}
    return Golden(family=manifest.state.family, observations=observations, **arrays)


def _count_steps(path: Path, content: bytes) -> int:
    try:
        file = io.BytesIO(content)
        require_size(file, MAX_STEPS + NPY_HEADER_BYTES, "is_first.npy")
        num_steps = len(cast("Array", np.load(file, allow_pickle=False)["is_first"]))
    except Exception as error:  # numpy documents no set of errors for a damaged file
        raise BundleError(f"{path} is no readable golden sequence: {error}") from error
    if not 1 <= num_steps <= MAX_STEPS:
        raise BundleError(f"{path} has {num_steps} steps, expected 1 to {MAX_STEPS}")
    return num_steps
