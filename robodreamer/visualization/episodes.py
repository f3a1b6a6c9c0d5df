"""Footage: episodes recorded while a policy acts, for films and for the model to dream about.

Shapes: T steps, N environments, A action, H height, W width.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robodreamer.evaluation.evaluate import EVALUATION_SEED
from robodreamer.evaluation.policies import AgentPolicy, VectorPolicy
from robodreamer.learning.agent import Agent
from robodreamer.models.sampling import ModeSampler, Sampler
from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.errors import GraphicsError
from robodreamer_sim.vector.seeding import episode_seed


class Footage(NamedTuple):
    """One recorded episode of T observations, or its beginning."""

    observations: dict[str, Array]
    """Every signal of the contract by name, (T, ...)."""
    actions: Array
    """Action after each observation, (T, A); the last was not carried out."""
    rewards: Array
    """Reward received with each observation, (T,)."""
    success: Array
    """Flags that are set while the goal is met, (T,) bool."""
    pictures: Array | None = None
    """Larger pictures for people, uint8 (T, H, W, 3), where the task can be drawn."""
    is_terminal: bool = False
    """True if the task ended the episode, rather than its time limit."""

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.actions)


def film_episode(
    agent: Agent,
    env: TaskEnv,
    number: int,
    picture_size: tuple[int, int] | None = None,
    sampler: Sampler | None = None,
) -> Footage:
    """Let the agent act through evaluation episode `number`.

    It is the first episode of evaluation's environment `number`, so that films show what the
    figures count.

    Args:
        agent: Acts.
        env: Of the agent's contract.
        number: 0, 1, ...
        picture_size: Height and width of `Footage.pictures`; None for none.
        sampler: Chooses actions and latents; the most likely ones by default.
    """
    policy = AgentPolicy(agent, 1, sampler or ModeSampler())
    observation, _ = env.reset(seed=episode_seed(EVALUATION_SEED, number, 0))
    reward, is_over, is_terminated, info = 0.0, False, False, {"success": False}
    rows: list[dict[str, Array]] = []
    pictures: list[Array] = []
    while True:
        batch = {name: np.asarray(value)[None] for name, value in observation.items()}
        action = policy.act(batch, np.array([not rows]))[0]
        row = {"action": action, "reward": reward, "success": info["success"], **observation}
        rows.append({name: np.array(value) for name, value in row.items()})
        if picture_size and (picture := _draw(env, picture_size)) is not None:
            pictures.append(picture)
        if is_over:
            footage = _footage(env.contract, rows, np.stack(pictures) if pictures else None)
            return footage._replace(is_terminal=is_terminated)
        observation, reward, is_terminated, is_truncated, info = env.step(action)
        is_over = is_terminated or is_truncated


class Recorder:
    """A policy that does as another one does, and remembers environment 0's first episode.

    It sees what the policy is asked, so it costs no simulation. An observation after which no
    action is wanted stays unseen, which may be the very last one.
    """

    def __init__(self, policy: VectorPolicy, contract: Contract, max_steps: int) -> None:
        self.policy, self.contract, self.max_steps = policy, contract, max_steps
        self._rows: list[dict[str, Array]] = []
        self._is_over = False

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """Return the policy's actions (N, A); `observation` is a whole record of a `VectorEnv`."""
        actions = self.policy.act(observation, is_first)
        is_next = bool(self._rows) and bool(is_first[0])
        self._is_over |= is_next or len(self._rows) == self.max_steps
        if not self._is_over:
            row = {name: value[0].copy() for name, value in observation.items()}
            self._rows.append(row | {"action": actions[0].copy()})
        return actions

    @property
    def footage(self) -> Footage:
        """The episode so far."""
        return _footage(self.contract, self._rows, None)


def _footage(contract: Contract, rows: list[dict[str, Array]], pictures: Array | None) -> Footage:
    def stack(name: str) -> Array:
        return np.stack([row[name] for row in rows])

    observations = {signal.name: stack(signal.name) for signal in contract.observations}
    return Footage(observations, stack("action"), stack("reward"), stack("success"), pictures)


def _draw(env: TaskEnv, size: tuple[int, int]) -> Array | None:
    """Return a picture for people; None if the task or this machine cannot draw one."""
    try:
        return env.render_camera(None, *size)
    except (ValueError, GraphicsError):
        return None
