"""A thread of its own that acts when the loop's thread does not come back.

Whatever may hang - a sensor, a bus, the policy, a hold - is given a time. When that is over, the
watchdog first does what was asked for that case (has the robot hold), then interrupts the main
thread with a signal, which ends every wait of Python's; and where even that does not help, because
a driver waits in C, it gives the process up. The hold is sent within 1.25 times the time that was
given, the rest takes no more than two times `GRACE_S` in addition.

A deadline that has passed is a stop, whoever looks first: the main thread looks as well, before
it goes on. So a process that was suspended (SIGSTOP, a frozen container, a computer that slept)
does not drive on when it comes back, nor does one whose watchdog had to wait for a driver's C
code that held Python's lock (GIL). While such code hangs, only a watchdog in the robot's firmware
helps, or a switch that cuts the power.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from robodreamer_deploy.control.clock import time_with_sleep
from robodreamer_deploy.errors import HungError, describe_error
from robodreamer_deploy.robots.thread_priority import raise_to_loop

logger = logging.getLogger(__name__)

GRACE_S = 1.0
"""From the interrupt until the process is given up."""
LAST_WORDS_S = 3.0
"""Longest time in seconds for the last lines and files of a process that is given up."""
LOOKS = 4
"""Number of looks within the shortest time that is watched."""


HYPOTHESES = {
    "get_observation": "are the sensors connected, and their bus alive?",
    "send_action": "is the bus alive, and has the robot power?",
    "hold": "is the bus alive, and has the robot power?",
    "disconnect": "has the bus been unplugged?",
}
"""Likely causes of a hang, by what hangs."""
OVERLOADED = "is this computer overloaded, or was this process suspended?"
"""Likely causes of a hang outside the robot."""


class Watched(NamedTuple):
    """Deadline of an activity, and the action when it has passed."""

    until: float
    seconds: float
    doing: str
    act: Callable[[str], None] | None


class Watchdog:
    """Watchdog over one activity at a time; a context manager for the main thread."""

    def __init__(
        self,
        *,
        look_s: float,
        give_up: Callable[[str, bool], None],
        now: Callable[[], float] = time_with_sleep,
    ) -> None:
        """Make a watchdog.

        Args:
            look_s: Shortest time that will be watched.
            give_up: Called when the main thread cannot be interrupted, with a sentence and with
                whether what was asked for has been done; ends the process.
            now: Monotonic time in seconds, which goes on while the computer sleeps.
        """
        self.doing = ""
        """Activity of the loop, for the message."""
        self._look_s = look_s / LOOKS
        self._give_up = give_up
        self._now = now
        self._watched: Watched | None = None
        self._interrupted_at: float | None = None
        self._reason = ""
        self._has_acted = False
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._previous: Any = None

    def __enter__(self) -> None:
        """Start the thread and take over SIGUSR2, by which it interrupts."""
        self._previous = signal.signal(signal.SIGUSR2, self._interrupt)
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread."""
        self.forget()
        self._closing.set()
        self._thread.join(GRACE_S)
        signal.signal(signal.SIGUSR2, self._previous)

    def watch(self, seconds: float, doing: str, act: Callable[[str], None] | None = None) -> None:
        """Expect the next call of `watch` or `rest` within `seconds` from now.

        Args:
            seconds: Not below `look_s`.
            doing: What is being done, unless `turn_to` tells later.
            act: Called in the watchdog's thread with a sentence when the time is over; or in this
                thread, where that looks first.

        Raises:
            HungError: The time that was given before is over, and what was asked for is done.
        """
        self._replace(lambda now: Watched(now + seconds, seconds, doing, act))
        self.doing = doing

    def turn_to(self, doing: str) -> None:
        """Go on to something else within the same time.

        Raises:
            HungError: The time is over, and what was asked for is done.
        """
        self._replace(lambda _: self._watched)
        self.doing = doing

    def rest(self) -> None:
        """Expect nothing; after this has returned nothing is interrupted any more.

        Raises:
            HungError: The time that was given is over, and what was asked for is done.
        """
        self._replace(lambda _: None)

    def forget(self) -> None:
        """Expect nothing from now on, whatever the time: the fault that is on its way is enough."""
        with self._lock:
            self._watched = self._interrupted_at = None

    def _replace(self, following: Callable[[float], Watched | None]) -> None:
        """Watch what follows, unless the time of what is being watched is over."""
        with self._lock:
            watched, now = self._watched, self._now()
            if watched is None or now < watched.until:
                self._watched = following(now)
                return
            self._reason = self._tell(watched)
            # What is asked for may hang, too: from now on the thread watches that.
            self._watched = Watched(now + GRACE_S, GRACE_S, "hold", None)
            self._interrupted_at = None
        reason = self._reason
        try:
            if watched.act is not None:
                _does(watched.act, reason)
        finally:
            self.forget()
        raise HungError(reason)

    def _run(self) -> None:
        raise_to_loop(above=1)
        while not self._closing.wait(self._look_s):
            self._look()

    def _tell(self, watched: Watched) -> str:
        return (
            f"{self.doing} did not come back within {watched.seconds:.2g} s: "
            f"{HYPOTHESES.get(self.doing, OVERLOADED)}"
        )

    def _look(self) -> None:
        with self._lock:
            watched, interrupted_at, now = self._watched, self._interrupted_at, self._now()
            if watched is None or now < watched.until:
                return
            if interrupted_at is None:
                self._reason = self._tell(watched)
        if interrupted_at is None:
            self._has_acted = self._act(watched)
            self._break_off(watched)
        elif now > interrupted_at + GRACE_S:
            self._give_up(f"{self._reason} It cannot be interrupted.", self._has_acted)

    def _act(self, watched: Watched) -> bool:
        """Do what was asked for, and tell whether that worked; it may hang and fail as well."""
        if watched.act is None:
            return False
        act, reason, done = watched.act, self._reason, threading.Event()

        def do_it() -> None:
            if _does(act, reason):
                done.set()

        threading.Thread(target=do_it, name="watchdog's hold", daemon=True).start()
        return done.wait(GRACE_S)

    def _break_off(self, watched: Watched) -> None:
        """Interrupt, unless the main thread has found out by itself."""
        with self._lock:
            if self._watched is not watched:
                return
            self._interrupted_at = self._now()
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGUSR2)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._interrupted_at is not None:
            self._watched = self._interrupted_at = None
            raise HungError(self._reason)


def _does(act: Callable[[str], None], reason: str) -> bool:
    """Do what was asked for; return whether it came to its end, tell where it did not."""
    try:
        act(reason)
    except Exception as error:  # noqa: BLE001  a driver raises what it likes
        logger.error("watchdog: %s", describe_error(error))  # noqa: TRY400
        return False
    return True


def end_process(tell: Callable[[], object], code: int) -> None:
    """Give the process up, from the watchdog's thread: call `tell` within a bound, and end.

    A disk and a terminal may hang as well.
    """
    last = threading.Thread(target=tell, name="last words", daemon=True)
    last.start()
    last.join(LAST_WORDS_S)
    os._exit(code)
