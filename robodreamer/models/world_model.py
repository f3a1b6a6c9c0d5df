"""World model: encoder, RSSM, decoder, reward and continue heads, and their losses by name.

Shapes: B batch, T time, A action, E tokens, S stoch, K classes, F feature.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.models.decoder import Decoder, VectorDecoder
from robodreamer.models.encoder import Encoder
from robodreamer.models.heads import ContinueHead, TwoHotHead
from robodreamer.models.latents import latent_losses, make_latent
from robodreamer.models.rssm import RSSM, State
from robodreamer.models.sampling import Sampler
from robodreamer.models.target_masks import TargetMasks, mask_losses
from robodreamer_deploy.contract import Contract

Losses = dict[str, Tensor]
Metrics = dict[str, Tensor]


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
        self.free_nats = algorithm.free_nats
        self.discount = 1 - 1 / algorithm.discount_horizon
        self.decode_fraction = decode_fraction
        self.feature_size = network.deter + latent.num_outputs
        self.encoder = Encoder(
            contract.inputs, network, reads_validity=algorithm.camera_dropout > 0
        )
        self.rssm = RSSM(network, latent, self.encoder.size, contract.action.size)
        self.decoder = Decoder(contract.observations, latent.num_outputs, network)
        self.reward = TwoHotHead(self.feature_size, network, network.reward_layers)
        self.continuation = ContinueHead(self.feature_size, network.units, network.continue_layers)
        self.auxiliary = None
        targets = [signal for signal in contract.privileged if not signal.is_image]
        if algorithm.loss_scales.auxiliary and targets:
            self.auxiliary = VectorDecoder(targets, self.encoder.size, network.units, layers=1)

    def losses(self, sequence: Sequence, sampler: Sampler) -> tuple[Losses, State, Metrics]:
        """Filter a sequence; return unscaled losses (B, T) by name, the states and metrics."""
        tokens = self.encoder(sequence.observation)
        states, posterior = self.rssm.observe(
            sequence.start, sequence.previous_action, tokens, sequence.is_first, sampler
        )
        prior = self.rssm.prior_log_probs(states.deter)
        losses = latent_losses(self.rssm.latent, posterior, prior, self.free_nats)
        losses |= self.decoder.vector_losses(states, sequence.observation)
        losses |= self._image_losses(states, sequence.observation, sampler)
        if self.auxiliary is not None:
            auxiliary = self.auxiliary.losses(tokens, sequence.observation)
            losses |= {f"auxiliary/{name}": loss for name, loss in auxiliary.items()}
        feature = states.feature
        losses["reward"] = self.reward.loss(self.reward(feature), sequence.reward)
        # The target holds the discount, so that imagination needs no other one (DreamerV3,
        # "World model learning": 1 - 1/333 is the expected continuation).
        goes_on = (~sequence.is_terminal).float() * self.discount
        losses["continuation"] = self.continuation.loss(self.continuation(feature), goes_on)
        if sequence.target_masks is not None:
            losses = mask_losses(losses, sequence.target_masks)
        metrics = {
            "prior_entropy": self.rssm.latent.entropy(prior.detach()).mean(),
            "posterior_entropy": self.rssm.latent.entropy(posterior.detach()).mean(),
            "rewards_beyond_bins": (sequence.reward.abs() > self.reward.reach).float().mean(),
        }
        return losses, states, metrics

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
