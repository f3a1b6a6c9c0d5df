"""Collection: steps the environments with the newest policy and files every record.

The environments compute in other processes: `step` receives what they did, answers with actions
and returns, so that learning goes on while they work. What happens in which order depends on
nothing but the number of steps, so collection overlaps with learning and is repeatable.

Shapes: N environments, A action.
"""

import math
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robodreamer.data.replay import Field, Replay
from robodreamer.learning.agent import Agent
from robodreamer.models.distributions import Draw
from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.vector.vector_env import VectorEnv

FLAGS = ("is_first", "is_last", "is_terminal")


class TrainingDivergedError(RuntimeError):
    """The agent computes with numbers that are no longer finite."""


class Episode(NamedTuple):
    """A finished episode of training."""

    episode_return: float
    length: int
    success: bool


class ReplayRatio:
    """How many updates are due: exact in the long run, whatever each step allowed."""

    def __init__(self, train_ratio: float, batch_steps: int, start: int) -> None:
        self.train_ratio, self.batch_steps = train_ratio, batch_steps
        self.start = start
        """Steps before the first update; they earn none."""

    def due(self, steps: int, updates: int) -> int:
        """Return updates to do now, after `steps` environment steps and `updates` updates."""
        earned = math.floor((steps - self.start) * self.train_ratio / self.batch_steps)
        return max(0, earned - updates)


def close_broken_episodes(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a replayed batch (B, L, ...) in which episodes that broke off have a last step too.

    When a simulator breaks down and is restarted (`on_crash`), no record says that its episode is
    over; the next one begins another. No value may flow back from there.
    """
    breaks_off = batch["is_first"].roll(-1, dims=1)
    breaks_off[:, -1] = False  # what follows the sequence is not known
    return {**batch, "is_last": batch["is_last"] | breaks_off}


class Collector:
    """Owns the environments of training."""

    def __init__(
        self, envs: VectorEnv, agent: Agent, replay: Replay, draw: Draw, device: torch.device
    ) -> None:
        self.envs, self.agent, self.replay = envs, agent, replay
        self.draw, self.device = draw, device
        self.seconds_waited = 0.0
        self.seconds_acted = 0.0
        self._carry = agent.initial_carry(envs.num_envs)
        self._is_lost: Tensor | None = None
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, np.int64)
        self._was_cut = False
        self.largest_reward = 0.0
        """Largest magnitude of a reward so far."""
        self._requested = envs.episodes.copy()
        self.latest: Mapping[str, Array] = {}
        """The last record of every environment and the action that followed, (N, ...)."""
        envs.start()

    @property
    def num_steps(self) -> int:
        """Environment steps (records) collected so far, of all environments together."""
        return self.replay.num_steps

    @property
    def next_episodes(self) -> list[int]:
        """Numbers of the episodes that would begin next."""
        return [int(episode) + 1 for episode in self.envs.episodes]

    @property
    def untouched_episodes(self) -> list[int]:
        """Numbers of the episodes after those that were asked for, one of which has failed."""
        return [int(episode) + 1 for episode in self._requested]

    def step(self, *, end_episodes: bool = False) -> list[Episode]:
        """Receive one record of every environment, send the next actions, return ended episodes.

        With `end_episodes` the next record ends the episode of every environment, so that a
        checkpoint after it has no simulator state to keep. Those episodes are not reported.

        Raises:
            EnvironmentFault: What came after `latest` is not what the contract promises.
            TrainingDivergedError: An action is not finite.
        """
        began = time.perf_counter()
        record = self.envs.recv()
        received = time.perf_counter()
        inputs = {s.name: self._tensor(record[s.name]) for s in self.envs.contract.inputs}
        is_first = self._tensor(record["is_first"])
        inputs |= self._drop_frames(is_first)
        self._carry = self.agent.act(self._carry, inputs, is_first, self.draw)
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
        """Return which camera frames the agent sees; nothing if it reads no such bits."""
        dropout = self.agent.camera_dropout
        if dropout is None:
            return {}
        self._is_lost = dropout.draw_step(self._is_lost, is_first, self.draw)
        return dropout.bits(self._is_lost)

    def _tensor(self, value: Array) -> Tensor:
        return torch.from_numpy(value).to(self.device)

    def _count(self, record: Mapping[str, Array]) -> list[Episode]:
        self._returns = np.where(record["is_first"], 0.0, self._returns + record["reward"])
        self._lengths = np.where(record["is_first"], 0, self._lengths + 1)
        rewards = np.where(record["is_first"], 0.0, record["reward"])
        self.largest_reward = max(self.largest_reward, float(np.abs(rewards).max()))
        if self._was_cut:
            return []
        return [
            Episode(float(self._returns[i]), int(self._lengths[i]), bool(record["success"][i]))
            for i in np.flatnonzero(record["is_last"])
        ]


def make_replay(
    contract: Contract,
    agent: Agent,
    *,
    num_envs: int,
    capacity: int,
    sequence_length: int,
    seed: int,
    device: torch.device,
) -> Replay:
    """Build the replay for a task's signals and an agent's latents, on `device` if it fits."""
    dtypes = {"uint8": torch.uint8, "float32": torch.float32, "int32": torch.int32}
    fields = {s.name: Field(s.shape, dtypes[s.dtype]) for s in contract.observations}
    fields |= {name: Field((), torch.bool) for name in FLAGS}
    fields["reward"] = Field((), torch.float32)
    fields["action"] = Field((contract.action.size,), torch.float32)
    rssm = agent.world_model.rssm
    latents = {
        "deter": Field((rssm.deter_size,), torch.float32),
        "stoch": Field(rssm.latent.shape, torch.float32, onehot=rssm.latent.is_onehot),
    }
    num_bytes = capacity * sum(field.num_bytes for field in (fields | latents).values())
    return Replay(
        fields,
        latents,
        num_envs=num_envs,
        capacity=capacity,
        sequence_length=sequence_length,
        seed=seed,
        device=device if fits(num_bytes, device) else torch.device("cpu"),
    )


def fits(num_bytes: int, device: torch.device) -> bool:
    """Tell whether a GPU has memory for the replay and as much again for learning.

    The host's memory is taken as it fills, a GPU's all at once.
    """
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * num_bytes <= free
