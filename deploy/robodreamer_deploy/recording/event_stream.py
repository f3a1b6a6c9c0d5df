"""What happened, as a recorder keeps it: copies that nobody changes, in order, numbered.

The loop tells `Tape`, which copies what it is told once and hands it to every sink: the ring of a
log that is being written, the ring of the flight recorder. Every second it adds what the next ticks
depend on, so that a log of which something is missing can still be repeated from there on.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.control.events import EpisodeStart, Tick
from robodreamer_deploy.control.safety import SafetySnapshot
from robodreamer_deploy.policy.controller import Snapshot
from robodreamer_deploy.recording.exact_json import encodable, number

OVERHEAD_BYTES = 2_000
"""About what an entry takes in memory besides its arrays."""


class EpisodeEnd(NamedTuple):
    """Driving ended; the robot holds."""

    reason: str


class State(NamedTuple):
    """All that the ticks after one depend on, besides what is read."""

    start: EpisodeStart
    """Of the episode that the tick is in."""
    controller: Snapshot
    safety: SafetySnapshot


class Entry(NamedTuple):
    """One thing that happened."""

    number: int  # 0, 1, ... in the drive; a gap means that entries were lost
    time_s: float  # of the loop's clock
    event: EpisodeStart | Tick | EpisodeEnd
    state: State | None = None  # after a tick; in some

    @property
    def num_bytes(self) -> int:
        """About the memory that it takes."""
        size = OVERHEAD_BYTES
        if isinstance(self.event, Tick):
            values: Iterable[Any] = self.event.observation.values()
            size += sum(int(getattr(value, "nbytes", 0)) for value in values)
        if self.state is not None:
            size += sum(array.nbytes for array in self.state.controller.carry)
        return size


Sink = Callable[[Entry], None]


class Tape:
    """A `Listener` that passes on copies.

    Args:
        sinks: Take entries within microseconds and never raise.
        now: The loop's clock, in seconds.
        controller: Returns its state; called after a tick, in the loop's thread.
        safety: Likewise.
        ticks_per_state: A state accompanies every this many ticks, and the first one.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        now: Callable[[], float],
        controller: Callable[[], Snapshot],
        safety: Callable[[], SafetySnapshot],
        ticks_per_state: int,
    ) -> None:
        assert ticks_per_state >= 1, ticks_per_state
        self._sinks = tuple(sinks)
        self._now = now
        self._controller, self._safety = controller, safety
        self._ticks_per_state = ticks_per_state
        self._number = 0
        self._ticks = 0
        self._start: EpisodeStart | None = None

    def episode_started(self, start: EpisodeStart) -> None:
        """Take note that an episode begins."""
        self._start = start
        self._put(Entry(self._number, self._now(), start))

    def ticked(self, tick: Tick) -> None:
        """Take note of a tick; its arrays, which are the robot's, are copied."""
        copies = {sys.intern(encodable(name)): copied(v) for name, v in tick.observation.items()}
        stamps = {sys.intern(encodable(name)): number(v) for name, v in tick.stamps.items()}
        assert self._start is not None, "an episode starts before its ticks"
        has_state = self._ticks % self._ticks_per_state == 0
        state = State(self._start, self._controller(), self._safety()) if has_state else None
        self._ticks += 1
        kept = tick._replace(observation=copies, stamps=stamps)
        self._put(Entry(self._number, tick.time_s, kept, state))

    def episode_ended(self, reason: str) -> None:
        """Take note of why driving ended."""
        self._put(Entry(self._number, self._now(), EpisodeEnd(reason)))

    def _put(self, entry: Entry) -> None:
        self._number += 1
        for sink in self._sinks:
            sink(entry)


def copied(value: Any) -> Any:
    """Return a copy of an array; of anything else, which is refused anyway, itself."""
    return cast("Array", value).copy() if isinstance(value, np.ndarray) else value
