"""Log lines that never make whoever logs wait: a thread of their own prints them.

A terminal that was told to pause (Ctrl-S), or a reader that reads no more, holds up whoever prints;
that must not be a loop that drives a robot, nor a hold that is about to be sent.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from robodreamer_deploy.utils.suggest import printable_lines

STDERR = 2
MAX_LINES = 1000
"""Largest number of lines that wait to be printed; further ones are lost."""
FLUSH_WITHIN_S = 1.0


class LineThread:
    """Thread that says lines, one after the other; whoever gives them to it never waits."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()

    def say(self, line: str) -> None:
        """Take a line; returns at once."""
        if self._lines.qsize() < MAX_LINES:
            self._lines.put(line)

    def close(self) -> bool:
        """Say what is left; return whether somebody took it all within `FLUSH_WITHIN_S`."""
        self._lines.put(None)
        self._thread.join(FLUSH_WITHIN_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with suppress(OSError):  # nobody reads any more
            while (line := self._lines.get()) is not None:
                self._say(line)


class ThreadHandler(logging.Handler):
    """Log handler that prints from a thread, by default to stderr."""

    def __init__(self, descriptor: int = STDERR) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines = LineThread(self._print)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line; returns at once."""
        self._lines.say(printable_lines(self.format(record)))

    def close(self) -> None:
        """Print what is left, for at most `FLUSH_WITHIN_S`."""
        self._lines.close()
        super().close()

    def _print(self, line: str) -> None:
        left = f"{line}\n".encode()
        while left:  # past Python's buffer, whose lock the program's end would wait for
            left = left[os.write(self._descriptor, left) :]
