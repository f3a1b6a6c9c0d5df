"""Conversion of parameters from the public JAX code of DreamerV3.

Every layer of danijar/dreamerv3 (commit e3f0224) has its counterpart here; names and layouts
differ. `LAYERS` maps the names; the layout depends on the kind of layer:

    linear        kernel (in, out)                  -> weight (out, in)
    block-linear  kernel (blocks, in/b, out/b)      -> weight, the same
    convolution   kernel (height, width, in, out)   -> weight (out, in, height, width)
    norm          scale (channels,)                 -> weight, the same

Cameras and vectors are joined in the sorted order of their names, which are other names there,
and the JAX decoder splits its picture into cameras in the order in which they were declared. So
the layers where signals meet are also reordered.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robodreamer.learning.agent import Agent
from robodreamer.models.decoder import CameraDecoder, VectorDecoder
from robodreamer.models.encoder import CameraEncoder, VectorInput
from robodreamer.models.layers import BlockLinear, RMSNorm, UpsampleConv
from robodreamer_deploy.contract import Signal

Array = NDArray[Any]

# Our module, and the layer it is called there; # is the layer's number, * any camera size.
LAYERS = (
    ("world_model.encoder.vectors.1.layers.#.linear", "enc/mlp#"),
    ("world_model.encoder.vectors.1.layers.#.norm", "enc/mlp#norm"),
    ("world_model.encoder.cameras.*.stages.#.conv", "enc/cnn#"),
    ("world_model.encoder.cameras.*.stages.#.norm", "enc/cnn#norm"),
    ("world_model.rssm.core.deter_input.linear", "dyn/dynin0"),
    ("world_model.rssm.core.deter_input.norm", "dyn/dynin0norm"),
    ("world_model.rssm.core.stoch_input.linear", "dyn/dynin1"),
    ("world_model.rssm.core.stoch_input.norm", "dyn/dynin1norm"),
    ("world_model.rssm.core.action_input.linear", "dyn/dynin2"),
    ("world_model.rssm.core.action_input.norm", "dyn/dynin2norm"),
    ("world_model.rssm.core.hidden.#", "dyn/dynhid#"),
    ("world_model.rssm.core.hidden_norms.#", "dyn/dynhid#norm"),
    ("world_model.rssm.core.gates", "dyn/dyngru"),
    ("world_model.rssm.prior.layers.#.linear", "dyn/prior#"),
    ("world_model.rssm.prior.layers.#.norm", "dyn/prior#norm"),
    ("world_model.rssm.prior_output", "dyn/priorlogit"),
    ("world_model.rssm.posterior.layers.#.linear", "dyn/obs#"),
    ("world_model.rssm.posterior.layers.#.norm", "dyn/obs#norm"),
    ("world_model.rssm.posterior_output", "dyn/obslogit"),
    ("world_model.decoder.vectors.mlp.layers.#.linear", "dec/mlp/linear#"),
    ("world_model.decoder.vectors.mlp.layers.#.norm", "dec/mlp/norm#"),
    ("world_model.decoder.cameras.*.deter_map", "dec/sp0"),
    ("world_model.decoder.cameras.*.stoch_layer.layers.0.linear", "dec/sp1"),
    ("world_model.decoder.cameras.*.stoch_layer.layers.0.norm", "dec/sp1norm"),
    ("world_model.decoder.cameras.*.stoch_map", "dec/sp2"),
    ("world_model.decoder.cameras.*.start_norm", "dec/spnorm"),
    ("world_model.reward.mlp.layers.#.linear", "rew/mlp/linear#"),
    ("world_model.reward.mlp.layers.#.norm", "rew/mlp/norm#"),
    ("world_model.reward.output", "rew/head/logits"),
    ("world_model.continuation.mlp.layers.#.linear", "con/mlp/linear#"),
    ("world_model.continuation.mlp.layers.#.norm", "con/mlp/norm#"),
    ("world_model.continuation.output", "con/head/logit"),
    ("actor_critic.critic.mlp.layers.#.linear", "val/mlp/linear#"),
    ("actor_critic.critic.mlp.layers.#.norm", "val/mlp/norm#"),
    ("actor_critic.critic.output", "val/head/logits"),
    ("actor_critic.slow_critic.mlp.layers.#.linear", "slowval/mlp/linear#"),
    ("actor_critic.slow_critic.mlp.layers.#.norm", "slowval/mlp/norm#"),
    ("actor_critic.slow_critic.output", "slowval/head/logits"),
    ("actor_critic.actor.mlp.layers.#.linear", "pol/mlp/linear#"),
    ("actor_critic.actor.mlp.layers.#.norm", "pol/mlp/norm#"),
    ("actor_critic.actor.mean", "pol/head/action/mean"),
    ("actor_critic.actor.std", "pol/head/action/stddev"),
    ("actor_critic.actor.output", "pol/head/action/logits"),
)

# Which axis of the reference's kernel becomes axis 0, 1, ... of our weight.
LINEAR_AXES, CONVOLUTION_AXES = (1, 0), (3, 2, 0, 1)

MOST_NAMES = 8
"""Parameters that a refusal lists of each kind; an agent of another release lacks hundreds."""
RETURN_RANGE = {"retnorm/lo": "low", "retnorm/hi": "high"}
# State of a JAX checkpoint that has no counterpart here: the optimizer's averages restart at zero.
OTHER_STATE = ("opt/", "slowval_count", "advnorm/", "valnorm/")


class Order(NamedTuple):
    """Order along our `axis`: the reference's position for each of our positions."""

    axis: int
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Counterpart:
    """One of our tensors with the array of the reference that holds the same numbers."""

    tensor: Tensor
    reference: str
    """Name of the array, such as `dyn/dynin0/kernel`."""
    axes: tuple[int, ...]
    """Axis of the reference's array for every axis of ours."""
    order: Order | None = None
    """Order of the signals in the reference, in layers where they meet."""

    @property
    def reference_shape(self) -> tuple[int, ...]:
        """Shape of the reference's array."""
        sizes = dict(zip(self.axes, self.tensor.shape, strict=True))
        return tuple(sizes[axis] for axis in range(len(sizes)))

    def to_ours(self, array: Array) -> Array:
        """Convert the reference's array, a parameter or its gradient, to our layout."""
        ours = array.transpose(self.axes)
        return ours.take(self.order.positions, self.order.axis) if self.order else ours


