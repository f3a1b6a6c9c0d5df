"""Use of the latent variables: the nats that each of them tells about the recorded steps.

    information   H(mean posterior) - mean H(posterior)          of classes
                  0.5 ln(1 + Var[mean] / E[std^2])                of a normal variable

Both are the mutual information between the variable and the step that it was drawn at: exact for
classes, for a normal variable as if its mean were normally distributed over the steps. It is 0 of a
variable whose posterior is the same at every step, whatever its entropy. The KL is smaller where
the prior foresees what a variable will hold, and larger where the prior is wrong.

Shapes: T steps, S latent variables, K classes, P parameters.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from robodreamer.models.latents import Latent
from robodreamer_deploy.contract import Array

LEAST_INFORMATION = 0.01
"""Nats below which a variable counts as collapsed; a normal one whose mean strays over the steps by
a seventh of its own deviation has as much."""
LEAST_SHARE = 0.1
"""Share of a class, in uniform shares 1 / K, below which it counts as dead. The uniform part that
is mixed into all probabilities (unimix, 1 %) stays below it."""


class LatentUsage(NamedTuple):
    """Figures of every latent variable, means over the recorded steps, in nats."""

    family: str
    """`categorical` or `gaussian`."""
    shape: tuple[int, int]
    """(S, K)."""
    posterior_entropy: Array
    """(S,); differential for normal variables, so that it may be below 0."""
    prior_entropy: Array
    """(S,)."""
    kl: Array
    """KL of the posterior from the prior, (S,)."""
    information: Array
    """(S,); at most ln K for classes, and at most the log of the number of steps."""
    class_shares: Array | None
    """Mean posterior probability of every class, (S, K); None of normal variables."""
    kl_steps: Array
    """KL of every step, summed over the variables, (T,)."""

    @property
    def collapsed(self) -> Array:
        """Marks of variables that are the same at every step, (S,) bool."""
        return self.information < LEAST_INFORMATION

    @property
    def dead_classes(self) -> Array | None:
        """Marks of classes that hardly occur, (S, K) bool; None of normal variables."""
        if self.class_shares is None:
            return None
        return self.class_shares < LEAST_SHARE / self.shape[1]


@torch.no_grad()
def measure_usage(
    latent: Latent, posterior: Float[Tensor, "T S P"], prior: Float[Tensor, "T S P"]
) -> LatentUsage:
    """Measure how much of a latent state is used.

    Args:
        latent: Family of the variables.
        posterior: Parameters of the posterior at every recorded step.
        prior: Those of the prior at the same steps.
    """
    entropy = latent.entropy_per_variable(posterior).mean(0)
    kl = latent.kl_per_variable(posterior, prior)
    shares = posterior.exp().mean(0) if latent.is_onehot else None
    if shares is not None:
        information = -torch.xlogy(shares, shares).sum(-1) - entropy
    else:
        mean, std = posterior.unbind(-1)
        information = 0.5 * torch.log1p(mean.var(0, correction=0) / std.square().mean(0))
    return LatentUsage(
        family=latent.family,
        shape=latent.shape,
        posterior_entropy=entropy.cpu().numpy(),
        prior_entropy=latent.entropy_per_variable(prior).mean(0).cpu().numpy(),
        kl=kl.mean(0).cpu().numpy(),
        information=information.clamp(min=0.0).cpu().numpy(),  # else below 0 by rounding
        class_shares=None if shares is None else shares.cpu().numpy(),
        kl_steps=kl.sum(-1).cpu().numpy(),
    )
