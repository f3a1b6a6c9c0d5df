"""Command timeout: holds a robot when commands cease, for robots that do not do so by themselves.

It runs in the robot's process, so it acts also when the driver or the network is gone. Firmware
with a timeout of its own is better still: it acts also when this process is gone.

A deadline that has passed is a stop, whoever notices first: the server between two requests, a
command that comes too late, or a second thread while the server's own thread hangs in the robot's
class. A process that was suspended therefore finds the robot stopped, not the next command.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Protocol

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import RobotError, describe_error
from robodreamer_deploy.robots.base import is_enabling, permits

logger = logging.getLogger(__name__)

RETRY_S = 0.1
GRACE = 0.25
"""Part of the timeout for which the second thread leaves holding to the server's own thread."""


class Commanded(Protocol):
    """The half of a robot that moves it; see `robots.Robot`."""

    def send_action(self, action: Array) -> Array:
        """Send one action (A,); return what was really sent."""
        ...

    def hold(self) -> Array:
        """Bring the robot to rest; return the action (A,) that keeps it there."""
        ...


def may_move(robot: object) -> bool:
    """Ask a robot's dead-man's switch, if it has one."""
    return not is_enabling(robot) or permits(lambda: robot.is_enabled)


class CommandTimeout:
    """Command timeout of a served robot; see `server.Commands`.

    After the robot was held because commands had ceased, it refuses actions until a hold is
    requested: whoever goes on has to know that the robot stands. As a context it has a second
    thread that holds while the server's own thread hangs.
    """

    def __init__(
        self, robot: Commanded, command_within_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._robot = robot
        self._within_s = command_within_s
        self._now = now
        self._due_s = math.inf
        self._num_actions = 0
        self._has_ceased = self._is_busy = False
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="command-timeout", daemon=True)

    def __enter__(self) -> None:
        """Start the second thread."""
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the second thread, unless it hangs in the robot's class itself."""
        self._closing.set()
        self._thread.join(self._within_s)

    @property
    def command_within_s(self) -> float:
        """Time in seconds from an action to the deadline of the next command."""
        return self._within_s

    @property
    def is_enabled(self) -> bool:
        """True if the robot's dead-man's switch permits motion, or it has none."""
        return may_move(self._robot)

    @contextmanager
    def busy(self) -> Generator[None, None, None]:
        """Surround what may hang: the second thread acts at the deadline, without the grace."""
        self._is_busy = True
        try:
            yield
        finally:
            self._is_busy = False

    def send_action(self, action: Array) -> Array:
        """Forward an action.

        Raises:
            RobotError: Commands had ceased; the robot holds. Or its own, after which it is held.
        """
        self.refuse_late()  # before a new deadline hides one that has passed
        with self._lock:
            self._num_actions += 1
            self._due_s = self._now() + self._within_s
        try:
            executed = self._robot.send_action(action)
        except Exception:
            self._hold_after_fault()
            raise
        if self._has_ceased:  # the second thread has held while this action was on its way
            self._hold_after_fault()
            self._refuse_if_ceased()
        return executed

    def refuse_late(self) -> None:
        """Hold if the deadline has passed; also called directly before an action is sent.

        Raises:
            RobotError: Commands had ceased; the robot holds.
        """
        self.advance()
        self._refuse_if_ceased()

    def hold(self) -> Array:
        """Hold, and accept actions again."""
        held = self._robot.hold()
        with self._lock:
            self._has_ceased, self._due_s = False, math.inf
        return held

    def advance(self) -> float:
        """Hold if commands have ceased, again if that fails; return seconds to the next check."""
        now = self._now()
        with self._lock:
            if now < self._due_s:
                return self._due_s - now
            newest = self._num_actions
            self._has_ceased, self._due_s = True, now + RETRY_S  # until it has worked
        try:
            self._robot.hold()
        except (Exception, SystemExit) as error:  # noqa: BLE001  a driver raises what it likes
            logger.error("hold failed: %s", describe_error(error))  # noqa: TRY400  the sentence helps
            return RETRY_S
        with self._lock:
            if self._num_actions == newest:  # no other thread's action has set a new one
                self._due_s = math.inf
        logger.warning("no command for %g s: the robot was held", self._within_s)
        return math.inf

    def advance_in_background(self) -> float:
        """Hold in place of a server's thread that is late; return seconds to the next check."""
        patience_s = 0.0 if self._is_busy else GRACE * self._within_s
        left_s = self._due_s + patience_s - self._now()
        if left_s > 0.0:
            return min(left_s, GRACE * self._within_s)
        return min(self.advance(), GRACE * self._within_s)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._closing.wait(wait_s):
            wait_s = self.advance_in_background()

    def _refuse_if_ceased(self) -> None:
        if self._has_ceased:
            raise RobotError(
                f"commands had ceased for {self._within_s:g} s: the robot was held, and moves "
                "again after a hold"
            )

    def _hold_after_fault(self) -> None:
        """Hold at once; if that fails, the deadline, which is still set, holds again."""
        with suppress(Exception):
            self._robot.hold()
