"""A servo bus as a robot, over a real serial line to simulated servos that move MuJoCo joints."""

import dataclasses
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servo_arm import HIGH, HOME, JOINTS, arm_contract, bus_config, simulated_bus, write_bus_file

from robodreamer_deploy.contract import ActionSpec, Array, Contract, Signal
from robodreamer_deploy.robots import RobotError, check_features
from robodreamer_deploy.robots.dynamixel import DynamixelRobot
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.servo_bus import DynamixelBus, NoAnswerError
from robodreamer_sim.dynamixel.bus import SimulatedBus
from robodreamer_sim.dynamixel.joints import MujocoJoints, to_rad
from robodreamer_sim.dynamixel.servo import OVERLOAD

CONTRACT = arm_contract()


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


def action_at(positions: Array) -> Array:
    return CONTRACT.action.from_actuators(positions)


def drive(robot: DynamixelRobot, action: Array, seconds: float) -> dict[str, Array]:
    """Send one action for some time; return the last observation."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        robot.get_observation()
        robot.send_action(action)
        time.sleep(0.02)
    return dict(robot.get_observation())


def goals(bus: SimulatedBus) -> list[int]:
    return [servo.get("goal_position") for servo in bus.servos.values()]


def test_features_are_those_of_the_contract_and_need_no_hardware() -> None:
    robot = DynamixelRobot(bus_config("/dev/nowhere"), CONTRACT)
    check_features(robot, CONTRACT)
    np.testing.assert_array_equal(robot.hold(), np.zeros(6))
    robot.disconnect()


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
    np.testing.assert_allclose(CONTRACT.action.to_actuators(executed), HIGH / 2, atol=1e-5)
    robot.get_observation()  # by when the bus has dealt with what was sent
    np.testing.assert_allclose([to_rad(t) for t in goals(bus)], HIGH / 2, atol=0.002)
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
    action = ActionSpec(size=1, low=(-1.0,), high=(1.0,), labels=("base_yaw",), unit="rad")
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


@pytest.mark.parametrize("lost", [1, 2])
def test_a_hold_that_got_lost_on_the_wire_is_sent_again(
    robot: DynamixelRobot, bus: SimulatedBus, lost: int
) -> None:
    drive(robot, action_at(HOME + 0.8), 0.1)
    bus.lost = lost  # of disarming the watchdog and sending the pose
    robot.hold()
    time.sleep(0.3)
    assert all(servo.get("bus_watchdog") == 0 for servo in bus.servos.values())
    assert (np.array([to_rad(t) for t in goals(bus)]) < HOME + 0.6).all()
    drive(robot, action_at(HOME), 0.04)
    bus.lost = 1000
    with pytest.raises(RobotError, match=r"servos 11 \(base_yaw\), .* did not take the pose"):
        robot.hold()
    bus.lost = 0
    robot.hold()


def test_without_its_own_watchdog_no_servo_is_driven(
    robot: DynamixelRobot, bus: SimulatedBus
) -> None:
    robot.get_observation()
    bus.lost = 1  # of arming it
    robot.send_action(action_at(HOME))
    assert all(servo.get("bus_watchdog") > 0 for servo in bus.servos.values())
    robot.hold()
    before = goals(bus)
    bus.lost = 1000
    with pytest.raises(RobotError, match="watchdog cannot be armed"):
        robot.send_action(action_at(HOME + 0.5))
    bus.lost = 0
    assert goals(bus) == before


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


def test_a_damaged_answer_is_read_again(robot: DynamixelRobot, bus: SimulatedBus) -> None:
    bus.damaged = 1
    CONTRACT.check(robot.get_observation())
    assert robot.bus.num_repeated == 1
    bus.damaged = 1000
    with pytest.raises(RobotError, match=r"servo 11 \(base_yaw\) answered with a damaged packet"):
        robot.get_observation()
    bus.damaged = 0
    CONTRACT.check(robot.get_observation())


class Chatter:
    """A port on which servos are still talking."""

    def __init__(self, words: int) -> None:
        self.words = words

    def readPort(self, _: int) -> bytes:  # noqa: N802  the SDK's name
        time.sleep(0.001)
        self.words -= 1
        return b"late" if self.words >= 0 else b""


def test_before_it_asks_again_it_lets_the_bus_fall_silent_within_a_bound() -> None:
    bus: Any = DynamixelBus(bus_config("/dev/nowhere"))
    bus._packets = object()
    tries: list[int] = []

    def fail() -> None:
        tries.append(bus._port.words)
        raise NoAnswerError("damaged")

    for words, heard in ((5, True), (10**6, False)):
        bus._port = Chatter(words)
        tries.clear()
        start = time.monotonic()
        with pytest.raises(RobotError, match=r"damaged \(2 tries\)"):
            bus._try(fail)
        assert (tries[0], tries[1] < 0) == (words, heard)
        assert time.monotonic() - start < 0.2


def test_a_servo_that_falls_silent_is_named_within_a_bound(
    robot: DynamixelRobot, bus: SimulatedBus
) -> None:
    bus.silent = {13}
    start = time.monotonic()
    with pytest.raises(RobotError, match=r"servo 13 \(elbow_pitch\) did not answer within 20 ms"):
        robot.get_observation()
    assert time.monotonic() - start < 0.5
    robot.hold()  # at the last known pose
    bus.silent = set()
    CONTRACT.check(robot.get_observation())


def test_a_missing_servo_is_named_before_anything_moves(bus: SimulatedBus) -> None:
    bus.silent = {12, 15}
    robot = DynamixelRobot(bus_config(bus.port), CONTRACT)
    words = r"servos 12 \(shoulder_pitch\), 15 \(wrist_pitch\) do not answer; 11, 13, 14, 16 did"
    with pytest.raises(RobotError, match=words):
        robot.connect()
    assert not any(servo.get("torque_enable") for servo in bus.servos.values())
    robot.disconnect()
    robot.disconnect()


def test_an_overloaded_servo_is_told_in_words(robot: DynamixelRobot, bus: SimulatedBus) -> None:
    robot.send_action(action_at(HOME + 0.2))
    bus.servos[14].fail(OVERLOAD)
    with pytest.raises(RobotError, match=r"servo 14 \(wrist_roll\) reports overload"):
        robot.get_observation()
    robot.hold()
    robot.disconnect()
    again = DynamixelRobot(robot.bus.config, CONTRACT)
    with pytest.raises(RobotError, match="reports overload; its torque is off until a reboot"):
        again.connect()


def test_a_cable_pulled_in_mid_drive_is_told_and_the_servos_stop_by_themselves(
    robot: DynamixelRobot, bus: SimulatedBus
) -> None:
    drive(robot, action_at(HOME + 0.8), 0.1)
    bus.unplug()
    for method in (robot.get_observation, robot.hold):
        with pytest.raises(RobotError, match=r"is gone .* look at its cable"):
            method()
    with pytest.raises(RobotError, match="is gone"):
        robot.send_action(action_at(HOME))
    robot.disconnect()
    robot.disconnect()
    bus.coast(0.3)
    assert all(servo.get("bus_watchdog") == -1 for servo in bus.servos.values())
    stopped = bus.joints.positions()
    bus.coast(1.0)
    np.testing.assert_allclose(bus.joints.positions(), stopped, atol=60)
    assert (np.array([to_rad(t) for t in stopped]) < HOME + 0.75).all()


def test_after_a_stall_the_servos_have_stopped_and_go_on_only_after_a_hold(
    robot: DynamixelRobot, bus: SimulatedBus
) -> None:
    drive(robot, action_at(HOME + 0.8), 0.1)
    time.sleep(0.3)  # the loop hangs for longer than the watchdog allows
    with pytest.raises(RobotError, match=r"no instruction for 0\.2 s: the servos stopped"):
        robot.get_observation()
    held = robot.hold()
    robot.get_observation()
    robot.send_action(held)
    robot.get_observation()  # by when the bus has dealt with what was sent before
    accepted = bus.servos[11].num_goals
    robot.send_action(action_at(HOME + 0.3))
    robot.get_observation()
    assert bus.servos[11].num_goals == accepted + 1


def test_an_action_that_comes_after_the_watchdog_has_struck_is_a_hold(
    robot: DynamixelRobot,
) -> None:
    robot.get_observation()
    far = action_at(HOME + 0.8)
    robot.send_action(far)
    time.sleep(0.3)
    executed = robot.send_action(far)
    assert (np.abs(executed - far) > 0.05).all(), "it tells that it did not do it"


def test_standing_still_wakes_no_watchdog(robot: DynamixelRobot, bus: SimulatedBus) -> None:
    robot.send_action(action_at(HOME))
    robot.hold()
    time.sleep(0.3)
    assert all(servo.get("bus_watchdog") == 0 for servo in bus.servos.values())
    CONTRACT.check(robot.get_observation())


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
    ("field", "value", "words"),
    [
        ("operating_mode", 1, r"servo 12 \(shoulder_pitch\) is in operating mode 1; set it to 3"),
        ("max_position_limit", 2500, "by the file, its own limits are 0 to 2500"),
    ],
)
def test_a_servo_set_up_for_something_else_is_refused(
    bus: SimulatedBus, field: str, value: int, words: str
) -> None:
    bus.servos[12].set(field, value)
    robot = DynamixelRobot(bus_config(bus.port), CONTRACT)
    with pytest.raises(RobotError, match=words):
        robot.connect()
    assert not bus.servos[12].get("torque_enable")
    robot.disconnect()


def test_a_port_that_is_not_there_or_in_use_is_refused(
    robot: DynamixelRobot, bus: SimulatedBus
) -> None:
    with pytest.raises(RobotError, match=r"/dev/nowhere cannot be opened: .*; there "):
        DynamixelRobot(bus_config("/dev/nowhere"), CONTRACT).connect()
    with pytest.raises(RobotError, match=r"cannot be opened: .*lock"):
        DynamixelRobot(bus_config(bus.port), CONTRACT).connect()
    with pytest.raises(RobotError, match="cannot run at 1234 baud"):
        DynamixelRobot(bus_config(bus.port, baud_rate=1234), CONTRACT).connect()


def test_a_deaf_bus_fails_everything_within_a_bound(
    robot: DynamixelRobot, bus: SimulatedBus, caplog: pytest.LogCaptureFixture
) -> None:
    robot.get_observation()
    robot.send_action(action_at(HOME))
    bus.is_deaf = True
    start = time.monotonic()
    with pytest.raises(RobotError, match="did not answer"):
        robot.get_observation()
    robot.send_action(action_at(HOME))
    with caplog.at_level(logging.WARNING):
        robot.hold()
    assert "holding at the last known pose" in caplog.text
    robot.disconnect()
    assert time.monotonic() - start < 1.0


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        (
            Contract(
                task="t", observations=CONTRACT.observations, control_dt_s=0.02,
                action=ActionSpec(size=1, low=(-1.0,), high=(1.0,), labels=("elbow",), unit="rad"),
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
