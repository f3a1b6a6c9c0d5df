"""Our environments as Gymnasium's: they do as its own do, and what they return is the caller's."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from robodreamer_sim import GymnasiumVectorEnv, make
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.seeding import episode_seed
from robodreamer_sim.vector.vector_env import VectorEnv

NUM_ENVS = 3
PROPRIO = EnvOptions(observe="proprio")
TASKS = ("gym:toy_env:Toy-v0", "gym:toy_env:ToyTerminates-v0", "gym:toy_env:ToyBoth-v0")


def ours(task: str = TASKS[0], seed: int = 0) -> GymnasiumVectorEnv:
    return GymnasiumVectorEnv(VectorEnv(task, PROPRIO, num_envs=NUM_ENVS, num_workers=0, seed=seed))


class Seeded(gymnasium.Env[Any, Any]):
    """A task whose episodes have the seeds that a `VectorEnv` gives them."""

    def __init__(self, task: str, index: int) -> None:
        self._env, self._index, self._episode = make(task, PROPRIO), index, -1
        self.observation_space, self.action_space = (
            self._env.observation_space,
            self._env.action_space,
        )

    def reset(self, **_: Any) -> Any:
        self._episode += 1
        return self._env.reset(seed=episode_seed(0, self._index, self._episode))

    def step(self, action: Any) -> Any:
        return self._env.step(action)


def gymnasiums(task: str) -> SyncVectorEnv:
    """Return the same environments as Gymnasium runs them."""
    makers: list[Callable[[], Any]] = [
        lambda index=index: Seeded(task, index) for index in range(NUM_ENVS)
    ]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)


@pytest.mark.parametrize("task", TASKS)
def test_spaces_observations_and_flags_are_those_of_gymnasiums_own(task: str) -> None:
    mine, theirs = ours(task), gymnasiums(task)
    assert mine.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    for name in ("num_envs", "observation_space", "action_space"):
        assert getattr(mine, name) == getattr(theirs, name), name
    assert mine.single_observation_space == theirs.single_observation_space
    assert mine.single_action_space == theirs.single_action_space
    np.testing.assert_equal(mine.reset(), theirs.reset())
    mine.action_space.seed(0)
    for _ in range(11):
        action = mine.action_space.sample()
        found: list[Any] = [*mine.step(action)]
        expected: list[Any] = [*theirs.step(action)]
        # An end that is also late is told as an end only: nothing follows it either way.
        expected[3] = expected[3] & ~expected[2]
        expected[1] = expected[1].astype(np.float32).astype(np.float64)  # as records hold it
        np.testing.assert_equal(found, expected)
        assert [value.dtype for value in found[1:4]] == [value.dtype for value in expected[1:4]]
        assert mine.observation_space.contains(found[0])
    mine.close()
    theirs.close()


def test_everything_returned_stays_what_it_was() -> None:
    environments = ours()
    kept = [environments.reset()]
    kept += [environments.step(np.full((NUM_ENVS, 1), 0.3, np.float32)) for _ in range(2)]
    before = [repr(item) for item in kept]
    for _ in range(5):
        environments.step(np.zeros((NUM_ENVS, 1), np.float32))
    environments.reset()
    environments.close()
    assert [repr(item) for item in kept] == before
    for item in kept:
        item[0]["proprio/observation"][:] = 7.0  # nor is it read-only


def test_a_seed_begins_the_same_episodes_and_no_seed_the_next_ones() -> None:
    environments = ours(seed=5)

    def draws(seed: int | None) -> list[float]:
        observation, _ = environments.reset(seed=seed)
        return observation["proprio/observation"][:, 0].tolist()

    seeded, following, third = draws(5), draws(None), draws(None)
    assert draws(5) == seeded
    assert draws(None) == following
    assert len({*seeded, *following, *third}) == 3 * NUM_ENVS
    assert draws(6) != seeded
    environments.close()
    first = ours(seed=5)
    observation, _ = first.reset()
    assert observation["proprio/observation"][:, 0].tolist() == seeded
    first.close()


def test_gymnasiums_wrappers_work_on_it() -> None:
    environments = RecordEpisodeStatistics(ours())
    environments.reset()
    infos = [environments.step(np.full((NUM_ENVS, 1), 0.5, np.float32))[-1] for _ in range(3)]
    info = infos[-1]
    # The toy rewards the actuator value, 2.5 at 0.5.
    assert info["episode"]["r"].tolist() == [7.5] * NUM_ENVS
    assert info["episode"]["l"].tolist() == [3] * NUM_ENVS
    environments.close()
