"""Events of a drive as recorders keep them: numbered copies, in order, that nobody changes.

The control loop calls `EventStream`, which copies each tick once and passes it to every sink: the
ring of the log that is being written, and the ring of the flight recorder. One event a second
carries a snapshot, from which a log with a gap can be repeated again.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.control.events import EpisodeEnd, EpisodeStart, Tick
from robodreamer_deploy.control.safety import SafetySnapshot
from robodreamer_deploy.policy.controller import Snapshot
from robodreamer_deploy.recording.exact_json import encodable, number

OVERHEAD_BYTES = 2_000
"""Memory that an event takes besides its arrays, roughly: a named tuple, two dicts, their keys."""


class DriveSnapshot(NamedTuple):
    """State of a drive after a tick: with it and what is read later, later ticks are determined."""

    start: EpisodeStart
    """Start of the episode that the tick belongs to."""
    controller: Snapshot
    safety: SafetySnapshot


class LogEvent(NamedTuple):
    """Envelope of a recorded event: its place in the drive, and a snapshot where there is one."""

    number: int  # 0, 1, ... in the drive; a gap means that events were lost
    time_s: float  # of the loop's clock
    payload: EpisodeStart | Tick | EpisodeEnd
    snapshot: DriveSnapshot | None = None  # taken after some of the ticks

    @property
    def num_bytes(self) -> int:
        """Memory that it takes, roughly."""
        size = OVERHEAD_BYTES
        if isinstance(self.payload, Tick):
            values: Iterable[Any] = self.payload.observation.values()
            size += sum(int(getattr(value, "nbytes", 0)) for value in values)
        if self.snapshot is not None:
            size += sum(array.nbytes for array in self.snapshot.controller.carry)
        return size


Sink = Callable[[LogEvent], None]


class EventStream:
    """Listener of a control loop that passes copies on to sinks.

    Args:
        sinks: Take events within microseconds and never raise.
        now: The loop's clock, in seconds.
        controller: Returns the controller's state; called after a tick, in the loop's thread.
        safety: Returns the state of the limits, likewise.
        ticks_per_snapshot: A snapshot accompanies every this many ticks, and the first one.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        now: Callable[[], float],
        controller: Callable[[], Snapshot],
        safety: Callable[[], SafetySnapshot],
        ticks_per_snapshot: int,
    ) -> None:
        assert ticks_per_snapshot >= 1, ticks_per_snapshot
        self._sinks = tuple(sinks)
        self._now = now
        self._controller, self._safety = controller, safety
        self._ticks_per_snapshot = ticks_per_snapshot
        self._number = 0
        self._ticks = 0
        self._start: EpisodeStart | None = None

    def episode_started(self, start: EpisodeStart) -> None:
        """Record that an episode begins."""
        self._start = start
        self._put(LogEvent(self._number, self._now(), start))

    def ticked(self, tick: Tick) -> None:
        """Record a copy of a tick, whose arrays the robot may fill again."""
        # Interned: every tick has the same names, and a ring holds thousands of ticks.
        copies = {sys.intern(encodable(name)): copied(v) for name, v in tick.observation.items()}
        stamps = {sys.intern(encodable(name)): number(v) for name, v in tick.stamps.items()}
        is_due = self._ticks % self._ticks_per_snapshot == 0
        self._ticks += 1
        kept = tick._replace(observation=copies, stamps=stamps)
        snapshot = self._take_snapshot() if is_due else None
        self._put(LogEvent(self._number, tick.time_s, kept, snapshot))

    def episode_ended(self, reason: str) -> None:
        """Record why driving ended."""
        self._put(LogEvent(self._number, self._now(), EpisodeEnd(reason)))

    def _take_snapshot(self) -> DriveSnapshot:
        assert self._start is not None, "an episode starts before its ticks"
        return DriveSnapshot(self._start, self._controller(), self._safety())

    def _put(self, event: LogEvent) -> None:
        self._number += 1
        for sink in self._sinks:
            sink(event)


def copied(value: Any) -> Any:
    """Return a copy of an array, and any other value itself: the loop refuses it anyway."""
    return cast("Array", value).copy() if isinstance(value, np.ndarray) else value
