"""Latent variables of the RSSM: families of distributions, their KL divergence, and its losses.

A family owns the conversion of network outputs to parameters of distributions, and the drawing of
values. Values have shape (S, K) in every family, so that states, replay and graphs need not know
it: classes one-hot, a normal variable with K = 1. A family states what else others depend on: the
kind of noise it is drawn with, its mode, and `is_onehot`.

    family        value    parameters                      gradient of a draw
    categorical   (S, K)   log-probabilities (S, K)        straight-through: of the probabilities
    gumbel        (S, K)   log-probabilities (S, K)        of softmax((log p + noise) / temperature)
    gaussian      (S, 1)   mean, standard deviation (S, 2) of mean + std * noise

Sources: Gaussian DreamerV1 (Hafner et al., 2020, section 3); categorical DreamerV2 (Hafner et al.,
2021, section 2, "Discrete latents") and DreamerV3 (2025, "World model learning"); Gumbel-softmax
Jang et al. and Maddison et al., 2017.

Shapes: B batch, T time, S latent variables, K classes each; `*batch` is any leading axes.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.models.sampling import Sampler


class Latent(nn.Module, ABC):
    """Family of S independent latent variables."""

    family: ClassVar[Literal["categorical", "gaussian"]]
    """Kind of values and parameters; the comparison of exported policies goes by it."""
    noise_kind: ClassVar[Literal["gumbel", "normal"]]
    """Distribution of the noise that an exported policy draws one value with; zeros are the mode"""
    shape: tuple[int, int]
    """Shape (S, K) of one value, and of its noise."""
    parameter_shape: tuple[int, int]
    """Shape of the parameters of one value's distribution."""

    @property
    def is_onehot(self) -> bool:
        """True if values are one-hot along K, so that the replay stores indices."""
        return self.family == "categorical"

    @property
    def size(self) -> int:
        """Number of elements of one value."""
        return math.prod(self.shape)

    @property
    def num_outputs(self) -> int:
        """Number of network outputs that one value's distribution is made of."""
        return math.prod(self.parameter_shape)

    @property
    def noise_shape(self) -> tuple[int, int]:
        """Shape of the noise that one value is drawn with."""
        return self.shape

    @abstractmethod
    def parameters_of(self, outputs: Float[Tensor, "*batch O"]) -> Float[Tensor, "*batch S P"]:
        """Convert raw network outputs to the parameters of distributions, in float32."""

    @abstractmethod
    def sample(
        self, parameters: Float[Tensor, "*batch S P"], sampler: Sampler
    ) -> Float[Tensor, "*batch S K"]:
        """Draw values; the gradient goes to the parameters."""

    @abstractmethod
    def mode(self, parameters: Float[Tensor, "*batch S P"]) -> Float[Tensor, "*batch S K"]:
        """Return the likeliest values."""

    @abstractmethod
    def kl_per_variable(
        self, p: Float[Tensor, "*batch S P"], q: Float[Tensor, "*batch S P"]
    ) -> Float[Tensor, "*batch S"]:
        """Return KL(p || q) of every variable in nats."""

    @abstractmethod
    def entropy_per_variable(
        self, parameters: Float[Tensor, "*batch S P"]
    ) -> Float[Tensor, "*batch S"]:
        """Return the entropy of every variable in nats; differential for a normal one."""

    def kl(
        self, p: Float[Tensor, "*batch S P"], q: Float[Tensor, "*batch S P"]
    ) -> Float[Tensor, "*batch"]:
        """Return KL(p || q) in nats, summed over the S variables."""
        return self.kl_per_variable(p, q).sum(-1)

    def entropy(self, parameters: Float[Tensor, "*batch S P"]) -> Float[Tensor, "*batch"]:
        """Return the entropy in nats, summed over the S variables."""
        return self.entropy_per_variable(parameters).sum(-1)

    def anneal(self) -> None:
        """Take in that an update was made; families with a schedule move on."""


