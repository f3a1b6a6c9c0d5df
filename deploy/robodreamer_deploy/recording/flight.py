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

from robodreamer_deploy.recording.about import About
from robodreamer_deploy.recording.mcap_writer import LogWriter, require_mcap
from robodreamer_deploy.recording.messages import WallClock
from robodreamer_deploy.recording.ring import Ring
from robodreamer_deploy.recording.tape import Entry

SECONDS = 20.0
MAX_BYTES = 32 << 20
KEPT = 20
PATTERN = "flight-*.mcap"


class FlightRecorder:
    """Keeps the newest entries of a drive. `put` is a sink of a `Tape`.

    Args:
        about: What drives.
        now: The loop's clock, in seconds.
        folder: Where dumps go; it is made when one is written.
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
        self._folder = folder or default_folder()
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
            self._folder.mkdir(parents=True, exist_ok=True)
            stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
            path = self._folder / f"flight-{stamp}.mcap"
            draft = self._folder / f".{path.name}.tmp"
            try:
                self._write(draft, entries, fault)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
            self._forget_oldest()
            return path

    def _write(self, path: Path, entries: list[Entry], fault: str) -> None:
        with path.open("wb") as file:
            writer = LogWriter(file, self._about, self._clock)
            for entry in entries:
                writer.write(entry)
            writer.finish(0, fault)
            file.flush()
            os.fsync(file.fileno())

    def _forget_oldest(self) -> None:
        for path in sorted(self._folder.glob(PATTERN))[:-KEPT]:
            path.unlink(missing_ok=True)


def default_folder() -> Path:
    """Return where this user's programs keep what should outlive a restart.

    That is $XDG_STATE_HOME or ~/.local/state, by the XDG base directory specification; the folder
    for temporary files where there is no home.
    """
    state = os.environ.get("XDG_STATE_HOME")
    try:
        home = Path(state) if state else Path.home() / ".local" / "state"
    except RuntimeError:  # no home
        home = Path(tempfile.gettempdir())
    return home / "robodreamer" / "flights"
