"""The flight recorder: the last seconds of every drive, in memory, on disk only after a fault.

A dump is a log like any other. It is written beside its place and then named, so that there is
never half a dump; the newest `KEPT` stay.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from robodreamer_deploy.recording.event_stream import Entry
from robodreamer_deploy.recording.format import WallClock
from robodreamer_deploy.recording.log_metadata import About
from robodreamer_deploy.recording.private_files import make_folder, open_new
from robodreamer_deploy.recording.ring import Ring
from robodreamer_deploy.recording.writer import LogWriter, require_mcap

SECONDS = 20.0
MAX_BYTES = 32 << 20
KEPT = 20
PATTERN = "flight-*.mcap"


class FlightRecorder:
    """Keeps the newest entries of a drive. `put` is a sink of a `Tape`.

    Args:
        about: What drives.
        now: The loop's clock, in seconds.
        folder: Where dumps go; it is made when one is written. None for the user's own, or a
            private one among the temporary files where the user has none that can be written to.
        seconds: How far back it remembers.
        max_bytes: How much memory it takes; with large cameras this may be fewer seconds.

    Raises:
        RobotError: `mcap`, which a dump needs, is missing.
    """

    def __init__(
        self,
        about: About,
        *,
        now: Callable[[], float],
        folder: Path | None = None,
        seconds: float = SECONDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        require_mcap()
        self._about = about
        self._folder = folder
        self._clock = WallClock(time.time_ns(), now())
        self._ring = Ring(max_bytes, seconds)
        self._is_dumping = threading.Lock()

    def put(self, entry: Entry) -> None:
        """Take an entry; returns within microseconds."""
        self._ring.put(entry)

    def dump(self, fault: str) -> Path | None:
        """Write what is remembered; return where, or None if nothing has happened yet.

        Whatever is going on meanwhile is not disturbed; any thread may ask.

        Raises:
            OSError: The disk is full or failed; older dumps are what they were.
        """
        with self._is_dumping:
            entries = self._ring.look()
            if not entries:
                return None
            folder = self._made_folder()
            stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
            path = folder / f"flight-{stamp}.mcap"
            draft = folder / f".{path.name}.tmp"
            try:
                self._write(draft, entries, fault)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
            _forget_oldest(folder)
            return path

    def _made_folder(self) -> Path:
        """Return the folder of the dumps, which is there now."""
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

    def _write(self, path: Path, entries: list[Entry], fault: str) -> None:
        with open_new(path) as file:
            writer = LogWriter(file, self._about, self._clock)
            for entry in entries:
                writer.write(entry)
            writer.finish(0, fault)
            file.flush()
            os.fsync(file.fileno())


def _forget_oldest(folder: Path) -> None:
    for path in sorted(folder.glob(PATTERN))[:-KEPT]:
        path.unlink(missing_ok=True)


def default_folder() -> Path | None:
    """Return where this user's programs keep what should outlive a restart; None without a home.

    That is $XDG_STATE_HOME, if it is absolute, or ~/.local/state, by the XDG base directory
    specification.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or ".")
    try:
        home = state if state.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return home / "robodreamer" / "flights"
