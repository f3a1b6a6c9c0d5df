"""The conformance suite: what every task promises, whoever wrote it.

One task per family runs by default, all others with `make test-all`.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robodreamer_deploy.contract import Contract
from robodreamer_sim.env import MAX_STEPS, TaskEnv
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.tasks.registry import list_tasks, make

Array = NDArray[Any]
Trajectory = list[tuple[dict[str, Array], float, bool, bool, bool]]

DEFAULT = ("fetch_reach", "fetch_pick_and_place", "dmc_cartpole_swingup", "gym:HalfCheetah-v5")
OTHERS = (
    *(task for task in list_tasks() if task not in DEFAULT),
    "gym:Ant-v5",
    "gym:FetchPickAndPlace-v4",
    "gym:HandReach-v3",
    "gym:AdroitHandDoor-v1",
    "gym:FrankaKitchen-v1",
    "gym:PointMaze_UMaze-v3",
)
ALL = [*DEFAULT, *(pytest.param(task, marks=pytest.mark.slow) for task in OTHERS)]
BLANK = 3.0  # standard deviation of the pixels below which a picture shows nothing
WITHOUT_LIMIT = ("dmc_lqr_lqr_2_1", "dmc_lqr_lqr_6_2")


@pytest.fixture(scope="module", params=ALL)
def env(request: pytest.FixtureRequest) -> Iterator[TaskEnv]:
    env = make(request.param, EnvOptions(image_size=(48, 64)))
    yield env
    env.close()


def roll_out(env: TaskEnv, seed: int, steps: int) -> Trajectory:
    """Take fixed random actions from a fresh episode."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    trajectory: Trajectory = [(observation, 0.0, False, False, info["success"])]
    for _ in range(steps):
        action = rng.uniform(-1, 1, env.contract.action.size).astype(np.float32)
        observation, reward, is_terminated, is_truncated, info = env.step(action)
        trajectory.append((observation, reward, is_terminated, is_truncated, info["success"]))
    return trajectory


def assert_equal(left: Trajectory, right: Trajectory) -> None:
    for step, (one, other) in enumerate(zip(left, right, strict=True)):
        assert one[1:] == other[1:], f"step {step}"
        for key, value in one[0].items():
            np.testing.assert_array_equal(value, other[0][key], err_msg=f"{key}, step {step}")


def test_observations_are_exactly_what_the_contract_says(env: TaskEnv) -> None:
    for observation, reward, is_terminated, is_truncated, success in roll_out(env, 1, 20):
        env.contract.check(observation)
        assert env.observation_space.contains(observation)
        assert math.isfinite(reward)
        assert {type(is_terminated), type(is_truncated), type(success)} == {bool}


def test_every_observation_is_an_array_of_its_own(env: TaskEnv) -> None:
    observation, _ = env.reset(seed=0)
    before = {key: value.copy() for key, value in observation.items()}
    for _ in range(3):
        env.step(np.ones(env.contract.action.size, np.float32))
    for key, value in before.items():
        np.testing.assert_array_equal(observation[key], value, err_msg=key)


def test_a_seed_gives_the_same_episode_whatever_came_before(env: TaskEnv) -> None:
    first = roll_out(env, 7, 20)
    roll_out(env, 8, 13)
    assert_equal(first, roll_out(env, 7, 20))
    fresh = make(env.contract.task, EnvOptions.from_dict(env.contract.options))
    assert_equal(first, roll_out(fresh, 7, 20))
    fresh.close()


def test_another_seed_gives_another_episode(env: TaskEnv) -> None:
    one, other = roll_out(env, 1, 3), roll_out(env, 2, 3)
    vectors = [s.name for s in env.contract.observations if not s.is_image]
    assert any((one[3][0][key] != other[3][0][key]).any() for key in vectors)


def test_drawing_pictures_does_not_change_the_simulation(env: TaskEnv) -> None:
    blind = make(env.contract.task.replace("_visual", ""), EnvOptions(observe="proprio"))
    plain = roll_out(blind, 3, 10)
    blind.close()
    rng = np.random.default_rng(3)
    env.reset(seed=3)
    for expected, *outcome in plain[1:]:
        assert env.render_camera(height=50, width=70).shape == (50, 70, 3)
        action = rng.uniform(-1, 1, env.contract.action.size).astype(np.float32)
        observation, reward, is_terminated, is_truncated, info = env.step(action)
        assert outcome == [reward, is_terminated, is_truncated, info["success"]]
        common = expected.keys() & observation.keys()
        assert common
        for key in common:
            np.testing.assert_array_equal(observation[key], expected[key], err_msg=key)


