"""World model: encoder, RSSM, decoder, reward and continue heads, and their losses by name.

Shapes: B batch, T time, A action, E tokens, S stoch, K classes, F feature.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.models.decoder import Decoder, VectorDecoder
from robodreamer.models.encoder import Encoder
from robodreamer.models.heads import ContinueHead, make_scalar_head
from robodreamer.models.latents import kl_losses, make_latent
from robodreamer.models.rssm import RSSM, State
from robodreamer.models.sampling import Sampler
from robodreamer.models.target_masks import TargetMasks, mask_losses
from robodreamer_deploy.contract import Contract

Losses = dict[str, Tensor]
Metrics = dict[str, Tensor]
REWARD_TRANSFORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda reward: reward,
    "tanh": torch.tanh,
}


class Sequence(NamedTuple):
    """A replayed sequence in the form that the model reads; `start` precedes its first step."""

    observation: Mapping[str, Tensor]
    previous_action: Float[Tensor, "B T A"]
    reward: Float[Tensor, "B T"]
    is_first: Bool[Tensor, "B T"]
    is_last: Bool[Tensor, "B T"]
    is_terminal: Bool[Tensor, "B T"]
    start: State
    target_masks: TargetMasks | None = None
    """Masks of known targets; None where all are known. Unknown targets are zero."""


class Filtered(NamedTuple):
    """A sequence as the world model has filtered it: what it lost, and what others go on from."""

    losses: Losses
    """Unscaled losses by name, (B, T), or scalars where a loss is one of the whole batch."""
    states: State
    """Posterior states, (B, T, ...)."""
    kl: Float[Tensor, "B T"]
    """Divergence of the posterior from the prior, in nats; no gradient."""
    metrics: Metrics


class WorldModel(nn.Module):
    """Encoder, RSSM, decoder and heads, which predict observations, rewards and ends."""

    def __init__(
        self,
        contract: Contract,
        network: NetworkConfig,
        algorithm: AlgorithmConfig,
        decode_fraction: float = 1.0,
    ) -> None:
        super().__init__()
        latent = make_latent(network, algorithm)
        self.algorithm = algorithm
        self.discount = 1 - 1 / algorithm.discount_horizon
        self.decode_fraction = decode_fraction
        self.feature_size = network.deter + latent.size
        self.encoder = Encoder(
            contract.inputs, network, reads_validity=algorithm.camera_dropout > 0
        )
        self.rssm = RSSM(network, latent, self.encoder.size, contract.action.size)
        self.decoder = Decoder(contract.observations, latent.size, network)
        self.reward = make_scalar_head(
            network.parts.reward, self.feature_size, network, network.reward_layers
        )
        self.continuation = None
        if algorithm.loss_scales.continuation:
            self.continuation = ContinueHead(self.feature_size, network, network.continue_layers)
        self.auxiliary = None
        targets = [signal for signal in contract.privileged if not signal.is_image]
        if algorithm.loss_scales.auxiliary and targets:
            self.auxiliary = VectorDecoder(targets, self.encoder.size, network, layers=1)

    def filter(self, sequence: Sequence, sampler: Sampler) -> Filtered:
        """Filter a sequence with the posterior, and compute all losses along it."""
        tokens = self.encoder(sequence.observation)
        states, posterior = self.rssm.observe(
            sequence.start, sequence.previous_action, tokens, sequence.is_first, sampler
        )
        prior = self.rssm.prior_parameters(states.deter)
        losses, kl = kl_losses(self.rssm.latent, posterior, prior, self.algorithm)
        losses |= self.decoder.vector_losses(states, sequence.observation)
        losses |= self._image_losses(states, sequence.observation, sampler)
        if self.auxiliary is not None:
            auxiliary = self.auxiliary.losses(tokens, sequence.observation)
            losses |= {f"auxiliary/{name}": loss for name, loss in auxiliary.items()}
        feature = states.feature
        reward = self.learned_reward(sequence.reward)
        losses["reward"] = self.reward.loss(self.reward(feature), reward)
        if self.continuation is not None:
            goes_on = self.expected_continuation(sequence.is_terminal)
            losses["continuation"] = self.continuation.loss(self.continuation(feature), goes_on)
        if sequence.target_masks is not None:
            losses = mask_losses(losses, sequence.target_masks)
        metrics = {
            "prior_entropy": self.rssm.latent.entropy(prior.detach()).mean(),
            "posterior_entropy": self.rssm.latent.entropy(posterior.detach()).mean(),
            "rewards_beyond_bins": (reward.abs() > self.reward.reach).float().mean(),
        }
        return Filtered(losses, states, kl, metrics)

    def learned_reward(self, reward: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the reward that is predicted and returned: the task's, or a function of it."""
        return REWARD_TRANSFORMS[self.algorithm.reward_transform](reward)

    def expected_continuation(self, is_terminal: Bool[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return the target of the continuation: the discount, and 0 after a terminal step.

        It holds the discount, so that imagination needs no other one (DreamerV3, "World model
        learning": 1 - 1/333 is the expected continuation).
        """
        return (~is_terminal).float() * self.discount

    def predict_continuation(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """Return the continuation that is expected in states; without a head, the discount."""
        if self.continuation is None:
            return feature.new_full(feature.shape[:-1], self.discount, dtype=torch.float32)
        return torch.sigmoid(self.continuation(feature))

    def _image_losses(
        self, states: State, observation: Mapping[str, Tensor], sampler: Sampler
    ) -> Losses:
        """Return each camera's reconstruction loss (B, T), or an unbiased estimate of its sum.

        With a `decode_fraction` below 1 only that share of the frames is decoded, and their losses
        count accordingly more.
        """
        if self.decode_fraction >= 1:
            return self.decoder.image_losses(states, observation)
        batch_shape = states.deter.shape[:2]
        total = batch_shape.numel()
        count = max(1, round(self.decode_fraction * total))
        chosen = sampler.subset(total, count).to(states.deter.device)
        some_states = State(*(value.flatten(0, 1)[chosen] for value in states))
        names = [name for name, signal in self.decoder.signals.items() if signal.is_image]
        targets = {name: observation[name].flatten(0, 1)[chosen] for name in names}
        losses = self.decoder.image_losses(some_states, targets)
        zeros = states.deter.new_zeros(total, dtype=torch.float32)
        return {
            name: zeros.index_copy(0, chosen, loss * (total / count)).reshape(batch_shape)
            for name, loss in losses.items()
        }
