"""The newest entries, within so many bytes and seconds: what does not fit any more goes first."""

import threading
from collections import deque

from robodreamer_deploy.recording.event_stream import Entry


class Ring:
    """A queue that never makes whoever fills it wait: the lock is held for no more than moments.

    Args:
        max_bytes: Of arrays, about; one entry is kept however large it is.
        max_age_s: How far entries lie back behind the newest; None for as far as memory goes.
    """

    def __init__(self, max_bytes: int, max_age_s: float | None = None) -> None:
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._entries: deque[tuple[Entry, int]] = deque()  # with their bytes
        self._num_bytes = 0
        self._lock = threading.Lock()
        self.num_dropped = 0
        """Entries that were lost because memory was full; those that were too old do not count."""

    def put(self, entry: Entry) -> None:
        """Append the newest entry, at the cost of the oldest ones."""
        num_bytes = entry.num_bytes
        with self._lock:
            self._entries.append((entry, num_bytes))
            self._num_bytes += num_bytes
            while self._num_bytes > self._max_bytes and len(self._entries) > 1:
                self._drop_oldest()
                self.num_dropped += 1
            while self._is_too_old(self._entries[0][0], entry):
                self._drop_oldest()

    def take(self) -> list[Entry]:
        """Return all entries, oldest first, and forget them."""
        with self._lock:
            entries, self._entries, self._num_bytes = self._entries, deque(), 0
        return [entry for entry, _ in entries]

    def look(self) -> list[Entry]:
        """Return all entries, oldest first."""
        with self._lock:
            entries = list(self._entries)
        return [entry for entry, _ in entries]

    def _drop_oldest(self) -> None:
        self._num_bytes -= self._entries.popleft()[1]

    def _is_too_old(self, oldest: Entry, newest: Entry) -> bool:
        return self._max_age_s is not None and newest.time_s - oldest.time_s > self._max_age_s
