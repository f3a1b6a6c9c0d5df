"""Comparison of a step's values with a reference's: errors of numbers, ties of choices.

A choice is a one-hot vector, the largest of log-probabilities plus noise. Another machine's
rounding may choose otherwise only where the reference itself was undecided.
"""

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import BundleError

TOLERANCE = 1e-4
"""Largest error of an output, relative above 1. Float32 sums in another order (other CPU, other
onnxruntime) differ by 1e-6 to 1e-5 here; a single wrong weight that matters shows above 1e-3."""
TIE_MARGIN = 1e-4
"""Lead of the reference's best class over its second, in perturbed logits, under which rounding
on another CPU may choose the other one."""


def largest_error(actual: Array, reference: Array) -> float:
    """Return the largest absolute error, relative to references beyond 1; NaN if there is one."""
    return float(np.max(np.abs(actual - reference) / np.maximum(1.0, np.abs(reference))))


def lead(scores: Array) -> Array:
    """Return largest minus second largest along the last axis; infinite where there is but one."""
    if scores.shape[-1] == 1:
        return np.full(scores.shape[:-1], np.inf, np.float32)
    ordered = np.sort(scores, -1)
    return ordered[..., -1] - ordered[..., -2]


def count_ties(chosen: Array, reference: Array, leads: Array, who: str, where: str) -> int:
    """Return how many one-hot choices (n, K) differ from the reference's.

    Raises:
        BundleError: One of them was no tie: the reference's choice led by `leads` (n,). It names
            `who` by number, and `where`.
    """
    differ = (chosen != reference).any(-1)
    for i in np.flatnonzero(differ & (leads >= TIE_MARGIN)):
        raise BundleError(
            f"{who} {i} fell into another class {where}, "
            f"though the reference's choice led by {leads[i]:.1e}"
        )
    return int(differ.sum())
