"""Whatever would end or freeze the process asks the drive to stop, and the robot is held."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import toy_policy
from robodreamer_deploy.control.clock import VirtualClock
from robodreamer_deploy.control.safety import Safety
from robodreamer_deploy.control.shutdown import ShutdownResult, drive_connected
from robodreamer_deploy.control.stop_signals import (
    CRASHES,
    FROM_TERMINAL,
    HARMLESS,
    SecondSignalError,
    StopSignals,
    catch_stop_signals,
)
from toy_robot import CONTRACT, Bench

ROOT = Path(__file__).parents[3]
HERE = ROOT / "tests" / "stand_ins"
CANNOT_BE_CAUGHT = {signal.SIGKILL, signal.SIGSTOP}
ENDING = sorted(signal.valid_signals() - {*CANNOT_BE_CAUGHT, *CRASHES, *HARMLESS, signal.SIGPIPE})
Command = Callable[..., tuple[int, str, str]]


def defaults(numbers: Any) -> Any:
    return {number: signal.signal(number, signal.SIG_DFL) for number in numbers}


@pytest.mark.parametrize("number", ENDING)
def test_every_signal_that_would_end_or_freeze_the_process_is_a_reason_to_stop(number: int) -> None:
    before = defaults([number])
    try:
        with catch_stop_signals() as signals:
            os.kill(os.getpid(), number)
            assert signals.number == number
            assert signals.reason
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before[number])


def test_a_terminal_that_repeats_itself_is_heard_once() -> None:
    """Whoever prints where it may not is told again and again; that is nobody who insists."""
    before = defaults(FROM_TERMINAL)
    try:
        with catch_stop_signals() as signals:
            for number in FROM_TERMINAL * 3:
                os.kill(os.getpid(), number)
                signals.handle(number, None)
            assert signals.number == signal.SIGTTIN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def take_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_what_a_library_takes_for_itself_is_taken_back() -> None:
    class Greedy(Bench):
        def connect(self) -> None:
            super().connect()
            take_ctrl_c()

    robot = Greedy("", CONTRACT)
    safety = Safety(robot, CONTRACT.action, control_dt_s=0.02)

    def drive() -> None:
        os.kill(os.getpid(), signal.SIGINT)  # after connect
        assert signals.number == signal.SIGINT
        signals.number = None
        take_ctrl_c()
        signals.keep()  # before each tick
        os.kill(os.getpid(), signal.SIGINT)

    with catch_stop_signals() as signals:
        result = drive_connected(robot, safety, signals, VirtualClock(), drive)
        assert (result, signals.number) == (ShutdownResult(was_told_to_hold=True), signal.SIGINT)
        assert signals.was_taken


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_a_hold_that_raises_what_it_likes_is_tried_again(error: type[BaseException]) -> None:
    class Odd(Bench):
        def hold(self) -> Any:
            super().hold()
            if self.num_holds < 3:
                raise error
            return super().hold()

    robot = Odd("", CONTRACT)
    safety = Safety(robot, CONTRACT.action, control_dt_s=0.02)
    result = drive_connected(robot, safety, StopSignals(), VirtualClock(), lambda: None)
    assert result.hold_fault is None
    assert robot.num_holds > 2


def test_an_interrupt_of_nobody_is_told_apart_from_a_second_signal() -> None:
    robot = Bench("", CONTRACT)
    safety = Safety(robot, CONTRACT.action, control_dt_s=0.02)
    for error in (KeyboardInterrupt(), SecondSignalError()):

        def drive(error: BaseException = error) -> None:
            raise error

        result = drive_connected(robot, safety, StopSignals(), VirtualClock(), drive)
        assert result.was_interrupted is isinstance(error, SecondSignalError)
        assert (result.interrupt is error) is not result.was_interrupted
    assert robot.num_holds == 2


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_policy.write_bundle(tmp_path_factory.mktemp("policies") / "toy")


@pytest.mark.parametrize(
    ("method", "line", "code", "words"),
    [
        ("send_action", "raise KeyboardInterrupt", 1, "KeyboardInterrupt in odd.py, line"),
        ("get_observation", "raise GeneratorExit", 1, "GeneratorExit in odd.py, line"),
        ("get_observation", "raise SystemExit(0)", 1, "SystemExit in odd.py, line"),
        ("send_action", "raise asyncio.CancelledError", 1, "CancelledError in odd.py, line"),
        ("connect", "raise KeyboardInterrupt", 1, "KeyboardInterrupt in odd.py, line"),
        ("connect", "raise SystemExit(0)", 2, "cannot be connected: SystemExit in odd.py"),
        ("disconnect", "raise GeneratorExit", 1, "disconnecting: GeneratorExit in odd.py"),
        ("send_action", "signal.signal(2, signal.default_int_handler); os.kill(os.getpid(), 2)",
         130, "stopped     SIGINT; the robot holds"),
    ],
)  # fmt: skip
def test_whatever_a_robot_raises_the_last_line_and_the_exit_status_tell(
    said: Command, policy: Path, tmp_path: Path, method: str, line: str, code: int, words: str
) -> None:
    robot = tmp_path / "odd.py"
    robot.write_text(
        "import asyncio, os, signal\nfrom toy_robot import Point\nclass Odd(Point):\n"
        f"    def {method}(self, *_):\n        {line}\n"
    )
    found, out, err = said(policy, "--robot", f"{robot}:Odd", "--fast")
    assert (found, words in out + err) == (code, True), out + err
    if code != 2:
        assert out.splitlines()[-1].endswith("; the robot holds")


ROBOT = """
from toy_robot import Bench
class Telling(Bench):
    def send_action(self, action):
        print("moving", flush=True)
        return super().send_action(action)
