"""Intrinsic reward: what the agent pays itself for states that its model cannot predict yet.

Both measures are learned from replayed states and asked in imagined ones, where no observation
tells what would have been seen:

    surprise       a head predicts KL(posterior || prior), the nats that the observation of a state
                   told the model, from the state           (Achiam and Sastry, 2017, section 3;
                   the head as `ModelLoss` in DreamerV2's code)
    disagreement   an ensemble predicts the next latent from state and action; the reward is the
                   standard deviation of its means, averaged over the elements
                   (Plan2Explore, Sekar et al., 2020, eq. 3 and 4)

The reward is divided by a running mean of its magnitude. It joins the world model's reward in
imagination and on replayed steps; evaluation counts the task's reward alone.

Shapes: B batch, T time, N trajectories, F feature, A action, M members, L flat latent.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robodreamer.config import IntrinsicConfig, NetworkConfig
from robodreamer.models.heads import make_scalar_head
from robodreamer.models.layers import MLP, Linear, layer_style

SMALLEST_MAGNITUDE = 1e-8


class RewardScale(nn.Module):
    """Division by a running mean of magnitudes, which starts at 1 (`StreamNorm` of DreamerV2)."""

    magnitude: Tensor

    def __init__(self, momentum: float, scale: float) -> None:
        super().__init__()
        self.momentum, self.scale = momentum, scale
        self.register_buffer("magnitude", torch.ones(()))

    def forward(self, reward: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return rewards of magnitude `scale` on average; the mean stays as it is."""
        return reward / (self.magnitude + SMALLEST_MAGNITUDE) * self.scale

    @torch.no_grad()
    def update(self, reward: Float[Tensor, "*shape"]) -> None:
        """Take in the magnitudes of a batch."""
        self.magnitude.lerp_(reward.detach().abs().mean(), 1 - self.momentum)


class Arrivals(NamedTuple):
    """States of trajectories, and the action that led into each of them."""

    feature: Float[Tensor, "*batch T F"]
    action: Float[Tensor, "*batch T A"]


class Outcomes(NamedTuple):
    """Facts about replayed states that novelty is measured by; they carry no gradients."""

    stoch: Float[Tensor, "B T L"]
    """Latents, flat."""
    kl: Float[Tensor, "B T"]
    """Divergence of posterior from prior, in nats."""


class Novelty(nn.Module, ABC):
    """Measure of novelty that learns along replayed sequences and can be asked in imagination."""

    @abstractmethod
    def loss(self, arrivals: Arrivals, outcomes: Outcomes) -> Float[Tensor, "B t"]:
        """Return the loss of the last t steps of sequences, those that have a target."""

    @abstractmethod
    def forward(self, arrivals: Arrivals) -> Float[Tensor, "*batch T"]:
        """Return the novelty of having arrived in each state of trajectories."""


class Surprise(Novelty):
    """Prediction of the divergence of posterior from prior in a state."""

    def __init__(self, feature_size: int, network: NetworkConfig, config: IntrinsicConfig) -> None:
        super().__init__()
        self.head = make_scalar_head("normal", feature_size, network, config.layers)

    def loss(self, arrivals: Arrivals, outcomes: Outcomes) -> Float[Tensor, "B t"]:
        """Return the loss of the predicted divergence."""
        return self.head.loss(self.head(arrivals.feature), outcomes.kl)

    def forward(self, arrivals: Arrivals) -> Float[Tensor, "*batch T"]:
        """Return the predicted divergence of each state."""
        return self.head.mean(self.head(arrivals.feature))


class Disagreement(Novelty):
    """Ensemble of predictors of the next latent; the reward is how much they differ.

    They are told the action that is taken, as in the paper. The reference's code gives them the
    action before.
    """

    def __init__(
        self,
        feature_size: int,
        action_size: int,
        stoch_size: int,
        network: NetworkConfig,
        config: IntrinsicConfig,
    ) -> None:
        super().__init__()
        style = layer_style(network.parts)
        members = nn.ModuleList(
            nn.Sequential(
                MLP(feature_size + action_size, network.units, config.layers, style),
                Linear(network.units, stoch_size, initializer=style.initializer),
            )
            for _ in range(config.members)
        )
        self.members = cast("Sequence[nn.Module]", members)

    def loss(self, arrivals: Arrivals, outcomes: Outcomes) -> Float[Tensor, "B t"]:
        """Return the loss of the next latents."""
        feature, action = arrivals
        return self.ensemble_loss(feature[:, :-1], action[:, 1:], outcomes.stoch[:, 1:])

    def forward(self, arrivals: Arrivals) -> Float[Tensor, "*batch T"]:
        """Return how much the members differed about each state before it; 0 for the first."""
        feature, action = arrivals
        arrived = self.disagreement(feature[..., :-1, :], action[..., 1:, :])
        return torch.cat([torch.zeros_like(arrived[..., :1]), arrived], -1)

    def ensemble_loss(
        self,
        feature: Float[Tensor, "*batch F"],
        action: Float[Tensor, "*batch A"],
        target: Float[Tensor, "*batch L"],
    ) -> Float[Tensor, "*batch"]:
        """Return minus the log-density of targets, with unit deviation, summed over members."""
        errors = (self.predict(feature, action) - target).square()
        each = 0.5 * errors + 0.5 * math.log(2 * math.pi)
        return each.sum((0, -1))

    def disagreement(
        self, feature: Float[Tensor, "*batch F"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        """Return the standard deviation of the members' means, averaged over the elements."""
        return self.predict(feature, action).std(0, correction=0).mean(-1)

    def predict(
        self, feature: Float[Tensor, "*batch F"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "M *batch L"]:
        """Return every member's mean."""
        inputs = torch.cat([feature, action], -1)
        return torch.stack([member(inputs) for member in self.members])


class IntrinsicReward(nn.Module):
    """Novelty as a reward: scaled, falling over the updates, and masked where a step is a start."""

    num_updates: Tensor

    def __init__(self, novelty: Novelty, config: IntrinsicConfig) -> None:
        super().__init__()
        self.novelty = novelty
        self.until = config.until
        self.scale = RewardScale(config.momentum, config.scale)
        self.register_buffer("num_updates", torch.zeros(()))

    def forward(self, arrivals: Arrivals, *, learns: bool) -> Float[Tensor, "N T"]:
        """Return the reward of having arrived in each state; `learns` moves the scale."""
        novelty = self.novelty(arrivals)
        if learns:
            self.scale.update(novelty)
        return self.scale(novelty) * self.share

    @property
    def share(self) -> Float[Tensor, ""]:
        """Share of the reward that is left."""
        if not self.until:
            return torch.ones_like(self.num_updates)
        return (1 - self.num_updates / self.until).clamp(min=0.0)

    def loss(
        self, arrivals: Arrivals, outcomes: Outcomes, is_first: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B t"]:
        """Return the loss along replayed sequences; a first step follows from nothing."""
        loss = self.novelty.loss(arrivals, outcomes)
        return torch.where(is_first[:, -loss.shape[1] :], 0.0, loss)

    def count_update(self) -> None:
        """Take in that an update was made."""
        self.num_updates += 1


def make_intrinsic(
    feature_size: int,
    action_size: int,
    stoch_size: int,
    network: NetworkConfig,
    config: IntrinsicConfig,
) -> IntrinsicReward | None:
    """Build the measure that the settings name, if any."""
    if config.kind == "none":
        return None
    novelty = (
        Surprise(feature_size, network, config)
        if config.kind == "surprise"
        else Disagreement(feature_size, action_size, stoch_size, network, config)
    )
    return IntrinsicReward(novelty, config)
