"""Statistics of random actions in a task, which is how every untrained policy acts.

`robodreamer tasks check` prints it: a task may keep every promise and yet not be learnable, because
a range is in another unit, a reward is always the same, or an arm begins inside the table.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array, Signal
from robodreamer_sim.cameras.blank_check import blank_reason
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.testing.conformance import random_action

NUM_EPISODES = 10
ENOUGH_STEPS = 1000
"""Steps after which no further episode is played, because episodes of 1000 steps take long."""
NUM_STARTS = 5
"""Least number of episodes that are begun, played or not."""
AT_LIMIT = 1e-6
"""Share of a force range within which a force counts as at its limit."""

Vector = NDArray[np.float64]


class SignalRange(NamedTuple):
    """Range of the values of one signal, element by element."""

    signal: Signal
    smallest: Vector
    largest: Vector


class Penetration(NamedTuple):
    """Contact of two geoms that penetrate each other."""

    depth_m: float
    geoms: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Encounter:
    """Statistics of a policy of random actions."""

    num_starts: int
    signals: tuple[SignalRange, ...]
    """All but pictures."""
    blind: tuple[str, ...]
    """Sentence for every camera that was blank at all starts."""
    rewards: tuple[Vector, ...]
    """Rewards of every played episode, (steps,)."""
    num_terminated: int
    """Episodes that ended by themselves, not by their length."""
    successes: tuple[bool, ...]
    """True for each episode that reached its goal; empty where the task has no success."""
    at_force_limit: Mapping[str, float]
    """Share of steps at which a force is at a limit, by actuator or joint that has one."""
    contacts: tuple[int, ...]
    """Number at each start; empty where MuJoCo does not simulate."""
    deepest: Penetration | None
    """At any start."""

    @property
    def num_steps(self) -> int:
        """Steps of all episodes."""
        return sum(len(rewards) for rewards in self.rewards)


def meet(env: TaskEnv, seed: int = 0) -> Encounter:
    """Play episodes of random actions, without pictures but for those at every start."""
    rng = np.random.default_rng(seed)
    notes = _Notes()
    for episode in range(NUM_EPISODES):
        is_played = episode == 0 or notes.num_steps < ENOUGH_STEPS
        if not is_played and episode >= NUM_STARTS:
            break
        env.begin_episode(seed=seed + episode)
        notes.see_start(env)
        if is_played:
            _play(env, rng, notes)
    return notes.summary(env)


def _play(env: TaskEnv, rng: np.random.Generator, notes: "_Notes") -> None:
    rewards: list[float] = []
    success = False
    while True:
        transition = env.take_action(random_action(env, rng))
        rewards.append(transition.reward)
        success |= transition.success
        notes.see_values(env._measure())  # noqa: SLF001  `observe` would draw, which takes long
        notes.see_forces(env)
        if transition.is_terminated or transition.is_truncated:
            break
    notes.rewards.append(np.array(rewards, np.float64))
    notes.successes.append(success)
    notes.num_terminated += int(transition.is_terminated)


@dataclass
class _Notes:
    """Statistics collected so far."""

    smallest: dict[str, Vector] = field(default_factory=dict)
    largest: dict[str, Vector] = field(default_factory=dict)
    frames: dict[str, list[Array]] = field(default_factory=dict)
    rewards: list[Vector] = field(default_factory=list)
    successes: list[bool] = field(default_factory=list)
    contacts: list[int] = field(default_factory=list)
    deepest: Penetration | None = None
    at_limit: Counter[str] = field(default_factory=Counter)
    num_starts: int = 0
    num_terminated: int = 0

    @property
    def num_steps(self) -> int:
        return sum(len(rewards) for rewards in self.rewards)

    def see_start(self, env: TaskEnv) -> None:
        self.num_starts += 1
        observation = env.observe()
        for signal in env.contract.observations:
            if signal.is_image:
                self.frames.setdefault(signal.name, []).append(observation[signal.name])
        self.see_values(observation)
        if env.mujoco_handles is not None:
            self._see_contacts(*env.mujoco_handles)

    def see_values(self, observation: Mapping[str, Array]) -> None:
        for name, value in observation.items():
            if name in self.frames:
                continue
            flat = np.asarray(value, np.float64).ravel()
            self.smallest[name] = np.minimum(self.smallest.get(name, flat), flat)
            self.largest[name] = np.maximum(self.largest.get(name, flat), flat)

    def see_forces(self, env: TaskEnv) -> None:
        if env.mujoco_handles is None:
            return
        for name, force, (low, high) in _limited_forces(*env.mujoco_handles):
            margin = AT_LIMIT * (high - low)
            self.at_limit[name] += int(force <= low + margin or force >= high - margin)

    def _see_contacts(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self.contacts.append(data.ncon)
        if not data.ncon:
            return
        index = int(np.argmin(data.contact.dist))
        depth = -float(data.contact.dist[index])
        if depth > (self.deepest.depth_m if self.deepest else 0.0):
            one, other = (_geom_name(model, int(geom)) for geom in data.contact.geom[index])
            self.deepest = Penetration(depth, (one, other))

    def summary(self, env: TaskEnv) -> Encounter:
        contract = env.contract
        reasons = (blank_reason(name, np.stack(seen)) for name, seen in self.frames.items())
        return Encounter(
            num_starts=self.num_starts,
            signals=tuple(
                SignalRange(signal, self.smallest[signal.name], self.largest[signal.name])
                for signal in contract.observations
                if signal.name not in self.frames
            ),
            blind=tuple(sentence for sentence in reasons if sentence),
            rewards=tuple(self.rewards),
            num_terminated=self.num_terminated,
            successes=tuple(self.successes) if contract.knows_success else (),
            at_force_limit={k: n / max(1, self.num_steps) for k, n in self.at_limit.items()},
            contacts=tuple(self.contacts),
            deepest=self.deepest,
        )


def _limited_forces(
    model: mujoco.MjModel, data: mujoco.MjData
) -> Iterator[tuple[str, float, tuple[float, float]]]:
    """Yield name, force and limits of all actuators that have limits, then of all such joints.

    A URDF's effort limits become limits of its joints.
    """
    for i in np.flatnonzero(model.actuator_forcelimited):
        name = model.actuator(int(i)).name or f"actuator_{i}"
        low, high = model.actuator_forcerange[i]
        yield name, float(data.actuator_force[i]), (float(low), float(high))

    for i in np.flatnonzero(model.jnt_actfrclimited):
        low, high = model.jnt_actfrcrange[i]
        force = float(data.qfrc_actuator[model.jnt_dofadr[i]])
        yield model.joint(int(i)).name or f"joint_{i}", force, (float(low), float(high))


def _geom_name(model: mujoco.MjModel, geom: int) -> str:
    """Return a geom's name, or that of its body where it has none."""
    if geom < 0:
        return "a flexible body"
    body = int(model.geom_bodyid[geom])
    return model.geom(geom).name or f"a geom of {model.body(body).name or 'the world'}"
