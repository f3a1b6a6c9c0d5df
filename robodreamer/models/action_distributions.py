"""Distributions of actions: how they are drawn, scored, and explored.

    Normal             continuous, not squashed, because the environment clips       DreamerV3
    TanhNormal         tanh of a normal                                              DreamerV1
    TruncatedNormal    normal cut off at -1 and 1                                    DreamerV2
    Categorical        one of A choices, as a one-hot vector                         all three

All share one interface. Noise states how an exported policy draws: its kind, and the noise with
which `sample` gives a certain action. Zeros are always the mode.

Shapes: A action; `*batch` is any leading axes.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from robodreamer.models.normal_cdf import mass_above, quantile
from robodreamer.models.sampling import SMALLEST_UNIFORM, ModeSampler, Sampler

NoiseKind = Literal["normal", "gumbel", "uniform"]
ENTROPY_SAMPLES = 100
"""Draws that estimate an entropy without closed form (DreamerV1 and V2: `SampleDist`)."""
LARGEST_TANH = 1 - 2**-24
"""Largest float32 below 1: actions count as no closer to their limits, where atanh is infinite."""
LARGEST_TRUNCATED = 1 - 1e-6
"""Largest truncated-normal action that is drawn (DreamerV2, `TruncNormalDist`)."""


@dataclass(frozen=True)
class Normal:
    """Independent normals over the action; they are not squashed, because the environment clips."""

    mean: Float[Tensor, "*batch A"]
    std: Float[Tensor, "*batch A"]
    noise_kind: ClassVar[NoiseKind] = "normal"

    def sample(self, sampler: Sampler) -> Float[Tensor, "*batch A"]:
        """Draw an action."""
        return sampler.normal(self.mean, self.std)

    @property
    def mode(self) -> Float[Tensor, "*batch A"]:
        """Most likely action, the mean."""
        return self.mean

    def log_prob(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """Return the log-density, summed over the action."""
        return _normal_log_prob(action, self.mean, self.std).sum(-1)

    def entropy(self, _sampler: Sampler) -> Float[Tensor, "*batch"]:
        """Return the entropy in nats, summed over the action; exact, nothing is drawn."""
        return (self.std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def noise_for(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """Return the noise with which `sample` gives this action."""
        return (action - self.mean) / self.std


@dataclass(frozen=True)
class TanhNormal:
    """Independent normals over the action, squashed by tanh into (-1, 1)."""

    mean: Float[Tensor, "*batch A"]
    """Mean before tanh."""
    std: Float[Tensor, "*batch A"]
    noise_kind: ClassVar[NoiseKind] = "normal"

    def sample(self, sampler: Sampler) -> Float[Tensor, "*batch A"]:
        """Draw an action; differentiable in both parameters."""
        return torch.tanh(sampler.normal(self.mean, self.std))

    @property
    def mode(self) -> Float[Tensor, "*batch A"]:
        """Action of the mean, tanh(mean).

        DreamerV1 takes the likeliest of 100 draws in its place, another action every time.
        """
        return torch.tanh(self.mean)

    def log_prob(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """Return the log-density, summed over the action."""
        return self._log_prob_before_tanh(_atanh(action))

    def entropy(self, sampler: Sampler) -> Float[Tensor, "*batch"]:
        """Return the entropy in nats, estimated from 100 draws; differentiable.

        The draws are scored before tanh, where those that round to +-1 still have their density.
        """
        shape = (ENTROPY_SAMPLES, *self.mean.shape)
        draws = sampler.normal(self.mean.expand(shape), self.std.expand(shape))
        return -self._log_prob_before_tanh(draws).mean(0)

    def noise_for(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """Return the noise with which `sample` gives this action."""
        return (_atanh(action) - self.mean) / self.std

    def _log_prob_before_tanh(self, x: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        # ln(1 - tanh^2 x), written so that it keeps its digits where tanh is close to 1.
        log_slope = 2 * (math.log(2) - x - F.softplus(-2 * x))
        return (_normal_log_prob(x, self.mean, self.std) - log_slope).sum(-1)


@dataclass(frozen=True)
class TruncatedNormal:
    """Independent normals over the action, cut off at -1 and 1; `loc` lies within.

    With a = (-1 - loc) / std, b = (1 - loc) / std and a uniform u a draw is loc + std q, where
    Phi(q) = Phi(a) + u (Phi(b) - Phi(a)).
    """

    loc: Float[Tensor, "*batch A"]
    """Mean before cutting."""
    std: Float[Tensor, "*batch A"]
    """Standard deviation before cutting."""
    noise_kind: ClassVar[NoiseKind] = "uniform"

    def sample(self, sampler: Sampler) -> Float[Tensor, "*batch A"]:
        """Draw an action; noise of exactly 0 means the mode.

        Its gradient is 1 for `loc` and q for `std`, as in DreamerV2, whose sampler holds q while
        the limits move. The derivative of the inverse distribution function would be smaller.
        """
        uniform = sampler.uniform(self.loc)
        below, above = self._masses_outside()
        inside = 1 - below - above
        q = quantile(below + uniform * inside, above + (1 - uniform) * inside)
        drawn = self.loc + self.std * q
        # Clipped without a gradient of its own.
        drawn = drawn + (drawn.clamp(-LARGEST_TRUNCATED, LARGEST_TRUNCATED) - drawn).detach()
        return torch.where(uniform == 0, self.loc, drawn)

    @property
    def mode(self) -> Float[Tensor, "*batch A"]:
        """Most likely action, the mean before cutting."""
        return self.loc

    def log_prob(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """Return the log-density of an action in [-1, 1], summed over the action."""
        each = _normal_log_prob(action, self.loc, self.std) - self._mass_inside().log()
        return each.sum(-1)

    def entropy(self, _sampler: Sampler) -> Float[Tensor, "*batch"]:
        """Return the entropy in nats, summed over the action; exact, nothing is drawn."""
        a, b, inside = *self._limits(), self._mass_inside()
        edges = (a * _density(a) - b * _density(b)) / (2 * inside)
        return ((self.std * inside).log() + 0.5 * math.log(2 * math.pi * math.e) + edges).sum(-1)

    def noise_for(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """Return the noise with which `sample` gives this action.

        Further than 5 standard deviations from `loc` float32 noise reaches no action; there it is
        that of the nearest one.
        """
        below, above = self._masses_outside()
        q = (action - self.loc) / self.std
        tail = mass_above(q.abs())
        inside = 1 - below - above
        uniform = torch.where(q < 0, (tail - below) / inside, 1 - (tail - above) / inside)
        return uniform.clamp(SMALLEST_UNIFORM, 1 - 2**-24)

    def _limits(self) -> tuple[Tensor, Tensor]:
        """Return both limits of the action in standard deviations from `loc`."""
        return (-1 - self.loc) / self.std, (1 - self.loc) / self.std

    def _masses_outside(self) -> tuple[Tensor, Tensor]:
        """Return the probabilities that a normal without limits lies below and above them.

        They carry no gradient.
        """
        a, b = self._limits()
        return mass_above(-a.detach()), mass_above(b.detach())

    def _mass_inside(self) -> Tensor:
        """Return the probability that a normal without limits lies within; differentiable."""
        a, b = self._limits()
        return 0.5 * (torch.erf(b / math.sqrt(2)) - torch.erf(a / math.sqrt(2)))


@dataclass(frozen=True)
class Categorical:
    """Distribution over A actions, as one-hot vectors, without uniform mix."""

    log_probs: Float[Tensor, "*batch A"]
    noise_kind: ClassVar[NoiseKind] = "gumbel"

    def sample(self, sampler: Sampler) -> Float[Tensor, "*batch A"]:
        """Draw a one-hot action; the gradient, if there is one, goes to the probabilities.

        Straight-through (Bengio et al., 2013; DreamerV2, "Actor critic learning").
        """
        probs = self.log_probs.exp()
        onehot = F.one_hot(sampler.category(probs.detach()), probs.shape[-1]).to(probs.dtype)
        if not probs.requires_grad:
            return onehot
        return onehot + (probs - probs.detach())  # the bracket is exactly zero going forward

    @property
    def mode(self) -> Float[Tensor, "*batch A"]:
        """Most likely action, one-hot."""
        return self.sample(ModeSampler())

    def log_prob(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """Return the log-probability of a one-hot action, to which no gradient goes."""
        return (self.log_probs * action.detach()).sum(-1)

    def entropy(self, _sampler: Sampler) -> Float[Tensor, "*batch"]:
        """Return the entropy in nats; exact, nothing is drawn."""
        return -(self.log_probs.exp() * self.log_probs).sum(-1)

    def noise_for(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """Return the noise with which `sample` gives this one-hot action.

        Its class then leads all others by 1, and by x for x times a one-hot vector.
        """
        return action - self.log_probs


ActionDistribution = Normal | TanhNormal | TruncatedNormal | Categorical
"""Union of the distributions of actions."""


def _normal_log_prob(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return the log-density of a normal, element by element."""
    return -0.5 * ((x - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)


def _density(z: Tensor) -> Tensor:
    """Return the density of a standard normal."""
    return torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)


def _atanh(action: Tensor) -> Tensor:
    return torch.atanh(action.clamp(-LARGEST_TANH, LARGEST_TANH))
