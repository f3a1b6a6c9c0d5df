"""Queue of the newest events, bounded in bytes and seconds: the oldest make room."""

import threading
from collections import deque

from robodreamer_deploy.recording.event_stream import LogEvent


class Ring:
    """Queue between the control loop and a recorder; its lock is held for microseconds.

    Args:
        max_bytes: Bound of the memory; one event is kept however large it is.
        max_age_s: Largest age, measured from the newest event; None bounds the memory alone.
    """

    def __init__(self, max_bytes: int, max_age_s: float | None = None) -> None:
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._events: deque[tuple[LogEvent, int]] = deque()  # with their bytes
        self._num_bytes = 0
        self._lock = threading.Lock()
        self.num_dropped = 0
        """Events that were lost because memory was full; those that were too old do not count."""

    def put(self, event: LogEvent) -> None:
        """Append the newest event, at the cost of the oldest ones."""
        num_bytes = event.num_bytes
        with self._lock:
            self._events.append((event, num_bytes))
            self._num_bytes += num_bytes
            while self._num_bytes > self._max_bytes and len(self._events) > 1:
                self._drop_oldest()
                self.num_dropped += 1
            while self._is_too_old(self._events[0][0], event):
                self._drop_oldest()

    def take(self) -> list[LogEvent]:
        """Remove all events and return them, oldest first."""
        with self._lock:
            events, self._events, self._num_bytes = self._events, deque(), 0
        return [event for event, _ in events]

    def look(self) -> list[LogEvent]:
        """Return all events, oldest first."""
        with self._lock:
            events = list(self._events)
        return [event for event, _ in events]

    def _drop_oldest(self) -> None:
        self._num_bytes -= self._events.popleft()[1]

    def _is_too_old(self, oldest: LogEvent, newest: LogEvent) -> bool:
        return self._max_age_s is not None and newest.time_s - oldest.time_s > self._max_age_s
