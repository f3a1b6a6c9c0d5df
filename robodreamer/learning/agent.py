"""Agent: a world model and an actor-critic, how it acts, and the losses of one batch.

Shapes: N environments, B batch, T time, A action, F feature.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.learning.actor_critic import ActorCritic, Imagined, ImaginedRewards
from robodreamer.learning.camera_dropout import CameraDropout
from robodreamer.models.rssm import State
from robodreamer.models.sampling import Sampler
from robodreamer.models.world_model import Losses, Metrics, Sequence, WorldModel
from robodreamer_deploy.contract import Contract


class Carry(NamedTuple):
    """Memory of acting, from one step to the next."""

    state: State
    action: Float[Tensor, "N A"]


class Agent(nn.Module):
    """A Dreamer: a world model, and an actor and a critic that learn inside it."""

    def __init__(
        self,
        contract: Contract,
        network: NetworkConfig,
        algorithm: AlgorithmConfig,
        decode_fraction: float = 1.0,
    ) -> None:
        super().__init__()
        self.contract = contract
        self.algorithm = algorithm
        self.world_model = WorldModel(contract, network, algorithm, decode_fraction)
        self.actor_critic = ActorCritic(
            self.world_model.feature_size, contract.action, network, algorithm
        )
        self.camera_dropout = CameraDropout.of(
            list(self.world_model.encoder.validity.values()), algorithm
        )

    def initial_carry(self, num_envs: int) -> Carry:
        """Return the carry of `num_envs` environments that are about to start."""
        state = self.world_model.rssm.initial(num_envs)
        return Carry(state, state.deter.new_zeros(num_envs, self.contract.action.size))

    @torch.no_grad()
    def act(
        self,
        carry: Carry,
        observation: Mapping[str, Tensor],
        is_first: Bool[Tensor, " N"],
        sampler: Sampler,
    ) -> Carry:
        """Take in one observation of every environment; return the new state and the action.

        `carry.action` has to be the action that was really executed. A camera's frame is valid
        unless `is_valid/<camera>` is given and False.
        """
        tokens = self.world_model.encoder(observation)
        state, _ = self.world_model.rssm.observe_step(
            carry.state, carry.action, tokens, is_first, sampler
        )
        return Carry(state, self.actor_critic.actor(state.feature).sample(sampler))

    def losses(self, sequence: Sequence, sampler: Sampler) -> tuple[Losses, State, Metrics]:
        """Return every unscaled loss by name, the posterior states (B, T) and metrics."""
        losses, states, metrics = self.world_model.losses(sequence, sampler)
        last = self.algorithm.imagination_last or states.deter.shape[1]
        recent = State(*(value[:, -last:] for value in states))
        # Detached: imagination trains actor and critic, the world model learns from data alone.
        start = State(*(value.flatten(0, 1) for value in recent.detach()))
        masks = sequence.target_masks
        is_known = masks.reward[:, -last:] if masks is not None else None
        imagined = self.actor_critic.imagine(self.world_model.rssm, start, sampler)
        imagined_losses, returns, imagined_metrics = self.actor_critic.imagined_losses(
            imagined,
            self.predict_rewards(imagined),
            None if is_known is None else is_known.flatten(),
        )
        # Means over the horizon, so that scales of losses do not depend on its length.
        batch_shape = recent.deter.shape[:2]
        losses |= {k: v.mean(1).reshape(batch_shape) for k, v in imagined_losses.items()}
        losses["replay_value"] = self.actor_critic.replay_loss(
            recent.feature,
            sequence.reward[:, -last:],
            sequence.is_last[:, -last:],
            sequence.is_terminal[:, -last:],
            returns[:, 0].reshape(batch_shape),
        )
        if is_known is not None:
            losses["replay_value"] = torch.where(is_known[:, :-1], losses["replay_value"], 0.0)
        return losses, states, metrics | imagined_metrics

    @torch.no_grad()
    def predict_rewards(self, imagined: Imagined) -> ImaginedRewards:
        """Return the rewards and continuations that the world model expects in imagined states."""
        feature = imagined.feature
        model = self.world_model
        return ImaginedRewards(
            model.reward.mean(model.reward(feature)).T,
            torch.sigmoid(model.continuation(feature)).T,
        )

    def total_loss(self, losses: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Weigh the means of all losses by `LossScales` and add them up.

        Raises:
            ValueError: A loss has no scale, or a scale no loss.
        """
        scales = asdict(self.algorithm.loss_scales)
        images, vectors = scales.pop("images"), scales.pop("vectors")
        auxiliary = scales.pop("auxiliary")
        for name, signal in self.world_model.decoder.signals.items():
            scales[name] = images if signal.is_image else vectors
        if self.world_model.auxiliary is not None:
            scales |= {f"auxiliary/{s.name}": auxiliary for s in self.world_model.auxiliary.signals}
        if scales.keys() != losses.keys():
            raise ValueError(f"losses {sorted(losses)} do not match scales {sorted(scales)}")
        return torch.stack([scales[name] * loss.mean() for name, loss in losses.items()]).sum()
