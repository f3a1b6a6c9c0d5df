"""Returns: the lambda-return, what actor and critic learn from it, and the range that divides it.

    R_t = r_{t+1} + c_{t+1} ((1 - lambda) v_{t+1} + lambda R_{t+1})        lambda-return
    S   = max(limit, running P95(R) - running P5(R))                       divisor of advantages

Source: DreamerV3 (Hafner et al., 2025), "Critic learning" and "Actor learning". DreamerV1 (2020,
eq. 6) and V2 (2021, eq. 4) give a state the reward that was received on arriving in it: there the
return of a step begins with r_t and c_t.

Shapes: N trajectories, T time, H imagined steps.
"""

import functools
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


def lambda_return(
    reward: Float[Tensor, "N T"],
    continuation: Float[Tensor, "N T"],
    bootstrap: Float[Tensor, "N T"],
    lambda_: float,
    is_last: Tensor | None = None,
) -> Float[Tensor, "N T1"]:
    """Return lambda-returns of steps 0 .. T - 2; the last step only bootstraps.

    All three inputs belong to the step arrived at: `reward[:, t]` is received on arriving at t,
    `continuation[:, t]` discounts what comes after t. Where `is_last` is set, the return is
    bootstrapped and does not look beyond.
    """
    keep = torch.full_like(reward, lambda_)
    if is_last is not None:
        keep = keep * (~is_last).float()
    steps = reward + continuation * (1 - keep) * bootstrap
    returns = [bootstrap[:, -1]]
    for t in reversed(range(1, reward.shape[1])):
        returns.append(steps[:, t] + continuation[:, t] * keep[:, t] * returns[-1])
    return torch.stack(returns[:0:-1], 1)  # from first to last, without the bootstrap


class Targets(NamedTuple):
    """Returns of imagined trajectories, cut to what critic and actor learn; C, A steps of each.

    The actor is judged by what follows its action: step t of its terms is the action chosen in
    state t.
    """

    returns: Float[Tensor, "N C"]
    """Targets of the critic."""
    first: int
    """State that the first of them belongs to."""
    weight: Float[Tensor, "N C"]
    """Probability that the episode gets to each of those states."""
    action_returns: Float[Tensor, "N A"]
    """Return after each action."""
    baseline: Float[Tensor, "N A"]
    """Value expected before it."""
    action_weight: Float[Tensor, "N A"]
    """Probability that the episode gets to the action."""


def next_step_targets(
    reward: Float[Tensor, "N H1"],
    continuation: Float[Tensor, "N H1"],
    value: Float[Tensor, "N H1"],
    lambda_: float,
) -> Targets:
    """Return the targets of DreamerV3: a state's value is what follows it.

    Steps count by the probability that the episode gets there; the start's own is included, as in
    the reference, so that starts in terminal states count little.
    """
    returns = lambda_return(reward, continuation, value, lambda_)
    weight = continuation.detach().cumprod(1)[:, :-1]
    return Targets(returns, 0, weight, returns, value[:, :-1], weight)


def same_step_targets(
    reward: Float[Tensor, "N H1"],
    continuation: Float[Tensor, "N H1"],
    value: Float[Tensor, "N H1"],
    lambda_: float,
    *,
    first: int = 0,
) -> Targets:
    """Return the targets of DreamerV2: a state's value holds its own reward.

    The action in state t is judged by the return of state t + 1, so the last one is not judged.
    With `first` 1 the start of imagination has no return itself, as in DreamerV1.
    """
    reward, continuation = reward[:, first:], continuation[:, first:]
    # The function above with rewards and continuations moved to the step after theirs.
    returns = lambda_return(
        torch.cat([reward[:, :1], reward[:, :-1]], 1),
        torch.cat([continuation[:, :1], continuation[:, :-1]], 1),
        value[:, first:],
        lambda_,
    )
    goes_on = continuation[:, :-2].detach()
    weight = torch.cat([torch.ones_like(goes_on[:, :1]), goes_on], 1).cumprod(1)
    action_returns = returns[:, 1 - first :]
    num_actions = action_returns.shape[1]
    return Targets(
        returns, first, weight, action_returns, value[:, :num_actions], weight[:, :num_actions]
    )


TARGETS = {
    "next_step": next_step_targets,
    "same_step": same_step_targets,
    "imagined_only": functools.partial(same_step_targets, first=1),
}
"""Targets of imagined trajectories, by `AlgorithmConfig.returns`."""


class ReturnRange(nn.Module):
    """Running low and high percentile of imagined returns; scales advantages, never enlarges them.

    Both averages start at zero and are not corrected for that (DreamerV3 does not either), so
    early advantages are divided by `limit`.
    """

    low: Tensor
    high: Tensor
    quantiles: Tensor

    def __init__(
        self,
        rate: float,
        percentiles: tuple[float, float] = (5.0, 95.0),
        limit: float = 1.0,
    ) -> None:
        super().__init__()
        self.rate = rate
        self.limit = limit
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("quantiles", torch.tensor(percentiles) / 100, persistent=False)

    def update(self, returns: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """Move towards this batch's percentiles; return the new scale. With rate 0 it stays."""
        if self.rate == 0 or not returns.numel():
            return self.scale
        low, high = torch.quantile(returns.detach().flatten(), self.quantiles).unbind()
        self.low.lerp_(low, self.rate)
        self.high.lerp_(high, self.rate)
        return self.scale

    @property
    def scale(self) -> Float[Tensor, ""]:
        """Divisor of advantages: high - low, at least `limit`."""
        return (self.high - self.low).clamp(min=self.limit)
