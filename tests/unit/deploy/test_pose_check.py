"""Which pose robots are driven from and held at: one that goes on from those before.

An arm beyond its working range can be held, a jump moves nobody, and what was moved by hand stays.
"""

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_changes_on_robots import NAMES, relative
from test_ros2 import CONTRACT as ROS2_CONTRACT
from test_ros2 import LABELS, Bench

import ros2_stub
from lerobot_arm import Arm, ArmConfig
from robodreamer_deploy.contract import ActionSpec, Array, Contract, Signal
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.dynamixel.bus import PRESENT_POSITION
from robodreamer_deploy.robots.dynamixel.robot import DynamixelRobot
from robodreamer_deploy.robots.lerobot.robot import LeRobotAdapter
from robodreamer_deploy.robots.pose_check import PoseCheck
from servo_arm import CONTRACT as SERVO_CONTRACT
from servo_arm import HIGH, JOINTS, LOW, arm_contract, bus_config, goals, simulated_bus
from servo_bus.bus import SimulatedBus
from servo_bus.joints import to_rad
from toy_robot import FakeClock


def pose_check(half: float = 1.0) -> PoseCheck:
    low, high = np.array([-half]), np.array([half])
    return PoseCheck(("j",), low, high, span=high - low, speed=np.full(1, np.inf))


def believes(check: PoseCheck, position: float, time_s: float) -> bool:
    return check.doubt(np.array([position]), time_s) is None


# --- the rule -------------------------------------------------------------------------------------


def test_a_jump_is_never_believed_while_readings_go_on() -> None:
    check = pose_check()
    assert believes(check, -0.9, 0.0)
    assert not any(believes(check, 0.9, 0.5 * k) for k in range(1, 50))
    assert believes(check, -0.8, 25.0)


def test_after_a_pause_two_readings_that_agree_are_believed_and_one_alone_is_not() -> None:
    check = pose_check()
    assert believes(check, -0.9, 0.0)
    assert not believes(check, 0.5, 600.0)
    assert not believes(check, -3.0, 600.1), "they do not agree"
    assert check.wants_another
    assert not believes(check, 0.5, 600.2)
    assert believes(check, 0.5, 600.3)
    assert not check.wants_another
    assert not believes(check, -0.9, 600.4), "a jump again"
    assert not check.wants_another


def test_what_goes_on_from_before_is_believed_after_a_pause_and_beyond_the_range() -> None:
    check = pose_check()
    assert believes(check, 1.4, 0.0)
    assert believes(check, 1.5, 600.0)
    assert believes(check, 1.6, 600.1)
    assert not believes(check, 57.0, 600.2)
    assert not believes(pose_check(), float("nan"), 0.0)


def test_readings_that_are_none_are_a_pause() -> None:
    check = pose_check()
    assert believes(check, -0.9, 0.0)
    assert not any(believes(check, value, 0.5) for value in (float("nan"), 3000.0, float("inf")))
    assert not believes(check, 0.9, 1.2)
    assert believes(check, 0.9, 1.3)


def test_an_angle_that_goes_once_around_may_start_again_and_count_its_turns() -> None:
    check = pose_check(np.pi)
    assert all(believes(check, angle, 0.1 * i) for i, angle in enumerate((3.1, -3.1, 3.2, 40.9)))
    assert not check.is_far(np.array([3.1]), np.array([-3.1]))


# --- Dynamixel servos -----------------------------------------------------------------------------


@pytest.fixture
def bus() -> Iterator[SimulatedBus]:
    with simulated_bus() as made:
        yield made


def by_changes(bus: SimulatedBus) -> DynamixelRobot:
    spec = relative(JOINTS, float(LOW.min()), float(HIGH.max()), 0.05)
    return DynamixelRobot(bus_config(bus.port), dataclasses.replace(SERVO_CONTRACT, action=spec))


def shift_readings(robot: DynamixelRobot, monkeypatch: pytest.MonkeyPatch, ticks: int) -> None:
    """Have the first servo tell a position that is off by so many ticks."""
    read = robot.bus.read

    def misread(*items: Any) -> list[Array]:
        told = [values.copy() for values in read(*items)]
        for item, values in zip(items, told, strict=True):
            if item == PRESENT_POSITION:
                values[0] += ticks
        return told

    monkeypatch.setattr(robot.bus, "read", misread)