class CategoricalLatent(Latent):
    """S categorical variables with K classes each, drawn straight-through.

    Parameters are log-probabilities with a share `unimix` of the uniform distribution mixed in, so
    that no class becomes impossible and no KL infinite (DreamerV3, "World model learning").
    """

    family = "categorical"
    noise_kind = "gumbel"

    def __init__(self, stoch: int, classes: int, unimix: float) -> None:
        super().__init__()
        self.shape = self.parameter_shape = (stoch, classes)
        self.classes, self.unimix = classes, unimix

    def parameters_of(self, outputs: Float[Tensor, "*batch O"]) -> Float[Tensor, "*batch S K"]:
        """Convert raw network outputs (row-major) to logs of mixed probabilities, in float32."""
        logits = outputs.unflatten(-1, self.shape).float()
        if self.unimix == 0:
            return F.log_softmax(logits, -1)
        # Over the first axis, which is ten times faster on a CPU where there are few classes.
        probs = F.softmax(logits.movedim(-1, 0), 0).movedim(0, -1)
        return torch.log((1 - self.unimix) * probs + self.unimix / self.classes)

    def sample(
        self, parameters: Float[Tensor, "*batch S K"], sampler: Sampler
    ) -> Float[Tensor, "*batch S K"]:
        """Draw one-hot values; the gradient goes to the probabilities."""
        probs = parameters.exp()
        onehot = self._onehot(sampler.category(probs.detach()), probs)
        return onehot if not probs.requires_grad else straight_through(onehot, probs)

    def mode(self, parameters: Float[Tensor, "*batch S K"]) -> Float[Tensor, "*batch S K"]:
        """Return the likeliest classes, one-hot."""
        return self._onehot(parameters.argmax(-1), parameters)

    def kl_per_variable(
        self, p: Float[Tensor, "*batch S K"], q: Float[Tensor, "*batch S K"]
    ) -> Float[Tensor, "*batch S"]:
        """Return KL(p || q) of every variable in nats."""
        return (p.exp() * (p - q)).sum(-1)

    def kl(
        self, p: Float[Tensor, "*batch S K"], q: Float[Tensor, "*batch S K"]
    ) -> Float[Tensor, "*batch"]:
        """Return KL(p || q) in nats, summed over the S variables in one pass."""
        return (p.exp() * (p - q)).sum((-2, -1))

    def entropy_per_variable(
        self, parameters: Float[Tensor, "*batch S K"]
    ) -> Float[Tensor, "*batch S"]:
        """Return the entropy of every variable in nats."""
        return -(parameters.exp() * parameters).sum(-1)

    def _onehot(self, classes: Tensor, like: Tensor) -> Tensor:
        return F.one_hot(classes, self.classes).to(like.dtype)


class GumbelLatent(CategoricalLatent):
    """Categorical variables drawn with Gumbel noise, with the gradient of a softened draw.

    Values are one-hot and distributed as those of `CategoricalLatent`, whatever the temperature.
    The gradient is that of softmax((log p + noise) / temperature): unlike the straight-through one
    it knows the draw. A low temperature makes it exact and noisy (Jang et al., 2017, section 2.2).
    The temperature falls geometrically to its end, and is part of the state.

    Args:
        stoch: Variables S.
        classes: Classes K of each.
        unimix: Share of the uniform distribution.
        start: Temperature of the first update.
        end: Temperature that it falls to.
        updates: Updates until then.
    """

    temperature: Tensor

    def __init__(
        self, stoch: int, classes: int, unimix: float, start: float, end: float, updates: int
    ) -> None:
        super().__init__(stoch, classes, unimix)
        self.end = end
        self.rate = (end / start) ** (1 / updates)
        self.register_buffer("temperature", torch.tensor(start))

    def sample(
        self, parameters: Float[Tensor, "*batch S K"], sampler: Sampler
    ) -> Float[Tensor, "*batch S K"]:
        """Draw one-hot values; the gradient is that of the softened draw."""
        scores = parameters + sampler.gumbel(parameters)
        onehot = self._onehot(scores.argmax(-1), scores)
        if not scores.requires_grad:
            return onehot
        return straight_through(onehot, F.softmax(scores / self.temperature, -1))

    @torch.no_grad()
    def anneal(self) -> None:
        """Lower the temperature by one update."""
        self.temperature.mul_(self.rate).clamp_(min=self.end)


