"""Area under the receiver operating characteristic, by ranks."""

import numpy as np

from robodreamer_deploy.contract import Array


def auroc(negative: Array, positive: Array) -> float:
    """Return the chance that a positive score lies above a negative one; a tie counts half.

    Exact: the Mann-Whitney U of all pairs, from average ranks, over their number.

    Raises:
        ValueError: One of them is empty, or holds a NaN, which has no rank.
    """
    if not len(negative) or not len(positive):
        raise ValueError(f"{len(negative)} negative and {len(positive)} positive scores")
    scores = np.concatenate([negative, positive])
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    pairs_below = len(positive) * (len(positive) + 1) / 2
    above = ranks[len(negative) :].sum() - pairs_below
    return float(above / (len(negative) * len(positive)))
