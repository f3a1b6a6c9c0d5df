"""Collection: environment steps with the newest policy, stored in the replay.

The environments compute in other processes: `step` receives their records, sends actions and
returns, so that learning goes on while they work. The order of all this depends on the number of
steps alone, so collection overlaps with learning and is still repeatable.

Shapes: N environments, A action.
"""

import math
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robodreamer.data.replay import Replay
from robodreamer.learning.agent import Agent
from robodreamer.models.sampling import Sampler
from robodreamer_deploy.contract import Array
from robodreamer_sim.vector.vector_env import VectorEnv


class TrainingDivergedError(RuntimeError):
    """Raised when an action, a loss or a return is no longer finite."""


class Episode(NamedTuple):
    """Figures of a finished training episode."""

    episode_return: float
    length: int
    success: bool


class ReplayRatio:
    """Rule for the number of updates after each step; exact in the long run.

    Args:
        train_ratio: Replayed steps per environment step.
        batch_steps: Replayed steps of one update.
        start: Environment steps before the first update; they earn no updates.
    """

    def __init__(self, train_ratio: float, batch_steps: int, start: int) -> None:
        self.train_ratio, self.batch_steps = train_ratio, batch_steps
        self.start = start

    def due(self, steps: int, updates: int) -> int:
        """Return the number of updates to do now, after `steps` steps and `updates` updates."""
        # From the totals, not step by step: fractions never get lost, and a resumed run agrees.
        earned = math.floor((steps - self.start) * self.train_ratio / self.batch_steps)
        return max(0, earned - updates)


class Collector:
    """Loop between the training environments, the agent and the replay."""

    def __init__(
        self, envs: VectorEnv, agent: Agent, replay: Replay, sampler: Sampler, device: torch.device
    ) -> None:
        self.envs, self.agent, self.replay = envs, agent, replay
        self.sampler, self.device = sampler, device
        self.seconds_waited = 0.0
        self.seconds_acted = 0.0
        self._carry = agent.initial_carry(envs.num_envs)
        self._is_lost: Tensor | None = None
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, np.int64)
        self._was_cut = False
        self.largest_reward = 0.0
        """Largest magnitude of a reward in this run."""
        self._requested = envs.episodes.copy()
        self.latest: Mapping[str, Array] = {}
        """Last record of every environment and the action that followed it, (N, ...)."""
        envs.start()

    @property
    def num_steps(self) -> int:
        """Number of steps (records) collected from all environments together."""
        return self.replay.num_steps

    @property
    def next_episodes(self) -> list[int]:
        """Numbers of the episodes that would begin next."""
        return [int(episode) + 1 for episode in self.envs.episodes]

    @property
    def untouched_episodes(self) -> list[int]:
        """Numbers of the episodes after those requested so far, one of which has failed."""
        return [int(episode) + 1 for episode in self._requested]

    def step(self, *, end_episodes: bool = False) -> list[Episode]:
        """Receive one record of every environment, send the next actions, return ended episodes.

        With `end_episodes` the next record ends the episode of every environment, so that a
        checkpoint after it has no simulator state to keep. Those episodes are not reported.

        Raises:
            EnvironmentFault: An environment failed, or its record breaks the contract.
            TrainingDivergedError: An action is not finite.
        """
        began = time.perf_counter()
        record = self.envs.recv()
        received = time.perf_counter()
        inputs = {s.name: self._tensor(record[s.name]) for s in self.envs.contract.inputs}
        is_first = self._tensor(record["is_first"])
        inputs |= self._drop_frames(is_first)
        carry = self.agent.act(self._carry, inputs, is_first, self.sampler)
        self._carry = carry._replace(action=self.agent.explore(carry.action, self.sampler))
        action = self._carry.action.cpu()
        if not action.isfinite().all():
            raise TrainingDivergedError(f"the actions are not finite at step {self.num_steps:,}")
        fields = {key: value for key, value in record.items() if key != "success"}
        state = self._carry.state
        self.replay.add({**fields, "action": action, "deter": state.deter, "stoch": state.stoch})
        episodes = self._count(record)
        self._was_cut = end_episodes
        self.envs.send(action.numpy(), truncate=end_episodes)
        self._requested = self.envs.episodes + record["is_last"]
        self.latest = {**record, "action": action.numpy()}
        self.seconds_waited += received - began
        self.seconds_acted += time.perf_counter() - received
        return episodes

    def _drop_frames(self, is_first: Tensor) -> dict[str, Tensor]:
        """Return validity bits of the camera frames; none if the agent does not read them."""
        dropout = self.agent.camera_dropout
        if dropout is None:
            return {}
        self._is_lost = dropout.draw_step(self._is_lost, is_first, self.sampler)
        return dropout.bits(self._is_lost)

    def _tensor(self, value: Array) -> Tensor:
        return torch.from_numpy(value).to(self.device)

    def _count(self, record: Mapping[str, Array]) -> list[Episode]:
        self._returns = np.where(record["is_first"], 0.0, self._returns + record["reward"])
        self._lengths = np.where(record["is_first"], 0, self._lengths + 1)
        # No action has earned the reward of a first record.
        rewards = np.where(record["is_first"], 0.0, record["reward"])
        self.largest_reward = max(self.largest_reward, float(np.abs(rewards).max()))
        if self._was_cut:
            return []
        return [
            Episode(float(self._returns[i]), int(self._lengths[i]), bool(record["success"][i]))
            for i in np.flatnonzero(record["is_last"])
        ]
