"""The flight recorder: the last seconds of every drive, in memory, on disk only after a fault.

A dump is a log like any other. It is written under a draft name and then renamed, so that no dump
is ever half written; the newest `KEPT` stay.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from robodreamer_deploy.recording.event_stream import LogEvent
from robodreamer_deploy.recording.format import WallClock
from robodreamer_deploy.recording.log_metadata import LogMetadata
from robodreamer_deploy.recording.private_files import make_folder, open_new
from robodreamer_deploy.recording.ring import Ring
from robodreamer_deploy.recording.writer import LogWriter, require_mcap
from robodreamer_deploy.utils.atomic_write import replacing

SECONDS = 20.0
MAX_BYTES = 32 << 20
KEPT = 20  # dumps
PATTERN = "flight-*.mcap"


class FlightRecorder:
    """Memory of a drive's newest events, whose `put` is a sink of an `EventStream`.

    Args:
        metadata: Facts of the drive.
        now: The loop's clock, in seconds.
        folder: Folder of the dumps, created with the first one. None for the user's own, or a
            private one among the temporary files where the user has none that can be written to.
        seconds: Length of the memory.
        max_bytes: Bound of the memory; with large cameras this may be fewer seconds.

    Raises:
        RobotError: `mcap`, which a dump needs, is missing.
    """

    def __init__(
        self,
        metadata: LogMetadata,
        *,
        now: Callable[[], float],
        folder: Path | None = None,
        seconds: float = SECONDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        require_mcap()
        self._metadata = metadata
        self._folder = folder
        self._clock = WallClock(time.time_ns(), now())
        self._ring = Ring(max_bytes, seconds)
        self._is_dumping = threading.Lock()

    def put(self, event: LogEvent) -> None:
        """Take an event; returns within microseconds."""
        self._ring.put(event)

    def dump(self, fault: str) -> Path | None:
        """Write the memory to a file and return its path; None if nothing has happened yet.

        Any thread may call it while the drive goes on.

        Raises:
            OSError: The disk is full or failed; older dumps are unchanged.
        """
        with self._is_dumping:
            events = self._ring.look()
            if not events:
                return None
            folder = self._made_folder()
            stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
            path = folder / f"flight-{stamp}.mcap"
            with replacing(path) as draft:
                self._write(draft, events, fault)
            _forget_oldest(folder)
            return path

    def _made_folder(self) -> Path:
        """Return the folder of the dumps, which exists now."""
        folder = self._folder or default_folder()
        try:
            if folder is not None:
                make_folder(folder)
                return folder
        except OSError:  # a home that is not there, or somebody else's, as in many containers
            if self._folder is not None:
                raise
        self._folder = Path(tempfile.mkdtemp(prefix="robodreamer-flights-"))
        return self._folder

    def _write(self, path: Path, events: list[LogEvent], fault: str) -> None:
        with open_new(path) as file:
            writer = LogWriter(file, self._metadata, self._clock)
            for event in events:
                writer.write(event)
            writer.finish(0, fault)


def _forget_oldest(folder: Path) -> None:
    for path in sorted(folder.glob(PATTERN))[:-KEPT]:
        path.unlink(missing_ok=True)


def default_folder() -> Path | None:
    """Return the folder of this user's dumps; None for a user without a home.

    It lies in $XDG_STATE_HOME if that is absolute, or else in ~/.local/state, by the XDG base
    directory specification: state that outlives a restart.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or ".")
    try:
        home = state if state.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return home / "robodreamer" / "flights"
