"""Names and layouts of the layers of DreamerV1 and V2: which array holds which of our tensors.

Version 1 calls hidden layers h0, h1, ... and has one output layer for both parameters of a normal;
version 2 calls them dense0, norm0, ... Both read features as [stoch, deter], ours are swapped.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import nn
from vectors import Array

from robodreamer.learning.intrinsic import Disagreement
from robodreamer.models.cells import GRU, LayerNormGRU
from robodreamer.models.heads import ContinuousActor
from robodreamer.models.layers import MLP, Layer
from robodreamer.reference import Counterpart, Order


def by_name(*layers: Iterable[Counterpart]) -> dict[str, Counterpart]:
    """Return counterparts by the name that they have there."""
    return {counterpart.reference: counterpart for group in layers for counterpart in group}


def dense(layer: nn.Linear, name: str, order: Order | None = None) -> Iterator[Counterpart]:
    """Yield the counterparts of a linear layer called `name` there."""
    yield Counterpart(layer.weight, f"{name}/kernel", (1, 0), order)
    yield Counterpart(layer.bias, f"{name}/bias", (0,))


def layer_norm(norm: nn.LayerNorm, name: str) -> Iterator[Counterpart]:
    """Yield the counterparts of a layer norm called `name` there."""
    yield Counterpart(norm.weight, f"{name}/gamma", (0,))
    yield Counterpart(norm.bias, f"{name}/beta", (0,))


def layer(ours: Layer, name: str, norm: str, order: Order | None = None) -> Iterator[Counterpart]:
    """Yield the counterparts of a layer with or without a norm."""
    yield from dense(ours.linear, name, order)
    if isinstance(ours.norm, nn.LayerNorm):
        yield from layer_norm(ours.norm, norm)


def mlp(
    stack: MLP, name: str, order: Order | None = None, *, version: int
) -> Iterator[Counterpart]:
    """Yield the counterparts of the hidden layers of `name`."""
    for i, ours in enumerate(stack.layers):
        there = f"{name}/h{i}" if version == 1 else f"{name}/dense{i}"
        yield from layer(ours, there, f"{name}/norm{i}", order if i == 0 else None)


def head_layers(
    ours: Any, name: str, order: Order | None = None, *, version: int
) -> Iterator[Counterpart]:
    """Yield the counterparts of a head, an actor or a critic."""
    yield from mlp(ours.mlp, name, order, version=version)
    if not isinstance(ours, ContinuousActor):
        yield from dense(ours.output, f"{name}/hout" if version == 1 else f"{name}/out/out")
    elif version == 1:
        for side, part in enumerate((ours.mean, ours.std)):
            yield Counterpart(part.weight, f"{name}/hout/kernel/{side}", (1, 0))
            yield Counterpart(part.bias, f"{name}/hout/bias/{side}", (0,))
    else:
        yield from dense(ours.mean, f"{name}/out/out")
        yield from dense(ours.std, f"{name}/out/std")


def ensemble_layers(ensemble: Disagreement, order: Order) -> Iterator[Counterpart]:
    """Yield the counterparts of an ensemble's members, disag0 and so on."""
    for i, member in enumerate(ensemble.members):
        hidden, output = member.children()
        assert isinstance(hidden, MLP)
        assert isinstance(output, nn.Linear)
        yield from mlp(hidden, f"disag{i}", order, version=2)
        yield from dense(output, f"disag{i}/out/out")


def unit(cell: nn.Module, name: str) -> Iterator[Counterpart]:
    """Yield the counterparts of a gated recurrent unit, its input layer aside."""
    if isinstance(cell, GRU):
        gru, order = cell.cell, gate_order(cell.cell.hidden_size)
        yield Counterpart(gru.weight_ih, f"{name}/kernel", (1, 0), order)
        yield Counterpart(gru.weight_hh, f"{name}/recurrent_kernel", (1, 0), order)
        yield Counterpart(gru.bias_ih, f"{name}/bias/0", (0,), order)
        yield Counterpart(gru.bias_hh, f"{name}/bias/1", (0,), order)
        return
    assert isinstance(cell, LayerNormGRU)
    yield from dense(cell.gates, name)
    yield from layer_norm(cell.norm, f"{name}/norm")


def gate_order(deter: int) -> Order:
    """Return where torch's gates (reset, update, candidate) are among update, reset, candidate."""
    rows = [*range(deter, 2 * deter), *range(deter), *range(2 * deter, 3 * deter)]
    return Order(axis=0, positions=tuple(rows))


def feature_order(deter: int, stoch: int, others: int = 0) -> Order:
    """Return the order of columns that read a feature: ours is [deter, stoch], theirs swapped.

    `stoch` counts flat elements; columns of `others` follow in both.
    """
    size = deter + stoch
    swapped = [*range(stoch, size), *range(stoch), *range(size, size + others)]
    return Order(axis=1, positions=tuple(swapped))


def split(arrays: Mapping[str, Array], *outputs: str) -> dict[str, Array]:
    """Return arrays with both biases of V1's unit apart, and both halves of some output layers.

    Those are the layers of V1 that make both parameters of a normal. The parts of an array are
    called 0 and 1 below its name.
    """
    found: dict[str, Array] = {}
    for name, array in arrays.items():
        if name.endswith("gru/bias") and array.ndim == 2:
            found |= {f"{name}/{side}": row for side, row in enumerate(array)}
        elif name.startswith(tuple(f"{output}/" for output in outputs)):
            halves = np.split(array, 2, -1)
            found |= {f"{name}/{side}": half for side, half in enumerate(halves)}
        else:
            found[name] = array
    return found
