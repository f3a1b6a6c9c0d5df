"""Recorder of a drive: a thread that writes the log, for which the control loop never waits.

Events that the disk cannot take fast enough wait in a ring; when that is full the oldest are
dropped, and counted. A power failure loses a second of the drive at most: every `FLUSH_S` the chunk
in progress ends and is synchronised, and a log that was cut is read up to its last whole chunk.
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
from robodreamer_deploy.recording.event_stream import LogEvent
from robodreamer_deploy.recording.format import WallClock
from robodreamer_deploy.recording.log_metadata import LogMetadata
from robodreamer_deploy.recording.private_files import open_new
from robodreamer_deploy.recording.ring import Ring
from robodreamer_deploy.recording.writer import LogWriter, require_mcap

RING_BYTES = 64 << 20
POLL_S = 0.02
FLUSH_S = 0.5
"""Half of the second that may be lost: the rest is for the disk, which a flush waits for."""
SWITCH_S = 2e-4
"""Seconds for which the recorder may keep Python's interpreter lock from the loop: 25 times fewer
than Python's default, which is a quarter of a 50 Hz period."""
CLOSING_S = 5.0
"""Seconds for which the end of a drive waits for the disk."""

logger = logging.getLogger(__name__)


class Recorder:
    """Log that is being written, whose `put` is a sink of an `EventStream`.

    Args:
        path: Path of the file, which is created at once.
        metadata: Facts of the drive.
        now: The loop's clock, in seconds.
        ring_bytes: Memory for events that wait for the disk.
        open_file: Opens the file; tests pass disks that are slow, or full.
        stopwatch: Clock by which the log is flushed, in seconds.

    Raises:
        RobotError: The file exists already or cannot be created, or `mcap` is missing.
    """

    def __init__(
        self,
        path: Path,
        metadata: LogMetadata,
        *,
        now: Callable[[], float],
        ring_bytes: int = RING_BYTES,
        open_file: Callable[[Path], BinaryIO] | None = None,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        require_mcap()
        self.path = path
        self.fault: str | None = None
        """Reason why the log ends early; None while it does not."""
        self._ring = Ring(ring_bytes)
        self._stopwatch = stopwatch
        self._flushed_s = stopwatch()
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
            target=self._write, args=(metadata,), name="recorder", daemon=True
        )
        self._thread.start()

    def put(self, event: LogEvent) -> None:
        """Take an event; returns within microseconds."""
        self._num_put += 1
        self._ring.put(event)

    @property
    def num_dropped(self) -> int:
        """Events that are not known to be on the disk."""
        return self._num_put - self._num_written

    @property
    def num_written(self) -> int:
        """Events that the disk has confirmed."""
        return self._num_written

    def close(self, timeout_s: float = CLOSING_S) -> None:
        """Write the rest and end the log, as much of it as the disk takes in time."""
        self._is_closing.set()
        self._thread.join(timeout_s)
        sys.setswitchinterval(self._switch_s)
        if self._thread.is_alive():
            self.fault = f"{self.path}: the disk did not take the end of the log in {timeout_s:g} s"

    def _write(self, metadata: LogMetadata) -> None:
        try:
            with self._file as file:
                self._write_all(LogWriter(file, metadata, self._clock), file)
        except Exception as error:  # noqa: BLE001  no log is worth a robot
            self.fault = f"{self.path} ends early: {describe_error(error)}"
            logger.error(self.fault)  # noqa: TRY400  the sentence is what helps

    def _write_all(self, writer: LogWriter, file: BinaryIO) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_closing.wait(POLL_S)  # asked first, so that nothing is left behind
            for event in self._ring.take():
                writer.write(event)
                self._flush_if_due(writer, file)
            self._flush_if_due(writer, file)
        writer.finish(self._ring.num_dropped)
        self._flush(writer, file)
        if writer.problem is not None:
            self.fault = f"{self.path}: {writer.problem}; {writer.num_unfit} in all"

    def _flush_if_due(self, writer: LogWriter, file: BinaryIO) -> None:
        if self._stopwatch() - self._flushed_s >= FLUSH_S:
            self._flush(writer, file)
            self._flushed_s = self._stopwatch()

    def _flush(self, writer: LogWriter, file: BinaryIO) -> None:
        writer.flush()
        os.fsync(file.fileno())
        self._num_written = writer.num_events
