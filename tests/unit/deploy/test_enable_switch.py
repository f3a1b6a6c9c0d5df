"""The dead-man's switch: motion needs an operator who is there, now."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.control.enable_switch import HEARTBEAT_S, HeartbeatFile, enabling
from robodreamer_deploy.control.safety import Safety
from robodreamer_deploy.control.states import State
from robodreamer_deploy.robots.composite import CompositeRobot
from toy_robot import CONTRACT, Bench


class FakeNow:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def beat(tmp_path: Path) -> Callable[[], None]:
    path, number = tmp_path / "alive", [0]

    def touch() -> None:
        number[0] += 1
        path.touch()
        os.utime(path, (number[0], number[0]))  # whatever a clock of the day says

    return touch


def test_a_touch_counts_for_a_moment(tmp_path: Path, beat: Callable[[], None]) -> None:
    now = FakeNow()
    switch = HeartbeatFile(tmp_path / "alive", now=now)
    assert not switch()
    beat()
    assert switch()
    now.time += 0.9 * HEARTBEAT_S
    assert switch()
    now.time += 0.2 * HEARTBEAT_S
    assert not switch()
    beat()
    assert switch()


def test_a_file_left_over_from_before_counts_for_nothing(
    tmp_path: Path, beat: Callable[[], None]
) -> None:
    beat()
    switch = HeartbeatFile(tmp_path / "alive", now=FakeNow())
    assert not switch()
    beat()
    assert switch()
    (tmp_path / "alive").unlink()
    assert not switch()


class TwoClocks:
    """A monotonic clock and one of the day, which run alike until one is set."""

    def __init__(self) -> None:
        self.time, self.day = 100.0, 1.7e9

    def pass_by(self, seconds: float) -> None:
        self.time += seconds
        self.day += seconds

    def watch(self, path: Path) -> HeartbeatFile:
        day_ns = lambda: round(self.day * 1e9)  # noqa: E731
        return HeartbeatFile(path, now=lambda: self.time, day_ns=day_ns)

    def touch(self, path: Path) -> None:
        path.touch()
        os.utime(path, ns=(round(self.day * 1e9), round(self.day * 1e9)))


def test_a_touch_counts_from_when_it_was_made(tmp_path: Path) -> None:
    clocks, path = TwoClocks(), tmp_path / "alive"
    switch = clocks.watch(path)
    clocks.pass_by(1.0)
    clocks.touch(path)
    clocks.pass_by(0.4)  # a tick that took its time
    assert switch()
    clocks.pass_by(0.09)
    assert switch()
    clocks.pass_by(0.02)
    assert not switch()
    clocks.touch(path)
    clocks.pass_by(HEARTBEAT_S + 0.01)  # noticed when it is over
    assert not switch()


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0, 0.2])
def test_a_clock_that_is_set_makes_a_touch_no_younger(tmp_path: Path, jump_s: float) -> None:
    """A time server, or a drive on another computer: then it was made at the last look."""
    clocks, path = TwoClocks(), tmp_path / "alive"
    switch = clocks.watch(path)
    clocks.touch(path)
    clocks.pass_by(0.4)
    clocks.day += jump_s
    assert switch()
    clocks.pass_by(0.09)
    assert switch()
    clocks.pass_by(0.02)
    assert not switch()


@pytest.mark.parametrize("made_s", [-3600.0, 3600.0])
def test_a_touch_of_another_computers_time_counts_from_the_last_look(
    tmp_path: Path, made_s: float
) -> None:
    clocks, path = TwoClocks(), tmp_path / "alive"
    switch = clocks.watch(path)
    clocks.touch(path)
    os.utime(path, (clocks.day, clocks.day + made_s))
    clocks.pass_by(0.4)
    assert switch()
    clocks.pass_by(0.11)
    assert not switch()


class Button(Bench):
    is_enabled: Any = True


def test_the_robots_switch_and_the_file_have_to_agree(
    tmp_path: Path, beat: Callable[[], None]
) -> None:
    assert enabling(Bench("", CONTRACT), None) is None
    robot = Button("", CONTRACT)
    button, both = enabling(robot, None), enabling(robot, tmp_path / "alive")
    file = enabling(Bench("", CONTRACT), tmp_path / "alive")
    assert button is not None
    assert both is not None
    assert file is not None
    assert (button(), both(), file()) == (True, False, False)
    beat()
    assert (button(), both(), file()) == (True, True, True)
    robot.is_enabled = False
    assert (button(), both(), file()) == (False, False, True)


def test_a_robot_holds_while_the_switch_is_released_and_goes_on_after() -> None:
    robot = Button("", CONTRACT)
    safety = Safety(robot, CONTRACT.action, control_dt_s=0.02, is_enabled=lambda: robot.is_enabled)
    safety.arm()
    action = np.full(2, 0.5, np.float32)
    assert safety.send(action).limits == ()
    robot.is_enabled = False
    for _ in range(3):
        assert safety.send(action).limits == ("dead-man",)
        assert safety.state is State.HOLDING
    assert (len(robot.sent), robot.num_holds) == (1, 3)
    robot.is_enabled = True
    assert safety.send(action).limits == ()
    assert safety.state is State.DRIVING


ODD = [
    "no", "yes", 1, 1.0, np.nan, None, [False], np.True_, np.array([True]), lambda: True,
]  # fmt: skip


@pytest.mark.parametrize("answer", ODD)
def test_yes_is_true_alone(
    tmp_path: Path, beat: Callable[[], None], answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    robot = Button("", CONTRACT)
    robot.is_enabled = answer
    for file in (None, tmp_path / "alive"):
        switch = enabling(robot, file)
        beat()
        safety = Safety(robot, CONTRACT.action, control_dt_s=0.02, is_enabled=switch)
        safety.arm()
        assert safety.send(np.full(2, 0.5, np.float32)).limits == ("dead-man",)
        for _ in range(3):
            assert safety.send(np.full(2, 0.5, np.float32)).limits == ("dead-man",)
        kind = type(answer).__qualname__
        assert re.fullmatch(
            rf"the dead-man's switch says .*{kind}, and never True or False",
            safety.switch_fault or "",
        )
        assert caplog.text.count("counts as no: yes is True alone") == 1, "not in every tick"
        caplog.clear()
        robot.is_enabled = False
        safety.send(np.full(2, 0.5, np.float32))
        assert safety.switch_fault is None
        robot.is_enabled = answer
    assert robot.sent == []


def test_a_switch_that_fails_says_no(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bool:
        raise OSError("unplugged")

    robot = Bench("", CONTRACT)
    safety = Safety(robot, CONTRACT.action, control_dt_s=0.02, is_enabled=broken)
    safety.arm()
    for _ in range(3):
        assert safety.send(np.zeros(2, np.float32)).limits == ("dead-man",)
    assert robot.sent == []
    assert safety.switch_fault == (
        "the dead-man's switch failed with OSError, and never True or False"
    )
    assert caplog.text.count("Traceback") == 1


class Pedal(Bench):
    """Has a switch that can be read once it is connected."""

    def connect(self) -> None:
        super().connect()
        self.is_pressed = False

    @property
    def is_enabled(self) -> bool:
        return self.is_pressed


def rig_with(robot: Bench) -> Any:
    return CompositeRobot(robot, {})


@pytest.mark.parametrize("made", [lambda robot: robot, rig_with])
def test_a_switch_that_cannot_be_read_before_connect_is_one(made: Callable[[Any], Any]) -> None:
    pedal = Pedal("", CONTRACT)
    robot = made(pedal)
    switch = enabling(robot, None)
    assert switch is not None
    safety = Safety(robot, CONTRACT.action, control_dt_s=0.02, is_enabled=switch)
    safety.arm()
    action = np.full(2, 0.5, np.float32)
    assert safety.send(action).limits == ("dead-man",)
    robot.connect()
    assert safety.send(action).limits == ("dead-man",)
    assert pedal.sent == []
    pedal.is_pressed = True
    assert safety.send(action).limits == ()
