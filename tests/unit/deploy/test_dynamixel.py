"""A servo bus as a robot, over a real serial line to simulated servos that move MuJoCo joints."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.contract import ActionSpec, Array, Contract, Signal
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.base import (
    check_features,
)
from robodreamer_deploy.robots.dynamixel.bus import PRESENT_POSITION
from robodreamer_deploy.robots.dynamixel.robot import DynamixelRobot
from robodreamer_deploy.robots.loading import load_robot
from servo_arm import (
    CONTRACT,
    HIGH,
    HOME,
    JOINTS,
    action_at,
    arm_contract,
    bus_config,
    drive,
    goals,
    simulated_bus,
    write_bus_file,
)
from servo_bus.bus import SimulatedBus
from servo_bus.joints import MujocoJoints, to_rad


@pytest.fixture
def bus() -> Iterator[SimulatedBus]:
    with simulated_bus() as bus:
        yield bus


@pytest.fixture
def robot(bus: SimulatedBus) -> Iterator[DynamixelRobot]:
    robot = DynamixelRobot(bus_config(bus.port), CONTRACT)
    robot.connect()
    yield robot
    robot.disconnect()


def test_features_are_those_of_the_contract_and_need_no_hardware() -> None:
    robot = DynamixelRobot(bus_config("/dev/nowhere"), CONTRACT)
    check_features(robot, CONTRACT)
    np.testing.assert_array_equal(robot.hold(), np.zeros(6))
    robot.disconnect()


@pytest.mark.parametrize("ticks", [20_000, -20_000])
def test_a_pose_that_no_joint_can_have_is_not_held_at(
    robot: DynamixelRobot, bus: SimulatedBus, monkeypatch: pytest.MonkeyPatch, ticks: int
) -> None:
    robot.get_observation()
    robot.send_action(action_at(HOME))
    before, read = goals(bus), robot.bus.read

    def misread(*items: Any) -> list[Array]:
        told = [values.copy() for values in read(*items)]
        if items[-1] == PRESENT_POSITION:
            told[-1][5] = ticks
        return told

    monkeypatch.setattr(robot.bus, "read", misread)
    wrong = robot.get_observation()["proprio/joint_position"]
    assert abs(wrong[5] - HOME[5]) > 2.0, "for others to judge"
    robot.hold()
    np.testing.assert_allclose(goals(bus), before, atol=20)  # ticks


def test_it_measures_what_the_joints_do(robot: DynamixelRobot, bus: SimulatedBus) -> None:
    before = time.monotonic()
    observation = robot.get_observation()
    CONTRACT.check(observation)
    np.testing.assert_allclose(observation["proprio/joint_position"], HOME, atol=0.005)
    np.testing.assert_allclose(observation["proprio/joint_velocity"], 0, atol=0.05)
    assert before <= robot.observation_stamps["proprio/joint_position"] <= time.monotonic()


def test_it_goes_where_it_is_told_and_says_so(robot: DynamixelRobot) -> None:
    target = HOME + 0.15
    action = action_at(target)
    np.testing.assert_array_equal(robot.send_action(action), action)
    moving = drive(robot, action, 0.08)["proprio/joint_velocity"]
    assert (moving > 0.2).all(), "velocity has the sign of the motion"
    arrived = drive(robot, action, 0.35)["proprio/joint_position"]
    np.testing.assert_allclose(arrived, target, atol=0.02)


def test_a_servo_mounted_the_other_way_round_behind_a_gear(bus: SimulatedBus) -> None:
    config = bus_config(bus.port)
    odd = dataclasses.replace(
        config.servos[0], low=-0.4, high=0.4, direction=-1, zero_ticks=2148,
        units_per_tick=config.servos[0].units_per_tick / 2,
    )  # fmt: skip
    servos = (odd, *config.servos[1:])
    robot = DynamixelRobot(dataclasses.replace(config, servos=servos), CONTRACT)
    robot.connect()
    at = robot.get_observation()["proprio/joint_position"]
    assert at[0] == pytest.approx(100 * np.pi / 4096, abs=1e-3), "100 ticks before its zero"
    start = bus.servos[11].get("present_position")
    target = np.where(np.arange(6) == 0, 0.2, HOME)
    moved = drive(robot, action_at(target), 0.4)
    assert moved["proprio/joint_position"][0] == pytest.approx(0.2, abs=0.01)
    assert bus.servos[11].get("present_position") < start - 60, "it turned against the joint"
    robot.disconnect()


def test_goals_stay_within_the_files_limits_and_the_executed_action_tells(
    bus: SimulatedBus,
) -> None:
    config = bus_config(bus.port)
    narrow = tuple(dataclasses.replace(s, low=s.low / 2, high=s.high / 2) for s in config.servos)
    robot = DynamixelRobot(dataclasses.replace(config, servos=narrow), CONTRACT)
    robot.connect()
    executed = robot.send_action(np.ones(6, np.float32))
    expected = np.maximum(HIGH / 2, HOME)  # two stand beyond already, and go no further
    np.testing.assert_allclose(CONTRACT.action.to_actuators(executed), expected, atol=0.002)
    robot.get_observation()  # by when the bus has dealt with what was sent
    np.testing.assert_allclose([to_rad(t) for t in goals(bus)], expected, atol=0.002)
    robot.disconnect()


def test_commanded_velocities_become_goals_that_move_at_that_speed(bus: SimulatedBus) -> None:
    contract = arm_contract("rad/s")
    robot = DynamixelRobot(bus_config(bus.port), contract)
    robot.connect()
    action = np.full(6, 0.2, np.float32)  # 0.3 rad/s
    start = robot.get_observation()["proprio/joint_position"]
    for _ in range(25):
        np.testing.assert_allclose(robot.send_action(action), action, atol=1e-6)
        time.sleep(0.01)
        robot.get_observation()
    np.testing.assert_array_equal(robot.hold(), np.zeros(6), "at rest the velocity is 0")
    asked = start + 25 * 0.3 * contract.control_dt_s
    held = robot.get_observation()["proprio/joint_position"]
    assert (np.abs(held - asked) < 0.08).all(), (held, asked)
    robot.disconnect()


def test_servos_that_the_policy_does_not_drive_stay_where_they_are(bus: SimulatedBus) -> None:
    action = ActionSpec(size=1, low=(-1.0,), high=(1.0,), labels=("base_yaw",), units=("rad",))
    robot = DynamixelRobot(bus_config(bus.port), dataclasses.replace(CONTRACT, action=action))
    robot.connect()
    before = goals(bus)
    assert isinstance(bus.joints, MujocoJoints)
    bus.joints.data.qfrc_applied[1:6] = -20.0  # a load, under which they give way
    drive(robot, np.full(1, 0.1, np.float32), 0.1)
    assert goals(bus)[1:] == before[1:]
    assert goals(bus)[0] != before[0]
    robot.disconnect()


def test_a_blocked_joint_is_not_wound_up(bus: SimulatedBus) -> None:
    contract = arm_contract("rad/s")
    robot = DynamixelRobot(bus_config(bus.port), contract)
    robot.connect()
    assert isinstance(bus.joints, MujocoJoints)
    bus.joints.model.dof_damping[0] = 1e6  # as good as blocked
    executed = np.ones(6)
    for _ in range(60):
        robot.get_observation()
        executed = robot.send_action(np.ones(6, np.float32))
    lead = to_rad(goals(bus)[0]) - to_rad(bus.servos[11].get("present_position"))
    assert lead == pytest.approx(0.25 * 1.5, abs=0.02)
    assert executed[0] < 0.2, "and it is told that it did not move on"
    robot.disconnect()


def test_hold_stays_where_it_was_first_measured(robot: DynamixelRobot, bus: SimulatedBus) -> None:
    drive(robot, action_at(HOME + 0.5), 0.15)
    first = robot.hold()
    stopped = goals(bus)
    assert isinstance(bus.joints, MujocoJoints)
    bus.joints.data.qfrc_applied[:6] = -20.0  # a load, under which the joints give way
    time.sleep(0.15)
    assert (np.array(bus.joints.positions()) < np.array(stopped) - 10).all()
    np.testing.assert_array_equal(robot.hold(), first)
    assert goals(bus) == stopped
    at = robot.get_observation()["proprio/joint_position"]
    np.testing.assert_allclose(CONTRACT.action.to_actuators(first), at, atol=0.1)
    assert (at < HOME + 0.4).all(), "it did not go on to its goal"


def test_a_joint_pushed_past_its_servos_limits_is_held_at_them(bus: SimulatedBus) -> None:
    bus.servos[11].set("max_position_limit", 3800)
    bus.servos[12].set("min_position_limit", bus.servos[12].get("present_position") + 10)
    config = bus_config(bus.port)
    narrow = tuple(dataclasses.replace(s, low=0.5) if s.id == 12 else s for s in config.servos)
    robot = DynamixelRobot(dataclasses.replace(config, servos=narrow), CONTRACT)
    robot.connect()
    robot.hold()
    assert goals(bus)[1] == bus.servos[12].get("min_position_limit")
    robot.disconnect()


@pytest.mark.parametrize("release", [False, True])
def test_in_the_end_it_holds_or_lets_go_as_the_file_says(bus: SimulatedBus, release: bool) -> None:
    robot = DynamixelRobot(bus_config(bus.port, release_at_disconnect=release), CONTRACT)
    robot.connect()
    robot.get_observation()
    robot.send_action(action_at(HOME + 0.8))
    robot.disconnect()
    time.sleep(0.05)
    assert all(s.get("torque_enable") == (not release) for s in bus.servos.values())
    assert (np.array([to_rad(t) for t in goals(bus)]) < HOME + 0.4).all(), "not on to its goal"
    np.testing.assert_array_equal(robot.hold(), np.zeros(6), "nothing to hold any more")


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        (
            Contract(
                task="t", observations=CONTRACT.observations, control_dt_s=0.02,
                action=ActionSpec(
                    size=1, low=(-1.0,), high=(1.0,), labels=("elbow",), units=("rad",)
                ),
            ),
            "the action needs the joint elbow; this robot has elbow_pitch, ",
        ),
        (
            arm_contract(extra=(Signal(
                name="proprio/gripper", shape=(2,), dtype="float32", unit="rad",
                labels=("tool_roll", "finger"),
            ),)),
            "proprio/gripper needs the joint finger; this robot has ",
        ),
        (
            Contract(
                task="t", observations=CONTRACT.observations, control_dt_s=0.02,
                action=ActionSpec(size=6, low=(-1.0,) * 6, high=(1.0,) * 6, labels=JOINTS),
            ),
            'set "command" to "position" or "velocity"',
        ),
    ],
)  # fmt: skip
def test_a_policy_whose_joints_are_not_here_is_refused(contract: Contract, words: str) -> None:
    with pytest.raises(RobotError, match=words):
        DynamixelRobot(bus_config("/dev/nowhere"), contract)


def test_a_file_makes_it_and_a_bad_one_is_refused_by_field(
    tmp_path: Path, bus: SimulatedBus
) -> None:
    path = write_bus_file(tmp_path / "arm.json", bus.port)
    robot = load_robot(f"dynamixel:{path}", CONTRACT)
    check_features(robot, CONTRACT)
    text = path.read_text()
    for old, new, words in (
        ('"id": 12', '"id": 11', "id 11 is given to more than one servo"),
        ('"id": 12', '"id": 300', r"servos\[1\]: shoulder_pitch: id 300 is not between 0 and 252"),
        ('"id": 12', '"id": "12"', r"servos\[1\]\.id is '12', expected a whole number"),
        ('"port"', '"prot"', "has unknown fields: prot"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(RobotError, match=words):
            load_robot(f"dynamixel:{path}", CONTRACT)
    with pytest.raises(RobotError, match=r"gone\.json cannot be read"):
        load_robot(f"dynamixel:{tmp_path / 'gone.json'}", CONTRACT)
