"""Actions that are changes, on robots that know joints: from a fresh reading, or a hold."""

import dataclasses
import logging

import numpy as np
import pytest

from lerobot_arm import Arm, ArmConfig
from robodreamer_deploy.contract import ActionSpec, Contract, Signal
from robodreamer_deploy.control.safety import Safety
from robodreamer_deploy.joint_mapping import JointMapping, Target
from robodreamer_deploy.robots.conformance import CHECKS, RobotUnderTest, examine
from robodreamer_deploy.robots.dynamixel.robot import DynamixelRobot
from robodreamer_deploy.robots.joints import GoalPositions, commanded_quantities
from robodreamer_deploy.robots.lerobot.mapping import LeRobotFile
from robodreamer_deploy.robots.lerobot.robot import LeRobotAdapter
from servo_arm import CONTRACT as SERVO_CONTRACT
from servo_arm import HIGH, HOME, JOINTS, LOW, bus_config, goals, simulated_bus
from servo_bus.joints import to_rad
from toy_robot import FakeClock

NAMES = ("shoulder_pan", "elbow_flex")
SIGNAL = Signal(
    name="proprio/joint_position", shape=(2,), dtype="float32", unit="rad", labels=NAMES
)
DT_S = 0.02


def relative(labels: tuple[str, ...], low: float, high: float, change: float) -> ActionSpec:
    """Return an action that adds up to `change` rad to the measured position of every joint."""
    targets = tuple(
        Target(
            label=label, quantity="position", unit="rad", low=low, high=high, element=i, measured=i
        )
        for i, label in enumerate(labels)
    )
    size = len(labels)
    return ActionSpec(
        size=size,
        low=(-change,) * size,
        high=(change,) * size,
        labels=labels,
        units=("rad",) * size,
        quantities=("displacement",) * size,
        mapping=JointMapping(signal="proprio/joint_position", targets=targets),
    )


SPEC = relative(NAMES, -0.5, 0.5, 0.1)
CONTRACT = Contract(task="t", observations=(SIGNAL,), action=SPEC, control_dt_s=DT_S)


def lerobot_arm() -> tuple[LeRobotAdapter, Arm, FakeClock]:
    arm, clock = Arm(ArmConfig()), FakeClock()
    robot = LeRobotAdapter(arm, CONTRACT, LeRobotFile(), clock.now)
    robot.connect()
    return robot, arm, clock


def test_a_lerobot_arm_is_sent_the_measured_pose_and_the_change() -> None:
    robot, arm, _ = lerobot_arm()
    observation = robot.get_observation()
    action = np.array([1.0, -0.5], np.float32)
    np.testing.assert_array_equal(robot.send_action(action), action)
    expected = np.degrees(SPEC.to_actuators(action, observation))
    sent = [arm.sent[-1][name] for name in NAMES]
    np.testing.assert_allclose(sent, expected, atol=1e-4)
    np.testing.assert_allclose(sent, [10 + np.degrees(0.1), -20 - np.degrees(0.05)], atol=1e-4)


def test_a_change_that_the_hardware_limits_is_executed_in_part() -> None:
    arm = Arm(ArmConfig(max_relative_target=2.0))
    robot = LeRobotAdapter(arm, CONTRACT, LeRobotFile())
    robot.connect()
    robot.get_observation()
    executed = robot.send_action(np.array([1.0, 0.1], np.float32))
    np.testing.assert_allclose(executed, [np.radians(2.0) / 0.1, 0.1], atol=1e-5)


def test_an_old_reading_is_read_again_before_it_is_changed() -> None:
    robot, arm, clock = lerobot_arm()
    robot.get_observation()
    arm.positions["shoulder_pan"] = 12.0  # it was pushed
    robot.send_action(np.zeros(2, np.float32))
    assert arm.sent[-1]["shoulder_pan"] == pytest.approx(10.0), "the newest reading is fresh"
    arm.positions["shoulder_pan"] = 12.0
    clock.sleep(1.5 * DT_S)
    robot.send_action(np.zeros(2, np.float32))
    assert arm.sent[-1]["shoulder_pan"] == pytest.approx(12.0)