def load_parameters(
    agent: Agent, parameters: Mapping[str, Array], keys: Mapping[str, str] | None = None
) -> None:
    """Copy the reference's parameters into an agent, the slow critic's included.

    The running percentiles of the returns (`retnorm/lo`, `retnorm/hi`) are copied if given;
    optimizer state is ignored.

    Args:
        agent: Agent of the same sizes (see `config_from_reference`), which is changed.
        parameters: Arrays by the reference's names, such as `dyn/dynin0/kernel`.
        keys: The reference's key of every signal of the contract, in the order in which they were
            declared there; by default the signals' names without family, in the contract's order.

    Raises:
        ValueError: A parameter is missing, unknown or of another shape; the message lists all. Or
            the contract states ranges of vectors, by which the reference does not scale.
    """
    _check_unscaled(agent.contract.observations)
    counterparts = match(agent, agent.contract.observations, keys=keys)
    tensors = {counterpart.reference: counterpart for counterpart in counterparts.values()}
    arrays = dict(_without_state(parameters))
    for name, attribute in RETURN_RANGE.items():
        if name in arrays:
            tensors[name] = Counterpart(
                getattr(agent.actor_critic.return_range, attribute), name, axes=()
            )
    _check_fit(tensors, arrays)
    with torch.no_grad():
        for name, counterpart in tensors.items():
            counterpart.tensor.copy_(torch.tensor(counterpart.to_ours(arrays[name])))


def match(
    module: nn.Module,
    signals: Sequence[Signal],
    *,
    path: str = "",
    keys: Mapping[str, str] | None = None,
) -> dict[str, Counterpart]:
    """Find the counterpart of every parameter of an agent, or of a part of one.

    Args:
        module: An `Agent`, or one of its modules.
        signals: Signals that it observes; modules that observe nothing need none.
        path: Place of the module in an agent, such as `world_model.rssm`.
        keys: Keys of the signals, as for `load_parameters`.

    Returns:
        Counterparts by the parameter's name in `module`.

    Raises:
        ValueError: A layer has no counterpart in the reference.
    """
    keys = _check_keys(signals, keys)
    layers, orders = dict(_signal_layers(module, keys)), dict(_signal_orders(module, signals, keys))
    found: dict[str, Counterpart] = {}
    for name, layer in module.named_modules():
        axes = _weight_axes(layer)
        if axes is None:
            continue
        reference = layers.get(name) or _layer_name(f"{path}.{name}".strip("."))
        weight = "scale" if isinstance(layer, RMSNorm) else "kernel"
        for leaf, tensor in layer.named_parameters(recurse=False):
            full_name = f"{name}.{leaf}".strip(".")
            found[full_name] = Counterpart(
                tensor,
                f"{reference}/{'bias' if leaf == 'bias' else weight}",
                (0,) if leaf == "bias" else axes,
                orders.get(full_name),
            )
    unmatched = dict(module.named_parameters()).keys() - found.keys()
    assert not unmatched, unmatched
    if len({counterpart.reference for counterpart in found.values()}) < len(found):
        raise ValueError("the reference has one CNN for all cameras; these have several sizes")
    return found


