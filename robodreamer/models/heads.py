"""Heads: MLPs that read the latent state and predict reward, continuation, value or action.

Shapes: F feature, N bins, A action; `*batch` is any leading axes.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.models.distributions import (
    Categorical,
    Normal,
    bernoulli_loss,
    symexp_bins,
    twohot_loss,
    twohot_losses,
    twohot_mean,
)
from robodreamer.models.layers import MLP, Linear
from robodreamer_deploy.contract import ActionSpec

POLICY_OUTPUT_SCALE = 0.01  # the reference's: an untrained policy has a mean close to 0


class TwoHotHead(nn.Module):
    """Predictor of a number as a distribution over bins; untrained it predicts 0.

    The bins end at e^`bin_limit` - 1 in magnitude. All numbers beyond share the outer bin as their
    target; `robodreamer.models.bin_range` warns of that.
    """

    bins: Tensor

    def __init__(self, feature_size: int, network: NetworkConfig, layers: int) -> None:
        super().__init__()
        self.mlp = MLP(feature_size, network.units, layers)
        # Zeros, as in the reference: rewards and values that are imagined at random early on would
        # teach the actor something that has to be unlearned.
        self.output = Linear(network.units, network.bins, scale=0.0)
        bins = symexp_bins(network.bins, network.bin_limit)
        self.register_buffer("bins", bins, persistent=False)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch N"]:
        """Return the logits of the bins, for `mean` and `loss`."""
        return self.output(self.mlp(feature)).float()

    @property
    def reach(self) -> Float[Tensor, ""]:
        """Largest number that the bins represent."""
        return self.bins[-1]

    def mean(self, logits: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch"]:
        """Return the predicted number."""
        return twohot_mean(logits, self.bins)

    def loss(
        self, logits: Float[Tensor, "*batch N"], target: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Return the cross-entropy with `target`, which carries no gradient."""
        return twohot_loss(logits, target.detach(), self.bins)

    def losses(
        self, logits: Float[Tensor, "*batch N"], targets: Float[Tensor, "*batch M"]
    ) -> Float[Tensor, "*batch M"]:
        """Return the cross-entropy with each of M targets, which carry no gradient."""
        return twohot_losses(logits, targets.detach(), self.bins)


class ContinueHead(nn.Module):
    """Predictor of the probability that the episode goes on, discount included."""

    def __init__(self, feature_size: int, units: int, layers: int) -> None:
        super().__init__()
        self.mlp = MLP(feature_size, units, layers)
        self.output = Linear(units, 1)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """Return the logit."""
        return self.output(self.mlp(feature)).float().squeeze(-1)

    def loss(
        self, logit: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Return the negative log-likelihood of a target in [0, 1]."""
        return bernoulli_loss(logit, target)


class ContinuousActor(nn.Module):
    """Actor with a normal distribution: mean in (-1, 1), bounded deviation, not squashed."""

    def __init__(
        self,
        feature_size: int,
        action_size: int,
        network: NetworkConfig,
        algorithm: AlgorithmConfig,
    ) -> None:
        super().__init__()
        self.mlp = MLP(feature_size, network.units, network.actor_layers)
        self.mean = Linear(network.units, action_size, POLICY_OUTPUT_SCALE)
        self.std = Linear(network.units, action_size, POLICY_OUTPUT_SCALE)
        self.min_std, self.max_std = algorithm.min_std, algorithm.max_std

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Normal:
        """Return the distribution of actions."""
        x = self.mlp(feature)
        return bounded_normal(self.mean(x), self.std(x), self.min_std, self.max_std)


class DiscreteActor(nn.Module):
    """Actor with a categorical distribution over A choices, without uniform mix."""

    def __init__(self, feature_size: int, action_size: int, network: NetworkConfig) -> None:
        super().__init__()
        self.mlp = MLP(feature_size, network.units, network.actor_layers)
        self.output = Linear(network.units, action_size, POLICY_OUTPUT_SCALE)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Categorical:
        """Return the distribution of actions."""
        return Categorical(torch.log_softmax(self.output(self.mlp(feature)).float(), -1))


Actor = ContinuousActor | DiscreteActor


def make_actor(
    feature_size: int, action: ActionSpec, network: NetworkConfig, algorithm: AlgorithmConfig
) -> Actor:
    """Build the actor for the contract's kind of action."""
    if action.kind == "discrete":
        return DiscreteActor(feature_size, action.size, network)
    return ContinuousActor(feature_size, action.size, network, algorithm)


def bounded_normal(
    raw_mean: Float[Tensor, "*batch A"],
    raw_std: Float[Tensor, "*batch A"],
    min_std: float,
    max_std: float,
) -> Normal:
    """Return a normal with mean tanh(raw) and a standard deviation between the bounds.

    The shift by 2 starts the deviation at sigmoid(2), 0.88 of the way up to `max_std`.
    """
    std = (max_std - min_std) * torch.sigmoid(raw_std.float() + 2.0) + min_std
    return Normal(torch.tanh(raw_mean.float()), std)
