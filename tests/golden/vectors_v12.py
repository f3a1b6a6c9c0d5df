"""Golden vectors of DreamerV1, DreamerV2 and Plan2Explore: folder, tolerances, comparisons.

Files are named by their path, `file("v1_04_heads")`, and read by `vectors.Case`.
ROBODREAMER_GOLDEN_V12 names another folder of such files, of other sizes and seeds.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from vectors import Array, Case, Limits, case_names, compare, compare_ours, gradient_of, gradients

from robodreamer.reference import Counterpart

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
