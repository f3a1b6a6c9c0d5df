"""Agent: a world model and an actor-critic, how it acts, and the losses of one batch.

Shapes: N environments, B batch, T time, A action, F feature.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.learning.actor_critic import ActorCritic, Imagined, ImaginedRewards
from robodreamer.learning.camera_dropout import CameraDropout
from robodreamer.learning.intrinsic import Arrivals, Outcomes, make_intrinsic
from robodreamer.models.rssm import State
from robodreamer.models.sampling import Sampler
from robodreamer.models.world_model import Losses, Metrics, Sequence, WorldModel
from robodreamer.utils.freezing import frozen
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
        self.intrinsic = make_intrinsic(
            self.world_model.feature_size,
            contract.action.size,
            self.world_model.rssm.latent.size,
            network,
            algorithm.intrinsic,
        )
        self.scales = self._loss_scales()
        """Weight of every loss, by name."""
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
        losses, states, metrics = self.model_losses(sequence, sampler)
        behavior_losses, behavior_metrics = self.behavior_losses(sequence, states, sampler)
        return losses | behavior_losses, states, metrics | behavior_metrics

    def model_losses(self, sequence: Sequence, sampler: Sampler) -> tuple[Losses, State, Metrics]:
        """Return the losses of the world model and of the measure of novelty, states, metrics."""
        losses, states, kl, metrics = self.world_model.filter(sequence, sampler)
        if self.intrinsic is not None:
            known = states.detach()
            losses["intrinsic"] = self.intrinsic.loss(
                Arrivals(known.feature, sequence.previous_action),
                Outcomes(known.stoch.flatten(-2), kl),
                sequence.is_first,
            )
        return losses, states, metrics | {"kl": kl.mean()}

    def behavior_losses(
        self, sequence: Sequence, states: State, sampler: Sampler
    ) -> tuple[Losses, Metrics]:
        """Return the losses of actor and critic, and metrics.

        Args:
            sequence: Replayed steps (B, T).
            states: Posterior states of all of them.
            sampler: Draws imagined actions and latents.
        """
        chosen = self._starts(states.deter.shape[1])
        recent = State(*(value[:, chosen] for value in states))
        # Detached: imagination trains actor and critic, the world model learns from data alone.
        start = State(*(value.flatten(0, 1) for value in recent.detach()))
        masks = sequence.target_masks
        is_known = masks.reward[:, chosen] if masks is not None else None
        imagined = self.actor_critic.imagine(self.world_model.rssm, start, sampler)
        predicted = self.predict_rewards(imagined)
        if self.algorithm.returns != "next_step" and self.world_model.continuation is not None:
            # The start was seen, so that its end is known (DreamerV2).
            known = self.world_model.expected_continuation(sequence.is_terminal[:, chosen])
            predicted = predicted.starting_with(known.flatten())
        losses, returns, metrics = self.actor_critic.imagined_losses(
            imagined,
            predicted,
            sampler,
            None if is_known is None else is_known.flatten(),
        )
        # Means over the horizon, so that scales of losses do not depend on its length.
        batch_shape = recent.deter.shape[:2]
        losses = {k: v.mean(1).reshape(batch_shape) for k, v in losses.items()}
        if self.algorithm.loss_scales.replay_value:
            losses["replay_value"] = self._replay_value_loss(
                sequence, recent.feature, returns[:, 0].reshape(batch_shape), chosen
            )
        return losses, metrics

    def predict_rewards(self, imagined: Imagined) -> ImaginedRewards:
        """Return the rewards and continuations that are expected in imagined states.

        They carry gradients to the states where the actor learns through the dynamics, never to the
        model. An intrinsic reward is part of them.
        """
        feature, model = imagined.feature, self.world_model
        with torch.set_grad_enabled(self.actor_critic.uses_dynamics), frozen(model):
            reward = model.reward.mean(model.reward(feature)).T
            if self.intrinsic is not None:
                reward = reward + self._imagined_novelty(imagined)
            return ImaginedRewards(reward, model.predict_continuation(feature).T)

    def _imagined_novelty(self, imagined: Imagined) -> Float[Tensor, "N H1"]:
        """Return the intrinsic reward of imagined states; the start is the same for all actions."""
        assert self.intrinsic is not None
        actions = imagined.actions
        led_here = torch.cat([torch.zeros_like(actions[:, :1]), actions[:, :-1]], 1)
        with frozen(self.intrinsic):
            arrivals = Arrivals(imagined.feature.transpose(0, 1), led_here)
            return self.intrinsic(arrivals, learns=True)

    def _starts(self, num_steps: int) -> slice:
        """Return the steps of a sequence that imagination starts from."""
        stop = num_steps - (not self.algorithm.imagine_from_last)
        last = self.algorithm.imagination_last
        return slice(max(0, stop - last) if last else 0, stop)

    def _replay_value_loss(
        self,
        sequence: Sequence,
        feature: Float[Tensor, "B t F"],
        bootstrap: Float[Tensor, "B t"],
        chosen: slice,
    ) -> Float[Tensor, "B t1"]:
        """Return the critic's loss along the replayed steps that imagination started from."""
        reward = self.world_model.learned_reward(sequence.reward[:, chosen])
        if self.intrinsic is not None:
            with torch.no_grad():
                action = sequence.previous_action[:, chosen]
                reward = reward + self.intrinsic(Arrivals(feature, action), learns=False)
        loss = self.actor_critic.replay_loss(
            feature,
            reward,
            sequence.is_last[:, chosen],
            sequence.is_terminal[:, chosen],
            bootstrap,
        )
        if sequence.target_masks is not None:
            loss = torch.where(sequence.target_masks.reward[:, chosen][:, :-1], loss, 0.0)
        return loss

    def explore(self, action: Float[Tensor, "N A"], sampler: Sampler) -> Float[Tensor, "N A"]:
        """Return the action to collect data with: with the noise that the settings ask for.

        A continuous action gets normal noise and is clipped, a discrete one is random in a share of
        the steps (DreamerV1, appendix A; its code for discrete ones).
        """
        noise = self.algorithm.action_noise
        if not noise:
            return action
        if self.contract.action.kind == "continuous":
            return sampler.normal(action, torch.full_like(action, noise)).clamp(-1.0, 1.0)
        uniform = torch.ones_like(action)
        is_random = sampler.uniform(action[:, :1]) < noise
        choice = F.one_hot(sampler.category(uniform), action.shape[-1]).to(action.dtype)
        return torch.where(is_random, choice, action)

    def count_update(self) -> None:
        """Take in that an update was made, for what changes over the updates."""
        self.world_model.rssm.latent.anneal()
        if self.intrinsic is not None:
            self.intrinsic.count_update()

    def total_loss(self, losses: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Weigh the means of some losses by `LossScales` and add them up."""
        return torch.stack([self.scales[name] * loss.mean() for name, loss in losses.items()]).sum()

    def _loss_scales(self) -> dict[str, float]:
        """Return the scale of every loss that this agent has, by name."""
        given, model = self.algorithm.loss_scales, self.world_model
        kl_terms = {"one_term": ("kl",), "two_terms": ("dynamics", "representation")}
        names = ["reward", "policy", "value", *kl_terms[self.algorithm.kl]]
        names += [name for name in ("continuation", "replay_value") if getattr(given, name)]
        scales = {name: getattr(given, name) for name in names}
        for name, signal in model.decoder.signals.items():
            scales[name] = given.images if signal.is_image else given.vectors
        if model.auxiliary is not None:
            scales |= {f"auxiliary/{s.name}": given.auxiliary for s in model.auxiliary.signals}
        if self.intrinsic is not None:
            scales["intrinsic"] = 1.0  # its parameters learn from nothing else
        return scales
