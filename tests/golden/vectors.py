"""Golden vectors: their files, their reading, and the tolerances of comparisons.

Every size and option comes from the files' `meta`, so that other files of the same format can be
run through the same tests: ROBODREAMER_GOLDEN names their folder. The vectors of DreamerV1 and V2,
which `vectors_v12` describes, lie elsewhere and are named by their path.
"""

import json
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robodreamer.config import NetworkConfig
from robodreamer.reference import Counterpart
from robodreamer_deploy.contract import ActionSpec, Contract, Signal

Array = NDArray[Any]
Options = Mapping[str, Any]

FOLDER = Path(os.environ.get("ROBODREAMER_GOLDEN") or Path(__file__).parent)
NOT_OBSERVED = ("reward", "is_first", "is_last", "is_terminal")


class Limits(NamedTuple):
    """Tolerance of float32 results (section 2 of the vectors' README)."""

    elementwise: float
    """Largest |a - b| / (|b| + 0.01 max |b|)."""
    relative: float
    """Largest |a - b| / |b| in L2 norm."""
    absolute: float = 0.0
    """Differences that are rounding, whatever the size of b."""


FORWARD = Limits(1e-4, 1e-4)
GRADIENT = Limits(1e-3, 1e-4)


@cache
def read(file: str | Path) -> tuple[Mapping[str, Array], Options]:
    """Return the arrays of a file of `FOLDER`, or of a path, and the options of its cases."""
    with np.load(FOLDER / file) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "meta"}
        return arrays, json.loads(str(archive["meta"]))["cases"]


def case_names(file: str | Path, prefix: str = "") -> list[str]:
    """Return the cases of a file; none if the folder lacks it."""
    if not (FOLDER / file).exists():
        return []
    return [name for name in read(file)[1] if name.startswith(prefix)]


class Case:
    """The arrays of one case, and its options; an agent file has one case without prefix."""

    def __init__(self, file: str | Path, name: str) -> None:
        arrays, cases = read(file)
        self.options: Options = cases[name]
        self.arrays = arrays if name == "agent" else _below(arrays, name)

    def __getitem__(self, name: str) -> Tensor:
        """Return one array, such as `in/x`."""
        return torch.from_numpy(self.arrays[name])

    def section(self, name: str) -> dict[str, Array]:
        """Return all arrays below `name`, by the rest of their names."""
        return _below(self.arrays, name)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return all arrays below `name` as tensors."""
        return {key: torch.from_numpy(value) for key, value in self.section(name).items()}


def _below(arrays: Mapping[str, Array], folder: str) -> dict[str, Array]:
    start = f"{folder}/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}


def compare(
    expected: Mapping[str, Array],
    actual: Mapping[str, Tensor | Array],
    limits: Limits = FORWARD,
    exceptions: Mapping[str, Limits] | None = None,
) -> None:
    """Fail unless every expected array, and nothing else, is there and close enough."""
    assert actual.keys() == expected.keys(), sorted(actual.keys() ^ expected.keys())
    complaints = {
        name: complaint
        for name, array in expected.items()
        if (complaint := difference(actual[name], array, (exceptions or {}).get(name, limits)))
    }
    assert not complaints, complaints


def difference(actual: Tensor | Array, expected: Array, limits: Limits = FORWARD) -> str:
    """Tell in what `actual` differs from `expected`; nothing if it is close enough."""
    a = actual.detach().numpy() if isinstance(actual, Tensor) else actual
    if a.shape != expected.shape:
        return f"shape {a.shape}, expected {expected.shape}"
    if expected.dtype.kind != "f":
        return "" if np.array_equal(a, expected) else f"{np.sum(a != expected)} values differ"
    error = np.abs(a.astype(np.float64) - expected)
    scale = np.abs(expected) + 0.01 * np.abs(expected).max()
    excess = error - limits.absolute
    # Written so that NaN fails.
    if not (excess <= limits.elementwise * scale).all():
        return f"elementwise {(error / np.maximum(scale, 1e-30)).max():.1e}"
    tolerance = limits.relative * np.linalg.norm(expected)
    if not np.linalg.norm(error) <= max(tolerance, limits.absolute * np.sqrt(error.size)):
        return f"relative L2 {np.linalg.norm(error) / np.linalg.norm(expected):.1e}"
    return ""


def fill(counterparts: Mapping[str, Counterpart], arrays: Mapping[str, Array]) -> None:
    """Copy the reference's parameters into ours; every one has to find its place."""
    by_reference = {counterpart.reference: counterpart for counterpart in counterparts.values()}
    with torch.no_grad():
        for name, array in arrays.items():
            counterpart = by_reference[name]
            counterpart.tensor.copy_(torch.tensor(counterpart.to_ours(array)))


def compare_ours(
    expected: Mapping[str, Array],
    counterparts: Mapping[str, Counterpart],
    value: Callable[[Tensor], Tensor | None],
    limits: Limits = GRADIENT,
) -> None:
    """Compare a value of every parameter, such as its gradient, in our layout."""
    by_reference = {c.reference: c for c in counterparts.values()}
    actual: dict[str, Tensor] = {}
    for name, counterpart in by_reference.items():
        found = value(counterpart.tensor)
        actual[name] = torch.zeros_like(counterpart.tensor) if found is None else found
    ours = {name: by_reference[name].to_ours(array) for name, array in expected.items()}
    compare(ours, actual, limits)


def gradient_of(parameter: Tensor) -> Tensor | None:
    """Return a parameter's gradient."""
    return parameter.grad


def leaf(value: Tensor) -> Tensor:
    """Return a copy that collects a gradient."""
    return value.clone().requires_grad_()


def gradients(scalar: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the derivative of `scalar` with respect to every input; zeros where it has none."""
    found = torch.autograd.grad(
        scalar, list(inputs.values()), retain_graph=True, materialize_grads=True
    )
    return dict(zip(inputs, found, strict=True))


def signals(spaces: list[Options]) -> tuple[Signal, ...]:
    """Return the reference's observation spaces as signals of a contract, in declared order."""
    return tuple(_signal(space) for space in spaces if space["key"] not in NOT_OBSERVED)


def _signal(space: Options) -> Signal:
    shape = tuple(space["shape"])
    family = "image" if len(shape) == 3 else "proprio"
    return Signal(
        name=f"{family}/{space['key']}",
        shape=shape,
        dtype=space["dtype"],
        num_classes=space["classes"] if space["discrete"] else 0,
    )


def contract(options: Options) -> Contract:
    """Return the contract of an agent file's observation and action spaces."""
    (space,) = options["act_space"]
    if space["discrete"]:
        action = ActionSpec(kind="discrete", size=space["classes"])
    else:
        size = int(np.prod(space["shape"]))
        action = ActionSpec(size=size, low=(-1.0,) * size, high=(1.0,) * size)
    return Contract(
        task="golden", observations=signals(options["obs_space"]), action=action, control_dt_s=0.1
    )


def linear(network: NetworkConfig) -> NetworkConfig:
    """Return sizes whose heads and decoder have no hidden layers.

    No run can be made with them. On one-hot states of `units` elements the weight of a head is then
    a table, one row per step, that a test fills with the values of a file.
    """
    for name in ("critic_layers", "actor_layers", "decoder_layers"):
        object.__setattr__(network, name, 0)
    return network
