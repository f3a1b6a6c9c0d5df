"""Shutdown: a robot is held on every way out, whatever signals and drivers do meanwhile."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.contract import Array
from robodreamer_deploy.control import shutdown as module
from robodreamer_deploy.control.clock import VirtualClock
from robodreamer_deploy.control.safety import Safety
from robodreamer_deploy.control.shutdown import (
    HOLD_ATTEMPTS,
    HOLD_WITHIN_S,
    ShutdownResult,
    describe_shutdown,
    drive_connected,
    hold_firmly,
)
from robodreamer_deploy.control.stop_signals import SHIELD_S, StopSignals, catch_stop_signals
from robodreamer_deploy.control.watchdog import Watchdog
from toy_robot import CONTRACT, Bench

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Logged(Bench):
    """Logs what is done with it; every method may do something before, such as raise."""

    def __init__(self, **before: Callable[[], Any]) -> None:
        super().__init__("", CONTRACT)
        self.log: list[str] = []
        self._before = before

    def _do(self, what: str) -> None:
        self.log.append(what)
        self._before.get(what, lambda: None)()

    def connect(self) -> None:
        self._do("connect")

    def hold(self) -> Array:
        self._do("hold")
        return super().hold()

    def disconnect(self) -> None:
        self._do("disconnect")


class FakeNow:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def kill(number: int, times: int = 1) -> Callable[[], None]:
    def do_it() -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    return do_it


def fail(error: BaseException, times: int = 1) -> Callable[[], None]:
    errors = iter([error] * times)

    def maybe() -> None:
        if (found := next(errors, None)) is not None:
            raise found

    return maybe


def safety_of(robot: Logged) -> Safety:
    return Safety(robot, CONTRACT.action, control_dt_s=CONTRACT.control_dt_s)


def leave(
    robot: Logged, drive: Callable[[], None] = lambda: None
) -> tuple[ShutdownResult, StopSignals]:
    clock = VirtualClock()
    with catch_stop_signals() as signals:
        return drive_connected(robot, safety_of(robot), signals, clock, drive), signals


def test_the_normal_end_holds_and_disconnects() -> None:
    robot = Logged()
    result, _ = leave(robot, lambda: robot.log.append("drive"))
    assert robot.log == ["connect", "drive", "hold", "disconnect"]
    assert result == ShutdownResult(was_told_to_hold=True)


@pytest.mark.parametrize("error", [ValueError("oops"), OSError("cable"), SystemExit(3)])
def test_whatever_a_drive_raises_the_robot_is_held_first(error: BaseException) -> None:
    robot = Logged()
    with pytest.raises(type(error)):
        leave(robot, fail(error))
    assert robot.log == ["connect", "hold", "disconnect"]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_remembered_and_a_second_one_interrupts_the_drive(number: int) -> None:
    robot = Logged()
    before = signal.getsignal(number)
    result, signals = leave(robot, kill(number))
    assert (signals.number, result.was_interrupted) == (number, False)

    result, _ = leave(robot, kill(number, times=2))
    assert result.was_interrupted
    assert robot.log == ["connect", "hold", "disconnect"] * 2
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("during", ["hold", "disconnect"])
def test_impatience_does_not_keep_a_robot_from_being_held(during: str, number: int) -> None:
    held: list[str] = []

    def impatient() -> None:
        kill(number, times=3)()
        held.append("to the end")

    robot = Logged(**{during: impatient})
    result, _ = leave(robot, kill(number, times=1))
    assert (robot.log, held) == (["connect", "hold", "disconnect"], ["to the end"])
    assert result == ShutdownResult(was_told_to_hold=True)


def test_a_third_signal_right_after_the_second_does_not_keep_it_from_being_held() -> None:
    now = FakeNow()
    signals = StopSignals(now)
    signals.handle(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        signals.handle(signal.SIGINT, None)
    now.time += SHIELD_S - 0.01
    signals.handle(signal.SIGINT, None)
    now.time += 0.02
    with pytest.raises(KeyboardInterrupt):
        signals.handle(signal.SIGTERM, None)


def test_a_shield_falls_so_that_a_hanging_hold_can_be_broken_off() -> None:
    now = FakeNow()
    signals = StopSignals(now)

    def hang() -> None:
        now.time += SHIELD_S + 0.01
        signals.handle(signal.SIGINT, None)

    robot = Logged(hold=hang)
    signals.number = signal.SIGINT
    result = drive_connected(robot, safety_of(robot), signals, VirtualClock(), lambda: None)
    assert result.hold_fault == "interrupted while it did not come back"
    assert robot.log == ["connect", "hold", "disconnect"]


def test_an_interrupt_between_two_attempts_to_hold_does_not_skip_the_rest() -> None:
    class Impatient(VirtualClock):
        def sleep(self, seconds: float, /) -> None:
            raise KeyboardInterrupt

    robot = Logged(hold=fail(OSError("busy"), 9))
    result = drive_connected(robot, safety_of(robot), StopSignals(), Impatient(), lambda: None)
    assert result.hold_fault == "interrupted while it did not come back"
    assert robot.log == ["connect", "hold", "disconnect"]


@pytest.mark.parametrize("during", ["hold", "disconnect"])
def test_what_hangs_while_a_robot_is_left_is_broken_off(
    monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    monkeypatch.setattr(module, "ATTEMPT_WITHIN_S", 0.1)
    monkeypatch.setattr(module, "DISCONNECT_WITHIN_S", 0.1)
    hangs = iter([30.0])
    robot = Logged(**{during: lambda: time.sleep(next(hangs, 0.0))})
    dog = Watchdog(look_s=0.1, give_up=lambda reason, _: pytest.fail(reason))
    start = time.monotonic()
    with dog, catch_stop_signals() as signals:
        result = drive_connected(
            robot, safety_of(robot), signals, VirtualClock(), lambda: None, dog
        )
    assert time.monotonic() - start < 5.0
    if during == "hold":  # tried again, and then it works
        assert robot.log == ["connect", "hold", "hold", "disconnect"]
        assert result == ShutdownResult(was_told_to_hold=True)
    else:
        assert result.disconnect_fault is not None
        assert result.disconnect_fault.startswith("disconnect did not come back within 0.1 s: ")
        assert result.hold_fault is None


def test_signals_while_connecting_are_heeded_once_it_is_done() -> None:
    robot = Logged(connect=kill(signal.SIGTERM))
    result, signals = leave(robot)
    assert signals.reason == "SIGTERM"
    assert robot.log == ["connect", "hold", "disconnect"]
    robot = Logged(connect=kill(signal.SIGTERM, times=2))
    result, _ = leave(robot, lambda: robot.log.append("drive"))
    assert result.was_interrupted
    assert robot.log == ["connect", "hold", "disconnect"]  # nobody knows how far it came


def test_a_robot_that_cannot_be_connected_is_disconnected_only() -> None:
    robot = Logged(connect=fail(RuntimeError("no bus")))
    result, _ = leave(robot, lambda: robot.log.append("drive"))
    assert str(result.connect_error) == "no bus"
    assert robot.log == ["connect", "disconnect"]


def test_a_hold_that_fails_is_tried_again() -> None:
    robot = Logged(hold=fail(OSError("busy"), times=HOLD_ATTEMPTS - 1))
    assert hold_firmly(safety_of(robot), VirtualClock()) is None
    assert robot.log == ["hold"] * HOLD_ATTEMPTS


def test_a_hold_is_not_tried_for_ever() -> None:
    robot = Logged(hold=fail(OSError("cable lost"), times=99))
    result, _ = leave(robot)
    assert result.hold_fault == "cable lost"
    assert robot.log == ["connect", *["hold"] * HOLD_ATTEMPTS, "disconnect"]
    clock = VirtualClock()

    def slow() -> None:
        clock.sleep(HOLD_WITHIN_S)
        raise TimeoutError("no answer")

    robot = Logged(hold=slow)
    assert hold_firmly(safety_of(robot), clock) == "no answer"
    assert robot.log == ["hold"]


def test_a_failed_disconnect_is_told() -> None:
    result, _ = leave(Logged(disconnect=fail(OSError("port gone"))))
    assert (result.disconnect_fault, result.hold_fault) == ("port gone", None)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with catch_stop_signals() as signals:
            kill(signal.SIGHUP)()
            assert signals.number is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_robot_whose_motors_go_off_in_the_end_does_not_hold_and_it_is_said() -> None:
    class Falling(Logged):
        is_limp_when_disconnected = True

    for robot, words in (
        (Falling(), "the robot held; its motors are off now"),
        (Logged(), "the robot holds"),
    ):
        signals, clock = StopSignals(), VirtualClock()
        left = drive_connected(robot, robot, signals, clock, lambda: None)
        assert describe_shutdown(left) == words
        assert robot.log == ["connect", "hold", "disconnect"]


@pytest.mark.parametrize(
    ("answer", "is_limp"),
    [
        (lambda: False, False),
        (lambda: np.False_, False),
        (lambda: np.True_, True),
        (lambda: None, True),
        (lambda: "no", True),
        (fail(OSError("bus lost")), True),
        (fail(SystemExit(3)), True),
    ],
)
def test_only_a_plain_no_says_that_the_motors_stay_on(
    answer: Callable[[], Any], is_limp: bool
) -> None:
    class Asked(Logged):
        is_limp_when_disconnected = property(lambda _: answer())

    robot = Asked()
    left = drive_connected(robot, robot, StopSignals(), VirtualClock(), lambda: None)
    assert left.is_limp is is_limp
    assert robot.log == ["connect", "hold", "disconnect"]


def test_a_robot_that_does_not_say_whether_it_goes_limp_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ANSWER_WITHIN_S", 0.1)

    class Silent(Logged):
        is_limp_when_disconnected = property(lambda _: time.sleep(10.0))

    robot = Silent()
    dog = Watchdog(look_s=0.1, give_up=lambda reason, _: pytest.fail(reason))
    with dog, catch_stop_signals() as signals:
        left = drive_connected(robot, robot, signals, VirtualClock(), lambda: None, dog)
    assert describe_shutdown(left) == "the robot held; its motors are off now"
    assert robot.log == ["connect", "hold", "disconnect"]


@pytest.mark.parametrize(
    ("hanging", "is_held", "words"),
    [
        ("disconnect", False, "the robot holds"),
        ("hold", False, "holding the robot FAILED (it hangs): CUT ITS POWER"),
        ("hold", True, "the robot holds"),
    ],
)
def test_a_robot_that_held_before_something_hung_is_said_to_hold(
    hanging: str, is_held: bool, words: str
) -> None:
    """As `disconnect` in a driver's C code, where the process ends without the main thread."""
    result, said = ShutdownResult(), list[str]()

    def hang() -> None:
        result.give_up("it hangs", is_held)
        said.append(describe_shutdown(result))

    robot = Logged(**{hanging: hang})
    clock = VirtualClock()
    drive_connected(robot, robot, StopSignals(), clock, lambda: None, result=result)
    assert said == [words]