def test_pictures_show_something_and_move(env: TaskEnv) -> None:
    pictures = {s.name: [] for s in env.contract.observations if s.is_image}
    assert pictures
    for observation, *_ in roll_out(env, 4, 20):
        for name, seen in pictures.items():
            seen.append(observation[name])
    for name, seen in pictures.items():
        assert seen[0].shape == (48, 64, 3)
        assert np.stack(seen).std() > BLANK, name
        assert (seen[0] != seen[-1]).any(), name


def test_actions_beyond_the_limits_are_clipped(env: TaskEnv) -> None:
    size = env.contract.action.size
    for sign in (-1, 1):
        env.reset(seed=5)
        beyond = env.step(np.full(size, sign * 3.0, np.float32))
        env.reset(seed=5)
        at_limit = env.step(np.full(size, sign * 1.0, np.float32))
        assert beyond[1] == at_limit[1]
        for key, value in beyond[0].items():
            np.testing.assert_array_equal(value, at_limit[0][key], err_msg=key)


def test_an_action_that_is_no_action_is_refused(env: TaskEnv) -> None:
    env.reset(seed=0)
    size = env.contract.action.size
    for bad in (np.full(size, np.nan, np.float32), np.zeros(size + 1, np.float32)):
        with pytest.raises(ValueError, match=f"an action is {size} finite numbers"):
            env.step(bad)


def test_the_contract_remakes_the_task(env: TaskEnv) -> None:
    contract = env.contract
    assert Contract.from_json(contract.to_json()) == contract
    again = make(contract.task, EnvOptions.from_dict(contract.options))
    assert again.contract == contract
    again.close()


def test_the_contract_is_complete(env: TaskEnv) -> None:
    contract = env.contract
    assert contract.inputs
    assert 0.001 <= contract.control_dt_s <= 0.2
    images = [s.name for s in contract.observations if s.is_image]
    assert [camera.signal for camera in contract.cameras] == images
    for camera in contract.cameras:
        assert camera.fovy_rad is not None
        assert 0.05 < camera.fovy_rad < 2.5
    for signal in contract.observations:
        assert len(signal.labels) in (0, *signal.shape[:1]), signal.name


def test_an_episode_is_cut_at_the_stated_step_or_terminates(env: TaskEnv) -> None:
    limit = env.contract.max_episode_steps
    if limit is None:
        assert env.contract.task in WITHOUT_LIMIT
        limit = MAX_STEPS
    is_visual = "_visual" in env.contract.task
    options = EnvOptions(observe="camera" if is_visual else "proprio", image_size=(4, 4))
    vectors = make(env.contract.task, options)
    vectors.reset(seed=6)
    rng = np.random.default_rng(6)
    for step in range(1, limit + 1):
        action = rng.uniform(-1, 1, env.contract.action.size).astype(np.float32)
        _, _, is_terminated, is_truncated, _ = vectors.step(action)
        assert is_truncated == (step == limit)
        if is_terminated:
            break
    vectors.close()


@pytest.mark.parametrize("task", ["fetch_reach", "dmc_cartpole_swingup", "gym:HalfCheetah-v5"])
def test_repeating_an_action_sums_rewards_and_keeps_the_episode(task: str) -> None:
    once = make(task, EnvOptions(observe="proprio"))
    thrice = make(task, EnvOptions(observe="proprio", action_repeat=3))
    assert thrice.contract.control_dt_s == pytest.approx(3 * once.contract.control_dt_s)
    assert once.contract.max_episode_steps is not None
    steps = math.ceil(once.contract.max_episode_steps / 3)
    assert thrice.contract.max_episode_steps == steps
    once.reset(seed=1)
    thrice.reset(seed=1)
    for step in range(1, steps + 1):
        action = np.full(once.contract.action.size, 0.3 - 0.01 * step, np.float32).clip(-1, 1)
        expected, reward, is_truncated = {}, 0.0, False
        for _ in range(3):
            if not is_truncated:
                expected, part, _, is_truncated, _ = once.step(action)
                reward += part
        observation, total, _, is_cut, _ = thrice.step(action)
        assert total == pytest.approx(reward)
        assert is_cut == is_truncated == (step == steps)
        for key, value in observation.items():
            np.testing.assert_array_equal(value, expected[key], err_msg=key)
    once.close()
    thrice.close()