def test_a_joint_that_is_not_measured_is_held_and_never_moved_from_where_it_was() -> None:
    robot, arm, clock = lerobot_arm()
    robot.get_observation()
    arm.positions["shoulder_pan"] = float("nan")
    robot.get_observation()
    for _ in range(3):
        clock.sleep(DT_S)
        executed = robot.send_action(np.ones(2, np.float32))
        np.testing.assert_array_equal(executed, [0.0, 0.0])
        assert arm.sent[-1]["shoulder_pan"] == pytest.approx(10.0)
        arm.positions["shoulder_pan"] = float("nan")


def test_holding_is_no_change_and_the_safety_layer_limits_changes() -> None:
    robot, arm, _ = lerobot_arm()
    safety = Safety(robot, SPEC, control_dt_s=DT_S)
    safety.arm()
    np.testing.assert_array_equal(safety.hold().action, [0.0, 0.0])
    robot.get_observation()
    executed = safety.send(np.array([3.0, 0.0], np.float32))
    assert executed.limits == ("range",)
    np.testing.assert_array_equal(executed.action, [1.0, 0.0])
    assert arm.sent[-1]["shoulder_pan"] == pytest.approx(10 + np.degrees(0.1))


def test_a_lerobot_arm_that_is_driven_by_changes_keeps_every_promise() -> None:
    specimen = RobotUnderTest(
        lambda: LeRobotAdapter(Arm(ArmConfig()), CONTRACT, LeRobotFile()), CONTRACT, reach=0.3
    )
    assert not [fault for name in CHECKS if (fault := examine(name, specimen).fault)]


def test_servos_are_sent_changes_from_where_they_are_and_read_again_when_that_is_old(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spec = relative(JOINTS, float(LOW.min()), float(HIGH.max()), 0.1)
    contract = dataclasses.replace(SERVO_CONTRACT, action=spec)
    with simulated_bus() as bus, caplog.at_level(logging.WARNING):
        robot = DynamixelRobot(bus_config(bus.port), contract)
        robot.connect()
        robot.get_observation()
        robot._stamp = 0.0  # so it is old, and wrong by now
        assert robot._measured is not None
        robot._measured = robot._measured - 100
        np.testing.assert_array_equal(robot.send_action(np.ones(6, np.float32)), np.ones(6))
        robot.get_observation()  # by when the bus has dealt with what was sent
        np.testing.assert_allclose([to_rad(tick) for tick in goals(bus)], HOME + 0.1, atol=0.02)
        robot.disconnect()


def test_goals_of_a_change_never_leave_the_robot_s_own_limits() -> None:
    quantities = commanded_quantities(SPEC, None)
    assert quantities == ("position", "position")
    reached = GoalPositions(SPEC, quantities, low=np.full(2, -0.2), high=np.full(2, 0.2), dt_s=DT_S)
    sent = reached.advance(np.array([1.0, -1.0], np.float32), np.array([0.15, 0.0]))
    np.testing.assert_allclose(sent, [0.2, -0.1])
    np.testing.assert_allclose(reached.executed(sent), [0.5, -1.0], atol=1e-6)
    np.testing.assert_array_equal(reached.held_at(np.array([0.3, 0.1])), [0.0, 0.0])
    beyond = np.array([0.3, -0.7])  # of the robot's limits, and of the mapping's, too
    reached.held_at(beyond)
    np.testing.assert_allclose(reached.advance(np.zeros(2, np.float32), beyond), beyond)
    sunk = beyond - np.array([0.0, 0.1])
    np.testing.assert_allclose(reached.advance(np.zeros(2, np.float32), sunk), beyond)
    pushed = np.array([0.6, -0.9])  # from outside: back, but not at once
    np.testing.assert_allclose(reached.advance(np.zeros(2, np.float32), pushed), [0.5, -0.8])
    sent = reached.advance(np.array([-1.0, -1.0], np.float32), beyond)
    np.testing.assert_allclose(sent, [0.2, -0.7], err_msg="back by the change, out not at all")
