"""The simulated robot: the same task as in training, through the onboard loop's interface."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.contract import Contract
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.base import (
    EpisodicRobot,
    check_features,
    is_episodic,
)
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.robots.in_process import SimulatedRobot, make_robot

OPTIONS = EnvOptions(image_size=(16, 24))


@pytest.fixture(scope="module")
def contract() -> Contract:
    env = make("fetch_reach", OPTIONS)
    env.close()
    return env.contract


def test_it_has_the_shape_of_a_robot(contract: Contract) -> None:
    robot: EpisodicRobot = make_robot("fetch_reach", contract)
    assert is_episodic(robot)
    check_features(robot, contract)
    assert robot.action_features == {"action": (4,)}
    assert robot.observation_features["image/scene"] == (16, 24, 3)
    robot.disconnect()


def test_it_runs_the_episodes_of_training(contract: Contract) -> None:
    robot, env = make_robot("fetch_reach", contract), make("fetch_reach", OPTIONS)
    robot.connect()
    robot.send_action(np.ones(4, np.float32))
    rng = np.random.default_rng(0)
    robot.start_episode(11)
    expected, _ = env.reset(seed=11)
    total = 0.0
    for step in range(1, 51):
        observed = robot.get_observation()
        contract.check(observed, inputs_only=True)
        for key, value in observed.items():
            np.testing.assert_array_equal(value, expected[key], err_msg=key)
        action = rng.uniform(-1, 1, 4).astype(np.float32)
        np.testing.assert_array_equal(robot.send_action(action), action)
        expected, reward, _, _, info = env.step(action)
        total += reward
        assert (robot.episode_return, robot.episode_success) == (total, info["success"])
        assert robot.is_episode_over == (step == 50)
    robot.start_episode(11)
    assert (robot.is_episode_over, robot.episode_return, robot.episode_success) == (False, 0, False)
    robot.disconnect()
    env.close()


def test_privileged_signals_are_not_measured(contract: Contract) -> None:
    robot = make_robot("fetch_reach", contract)
    robot.connect()
    assert robot.get_observation().keys() == {signal.name for signal in contract.inputs}
    assert contract.privileged
    robot.disconnect()


def test_it_tells_which_action_was_really_sent(contract: Contract) -> None:
    robot = make_robot("fetch_reach", contract)
    robot.connect()
    sent = robot.send_action(np.array([3.0, -0.5, -7.0, 0.0], np.float32))
    np.testing.assert_array_equal(sent, np.array([1.0, -0.5, -1.0, 0.0], np.float32))
    robot.disconnect()


def test_hold_keeps_still_at_any_time(contract: Contract) -> None:
    robot = make_robot("fetch_reach", contract)
    np.testing.assert_array_equal(robot.hold(), np.zeros(4))  # before connect
    robot.connect()
    robot.start_episode(0)
    for _ in range(3):
        robot.hold()
    before = robot.get_observation()["proprio/gripper_position"]
    for _ in range(10):
        np.testing.assert_array_equal(robot.hold(), np.zeros(4))
    after = robot.get_observation()["proprio/gripper_position"]
    np.testing.assert_allclose(after, before, atol=0.002)  # metres
    for _ in range(100):  # past the end of the episode
        robot.hold()
    assert robot.is_episode_over
    robot.disconnect()
    robot.disconnect()
    robot.hold()


@pytest.mark.parametrize("trained", ["none", "mild"])
def test_it_is_randomised_as_in_training_or_as_the_command_line_says(
    trained: str, tmp_path: Path
) -> None:
    def state(randomize: str) -> EnvOptions:
        return EnvOptions(observe="state", randomize=randomize)

    own = tmp_path / "own.json"
    own.write_text('{"preset": "strong"}')
    env = make("arm_reach", state(trained))
    env.close()
    words = {"": trained, ":randomize=none": "none", f":randomize={own}": "strong"}
    for word, expected in words.items():
        robot = make_robot(f"arm_reach{word}", env.contract)
        twin = make("arm_reach", state(expected))
        assert robot.contract == twin.contract
        robot.connect()
        first, _ = twin.reset(seed=0)
        for name, value in robot.get_observation().items():
            np.testing.assert_array_equal(value, first[name])
        robot.disconnect()
        twin.close()


@pytest.mark.parametrize("choice", ["", ":randomize=none"])
@pytest.mark.parametrize("task", ["gym:toy_env:Toy-v0", "foreign_env:NeedsName?env_name=a=b"])
def test_the_name_of_a_task_may_have_colons_and_arguments(choice: str, task: str) -> None:
    env = make(task, EnvOptions(observe="proprio"))
    env.close()
    robot = make_robot(f"{task}{choice}", env.contract)
    assert robot.contract == env.contract
    robot.disconnect()


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("fetch_reach:randomise=none", "randomise=none is not of the form sim:TASK or"),
        ("fetch_reach:none", "sim:fetch_reach:none is not of the form .* none, mild, strong or a"),
        ("fetch_reach=none", "sim:fetch_reach=none is not of the form"),
        ("fetch_reach:randomize=", "no randomisation ''; there are "),
        ("fetch_reach:randomize=wild", "no randomisation 'wild'; there are mild, "),
        ("fetch_reach:randomize=no.json", "randomize no.json: No such file"),
    ],
)
def test_a_malformed_choice_is_refused_in_words(
    contract: Contract, argument: str, words: str
) -> None:
    with pytest.raises(RobotError, match=words):
        make_robot(argument, contract)


def test_a_discrete_hold_is_a_choice() -> None:
    task = "gym:toy_env:ToyEverything-v0"
    robot = SimulatedRobot(make(task))
    robot.connect()
    np.testing.assert_array_equal(robot.hold(), [1, 0, 0])
    assert robot.episode_return == 5.0
    robot.disconnect()


@pytest.mark.parametrize(
    ("task", "success"),
    [
        ("dmc_cartpole_swingup", None),
        ("gym:Pendulum-v1", None),
        ("gym:toy_env:Toy-v0", True),  # at its second step
        ("fetch_reach", False),
    ],
)
def test_success_is_told_only_where_the_task_knows_it(task: str, success: bool | None) -> None:
    robot = SimulatedRobot(make(task, EnvOptions(observe="proprio")))
    assert robot.contract.knows_success == (success is not None)
    robot.connect()
    for _ in range(2):
        robot.send_action(np.zeros(robot.contract.action.size, np.float32))
    assert robot.episode_success is success
    robot.disconnect()


def test_another_reward_is_no_obstacle(contract: Contract) -> None:
    make_robot("fetch_reach_sparse", contract).disconnect()


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("fetch_reech", "no task 'fetch_reech'; the closest are fetch_reach"),
        ("dmc_cartpole_swingup", "cannot drive sim:dmc_cartpole_swingup: image/scene is missing"),
        ("fetch_reach_visual", "cannot drive sim:fetch_reach_visual: goal/position is missing"),
    ],
)
def test_a_task_that_the_policy_was_not_trained_for_is_refused(
    contract: Contract, task: str, words: str
) -> None:
    with pytest.raises(RobotError, match=words):
        make_robot(task, contract)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"control_dt_s": 0.05}, r"control_dt_s is 0\.04, expected 0\.05"),
        ({"options": {"rig": "left"}}, "not trained in this simulator: unknown option 'rig'"),
    ],
)
def test_a_policy_of_another_rate_or_origin_is_refused(
    contract: Contract, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(RobotError, match=words):
        make_robot("fetch_reach", dataclasses.replace(contract, **change))


def test_graphics_that_cannot_be_loaded_are_one_sentence() -> None:
    """In a process of its own: MuJoCo chooses its back end once, when it is imported."""
    code = (
        "from robodreamer_deploy.contract import Contract, ActionSpec\n"
        "from robodreamer_sim.robots.in_process import make_robot\n"
        "action = ActionSpec(size=1, kind='discrete')\n"
        "contract = Contract(task='x', observations=(), action=action, control_dt_s=1.0)\n"
        "make_robot('fetch_reach', contract)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "MUJOCO_GL": "bogus", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert "RobotError: MuJoCo cannot load what MUJOCO_GL=bogus names" in last
    assert "unset MUJOCO_GL, or install" in last
