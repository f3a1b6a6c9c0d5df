"""Signals that ask a drive to stop, or how it goes, and the time in which none may interrupt."""

import queue
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

SHIELD_S = 2.0
"""How long holding, and then disconnecting, is undisturbed; what hangs for longer can be broken
off by one more signal."""


class StopSignals:
    """Remembers the first signal; a second one interrupts at once, unless shielded.

    An interrupt shields what it leads to, so that the third Ctrl-C of an impatient user does not
    keep the robot from being held.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.number: int | None = None
        self._now = now
        self._shielded_until = now()

    @property
    def reason(self) -> str | None:
        """Name of the signal that came; None so far."""
        return None if self.number is None else signal.Signals(self.number).name

    def shield(self) -> None:
        """Let nothing interrupt for `SHIELD_S` from now on."""
        self._shielded_until = self._now() + SHIELD_S

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Let the loop finish its tick the first time; do not wait for it the second."""
        if self.number is None:
            self.number = number
        elif self._now() >= self._shielded_until:
            self.shield()
            raise KeyboardInterrupt


@contextmanager
def catch_stop_signals() -> Generator[StopSignals, None, None]:
    """Turn SIGINT, SIGTERM and SIGHUP into a reason to stop; restores the old handlers.

    A SIGHUP that whoever started the process has it ignore (`nohup`) stays ignored. SIGPIPE is
    ignored: a reader that went away must not end a drive.
    """
    signals = StopSignals()
    handlers = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signals.handle)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        del handlers[signal.SIGHUP]
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    previous[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def tell_on_request(tell: Callable[[], None]) -> Generator[None, None, None]:
    """Call `tell` at every SIGUSR1, in a thread of its own: the loop goes on meanwhile."""
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
