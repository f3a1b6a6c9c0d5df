"""Heads: MLPs that read the latent state and predict reward, continuation, value or action.

Shapes: F feature, N bins, A action; `*batch` is any leading axes.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.models.action_distributions import (
    Categorical,
    Normal,
    TanhNormal,
    TruncatedNormal,
)
from robodreamer.models.distributions import (
    bernoulli_loss,
    symexp_bins,
    twohot_loss,
    twohot_losses,
    twohot_mean,
)
from robodreamer.models.layers import MLP, Linear, layer_style
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
        self.mlp = MLP(feature_size, network.units, layers, layer_style(network.parts))
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


class NormalHead(nn.Module):
    """Predictor of a number as the mean of a normal with unit deviation (DreamerV1, V2)."""

    def __init__(self, feature_size: int, network: NetworkConfig, layers: int) -> None:
        super().__init__()
        style = layer_style(network.parts)
        self.mlp = MLP(feature_size, network.units, layers, style)
        self.output = Linear(network.units, 1, initializer=style.initializer)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch 1"]:
        """Return the mean, for `mean` and `loss`."""
        return self.output(self.mlp(feature)).float()

    @property
    def reach(self) -> Float[Tensor, ""]:
        """Largest number that can be predicted: there is none."""
        return torch.tensor(math.inf)

    def mean(self, outputs: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch"]:
        """Return the predicted number."""
        return outputs.squeeze(-1)

    def loss(
        self, outputs: Float[Tensor, "*batch 1"], target: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Return minus the log-density of `target`, which carries no gradient."""
        return self.losses(outputs, target.unsqueeze(-1)).squeeze(-1)

    def losses(
        self, outputs: Float[Tensor, "*batch 1"], targets: Float[Tensor, "*batch M"]
    ) -> Float[Tensor, "*batch M"]:
        """Return minus the log-density of each of M targets, which carry no gradient."""
        return 0.5 * (outputs - targets.detach()).square() + 0.5 * math.log(2 * math.pi)


ScalarHead = TwoHotHead | NormalHead


def make_scalar_head(
    kind: str, feature_size: int, network: NetworkConfig, layers: int
) -> ScalarHead:
    """Build the predictor of a number that `PartsConfig.reward` or `critic` names."""
    heads = {"twohot": TwoHotHead, "normal": NormalHead}
    return heads[kind](feature_size, network, layers)


class ContinueHead(nn.Module):
    """Predictor of the probability that the episode goes on, discount included."""

    def __init__(self, feature_size: int, network: NetworkConfig, layers: int) -> None:
        super().__init__()
        style = layer_style(network.parts)
        self.mlp = MLP(feature_size, network.units, layers, style)
        self.output = Linear(network.units, 1, initializer=style.initializer)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """Return the logit."""
        return self.output(self.mlp(feature)).float().squeeze(-1)

    def loss(
        self, logit: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Return the negative log-likelihood of a target in [0, 1]."""
        return bernoulli_loss(logit, target)


class ContinuousActor(nn.Module):
    """Actor with independent distributions over the action's elements, each of two parameters."""

    def __init__(
        self,
        feature_size: int,
        action_size: int,
        network: NetworkConfig,
        algorithm: AlgorithmConfig,
    ) -> None:
        super().__init__()
        parts, scale = network.parts, ACTOR_OUTPUT_SCALES[network.parts.actor]
        self.mlp = MLP(feature_size, network.units, network.actor_layers, layer_style(parts))
        self.mean = Linear(network.units, action_size, scale, initializer=parts.initializer)
        self.std = Linear(network.units, action_size, scale, initializer=parts.initializer)
        self.distribution = continuous_distribution(parts.actor, algorithm)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Normal | TanhNormal | TruncatedNormal:
        """Return the distribution of actions."""
        x = self.mlp(feature)
        return self.distribution(self.mean(x).float(), self.std(x).float())


ACTOR_OUTPUT_SCALES = {
    "normal": POLICY_OUTPUT_SCALE, "tanh_normal": 1.0, "truncated_normal": 1.0,
}  # fmt: skip
"""Scale of the first weights of the output layer, by `PartsConfig.actor`, as in each original."""


class DiscreteActor(nn.Module):
    """Actor with a categorical distribution over A choices, without uniform mix."""

    def __init__(self, feature_size: int, action_size: int, network: NetworkConfig) -> None:
        super().__init__()
        parts, scale = network.parts, ACTOR_OUTPUT_SCALES[network.parts.actor]
        self.mlp = MLP(feature_size, network.units, network.actor_layers, layer_style(parts))
        self.output = Linear(network.units, action_size, scale, initializer=parts.initializer)

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


def continuous_distribution(
    kind: str, algorithm: AlgorithmConfig
) -> Callable[[Tensor, Tensor], Normal | TanhNormal | TruncatedNormal]:
    """Return the distribution that `PartsConfig.actor` names, as a function of two raw outputs."""
    low, init = algorithm.min_std, algorithm.init_std
    kinds: dict[str, Callable[[Tensor, Tensor], Normal | TanhNormal | TruncatedNormal]] = {
        "normal": partial(bounded_normal, min_std=low, max_std=algorithm.max_std),
        "tanh_normal": partial(
            tanh_normal, min_std=low, init_std=init, mean_scale=algorithm.mean_scale
        ),
        "truncated_normal": partial(truncated_normal, min_std=low, init_std=init),
    }
    return kinds[kind]


def tanh_normal(
    raw_mean: Float[Tensor, "*batch A"],
    raw_std: Float[Tensor, "*batch A"],
    min_std: float,
    init_std: float,
    mean_scale: float,
) -> TanhNormal:
    """Return a squashed normal: mean c tanh(raw / c), deviation softplus(raw + init) + minimum.

    DreamerV1 (`ActionDecoder` of its code) has c = 5 and init = ln(e^5 - 1): an untrained actor
    deviates by 5 before tanh, and nearly all of its actions lie at a limit.
    """
    std = F.softplus(raw_std + init_std) + min_std
    return TanhNormal(mean_scale * torch.tanh(raw_mean / mean_scale), std)


def truncated_normal(
    raw_mean: Float[Tensor, "*batch A"],
    raw_std: Float[Tensor, "*batch A"],
    min_std: float,
    init_std: float,
) -> TruncatedNormal:
    """Return a truncated normal: mean tanh(raw), deviation 2 sigmoid((raw + init) / 2) + minimum.

    Source: DreamerV2, `DistLayer` of its code, with init = 0.
    """
    std = 2 * torch.sigmoid((raw_std + init_std) / 2) + min_std
    return TruncatedNormal(torch.tanh(raw_mean), std)


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
