"""Signals that ask a drive to stop, or how it goes, and the time in which none may interrupt.

Every signal that would end the process, or freeze it while the robot moves, asks the drive to
stop: those of Ctrl-C, of the keys that quit and suspend, of a closed terminal, and whatever a
service manager or a container uses. Nothing can be done about SIGKILL and SIGSTOP; crashes end the
process as they always do. `docs/onboard.md` has the table.
"""

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

SHIELD_S = 2.0
"""Seconds for which holding, and then disconnecting, is undisturbed; what hangs for longer can be
broken off by one more signal."""


ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
"""Signals that people, terminals, service managers and containers send to stop a program."""
FROM_TERMINAL = (signal.SIGTTIN, signal.SIGTTOU)
"""Signals of a terminal to a background process that reads, or prints where it may not."""
CRASHES = (
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP,
    signal.SIGSYS,
)  # fmt: skip
"""Signals that a process causes by its own mistake, after which none of its code can be trusted."""
HARMLESS = (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
"""Signals that are ignored by default and sent all the time."""

logger = logging.getLogger(__name__)


class SecondSignalError(KeyboardInterrupt):
    """Somebody insists: a signal came after another one, and does not wait for the tick."""


class StopSignals:
    """Remembers the first signal; a second one interrupts at once, unless shielded.

    An interrupt shields what it leads to, so that the third Ctrl-C of an impatient user does not
    keep the robot from being held.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.number: int | None = None
        self.kept: tuple[int, ...] = ()
        """Signals that stay with this object, whatever a library does."""
        self._was_taken = False
        self._now = now
        self._shielded_until = now()

    @property
    def reason(self) -> str | None:
        """Name of the signal that came; None so far."""
        return None if self.number is None else name_of(self.number)

    def shield(self) -> None:
        """Let nothing interrupt for `SHIELD_S` from now on."""
        self._shielded_until = self._now() + SHIELD_S

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Let the loop finish its tick the first time; do not wait for it the second.

        Raises:
            SecondSignalError: It is the second one.
        """
        if number in FROM_TERMINAL:  # who prints would be told again for as long as it tries
            for ignored in FROM_TERMINAL:
                signal.signal(ignored, signal.SIG_IGN)
        if self.number is None:
            self.number = number
        elif self._now() >= self._shielded_until and number not in FROM_TERMINAL:
            self.shield()
            raise SecondSignalError

    @property
    def was_taken(self) -> bool:
        """True if a library has put, or had put, a handler of its own in the place of one here."""
        if any(signal.getsignal(number) != self.handle for number in self.kept):
            self._was_taken = True
        return self._was_taken

    def keep(self) -> None:
        """Reinstall the handlers that a library has replaced; in the main thread."""
        for number in self.kept:
            if signal.getsignal(number) != self.handle:
                self._was_taken = True
                logger.warning("a library has taken %s for itself: taken back", name_of(number))
                signal.signal(number, self.handle)

    def take_back(self) -> None:
        """Take back also what was taken past Python, as C and C++ libraries do."""
        self.keep()
        for number in self.kept:
            signal.signal(number, self.handle)


@contextmanager
def catch_stop_signals() -> Generator[StopSignals, None, None]:
    """Turn whatever would end or freeze the process into a reason to stop; restores all handlers.

    A SIGHUP that whoever started the process has it ignore (`nohup`) stays ignored, and what
    somebody else handles stays his, but for `ASKED`. SIGPIPE is ignored: a reader that went away
    must not end a drive.
    """
    signals = StopSignals()
    handled = [number for number in ASKED if number != signal.SIGHUP or not _is_ignored(number)]
    left_alone = {*ASKED, *CRASHES, *HARMLESS, signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}
    others = sorted(signal.valid_signals() - left_alone)
    handled += [number for number in others if signal.getsignal(number) is signal.SIG_DFL]
    previous = {number: signal.signal(number, signals.handle) for number in handled}
    previous[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signals.kept = tuple(number for number in handled if number in ASKED)
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def name_of(number: int) -> str:
    """Return a signal's name, or its number where it has none, as most real-time signals."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _is_ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def tell_on_request(tell: Callable[[], None]) -> Generator[None, None, None]:
    """Call `tell` at every SIGUSR1, in a thread of its own: the loop goes on."""
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()  # may be filled by a signal's handler

    def answer() -> None:
        while requests.get() != "end":
            tell()

    thread = threading.Thread(target=answer, name="reports on request", daemon=True)
    thread.start()

    def ask(_number: int, _frame: FrameType | None) -> None:
        requests.put("tell")

    previous = signal.signal(signal.SIGUSR1, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, previous)
        requests.put("end")