def test_servos_found_beyond_the_files_limits_are_held_where_they_are(bus: SimulatedBus) -> None:
    config = bus_config(bus.port)
    narrow = tuple(
        dataclasses.replace(s, low=0.05, high=0.1) if s.label == "elbow_pitch" else s
        for s in config.servos
    )
    contract = arm_contract("rad/s")
    robot = DynamixelRobot(dataclasses.replace(config, servos=narrow), contract)
    robot.connect()
    elbow = JOINTS.index("elbow_pitch")
    start = to_rad(goals(bus)[elbow])
    inwards = np.zeros(6, np.float32)
    inwards[elbow] = -1.0
    for _ in range(20):
        robot.get_observation()
        robot.send_action(inwards)
    at = robot.get_observation()["proprio/joint_position"][elbow]
    robot.hold()
    robot.get_observation()  # by when the bus has dealt with what was sent
    assert to_rad(goals(bus)[elbow]) == pytest.approx(at, abs=0.1)
    sent_s = 20 * contract.control_dt_s
    assert start - 1.5 * sent_s - 0.1 < to_rad(goals(bus)[elbow]) < start - 0.01
    robot.disconnect()


@pytest.mark.parametrize("is_old", [False, True])
def test_servos_that_seem_to_have_jumped_are_held_and_not_changed_from_there(
    bus: SimulatedBus, monkeypatch: pytest.MonkeyPatch, is_old: bool
) -> None:
    robot = by_changes(bus)
    robot.connect()
    robot.get_observation()
    robot.send_action(np.zeros(6, np.float32))
    before = np.array(goals(bus))
    shift_readings(robot, monkeypatch, -2048)
    robot.get_observation()
    for _ in range(3):
        if is_old:
            robot._stamp = 0.0
        executed = robot.send_action(np.ones(6, np.float32))
        np.testing.assert_array_equal(executed, np.zeros(6))
    robot.get_observation()
    np.testing.assert_allclose(goals(bus), before, atol=20)  # ticks
    robot.disconnect()


