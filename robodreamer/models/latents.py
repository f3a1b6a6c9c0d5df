"""Latent variables of the RSSM: their distribution, its KL divergence, and the losses made of it.

A family owns its sizes, the conversion of network outputs to its parameters, and the drawing of
values. Another family joins `make_latent` with the same methods, but four places
still assume one-hot vectors of shape (S, K): the annotations of `rssm.State`, the replay, which
stores indices (`is_onehot`), the noise that exported graphs take (`noise_shape`), and the check
that torch and ONNX chose the same classes (`robodreamer_deploy.policy.selftest`).

Shapes: B batch, T time, S latent variables, K classes each; `*batch` is any leading axes.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.models.sampling import Sampler


@dataclass(frozen=True)
class CategoricalLatent:
    """S categorical variables with K classes each, drawn straight-through.

    Parameters are log-probabilities with a share `unimix` of the uniform distribution mixed in, so
    that no class becomes impossible and no KL infinite (DreamerV3, "World model learning"). The
    mode of a distribution is its sample from a `ModeSampler`.
    """

    stoch: int
    classes: int
    unimix: float
    is_onehot: ClassVar[bool] = True
    """Values are one-hot along the last axis, so that the replay stores indices."""

    @property
    def num_outputs(self) -> int:
        """Number of network outputs per step."""
        return self.stoch * self.classes

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of one value."""
        return (self.stoch, self.classes)

    @property
    def noise_shape(self) -> tuple[int, int]:
        """Shape of the Gumbel noise that an exported policy draws one value with."""
        return self.shape

    def log_probs(self, outputs: Float[Tensor, "*batch SK"]) -> Float[Tensor, "*batch S K"]:
        """Convert raw network outputs (row-major) to logs of mixed probabilities, in float32."""
        logits = outputs.unflatten(-1, self.shape).float()
        if self.unimix == 0:
            return F.log_softmax(logits, -1)
        # Over the first axis, which is ten times faster on a CPU where there are few classes.
        probs = F.softmax(logits.movedim(-1, 0), 0).movedim(0, -1)
        return torch.log((1 - self.unimix) * probs + self.unimix / self.classes)

    def sample(self, log_probs: Float[Tensor, "*batch S K"], sampler: Sampler) -> Tensor:
        """Draw one-hot values (*batch, S, K); the gradient goes to the probabilities."""
        probs = log_probs.exp()
        onehot = F.one_hot(sampler.category(probs.detach()), self.classes).to(probs.dtype)
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
"""Union of the families of latent variables."""


def make_latent(network: NetworkConfig, algorithm: AlgorithmConfig) -> Latent:
    """Build the family that the algorithm names."""
    families = {"categorical": CategoricalLatent}
    return families[algorithm.latent](network.stoch, network.classes, algorithm.unimix)


def latent_losses(
    latent: Latent,
    posterior: Float[Tensor, "B T S K"],
    prior: Float[Tensor, "B T S K"],
    free_nats: float,
) -> dict[str, Tensor]:
    """Return the KL losses: `dynamics` trains the prior, `representation` the posterior.

    Their scales, 1 and 0.1, make the prior follow the posterior more than the reverse. Clipping at
    `free_nats` comes after the sum over variables: below one nat neither is pushed (DreamerV3,
    "World model learning").
    """
    return {
        "dynamics": latent.kl(posterior.detach(), prior).clamp(min=free_nats),
        "representation": latent.kl(posterior, prior.detach()).clamp(min=free_nats),
    }
