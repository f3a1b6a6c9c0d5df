"""Golden vectors of DreamerV1, DreamerV2 and Plan2Explore: folder, tolerances, names of layers.

Files are named by their path, `file("v1_04_heads")`, and read by `vectors.Case`.
ROBODREAMER_GOLDEN_V12 names another folder of such files, of other sizes and seeds.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor, nn
from vectors import Array, Case, Limits, case_names, compare, compare_ours, gradient_of, gradients

from robodreamer.models.layers import MLP
from robodreamer.reference import Counterpart, Order

FOLDER = Path(os.environ.get("ROBODREAMER_GOLDEN_V12") or Path(__file__).parent / "v12").resolve()

# Section 2 of the vectors' README. Changes are those of a parameter after some updates.
FORWARD = Limits(3e-4, 3e-4)
GRADIENT = Limits(1e-3, 5e-4)
LOSS = Limits(1e-5, 1e-5)
GRADIENT_NORM = Limits(3e-4, 3e-4)
CHANGE_L2 = 2e-3


def file(name: str) -> Path:
    """Return the path of a file, such as that of `v1_04_heads`."""
    return FOLDER / f"{name}.npz"


def names(name: str, *prefixes: str) -> list[str]:
    """Return the cases of a file whose names begin in one of these ways."""
    return [case for case in case_names(file(name)) if case.startswith(prefixes)]


def load(name: str, case: str) -> Case:
    """Read one case of a file; the case of an agent is `agent`."""
    return Case(file(name), case)


def dense(layer: nn.Linear, name: str, order: Order | None = None) -> Iterator[Counterpart]:
    """Yield the counterparts of a linear layer called `name` there."""
    yield Counterpart(layer.weight, f"{name}/kernel", (1, 0), order)
    yield Counterpart(layer.bias, f"{name}/bias", (0,))


def layer_norm(norm: nn.LayerNorm, name: str) -> Iterator[Counterpart]:
    """Yield the counterparts of a layer norm called `name` there."""
    yield Counterpart(norm.weight, f"{name}/gamma", (0,))
    yield Counterpart(norm.bias, f"{name}/beta", (0,))


def feature_order(deter: int, stoch: int, others: int = 0) -> Order:
    """Return the order of columns that read a feature: ours is [deter, stoch], theirs swapped.

    `stoch` counts flat elements; columns of `others` follow in both.
    """
    size = deter + stoch
    swapped = [*range(stoch, size), *range(stoch), *range(size, size + others)]
    return Order(axis=1, positions=tuple(swapped))


def mlp(stack: MLP, name: str, norm: str = "", order: Order | None = None) -> Iterator[Counterpart]:
    """Yield the counterparts of hidden layers called `name` and their number there, norms too."""
    for i, layer in enumerate(stack.layers):
        yield from dense(layer.linear, f"{name}{i}", order if i == 0 else None)
        if isinstance(layer.norm, nn.LayerNorm):
            yield from layer_norm(layer.norm, f"{norm}{i}")


def by_name(*layers: Iterable[Counterpart]) -> dict[str, Counterpart]:
    """Return counterparts by the name that they have there."""
    return {counterpart.reference: counterpart for group in layers for counterpart in group}


def halved(arrays: Mapping[str, Array], layer: str) -> dict[str, Array]:
    """Return arrays with one output layer as two, `<layer>/mean` and `<layer>/std`.

    DreamerV1 has one layer for both parameters of a normal.
    """
    halves = dict(arrays)
    for part in ("kernel", "bias"):
        mean, std = np.split(halves.pop(f"{layer}/{part}"), 2, -1)
        halves |= {f"{layer}/mean/{part}": mean, f"{layer}/std/{part}": std}
    return halves


def check_gradients(
    scalar: Tensor,
    inputs: Mapping[str, Tensor],
    expected: Mapping[str, Array],
    layers: dict[str, Counterpart],
) -> None:
    """Compare the derivatives of a scalar with respect to inputs and parameters."""
    found = gradients(scalar, inputs)
    compare({name: expected[name] for name in inputs}, found, GRADIENT)
    scalar.backward()
    rest = {name: array for name, array in expected.items() if name not in inputs}
    compare_ours(rest, layers, gradient_of, GRADIENT)
