"""Returns: the lambda-return that critics learn, and the range that normalises advantages.

    R_t = r_{t+1} + c_{t+1} ((1 - lambda) v_{t+1} + lambda R_{t+1})        lambda-return
    S   = max(limit, running P95(R) - running P5(R))                       divisor of advantages

Source: DreamerV3 (Hafner et al., 2025), "Critic learning" and "Actor learning".

Shapes: N trajectories, T time.
"""

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
        """Move towards this batch's percentiles; return the new scale."""
        low, high = torch.quantile(returns.detach().flatten(), self.quantiles).unbind()
        self.low.lerp_(low, self.rate)
        self.high.lerp_(high, self.rate)
        return self.scale

    @property
    def scale(self) -> Float[Tensor, ""]:
        """Divisor of advantages: high - low, at least `limit`."""
        return (self.high - self.low).clamp(min=self.limit)
