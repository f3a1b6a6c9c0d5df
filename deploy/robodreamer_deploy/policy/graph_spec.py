"""The graphs of a bundle: their tensors, and how the values of one step flow between them.

Seven files hold the same step in three ways, which `SEQUENCES` lists:

    three graphs   encoder, rssm_step, actor: as the modules end
    split          core and prior before the observation is there, then encoder, posterior, actor
    one graph      policy

Every tensor carries a value of the step, whose name is the same in all graphs. A graph can be run
when the values of its inputs are known; after the step, `FEEDBACK` tells which of them the next
one begins with. Letters: D deter, S stoch, K classes, E tokens, A action.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from robodreamer_deploy.contract import Contract, validity_name
from robodreamer_deploy.policy.latents import FAMILIES, LatentFamily, Latents
from robodreamer_deploy.policy.noise import NoiseKind

SEQUENCES: Mapping[str, tuple[str, ...]] = {
    "three graphs": ("encoder.onnx", "rssm_step.onnx", "actor.onnx"),
    "split": ("core.onnx", "prior.onnx", "encoder.onnx", "posterior.onnx", "actor.onnx"),
    "one graph": ("policy.onnx",),
}
"""Orders in which to run graphs; each is a whole step."""
GRAPHS = tuple(dict.fromkeys(name for names in SEQUENCES.values() for name in names))
FEEDBACK: Mapping[str, str] = {
    "deter_next": "deter", "stoch_next": "stoch", "action": "action_previous",
}  # fmt: skip
"""Value of a step that each value of the next one is; the action is the executed one."""
DREAM: Mapping[str, str] = {"stoch_prior": "stoch_next"}
"""Values of a step without an observation: the prior's draw replaces the posterior's."""

ACTION_NOISE: Mapping[str, tuple[NoiseKind, ...]] = {
    "continuous": ("normal", "uniform"), "discrete": ("gumbel",),
}  # fmt: skip
"""Kinds of noise that an action may be drawn with, by the kind of the action."""

Dtype = Literal["float32", "uint8", "int32", "bool"]


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """An input or output of a graph."""

    name: str
    """Name of the tensor in the graph."""
    value: str
    """Name of the value that it carries: a signal, or another value of the step."""
    shape: tuple[int, ...]
    """With the batch axis of 1."""
    dtype: Dtype


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """Inputs and outputs of a graph, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, kw_only=True)
class StateSpec:
    """Recurrent state: its shapes, without the batch axis of 1, and the family of its latents."""

    deter: tuple[int]
    """Shape (D,)."""
    stoch: tuple[int, int]
    """Shape (S, K)."""
    family: LatentFamily
    """Family of the latents, which fixes their parameters, noise and comparison."""

    def __post_init__(self) -> None:
        """Refuse empty and absurd shapes."""
        for name, shape in self.shapes.items():
            if min(shape) < 1 or max(shape) > MAX_ELEMENTS:
                raise ValueError(f"{name} of shape {shape}")
        _ = self.parameters  # refuses a shape that the family has not

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state by value."""
        return {"deter": self.deter, "stoch": self.stoch}

    @property
    def latents(self) -> Latents:
        """Rules of the latents' family."""
        return FAMILIES[self.family]

    @property
    def parameters(self) -> tuple[int, int]:
        """Shape (S, P) of the parameters of the latents' distributions."""
        return self.latents.parameter_shape(self.stoch)


MAX_ELEMENTS = 1 << 26  # of any one signal or state; far above the largest policy


def describe_validity(contract: Contract) -> dict[str, str]:
    """Return the name of every camera's bit, bool (1,): whether its frame is there."""
    return {s.name: validity_name(s.name) for s in contract.inputs if s.is_image}


def describe_graphs(
    contract: Contract, state: StateSpec, token_size: int, validity: Mapping[str, str]
) -> dict[str, GraphSpec]:
    """Return what the graphs of a policy read and give, by file name."""
    stoch, action = (1, *state.stoch), (1, contract.action.size)
    kinds: dict[str, tuple[tuple[int, ...], Dtype]] = {
        **{signal.name: ((1, *signal.shape), signal.dtype) for signal in contract.inputs},
        **dict.fromkeys(validity.values(), ((1,), "bool")),
        "deter": ((1, *state.deter), "float32"),
        "is_first": ((1,), "bool"),
        "tokens": ((1, token_size), "float32"),
        "deter_next": ((1, *state.deter), "float32"),
        **dict.fromkeys(
            ("stoch", "noise_stoch", "stoch_next", "stoch_prior"), (stoch, "float32")
        ),
        **dict.fromkeys(("prior", "posterior"), ((1, *state.parameters), "float32")),
        **dict.fromkeys(
            ("action_previous", "noise_action", "action", "action_logits"), (action, "float32")
        ),
    }  # fmt: skip

    def tensors(*words: str) -> tuple[TensorSpec, ...]:
        """Make tensors out of `value`, or `value as name` where the graph calls it otherwise."""
        pairs = [word.split(" as ") for word in words]
        return tuple(
            TensorSpec(name=pair[-1], value=pair[0], shape=kinds[pair[0]][0],
                       dtype=kinds[pair[0]][1])
            for pair in pairs
        )  # fmt: skip

    signals = [*(signal.name for signal in contract.inputs), *validity.values()]
    state_in = ("deter", "stoch", "action_previous as action")
    parameters = ("prior", "posterior")
    is_discrete = contract.action.kind == "discrete"
    # A choice hides by how much it was one; what it was made from tells.
    acted = ("action", "action_logits") if is_discrete else ("action",)
    return {
        "encoder.onnx": GraphSpec(inputs=tensors(*signals), outputs=tensors("tokens")),
        "rssm_step.onnx": GraphSpec(
            inputs=tensors(*state_in, "tokens", "is_first", "noise_stoch as noise"),
            outputs=tensors("deter_next", "stoch_next", *parameters),
        ),
        "actor.onnx": GraphSpec(
            inputs=tensors(
                "deter_next as deter", "stoch_next as stoch", "noise_action as noise"
            ),
            outputs=tensors(*acted),
        ),
        "core.onnx": GraphSpec(
            inputs=tensors(*state_in, "is_first"), outputs=tensors("deter_next")
        ),
        "prior.onnx": GraphSpec(
            inputs=tensors("deter_next as deter", "noise_stoch as noise"),
            outputs=tensors("stoch_prior as stoch_next", "prior"),
        ),
        "posterior.onnx": GraphSpec(
            inputs=tensors("deter_next as deter", "tokens", "noise_stoch as noise"),
            outputs=tensors("stoch_next", "posterior"),
        ),
        "policy.onnx": GraphSpec(
            inputs=tensors(
                *signals, "deter", "stoch", "action_previous", "is_first", "noise_stoch",
                "noise_action",
            ),
            outputs=tensors(*acted, "deter_next", "stoch_next", *parameters),
        ),
    }  # fmt: skip


def describe_noise(state: StateSpec, action: NoiseKind) -> dict[str, NoiseKind]:
    """Return the distribution of every value that is noise; zeros take the mode.

    Args:
        state: Recurrent state, whose family says the noise of the latents.
        action: Noise that the distribution of actions is drawn with.
    """
    return {"noise_stoch": state.latents.noise_kind, "noise_action": action}
