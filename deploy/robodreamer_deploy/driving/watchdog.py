"""A thread of its own that acts when the loop's thread does not come back.

Whatever may hang - a sensor, a bus, the policy, a hold - is given a time. When that is over, the
watchdog first does what was asked for that case (has the robot hold), then interrupts the main
thread with a signal, which ends every wait of Python's; and where even that does not help, because
a driver waits in C, it gives the process up. The hold is sent within 1.25 times the time that was
given, the rest takes no more than two times `GRACE_S` in addition.

It cannot run while a driver's C code keeps Python's lock (GIL) and hangs: only a watchdog in the
robot's firmware, or a switch that cuts the power, helps then.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from robodreamer_deploy.faults import HungError, sentence

logger = logging.getLogger(__name__)

GRACE_S = 1.0
"""From the interrupt until the process is given up."""
LAST_WORDS_S = 3.0
"""What is said and written when the process is given up may take so long."""
LOOKS = 4
"""How often the watchdog looks within the shortest time that it watches."""


HYPOTHESES = {
    "get_observation": "are the sensors connected, and their bus alive?",
    "send_action": "is the bus alive, and has the robot power?",
    "hold": "is the bus alive, and has the robot power?",
    "disconnect": "has the bus been unplugged?",
}
"""What to look at when something hangs, by what hangs."""


class Watched(NamedTuple):
    """What is being watched."""

    until: float
    seconds: float
    doing: str
    act: Callable[[str], None] | None


class Watchdog:
    """Watches one thing at a time; use it as a context, in the main thread."""

    def __init__(
        self,
        *,
        look_s: float,
        give_up: Callable[[str, bool], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put a watchdog together.

        Args:
            look_s: Shortest time that will be watched.
            give_up: Called when the main thread cannot be interrupted, with a sentence and with
                whether what was asked for has been done; ends the process.
            now: Monotonic time in seconds.
        """
        self.doing = ""
        """What the loop is busy with, for the message."""
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
        self.rest()
        self._closing.set()
        self._thread.join(GRACE_S)
        signal.signal(signal.SIGUSR2, self._previous)

    def watch(self, seconds: float, doing: str, act: Callable[[str], None] | None = None) -> None:
        """Expect the next call of `watch` or `rest` within `seconds` from now.

        Args:
            seconds: Not below `look_s`.
            doing: What is being done, if `doing` of this object is not set anew meanwhile.
            act: Called in the watchdog's thread with a sentence when the time is over.
        """
        self.doing = doing
        self._watched = Watched(self._now() + seconds, seconds, doing, act)

    def rest(self) -> None:
        """Expect nothing; after this has returned nothing is interrupted any more."""
        with self._lock:
            self._watched = self._interrupted_at = None

    def _run(self) -> None:
        _hurry()
        while not self._closing.wait(self._look_s):
            self._look()

    def _look(self) -> None:
        watched, interrupted_at, now = self._watched, self._interrupted_at, self._now()
        if watched is None or now < watched.until:
            return
        if interrupted_at is None:
            self._reason = (
                f"{self.doing} did not come back within {watched.seconds:.2g} s: "
                f"{HYPOTHESES.get(self.doing, 'is this computer overloaded?')}"
            )
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
            try:
                act(reason)
            except Exception as error:  # noqa: BLE001  a driver raises what it likes
                logger.error("watchdog: %s", sentence(error))  # noqa: TRY400
            else:
                done.set()

        threading.Thread(target=do_it, name="watchdog's hold", daemon=True).start()
        return done.wait(GRACE_S)

    def _break_off(self, watched: Watched) -> None:
        """Interrupt, unless what was watched has ended meanwhile."""
        with self._lock:
            if self._watched is None:
                return
            self._watched = watched  # also where the loop came back for one more tick
            self._interrupted_at = self._now()
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGUSR2)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._interrupted_at is not None:
            self._watched = self._interrupted_at = None
            raise HungError(self._reason)


def end_process(tell: Callable[[], object], code: int) -> None:
    """Give the process up, from the watchdog's thread: `tell`, as far as that comes back, and end.

    A disk and a terminal may hang as well.
    """
    last = threading.Thread(target=tell, name="last words", daemon=True)
    last.start()
    last.join(LAST_WORDS_S)
    os._exit(code)


def _hurry() -> None:
    """Run before the main thread, on any core, where that one has been made a real-time thread."""
    if not hasattr(os, "sched_getscheduler"):
        return
    if not os.sched_getscheduler(os.getpid()) & os.SCHED_FIFO:
        return
    try:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        priority = os.sched_getparam(os.getpid()).sched_priority + 1
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:  # a limit that is just enough for the loop; it watches all the same
        logger.warning("the watchdog does not run before the loop: %s", error)