"""
IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


@pytest.mark.parametrize(("key", "name"), [(b"\x03", "SIGINT"), (b"\x1c", "SIGQUIT"),
                                           (b"\x1a", "SIGTSTP"), (b"", "SIGHUP")])  # fmt: skip
def test_a_key_of_the_terminal_or_its_end_holds_the_robot(
    policy: Path, tmp_path: Path, key: bytes, name: str
) -> None:
    """The keys that interrupt, quit and suspend, and a window that is closed."""
    robot, report = tmp_path / "telling.py", tmp_path / "report.json"
    robot.write_text(ROBOT)
    path = os.pathsep.join([str(ROOT / "deploy"), str(HERE)])
    person, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL, ROOT / "deploy", policy,
         "--robot", f"{robot}:Telling", "--watchdog", "500", "--report", report],
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        os.close(terminal)
        said = b""
        while b"moving" not in said:
            said += os.read(person, 4096)
        if key:
            os.write(person, key)
            said += _read_all(person)
        os.close(person)
        code = process.wait(timeout=20)
    assert code == 128 + signal.Signals[name]
    assert f'"stop_reason": "{name}"' in report.read_text()
    assert '"hold_fault": null' in report.read_text()
    if key:
        assert f"stopped     {name}; the robot holds".encode() in said


def _read_all(descriptor: int) -> bytes:
    said = b""
    try:
        while chunk := os.read(descriptor, 4096):
            said += chunk
    except OSError:  # the other end is closed
        pass
    return said


def test_a_closed_stream_is_not_mistaken_for_the_robots_port(policy: Path, tmp_path: Path) -> None:
    """What is logged goes to descriptor 2, which a file of the robot would get."""
    robot, port = tmp_path / "port.py", tmp_path / "port"
    robot.write_text(
        "from toy_robot import Bench\nclass Port(Bench):\n"
        f"    def connect(self): self.port = open({str(port)!r}, 'w')\n"
        "    def get_observation(self): raise OSError('no answer')\n"
    )
    run = subprocess.run(
        ["/bin/sh", "-c", '"$0" "$@" 2>&- >&-', sys.executable, ROOT / "deploy", policy,
         "--robot", f"{robot}:Port"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "deploy"), str(HERE)])},
        check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 1
    assert port.read_text() == ""
