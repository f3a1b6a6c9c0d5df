"""Distributions of latents, actions, rewards and values, and how their random draws are made.

Every random draw goes through a `Draw`: `Sample` owns a generator, `Mode` takes the most likely
value. Nothing else in the agent is random, so a run can be repeated and an export compared.

Shapes: S latent variables, K classes each, A action, N bins; `*batch` is any leading axes.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from robodreamer.config import AlgorithmConfig, NetworkConfig


def symlog(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compress large values: sign(x) ln(1 + |x|) (DreamerV3, eq. 9)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Invert `symlog`."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


@runtime_checkable
class Draw(Protocol):
    """Where randomness comes from."""

    def category(self, probs: Float[Tensor, "*batch K"]) -> Int[Tensor, "*batch"]:
        """Draw a class along the last axis; probabilities need not be normalised."""
        ...

    def normal(
        self, mean: Float[Tensor, "*batch A"], std: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch A"]:
        """Draw from independent normals."""
        ...

    def subset(self, total: int, count: int) -> Int[Tensor, " count"]:
        """Choose `count` of `total` positions without repetition, in ascending order."""
        ...


class Sample:
    """Draw at random from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def category(self, probs: Float[Tensor, "*batch K"]) -> Int[Tensor, "*batch"]:
        """Draw a class by inverting the cumulative distribution; one random number per draw."""
        cumulative = probs.cumsum(-1)
        uniform = torch.empty_like(cumulative[..., :1]).uniform_(generator=self.generator)
        return (cumulative[..., :-1] <= uniform * cumulative[..., -1:]).sum(-1)

    def normal(
        self, mean: Float[Tensor, "*batch A"], std: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch A"]:
        """Draw from independent normals; differentiable in both parameters."""
        noise = torch.empty_like(mean).normal_(generator=self.generator)
        return mean + std * noise

    def subset(self, total: int, count: int) -> Int[Tensor, " count"]:
        """Choose positions uniformly without repetition."""
        device = self.generator.device
        order = torch.randperm(total, generator=self.generator, device=device)
        return order[:count].sort().values


class Mode:
    """Take the most likely value; the first `count` positions where a subset is asked for."""

    def category(self, probs: Float[Tensor, "*batch K"]) -> Int[Tensor, "*batch"]:
        """Return the most likely class, the first one on ties."""
        return probs.argmax(-1)

    def normal(
        self, mean: Float[Tensor, "*batch A"], std: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch A"]:
        """Return the mean."""
        return mean + 0.0 * std

    def subset(self, total: int, count: int) -> Int[Tensor, " count"]:
        """Return the first positions."""
        assert count <= total, (count, total)
        return torch.arange(count)


@dataclass(frozen=True)
class CategoricalLatent:
    """S categorical variables with K classes each, drawn straight-through.

    Parameters are the logs of probabilities that have a share `unimix` of the uniform
    distribution mixed in, so that no class ever becomes impossible and no KL infinite
    (DreamerV3, "World model learning").
    """

    stoch: int
    classes: int
    unimix: float
    is_onehot: ClassVar[bool] = True
    """Values are one-hot along the last axis, so that the replay keeps indices."""

    @property
    def num_outputs(self) -> int:
        """Network outputs per step."""
        return self.stoch * self.classes

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of one value."""
        return (self.stoch, self.classes)

    def log_probs(self, outputs: Float[Tensor, "*batch SK"]) -> Float[Tensor, "*batch S K"]:
        """Turn raw network outputs (row-major) into logs of mixed probabilities, in float32."""
        logits = outputs.unflatten(-1, self.shape).float()
        if self.unimix == 0:
            return F.log_softmax(logits, -1)
        # Over the first axis: ten times faster on a CPU where there are few classes.
        probs = F.softmax(logits.movedim(-1, 0), 0).movedim(0, -1)
        return torch.log((1 - self.unimix) * probs + self.unimix / self.classes)

    def draw(self, log_probs: Float[Tensor, "*batch S K"], draw: Draw) -> Tensor:
        """Draw one-hot values (*batch, S, K); the gradient goes to the probabilities."""
        probs = log_probs.exp()
        onehot = F.one_hot(draw.category(probs.detach()), self.classes).to(probs.dtype)
        if not probs.requires_grad:
            return onehot
        return onehot + (probs - probs.detach())  # the bracket is exactly zero going forward

    def kl(
        self, p: Float[Tensor, "*batch S K"], q: Float[Tensor, "*batch S K"]
    ) -> Float[Tensor, "*batch"]:
        """Return KL(p || q) in nats, summed over the S variables."""
        return (p.exp() * (p - q)).sum((-2, -1))

    def entropy(self, log_probs: Float[Tensor, "*batch S K"]) -> Float[Tensor, "*batch"]:
        """Return the entropy in nats, summed over the S variables."""
        return -(log_probs.exp() * log_probs).sum((-2, -1))


Latent = CategoricalLatent
"""The families of latent variables; another one joins by the same methods."""


def make_latent(network: NetworkConfig, algorithm: AlgorithmConfig) -> Latent:
    """Build the family that the algorithm names."""
    families = {"categorical": CategoricalLatent}
    return families[algorithm.latent](network.stoch, network.classes, algorithm.unimix)


class Normal(NamedTuple):
    """Independent normals over the action; not squashed, the environment clips."""

    mean: Float[Tensor, "*batch A"]
    std: Float[Tensor, "*batch A"]

    def sample(self, draw: Draw) -> Float[Tensor, "*batch A"]:
        """Draw an action."""
        return draw.normal(self.mean, self.std)

    @property
    def mode(self) -> Float[Tensor, "*batch A"]:
        """The mean."""
        return self.mean

    def log_prob(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """Return the log-density, summed over the action."""
        scaled = (action - self.mean) / self.std
        each = -0.5 * scaled.square() - self.std.log() - 0.5 * math.log(2 * math.pi)
        return each.sum(-1)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Return the entropy in nats, summed over the action."""
        return (self.std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


class Categorical(NamedTuple):
    """A choice among A actions, as a one-hot vector. No uniform mix."""

    log_probs: Float[Tensor, "*batch A"]

    def sample(self, draw: Draw) -> Float[Tensor, "*batch A"]:
        """Draw a one-hot action; no gradient."""
        choice = draw.category(self.log_probs.detach().exp())
        return F.one_hot(choice, self.log_probs.shape[-1]).to(self.log_probs.dtype)

    @property
    def mode(self) -> Float[Tensor, "*batch A"]:
        """The most likely action, one-hot."""
        return self.sample(Mode())

    def log_prob(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """Return the log-probability of a one-hot action."""
        return (self.log_probs * action).sum(-1)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Return the entropy in nats."""
        return -(self.log_probs.exp() * self.log_probs).sum(-1)


def bernoulli_loss(
    logit: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Return the negative log-likelihood of a possibly soft target in [0, 1]."""
    return -(target * F.logsigmoid(logit) + (1 - target) * F.logsigmoid(-logit))


def symexp_bins(count: int, limit: float = 20.0) -> Float[Tensor, " N"]:
    """Return `count` bins, spaced evenly in symlog space over [-limit, limit], exactly mirrored.

    An even count has 0 twice in the middle.
    """
    half = symexp(torch.linspace(-limit, 0.0, (count + 1) // 2))
    mirrored = -half.flip(0)
    return torch.cat([half, mirrored if count % 2 == 0 else mirrored[1:]])


def twohot_mean(
    logits: Float[Tensor, "*batch N"], bins: Float[Tensor, " N"]
) -> Float[Tensor, "*batch"]:
    """Return the expected bin value; exactly 0 for uniform logits.

    The bins have to be mirrored about 0. Each is taken together with its mirror image, because the
    outer bins are huge and a plain sum would leave their rounding error.
    """
    probs = F.softmax(logits.float(), -1)
    half = bins.shape[0] // 2
    surplus = probs[..., -half:] - probs[..., :half].flip(-1)
    return (surplus * bins[-half:]).sum(-1)


def twohot_loss(
    logits: Float[Tensor, "*batch N"],
    target: Float[Tensor, "*batch"],
    bins: Float[Tensor, " N"],
) -> Float[Tensor, "*batch"]:
    """Return the cross-entropy with `target` spread over its two neighbouring bins.

    The weights are linear in bin values, so that they average to the target; beyond the outer
    bins all weight is on the last one.
    """
    return twohot_losses(logits, target.unsqueeze(-1), bins).squeeze(-1)


def twohot_losses(
    logits: Float[Tensor, "*batch N"],
    targets: Float[Tensor, "*batch M"],
    bins: Float[Tensor, " N"],
) -> Float[Tensor, "*batch M"]:
    """Return `twohot_loss` with each of M targets, for little more than the price of one."""
    last = bins.shape[0] - 1
    below = torch.searchsorted(bins, targets.contiguous(), right=True) - 1
    above = (below + 1).clamp(max=last)
    below = below.clamp(min=0)
    gap_below = (targets - bins[below]).abs()
    gap_above = (bins[above] - targets).abs()
    share = torch.where(below == above, 0.5, gap_below / (gap_below + gap_above))
    log_probs = F.log_softmax(logits.float(), -1)
    log_below, log_above = log_probs.gather(-1, torch.cat([below, above], -1)).chunk(2, -1)
    return -((1 - share) * log_below + share * log_above)


def mask_state(
    value: Float[Tensor, " B *shape"], drop: Bool[Tensor, " B"]
) -> Float[Tensor, " B *shape"]:
    """Zero the rows marked in `drop`; masked, not multiplied, because 0 * NaN is NaN."""
    return value.masked_fill(drop.reshape(-1, *[1] * (value.dim() - 1)), 0.0)
