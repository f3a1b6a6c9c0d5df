"""What goes wrong on a servo bus: told in words, within a bound, and nothing runs on."""

import logging
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.control.clock import VirtualClock
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.dynamixel import bus as bus_module
from robodreamer_deploy.robots.dynamixel.bus import DynamixelBus, NoAnswerError
from robodreamer_deploy.robots.dynamixel.robot import DynamixelRobot
from servo_arm import (
    CONTRACT,
    HOME,
    action_at,
    bus_config,
    drive,
    goals,
    simulated_bus,
)
from servo_bus.bus import SimulatedBus
from servo_bus.joints import to_rad
from servo_bus.servo import OVERLOAD


@pytest.fixture
def bus() -> Iterator[SimulatedBus]:
    with simulated_bus() as bus:
        yield bus


@pytest.fixture
def robot(bus: SimulatedBus) -> Iterator[DynamixelRobot]:
    robot = DynamixelRobot(bus_config(bus.port, watchdog_s=0.2), CONTRACT)
    robot.connect()
    yield robot
    robot.disconnect()


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
    """A port on which servos are still talking; a word takes a millisecond of the bus's clock."""

    def __init__(self, words: int, clock: VirtualClock) -> None:
        self.words, self._clock = words, clock

    def readPort(self, _: int) -> bytes:  # noqa: N802  the SDK's name
        self._clock.sleep(0.001)
        self.words -= 1
        return b"late" if self.words >= 0 else b""


def test_before_it_asks_again_it_lets_the_bus_fall_silent_within_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = VirtualClock()
    monkeypatch.setattr(bus_module, "time", SimpleNamespace(monotonic=clock.now))
    bus: Any = DynamixelBus(bus_config("/dev/nowhere"))
    bus._packets = object()
    tries: list[int] = []

    def fail() -> None:
        tries.append(bus._port.words)
        raise NoAnswerError("damaged")

    for words, heard in ((5, True), (10**6, False)):
        bus._port = Chatter(words, clock)
        tries.clear()
        start = clock.now()
        with pytest.raises(RobotError, match=r"damaged \(2 tries\)"):
            bus._try(fail)
        assert (tries[0], tries[1] < 0) == (words, heard)
        assert clock.now() - start <= bus.config.response_timeout_s + 0.002


def test_a_servo_that_falls_silent_is_named_within_a_bound(
    robot: DynamixelRobot, bus: SimulatedBus
) -> None:
    bus.silent = {13}
    with pytest.raises(RobotError, match=r"servo 13 \(elbow_pitch\) did not answer within 200 ms"):
        robot.get_observation()
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
    bus: SimulatedBus, caplog: pytest.LogCaptureFixture
) -> None:
    robot = DynamixelRobot(bus_config(bus.port, watchdog_s=2.0), CONTRACT)
    robot.connect()  # its watchdog waits longer than two tries take
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
    assert time.monotonic() - start < 30.0, "the bound is for a machine that is busy"
