"""Every task that is listed keeps what `robodreamer_sim.testing.conformance` demands.

One task per family runs by default, all others with `make test-all`.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from robodreamer_sim.cameras.blank_check import BLANK
from robodreamer_sim.env import MAX_STEPS
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.tasks.catalog import list_tasks
from robodreamer_sim.testing.conformance import CHECKS, OPTIONS, TaskUnderTest

QUICK = (
    "fetch_reach",
    "fetch_pick_and_place",
    "arm_push",
    "point_maze_umaze",
    "dmc_cartpole_swingup",
    "gym:HalfCheetah-v5",
)
"""Fully examined by default."""
COSTLY = (
    "hand_manipulate_block_rotate_z_touch",
    "adroit_door",
    "franka_kitchen_microwave",
    "manipulation_reach_site",
    "locomotion_cmu_humanoid_run_walls",
)
"""Of which only a few steps and their pictures are looked at by default."""
FOREIGN = (
    "gym:Ant-v5",
    "gym:FetchPickAndPlace-v4",
    "gym:HandReach-v3",
    "gym:AdroitHandDoor-v1",
    "gym:FrankaKitchen-v1",
    "gym:PointMaze_UMaze-v3",
)
VARIANT = re.compile("(hand|adroit|point|ant)_.*(_sparse|_boolean|_diverse_.*)")
"""Tasks that differ from another in their reward, their start or what a sensor is rounded to."""
FEW_CHECKS = ("observations", "pictures")
WITHOUT_LIMIT = ("dmc_lqr_lqr_2_1", "dmc_lqr_lqr_6_2")


def pairs() -> Iterator[Any]:
    """Yield every task with every check that is worth its time, slow ones marked."""
    for task in (*list_tasks(), *FOREIGN, "gym:HalfCheetah-v5"):
        for check in FEW_CHECKS if VARIANT.fullmatch(task) else CHECKS:
            is_quick = task in QUICK or (task in COSTLY and check in FEW_CHECKS)
            marks = () if is_quick else (pytest.mark.slow,)
            yield pytest.param(task, check, marks=marks, id=f"{task}-{check}")


@pytest.fixture(scope="module")
def kept() -> Iterator[dict[str, TaskUnderTest]]:
    """Hold the task under examination, which one test after the other asks for."""
    all_under_test: dict[str, TaskUnderTest] = {}
    yield all_under_test
    for under_test in all_under_test.values():
        under_test.close()


@pytest.fixture
def under_test(request: pytest.FixtureRequest, kept: dict[str, TaskUnderTest]) -> TaskUnderTest:
    task: str = request.param
    if task not in kept:
        for other in kept.values():
            other.close()
        kept.clear()
        kept[task] = TaskUnderTest(lambda options: make(task, options), OPTIONS)
    return kept[task]


@pytest.mark.parametrize(("under_test", "check"), [*pairs()], indirect=["under_test"])
def test_a_listed_task_is_fit(under_test: TaskUnderTest, check: str) -> None:
    CHECKS[check](under_test)


@pytest.mark.parametrize(
    "under_test",
    [
        task if task in QUICK else pytest.param(task, marks=pytest.mark.slow)
        for task in list_tasks()
        if not VARIANT.fullmatch(task)
    ],
    indirect=True,
)
def test_a_listed_task_is_described_and_no_camera_of_it_is_blind(under_test: TaskUnderTest) -> None:
    contract, env = under_test.contract, under_test.env
    for camera in contract.cameras:
        assert camera.fovy_rad is not None
        assert 0.05 < camera.fovy_rad < 2.5
    for signal in contract.observations:
        assert len(signal.labels) in (0, *signal.shape[:1]), signal.name
    assert contract.max_episode_steps or contract.task in WITHOUT_LIMIT
    env.reset(seed=0)
    for camera in env.camera_names:
        assert env.render_camera(camera, 48, 64).std() > BLANK, camera


def test_without_a_limit_of_its_own_an_episode_ends_all_the_same() -> None:
    env = make("dmc_lqr_lqr_2_1", EnvOptions(observe="proprio"))
    assert env.contract.max_episode_steps is None
    env.reset(seed=0)
    still = np.zeros(env.contract.action.size, np.float32)
    for step in range(1, MAX_STEPS + 1):
        *_, is_terminated, is_truncated, _ = env.step(still)
        if is_terminated:
            return
        assert is_truncated == (step == MAX_STEPS)
    env.close()


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