class GaussianLatent(Latent):
    """S independent normal variables, drawn as mean + std * noise.

    The standard deviation is an activation of the network's output, plus `min_std`.
    """

    family = "gaussian"
    noise_kind = "normal"

    def __init__(self, stoch: int, activation: str = "softplus", min_std: float = 0.1) -> None:
        super().__init__()
        self.shape, self.parameter_shape = (stoch, 1), (stoch, 2)
        self.activation, self.min_std = STD_ACTIVATIONS[activation], min_std

    def parameters_of(self, outputs: Float[Tensor, "*batch O"]) -> Float[Tensor, "*batch S 2"]:
        """Convert raw network outputs, all means before all deviations, in float32."""
        mean, raw_std = outputs.float().chunk(2, -1)
        return torch.stack([mean, self.activation(raw_std) + self.min_std], -1)

    def sample(
        self, parameters: Float[Tensor, "*batch S 2"], sampler: Sampler
    ) -> Float[Tensor, "*batch S 1"]:
        """Draw values; the gradient goes to mean and deviation (reparameterisation)."""
        return sampler.normal(*parameters.split(1, -1))

    def mode(self, parameters: Float[Tensor, "*batch S 2"]) -> Float[Tensor, "*batch S 1"]:
        """Return the means."""
        return parameters[..., :1]

    def kl_per_variable(
        self, p: Float[Tensor, "*batch S 2"], q: Float[Tensor, "*batch S 2"]
    ) -> Float[Tensor, "*batch S"]:
        """Return KL(p || q) of every variable in nats."""
        (p_mean, p_std), (q_mean, q_std) = p.unbind(-1), q.unbind(-1)
        ratio, distance = p_std / q_std, (p_mean - q_mean) / q_std
        return 0.5 * (ratio.square() + distance.square() - 1) - ratio.log()

    def entropy_per_variable(
        self, parameters: Float[Tensor, "*batch S 2"]
    ) -> Float[Tensor, "*batch S"]:
        """Return the differential entropy of every variable in nats."""
        return parameters[..., 1].log() + 0.5 * math.log(2 * math.pi * math.e)


STD_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "sigmoid2": lambda x: 2 * torch.sigmoid(x / 2),
}
"""Activations of a Gaussian's standard deviation: DreamerV1's, and two that DreamerV2 added."""


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return the values of `hard` with the gradient of `soft`."""
    return hard + (soft - soft.detach())  # the bracket is exactly zero going forward


def make_latent(network: NetworkConfig, algorithm: AlgorithmConfig) -> Latent:
    """Build the family that the algorithm names."""
    if algorithm.latent == "gaussian":
        return GaussianLatent(network.stoch, algorithm.latent_std, algorithm.latent_min_std)
    classes = (network.stoch, network.classes, algorithm.unimix)
    if algorithm.latent == "gumbel":
        return GumbelLatent(
            *classes,
            algorithm.temperature,
            algorithm.temperature_end,
            algorithm.temperature_updates,
        )
    return CategoricalLatent(*classes)


def kl_losses(
    latent: Latent,
    posterior: Float[Tensor, "B T S P"],
    prior: Float[Tensor, "B T S P"],
    algorithm: AlgorithmConfig,
) -> tuple[dict[str, Tensor], Float[Tensor, "B T"]]:
    """Return the KL losses by name, and KL(posterior || prior) itself without gradient.

    Below `free_nats` the losses push neither side.

    `one_term` pulls prior and posterior towards each other with the same force (DreamerV1, eq. 10).
    `two_terms` are weighed apart, so that the prior follows the posterior more than the reverse:
    `dynamics` trains the prior, `representation` the posterior. With scales 0.8 and 0.2 that is the
    KL balancing of DreamerV2 (section 2), with 1 and 0.1 the losses of DreamerV3 (eq. 3).

    The free nats count for every step, after the sum over variables, or for the mean of the batch
    (`free_average`), as in DreamerV1 and V2: then losses are scalars.
    """
    sides = {"kl": (posterior, prior)}
    if algorithm.kl == "two_terms":
        sides = {
            "dynamics": (posterior.detach(), prior),
            "representation": (posterior, prior.detach()),
        }
    losses = {name: latent.kl(p, q) for name, (p, q) in sides.items()}
    kl = next(iter(losses.values())).detach()  # all have the same value
    if algorithm.free_average:
        losses = {name: loss.mean() for name, loss in losses.items()}
    return {name: loss.clamp(min=algorithm.free_nats) for name, loss in losses.items()}, kl