def test_servos_that_were_moved_by_hand_are_held_where_they_are_now(
    bus: SimulatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = by_changes(bus)
    robot.connect()
    robot.hold()
    shift_readings(robot, monkeypatch, 600)
    assert robot._check._read_s is not None
    robot._check._read_s -= 60.0  # since when nobody has read them
    robot._stamp -= 60.0
    before = goals(bus)[0]
    robot.hold()
    robot.get_observation()
    assert goals(bus)[0] == pytest.approx(before + 600, abs=20)
    robot.disconnect()


def test_a_servo_far_beyond_its_own_limits_is_refused_before_it_is_sent_there(
    bus: SimulatedBus,
) -> None:
    bus.servos[12].set("min_position_limit", bus.servos[12].get("present_position") + 300)
    config = bus_config(bus.port)
    servos = tuple(dataclasses.replace(s, low=1.0) if s.id == 12 else s for s in config.servos)
    robot = DynamixelRobot(dataclasses.replace(config, servos=servos), SERVO_CONTRACT)
    with pytest.raises(RobotError, match=r"servo 12 \(shoulder_pitch\) stands at .* by hand"):
        robot.connect()
    assert not bus.servos[12].get("torque_enable")


# --- LeRobot --------------------------------------------------------------------------------------

LIMITED = Signal(
    name="proprio/joint_position", shape=(2,), dtype="float32", unit="rad", labels=NAMES,
    low=(-1.5, -1.5), high=(1.5, 1.5),
)  # fmt: skip
ABSOLUTE = ActionSpec(size=2, low=(-1.5,) * 2, high=(1.5,) * 2, labels=NAMES, units=("rad",) * 2)


def lerobot_arm(pan: float) -> tuple[LeRobotAdapter, Arm, FakeClock]:
    contract = Contract(task="t", observations=(LIMITED,), action=ABSOLUTE, control_dt_s=0.04)
    arm, clock = Arm(ArmConfig()), FakeClock()
    arm.positions["shoulder_pan"] = pan
    robot = LeRobotAdapter(arm, contract, now=clock.now)
    robot.connect()
    return robot, arm, clock


@pytest.mark.parametrize("degrees", [97.0, -120.0])
def test_a_lerobot_arm_that_rests_beyond_its_working_range_is_held_there(degrees: float) -> None:
    robot, arm, clock = lerobot_arm(degrees)
    for _ in range(3):
        clock.sleep(0.04)
        robot.get_observation()
        robot.hold()
        assert arm.sent[-1]["shoulder_pan"] == pytest.approx(degrees)


@pytest.mark.parametrize("is_read_meanwhile", [False, True])
def test_a_lerobot_arm_that_was_moved_by_hand_is_held_where_it_is_now(
    is_read_meanwhile: bool,
) -> None:
    robot, arm, clock = lerobot_arm(-60.0)
    robot.hold()
    for degrees in np.linspace(-60.0, 70.0, 50):
        clock.sleep(0.1)
        arm.positions |= {"shoulder_pan": float(degrees), "gripper": 20.0}
        if is_read_meanwhile:
            robot.get_observation()
    robot.hold()
    assert arm.sent[-1]["shoulder_pan"] == pytest.approx(70.0)
    assert arm.sent[-1]["gripper"] == pytest.approx(20.0), "nor is what the policy does not drive"
    arm.positions["shoulder_pan"] = -60.0  # at once
    robot.get_observation()
    robot.hold()
    assert arm.sent[-1]["shoulder_pan"] == pytest.approx(70.0)


@pytest.mark.parametrize(
    ("config", "is_limp"),
    [
        (SimpleNamespace(left_arm_disable_torque_on_disconnect=True), True),
        (SimpleNamespace(left_arm_config=SimpleNamespace(disable_torque_on_disconnect=True)), True),
        (SimpleNamespace(arms={"left": {"disable_torque_on_disconnect": True}}), True),
        (type("ByClass", (), {"disable_torque_on_disconnect": True})(), True),
        (SimpleNamespace(left_arm_config=SimpleNamespace(disable_torque_on_disconnect=0)), False),
        (None, False),
    ],
)
def test_a_lerobot_class_with_two_arms_is_limp_if_one_of_them_is(
    config: Any, is_limp: bool
) -> None:
    robot, arm, _ = lerobot_arm(0.0)
    arm.config = config
    assert robot.is_limp_when_disconnected is is_limp


# --- ROS 2 ----------------------------------------------------------------------------------------

ROS2_CHANGES = dataclasses.replace(ROS2_CONTRACT, action=relative(LABELS, -1.0, 1.0, 0.05))


@pytest.fixture
def world() -> Iterator[ros2_stub.World]:
    with ros2_stub.installed() as made:
        yield made


def test_a_ros_2_robot_is_not_changed_from_a_pose_that_is_old_or_a_jump(
    world: ros2_stub.World,
) -> None:
    bench = Bench(world, contract=ROS2_CHANGES)
    action = np.ones(2, np.float32)
    for lift, moves in ((0.0, True), (0.1, True), (57.0, False), (-0.95, False), (0.2, True)):
        bench.clock.time += 0.05
        bench.tell(lift=lift)
        bench.world.sent.join()
        executed = bench.robot.send_action(action)
        np.testing.assert_allclose(executed, action if moves else 0.0 * action, atol=1e-6)
        expected = lift + 0.05 if moves else 0.1
        assert bench.sent[-1].data[2] == pytest.approx(expected)
    bench.clock.time += 0.05
    bench.tell(lift=0.6)
    bench.world.sent.join()
    bench.robot.send_action(action)
    bench.clock.time += 0.15  # in which nothing is published
    np.testing.assert_array_equal(bench.robot.send_action(action), [0.0, 0.0])
    assert bench.sent[-1].data[2] == pytest.approx(0.6)
    bench.robot.disconnect()


def test_a_ros_2_robot_beyond_its_range_is_held_there_and_comes_back_by_changes(
    world: ros2_stub.World,
) -> None:
    bench = Bench(world, contract=ROS2_CHANGES)
    bench.tell(lift=1.4)
    bench.observe()
    bench.robot.hold()
    assert bench.sent[-1].data[2] == pytest.approx(1.4)
    for change, expected in ((0.0, 1.4), (1.0, 1.4), (-1.0, 1.35)):
        bench.robot.send_action(np.array([0.0, change], np.float32))
        assert bench.sent[-1].data[2] == pytest.approx(expected)
    bench.robot.disconnect()


def test_a_ros_2_robot_that_was_moved_by_hand_is_held_where_it_is_now(
    world: ros2_stub.World,
) -> None:
    bench = Bench(world)
    bench.observe()
    bench.robot.hold()
    bench.clock.time += 60.0
    for k in range(2):
        bench.clock.time += 0.01
        bench.tell(lift=0.8 + 0.01 * k, gripper=0.05)
        bench.observe()
    bench.robot.hold()
    np.testing.assert_allclose(bench.sent[-1].data, [0.05, 0.5, 0.81])
    bench.robot.disconnect()
