"""Agent: a world model and a behavior, how it acts, and how one update is computed.

Shapes: N environments, B batch, T time, K context steps, A action, F feature.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig, OptimizerConfig
from robodreamer.learning.actor_critic import Behavior, Imagined, Outlook
from robodreamer.learning.camera_dropout import CameraDropout
from robodreamer.learning.optim import LaProp
from robodreamer.models.distributions import Draw
from robodreamer.models.rssm import State
from robodreamer.models.target_masks import separate
from robodreamer.models.world_model import Losses, Metrics, Sequence, WorldModel
from robodreamer_deploy.contract import Contract


class Carry(NamedTuple):
    """What acting carries from one step to the next."""

    state: State
    action: Float[Tensor, "N A"]


class Agent(nn.Module):
    """A Dreamer: learns a world model, and a behavior inside it."""

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
        self.behavior = Behavior(self.world_model.feature_size, contract.action, network, algorithm)
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
        draw: Draw,
    ) -> Carry:
        """Take in one observation of every environment; return the new state and the action.

        `carry.action` has to be the action that was really executed. A camera's frame counts as
        there unless its `is_valid/<camera>` says otherwise.
        """
        tokens = self.world_model.encoder(observation)
        state, _ = self.world_model.rssm.observe_step(
            carry.state, carry.action, tokens, is_first, draw
        )
        return Carry(state, self.behavior.actor(state.feature).sample(draw))

    def losses(self, sequence: Sequence, draw: Draw) -> tuple[Losses, State, Metrics]:
        """Return every unscaled loss by name, the posterior states (B, T) and metrics."""
        losses, states, metrics = self.world_model.losses(sequence, draw)
        last = self.algorithm.imagination_last or states.deter.shape[1]
        recent = State(*(value[:, -last:] for value in states))
        start = State(*(value.flatten(0, 1) for value in recent.detach()))
        known = sequence.known.reward[:, -last:] if sequence.known is not None else None
        imagined = self.behavior.imagine(self.world_model.rssm, start, draw)
        behavior_losses, returns, behavior_metrics = self.behavior.imagined_losses(
            imagined, self.outlook(imagined), None if known is None else known.flatten()
        )
        batch_shape = recent.deter.shape[:2]
        losses |= {k: v.mean(1).reshape(batch_shape) for k, v in behavior_losses.items()}
        losses["replay_value"] = self.behavior.replay_loss(
            recent.feature,
            sequence.reward[:, -last:],
            sequence.is_last[:, -last:],
            sequence.is_terminal[:, -last:],
            returns[:, 0].reshape(batch_shape),
        )
        if known is not None:
            losses["replay_value"] = torch.where(known[:, :-1], losses["replay_value"], 0.0)
        return losses, states, metrics | behavior_metrics

    @torch.no_grad()
    def outlook(self, imagined: Imagined) -> Outlook:
        """Predict reward and continuation of imagined states."""
        feature = imagined.feature
        model = self.world_model
        return Outlook(
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


class Learner:
    """Updates an agent from replayed batches."""

    def __init__(
        self,
        agent: Agent,
        optimizer: OptimizerConfig,
        *,
        replay_context: int,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.agent = agent
        self.optimizer = LaProp(agent.parameters(), optimizer, agent.behavior.actor.parameters())
        self.replay_context = replay_context
        self.compute_dtype = compute_dtype
        self.has_unknown = False
        """Whether batches may hold steps of which not all is known; see `known`."""

    def update(
        self, batch: Mapping[str, Tensor], draw: Draw
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Take one optimizer step on a batch (B, K + T, ...), which may lie on another device.

        Returns the metrics (scalars), and the new latents (B, T, ...) to be written back to the
        replay.
        """
        device = next(self.agent.parameters()).device
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        sequence = split_context(batch, self.agent, self.replay_context)
        if self.has_unknown:
            sequence = separate_unknown(sequence, self.agent)
        if self.agent.camera_dropout is not None:
            is_valid = self.agent.camera_dropout.draw_sequence(sequence.is_first, draw)
            sequence = sequence._replace(observation={**sequence.observation, **is_valid})
        with _autocast(self.agent, self.compute_dtype):
            losses, states, metrics = self.agent.losses(sequence, draw)
            total = self.agent.total_loss(losses)
        self.optimizer.zero_grad()
        total.backward()
        grad_norm = self.optimizer.step()
        self.agent.behavior.update_slow_critic()
        metrics |= {f"loss/{name}": loss.detach().mean() for name, loss in losses.items()}
        metrics |= {"loss/total": total.detach(), "grad_norm": grad_norm}
        return metrics, {"deter": states.deter.detach(), "stoch": states.stoch.detach()}


def split_context(
    batch: Mapping[str, Tensor], agent: Agent, context: int, carry: Carry | None = None
) -> Sequence:
    """Cut a replayed batch (B, K + T, ...) into start state, observations and previous actions.

    The latents stored with the last context step start the sequence. Without context `carry`
    does, which is what the steps before left; by default nothing came before.
    """
    actions = batch["action"]
    if context:
        start = State(batch["deter"][:, context - 1], batch["stoch"][:, context - 1])
        previous = actions[:, context - 1 : -1]
    else:
        start, action = carry or agent.initial_carry(actions.shape[0])
        previous = torch.cat([action.unsqueeze(1), actions[:, :-1]], 1)
    names = [signal.name for signal in agent.contract.observations]
    return Sequence(
        observation={name: batch[name][:, context:] for name in names},
        previous_action=previous,
        reward=batch["reward"][:, context:],
        is_first=batch["is_first"][:, context:],
        is_last=batch["is_last"][:, context:],
        is_terminal=batch["is_terminal"][:, context:],
        start=start,
    )


def separate_unknown(sequence: Sequence, agent: Agent) -> Sequence:
    """Return a sequence that tells what of it is known, with zeros for the rest."""
    observation, reward, known = separate(
        sequence.observation, sequence.reward, agent.contract.privileged
    )
    return sequence._replace(observation=observation, reward=reward, known=known)


@contextmanager
def _autocast(agent: Agent, dtype: torch.dtype) -> Iterator[None]:
    """Compute in reduced precision; parameters, norms and losses stay in float32."""
    device = next(agent.parameters()).device.type
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        yield
