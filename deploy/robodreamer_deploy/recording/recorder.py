"""Writes a log while a robot is driven, in a thread of its own, and never makes the loop wait.

What the disk cannot take fast enough waits in a ring; when that is full the oldest entries go, and
are counted. A second of the drive at most is not yet on disk when the power fails.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from robodreamer_deploy.errors import RobotError, describe_error
from robodreamer_deploy.recording.event_stream import Entry
from robodreamer_deploy.recording.format import WallClock
from robodreamer_deploy.recording.log_metadata import About
from robodreamer_deploy.recording.private_files import open_new
from robodreamer_deploy.recording.ring import Ring
from robodreamer_deploy.recording.writer import LogWriter, require_mcap

RING_BYTES = 64 << 20
POLL_S = 0.02
FLUSH_S = 0.5
SWITCH_S = 2e-4
"""How long Python's interpreter lock may stay with the recorder while the loop waits for it: 25
times less than Python's own choice."""
CLOSING_S = 5.0
"""How long the end of a drive waits for the disk."""

logger = logging.getLogger(__name__)


class Recorder:
    """One log that is being written. `put` is a sink of a `Tape`.

    Args:
        path: Of the file, which is made at once.
        about: What drives.
        now: The loop's clock, in seconds.
        ring_bytes: Of entries that wait for the disk.
        open_file: How the file is opened; tests bring disks that are slow, or full.

    Raises:
        RobotError: There is such a file already, it cannot be made, or `mcap` is missing.
    """

    def __init__(
        self,
        path: Path,
        about: About,
        *,
        now: Callable[[], float],
        ring_bytes: int = RING_BYTES,
        open_file: Callable[[Path], BinaryIO] | None = None,
    ) -> None:
        require_mcap()
        self.path = path
        self.fault: str | None = None
        """Why the log ends early; None while it does not."""
        self._ring = Ring(ring_bytes)
        self._num_put = 0
        self._num_written = 0
        self._is_closing = threading.Event()
        try:
            self._file = (open_file or open_new)(path)
        except OSError as error:
            raise RobotError(f"--log {path} cannot be made: {error.strerror}") from error
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(min(SWITCH_S, self._switch_s))
        self._clock = WallClock(time.time_ns(), now())
        self._thread = threading.Thread(
            target=self._write, args=(about,), name="recorder", daemon=True
        )
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Take an entry; returns within microseconds."""
        self._num_put += 1
        self._ring.put(entry)

    @property
    def num_dropped(self) -> int:
        """Entries that are not known to be on the disk."""
        return self._num_put - self._num_written

    @property
    def num_written(self) -> int:
        """Entries that the disk has confirmed."""
        return self._num_written

    def close(self, timeout_s: float = CLOSING_S) -> None:
        """Write what is left and end the log, so much of it as the disk manages in time."""
        self._is_closing.set()
        self._thread.join(timeout_s)
        sys.setswitchinterval(self._switch_s)
        if self._thread.is_alive():
            self.fault = f"{self.path}: the disk did not take the end of the log in {timeout_s:g} s"

    def _write(self, about: About) -> None:
        try:
            with self._file as file:
                self._write_all(LogWriter(file, about, self._clock), file)
        except Exception as error:  # noqa: BLE001  no log is worth a robot
            self.fault = f"{self.path} ends early: {describe_error(error)}"
            logger.error(self.fault)  # noqa: TRY400  the sentence is what helps

    def _write_all(self, writer: LogWriter, file: BinaryIO) -> None:
        flushed = time.monotonic()
        is_last = False
        while not is_last:
            is_last = self._is_closing.wait(POLL_S)  # asked first, so that nothing is left behind
            for entry in self._ring.take():
                writer.write(entry)
            if time.monotonic() - flushed >= FLUSH_S:
                self._flush(writer, file)
                flushed = time.monotonic()
        writer.finish(self._ring.num_dropped)
        self._flush(writer, file)
        if writer.problem is not None:
            self.fault = f"{self.path}: {writer.problem}; {writer.num_unfit} in all"

    def _flush(self, writer: LogWriter, file: BinaryIO) -> None:
        writer.flush()
        os.fsync(file.fileno())
        self._num_written = writer.num_entries
