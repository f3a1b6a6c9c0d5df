"""Calibration: numbers that were predicted, against those that came, in bins of equal counts.

Shapes: N predictions, B bins, T steps of an episode.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from robodreamer.learning.actor_critic import ActorCritic
from robodreamer.learning.returns import Targets
from robodreamer_deploy.contract import Array

NUM_BINS = 10
BAND = (0.1, 0.9)
"""Quantiles of what came, in every bin."""
SHORTEST = 3
"""Steps of the shortest episode with a return, whichever way returns are made."""


class Bins(NamedTuple):
    """Means of the predictions in every bin, ascending, and of what came, (B,) each."""

    predicted: Array
    observed: Array
    low: Array
    high: Array
    """`BAND` of what came."""


class Calibration(NamedTuple):
    """Predictions, and what came."""

    predicted: Array
    """(N,)."""
    observed: Array
    """(N,)."""

    @property
    def bias(self) -> float:
        """Mean of what was predicted too much."""
        return float((self.predicted - self.observed).mean())

    @property
    def error(self) -> float:
        """Mean size of the difference."""
        return float(np.abs(self.predicted - self.observed).mean())

    @property
    def correlation(self) -> float | None:
        """Correlation of both; None where one of them never changes."""
        if min(self.predicted.std(), self.observed.std()) < np.finfo(np.float32).eps:
            return None
        return float(np.corrcoef(self.predicted, self.observed)[0, 1])

    def bins(self, most: int = NUM_BINS) -> Bins:
        """Return up to `most` bins with equal numbers of predictions, at least 5 in each."""
        order = np.argsort(self.predicted, kind="stable")
        count = max(1, min(most, len(order) // 5))
        parts = np.array_split(order, count)
        quantiles = np.array([np.quantile(self.observed[part], BAND) for part in parts])
        return Bins(
            predicted=np.array([self.predicted[part].mean() for part in parts]),
            observed=np.array([self.observed[part].mean() for part in parts]),
            low=quantiles[:, 0],
            high=quantiles[:, 1],
        )


class Followed(NamedTuple):
    """Values along an episode, and the returns that followed them."""

    values: Calibration
    """What the critic said, and the discounted rewards that came."""
    bootstrapped: Array
    """Share of the critic's own last value in each return, (N,): where an episode was cut, nobody
    knows what would have followed."""


def follow_values(
    actor_critic: ActorCritic,
    value: Float[Tensor, " T"],
    reward: Float[Tensor, " T"],
    *,
    is_terminal: bool,
) -> Followed | None:
    """Compare the critic with the returns of one episode; None if it is too short for any.

    The returns are those that the critic learns, with lambda 1: rewards alone up to the end.

    Args:
        actor_critic: States which steps a return consists of, and the discount.
        value: What the critic said at each step.
        reward: Received with each step.
        is_terminal: True if the task ended the episode, so that nothing follows.
    """
    num_steps = len(value)
    if num_steps < SHORTEST:
        return None
    goes_on = torch.full_like(reward, actor_critic.discount)
    if is_terminal:  # then comes a step without reward or value, as states may hold their own
        goes_on[-1] = 0.0
        goes_on, reward, value = (F.pad(part, (0, 1)) for part in (goes_on, reward, value))

    def discount(reward: Tensor, value: Tensor) -> Targets:
        rows = (part.unsqueeze(0) for part in (reward, goes_on, value))
        return actor_critic.make_targets(*rows, 1.0)

    targets = discount(reward, value)
    shares = discount(torch.zeros_like(reward), torch.ones_like(value)).returns
    steps = slice(targets.first, num_steps - 1)  # the last state was not acted from
    returns, shares = (
        part[0, : num_steps - 1 - targets.first] for part in (targets.returns, shares)
    )
    said = Calibration(value[steps].cpu().numpy(), returns.cpu().numpy())
    return Followed(said, shares.cpu().numpy())


def join(parts: Sequence[Calibration]) -> Calibration:
    """Put predictions of several episodes together."""
    return Calibration(*(np.concatenate(values) for values in zip(*parts, strict=True)))
