"""The one place where a connected robot is left: held, then disconnected, whatever happened.

An error in the middle of a tick, an interrupt while an episode is being prepared, a signal that
came during `connect`, the normal end: all ways out lead through `drive_connected`.
"""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from robodreamer_deploy.control.clock import Clock
from robodreamer_deploy.control.stop_signals import SecondSignalError, StopSignals
from robodreamer_deploy.control.watchdog import Watchdog
from robodreamer_deploy.errors import describe_error
from robodreamer_deploy.robots.base import Robot, is_limp_when_disconnected

HOLD_ATTEMPTS = 5
HOLD_PAUSE_S = 0.1
HOLD_WITHIN_S = 2.0
"""No further attempt to hold begins later than this after the first."""
ATTEMPT_WITHIN_S = 1.0
"""Longest time of one attempt to hold in seconds; then the watchdog breaks it off."""
ANSWER_WITHIN_S = 1.0
"""Longest time in seconds for the answer whether the motors go off."""
DISCONNECT_WITHIN_S = 5.0
"""Longest time of disconnecting in seconds; then the watchdog breaks it off."""
MOTORS_ARE_OFF = "its motors are off now"

logger = logging.getLogger(__name__)


class Holdable(Protocol):
    """Anything that can be told to hold: a `Safety`, or a robot itself."""

    def hold(self) -> object:
        """Bring the robot to rest; raise where that fails."""
        ...


@dataclass
class ShutdownResult:
    """Result of holding and disconnecting a robot at the end of a drive."""

    connect_error: BaseException | None = None
    """Reason why it could not be connected, and so neither drive nor hold; None if it was."""
    was_interrupted: bool = False
    """True if a second signal cut the drive short."""
    interrupt: KeyboardInterrupt | None = None
    """An interrupt that none of our signals caused: the robot's own, or that of a library which has
    taken Ctrl-C for itself."""
    was_told_to_hold: bool = False
    """True if the attempts to hold are over; `hold_fault` is final then."""
    hold_fault: str | None = None
    """Reason why the last attempt to hold failed; None if the robot holds."""
    disconnect_fault: str | None = None
    """Reason why it could not be disconnected."""
    is_limp: bool = False
    """True if disconnecting it switched its motors off, so that nothing holds it any more."""

    def give_up(self, reason: str, is_held: bool) -> None:
        """Take down that the process ends because something hangs.

        What hangs after the robot was told to hold, such as `disconnect`, says nothing of the hold.

        Args:
            reason: Sentence about what hangs.
            is_held: Whether the watchdog itself had the robot hold.
        """
        if not self.was_told_to_hold:
            self.hold_fault = None if is_held else reason


def drive_connected(
    robot: Robot,
    held: Holdable,
    signals: StopSignals,
    clock: Clock,
    drive: Callable[[], None],
    watchdog: Watchdog | None = None,
    result: ShutdownResult | None = None,
) -> ShutdownResult:
    """Connect, `drive`, and on every way out hold and disconnect, undisturbed by signals.

    An interrupt ends the drive and is not passed on; errors of `drive` are, after the robot was
    left. What is told to hold is `held`, through which the robot was commanded: its `Safety`, or
    what watches the commands of another process. A robot whose `connect` fails is disconnected
    only; one whose `connect` is interrupted is held as well, for it may have come far. What hangs
    while the robot is left is broken off by the `watchdog`. What is known so far stands in
    `result`, which the watchdog's `give_up` may read, and is returned.
    """
    result = ShutdownResult() if result is None else result
    try:
        try:
            result.connect_error = _connect(robot)
            signals.take_back()  # libraries take Ctrl-C when they are initialised
            if result.connect_error is None:
                drive()
        finally:
            signals.shield()  # an interrupt that comes right before shields by itself
    except SecondSignalError:
        result.was_interrupted = True
    except KeyboardInterrupt as error:
        result.interrupt = error
    finally:
        if result.connect_error is None:
            result.hold_fault = hold_firmly(held, clock, watchdog)
            result.was_told_to_hold = True
        signals.shield()
        result.is_limp = result.connect_error is None and _goes_limp(robot, watchdog)
        result.disconnect_fault = _disconnect(robot, watchdog)
    return result


def describe_shutdown(result: ShutdownResult) -> str:
    """Return a line that says whether the robot holds, for whoever stands beside it."""
    if result.hold_fault is None:
        return f"the robot held; {MOTORS_ARE_OFF}" if result.is_limp else "the robot holds"
    return f"holding the robot FAILED ({result.hold_fault}): CUT ITS POWER"


def hold_firmly(held: Holdable, clock: Clock, watchdog: Watchdog | None = None) -> str | None:
    """Have the robot hold, trying again where that fails; return why it failed to the last.

    Takes at most `HOLD_WITHIN_S` and one attempt, whatever the robot does.
    """
    try:
        return _try_to_hold(held, clock, watchdog)
    except KeyboardInterrupt:  # somebody insists, after the shield has fallen
        return "interrupted while it did not come back"


def _try_to_hold(held: Holdable, clock: Clock, watchdog: Watchdog | None) -> str | None:
    end = clock.now() + HOLD_WITHIN_S
    fault = ""
    for _ in range(HOLD_ATTEMPTS):
        try:
            with within(watchdog, ATTEMPT_WITHIN_S, "hold"):
                held.hold()
        except SecondSignalError:
            raise
        except BaseException as error:  # noqa: BLE001  whatever a driver raises, try again
            fault = describe_error(error)
            logger.error("hold failed: %s", fault)  # noqa: TRY400  the sentence is what helps
        else:
            return None
        if clock.now() >= end:
            break
        clock.sleep(HOLD_PAUSE_S)
    return fault


@contextmanager
def within(watchdog: Watchdog | None, seconds: float, doing: str) -> Generator[None, None, None]:
    """Break off what takes longer, with `HungError`; without a watchdog, wait for it.

    Raises:
        HungError: It did not come back in time.
    """
    if watchdog is None:
        yield
        return
    watchdog.watch(seconds, doing)
    try:
        yield
    except BaseException:
        watchdog.forget()
        raise
    watchdog.rest()


def _connect(robot: Robot) -> BaseException | None:
    try:
        robot.connect()
    except KeyboardInterrupt:  # it may have come far, and is held
        raise
    except BaseException as error:  # noqa: BLE001  a driver raises what it likes
        return error
    return None


def _goes_limp(robot: Robot, watchdog: Watchdog | None) -> bool:
    try:
        with within(watchdog, ANSWER_WITHIN_S, "is_limp_when_disconnected"):
            return is_limp_when_disconnected(robot)
    except BaseException as error:  # noqa: BLE001  the robot is disconnected whatever it answers
        logger.error("whether its motors stay on is not known: %s", describe_error(error))  # noqa: TRY400
        return True


def _disconnect(robot: Robot, watchdog: Watchdog | None) -> str | None:
    try:
        with within(watchdog, DISCONNECT_WITHIN_S, "disconnect"):
            robot.disconnect()
    except BaseException as error:  # noqa: BLE001  a driver raises what it likes
        return describe_error(error)
    return None
