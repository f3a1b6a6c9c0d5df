"""Warnings about rewards and returns that lie beyond the outer bins of the two-hot heads.

Reward head and critic are distributions over bins from -(e^L - 1) to e^L - 1, where L is the
setting `network.bin_limit` (DreamerV3, "Critic learning"). Every number beyond has the outer bin as
its target, so the agent cannot distinguish such numbers.
"""

import math
from collections.abc import Mapping
from typing import Any

from robodreamer.config import TrainConfig

LARGEST_LIMIT = 20.0
"""The published limit. Beyond it float32 can no longer average over the bins."""


def reach(bin_limit: float) -> float:
    """Return the largest number that bins up to `bin_limit` (in symlog space) can represent."""
    return math.expm1(bin_limit)


def describe_range(config: TrainConfig, largest_reward: float, largest_return: float) -> str | None:
    """Return a warning with the setting that helps; None if both magnitudes lie within the bins.

    Args:
        config: Settings of the run.
        largest_reward: Largest magnitude of a reward that was received.
        largest_return: Largest magnitude of a return that the critic was trained on; 0 if unknown.
    """
    limit = config.network.bin_limit
    end = reach(limit)
    if max(largest_reward, largest_return) <= end:
        return None
    what, size = ("reward", largest_reward) if largest_reward > end else ("return", largest_return)
    return (
        f"a {what} of magnitude {size:,.4g} lies beyond the bins of reward head and critic, which "
        f"end at {end:,.4g} (--network.bin-limit {limit:g}): the agent cannot distinguish it from "
        f"{end:,.4g}. {_remedy(config, largest_reward, largest_return)}"
    )


def describe_figures(config: TrainConfig, last: Mapping[str, Any]) -> str | None:
    """Return the same warning for the newest figures of a run's metrics."""
    return describe_range(config, last.get("largest_reward", 0.0), last.get("largest_return", 0.0))


def _remedy(config: TrainConfig, largest_reward: float, largest_return: float) -> str:
    """Return the limit with which a new run can represent returns, or a divisor for its rewards."""
    expected = max(largest_reward * config.algorithm.discount_horizon, largest_return)
    needed = math.ceil(math.log1p(expected))
    if needed <= LARGEST_LIMIT:
        return f"A new run with --network.bin-limit {needed} can"
    power = math.ceil(math.log10(expected / reach(LARGEST_LIMIT)))
    return f"Divide the task's rewards by 1e{power} and set --network.bin-limit {LARGEST_LIMIT:g}"