def _without_state(parameters: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Yield parameters without other state; checkpoints append /value to single numbers."""
    for name, array in parameters.items():
        if not name.startswith(OTHER_STATE):
            yield name.removesuffix("/value"), np.asarray(array)


def _check_unscaled(signals: Sequence[Signal]) -> None:
    """Refuse vectors that would be scaled by their range before the networks read them."""
    scaled = [
        s.name for s in signals if not s.is_image and s.low is not None and s.high is not None
    ]
    if scaled:
        raise ValueError(
            f"the reference takes vectors as they are, but {', '.join(scaled)} would be scaled by "
            "its range; load into a contract without low and high"
        )


def _check_fit(tensors: Mapping[str, Counterpart], arrays: Mapping[str, Array]) -> None:
    """Refuse arrays whose names or shapes differ from those of `tensors`."""
    missing = sorted(tensors.keys() - arrays.keys())
    unknown = sorted(arrays.keys() - tensors.keys())
    misshapen = [
        f"{name} {arrays[name].shape} instead of {tensors[name].reference_shape}"
        for name in sorted(tensors.keys() & arrays.keys())
        if arrays[name].shape != tensors[name].reference_shape
    ]
    problems = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    listed = [f"{what}: {_shorten(names)}" for what, names in problems.items() if names]
    if listed:
        raise ValueError(f"these parameters do not fit the agent; {'; '.join(listed)}")


def _shorten(names: Sequence[str]) -> str:
    """Return a list as text, and of a long one the beginning and how many more there are."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _check_keys(signals: Sequence[Signal], keys: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the reference's key of every signal, in declared order."""
    names = [signal.name for signal in signals]
    if keys is None:
        keys = {name: name.partition("/")[2] for name in names}
    if set(keys) != set(names):
        raise ValueError(f"keys are given for {sorted(keys)}, but the signals are {sorted(names)}")
    if len(set(keys.values())) < len(keys):
        raise ValueError(f"two signals have one key there: {keys}")
    return keys


def _weight_axes(layer: nn.Module) -> tuple[int, ...] | None:
    """Return the kernel's axes in the order of our weight's; None for modules without weights."""
    if isinstance(layer, nn.Linear):
        return LINEAR_AXES
    if isinstance(layer, nn.Conv2d | UpsampleConv):
        return CONVOLUTION_AXES
    if isinstance(layer, BlockLinear | RMSNorm):
        return tuple(range(layer.weight.dim()))
    return None


def _layer_name(path: str) -> str:
    """Return the reference's name of an agent's module, from `LAYERS`."""
    for ours, reference in LAYERS:
        pattern = re.escape(ours).replace(r"\#", r"(\d+)").replace(r"\*", r"[^.]+")
        found = re.fullmatch(pattern, path)
        if found:
            return reference.replace("#", found[1]) if found.groups() else reference
    raise ValueError(f"the reference has no layer that corresponds to {path}")


def _signal_layers(module: nn.Module, keys: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the decoder's layers whose names hold a signal's key or count from the output."""
    for path, part in module.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(part, VectorDecoder):
            for i, signal in enumerate(part.signals):
                kind = "logits" if signal.num_classes else "pred"
                yield f"{prefix}outputs.{i}", f"dec/vec/{keys[signal.name]}/{kind}"
        if isinstance(part, CameraDecoder):
            last = len(part.norms)
            yield f"{prefix}convs.{last}", "dec/imgout"
            for i in range(last):
                yield f"{prefix}convs.{i}", f"dec/conv{last - 1 - i}"
                yield f"{prefix}norms.{i}", f"dec/conv{last - 1 - i}norm"


def _signal_orders(
    module: nn.Module, signals: Sequence[Signal], keys: Mapping[str, str]
) -> Iterator[tuple[str, Order]]:
    """Tell along which axis of which parameter signals are joined, and in which order there."""
    by_name = {signal.name: signal for signal in signals}
    for path, part in module.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(part, VectorInput):
            sizes = {s.name: prod(s.shape) * max(1, s.num_classes) for s in part.signals}
            order = _join_order(sizes, sorted(sizes, key=lambda name: keys[name]))
            # The layers that follow stand beside it in a Sequential.
            yield prefix.removesuffix("0.") + "1.layers.0.linear.weight", Order(1, order)
        if isinstance(part, CameraEncoder):
            sizes = {name: by_name[name].shape[2] for name in part.names}
            order = _join_order(sizes, sorted(sizes, key=lambda name: keys[name]))
            yield f"{prefix}stages.0.conv.weight", Order(1, order)
        if isinstance(part, CameraDecoder):
            sizes = {name: by_name[name].shape[2] for name in part.names}
            order = _join_order(sizes, [name for name in keys if name in sizes])
            for leaf in ("weight", "bias"):
                yield f"{prefix}convs.{len(part.norms)}.{leaf}", Order(0, order)


def _join_order(sizes: Mapping[str, int], reference: Sequence[str]) -> tuple[int, ...]:
    """Return, for signals joined in the order of `sizes`, where each position is in `reference`."""
    starts = dict(
        zip(reference, np.cumsum([0, *(sizes[name] for name in reference)]), strict=False)
    )
    return tuple(int(starts[name]) + i for name, size in sizes.items() for i in range(size))
