"""Learner: one update of an agent from a replayed batch.

Shapes: B batch, T time, K context steps.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from robodreamer.config import OptimizerConfig
from robodreamer.learning.agent import Agent, Carry
from robodreamer.learning.optimizers import BEHAVIOR, MODEL, Optimizers
from robodreamer.models.rssm import State
from robodreamer.models.sampling import Sampler
from robodreamer.models.target_masks import mask_targets
from robodreamer.models.world_model import Losses, Metrics, Sequence


class Learner:
    """Optimizer of an agent, which it updates from replayed batches."""

    def __init__(
        self,
        agent: Agent,
        optimizer: OptimizerConfig,
        *,
        replay_context: int,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.agent = agent
        self.optimizer = Optimizers(agent, optimizer)
        self.replay_context = replay_context
        self.compute_dtype = compute_dtype
        self.num_updates = 0
        """Updates so far."""
        self.has_unknown = False
        """Batches may hold rewards or privileged signals that are unknown; see `target_masks`."""

    def update(
        self, batch: Mapping[str, Tensor], sampler: Sampler
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Take one optimizer step on a batch (B, K + T, ...), which may lie on another device.

        Returns the metrics (scalars), and the new latents (B, T, ...) to be written back to the
        replay.
        """
        device = next(self.agent.parameters()).device
        # Asynchronous: the copy from the host's memory overlaps with work already queued.
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        sequence = split_context(batch, self.agent, self.replay_context)
        if self.has_unknown:
            sequence = mask_unknown(sequence, self.agent)
        if self.agent.camera_dropout is not None:
            is_valid = self.agent.camera_dropout.draw_sequence(sequence.is_first, sampler)
            sequence = sequence._replace(observation={**sequence.observation, **is_valid})
        losses, states, metrics = self._descend(sequence, sampler)
        # After the step, so that it follows it.
        self.agent.actor_critic.update_slow_critic(self.num_updates)
        self.agent.count_update()
        self.num_updates += 1
        metrics |= {f"loss/{name}": loss.detach().mean() for name, loss in losses.items()}
        return metrics, {"deter": states.deter.detach(), "stoch": states.stoch.detach()}

    def _descend(self, sequence: Sequence, sampler: Sampler) -> tuple[Losses, State, Metrics]:
        """Take the optimizer's steps: all at once, or the world model's before it imagines."""
        agent = self.agent
        with self._autocast():
            losses, states, metrics = agent.model_losses(sequence, sampler)
            total = agent.total_loss(losses)
        if agent.algorithm.model_first:
            metrics |= self.optimizer.step(total, MODEL)
        with self._autocast():
            behavior, behavior_metrics = agent.behavior_losses(sequence, states, sampler)
            behavior_total = agent.total_loss(behavior)
        if agent.algorithm.model_first:
            metrics |= self.optimizer.step(behavior_total, BEHAVIOR)
            total = total.detach()
        else:  # one sum, one backward pass: each loss has its gradients stopped inside
            metrics |= self.optimizer.step(total + behavior_total)
        metrics["loss/total"] = (total + behavior_total).detach()
        return losses | behavior, states, metrics | behavior_metrics

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        """Compute in reduced precision; parameters, norms and losses stay in float32."""
        device, dtype = next(self.agent.parameters()).device.type, self.compute_dtype
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            yield


def split_context(
    batch: Mapping[str, Tensor], agent: Agent, context: int, carry: Carry | None = None
) -> Sequence:
    """Cut a replayed batch (B, K + T, ...) into start state, observations and previous actions.

    The latents stored with the last context step start the sequence. Without context the carry
    of the steps before does, by default that of an episode's start.
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


def mask_unknown(sequence: Sequence, agent: Agent) -> Sequence:
    """Return a sequence with masks of its known targets, and zeros for the unknown ones."""
    observation, reward, target_masks = mask_targets(
        sequence.observation, sequence.reward, agent.contract.privileged
    )
    return sequence._replace(observation=observation, reward=reward, target_masks=target_masks)
