"""Segments of a robot's log: steps that follow each other, as in training.

A step needs every signal that the policy reads, and the action that was really executed. Where a
tick held because of a bad signal, or was skipped, or is missing from the log, a segment ends and
the next one begins; so there is always one control step between two of its steps.

Letters: A action.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from robodreamer_deploy.contract import Array, Contract, Signal
from robodreamer_deploy.control.events import EpisodeEnd, EpisodeStart, Tick
from robodreamer_deploy.errors import SignalError
from robodreamer_deploy.recording.event_stream import LogEvent

UNKNOWN_EPISODE = -1


@dataclass
class Segment:
    """Steps that follow each other without a gap."""

    episode: int
    """Number in the drive; `UNKNOWN_EPISODE` where events before it were lost."""
    observations: list[Mapping[str, Array]] = field(default_factory=list)
    """Signals that the policy read, per step."""
    actions: list[Array] = field(default_factory=list)
    """Actions that were executed after them, float32 (A,)."""
    last_number: int = -1
    """Number of the last step's event."""
    events_to_end: int | None = None
    """Events between the last step and the end of the episode; None where the log does not hold
    that end, or another segment of the episode comes after this one."""

    @property
    def ends_episode(self) -> bool:
        """Whether the episode ended right after the last step."""
        return self.events_to_end == 0

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.actions)


class Segments(NamedTuple):
    """Segments of a log, in order."""

    segments: list[Segment]
    num_left_out: int
    """Ticks without a step: a signal is missing or bad."""


def segments(events: Iterable[LogEvent], contract: Contract) -> Segments:
    """Divide the events of a log into segments that fit a contract."""
    place, segment = _Place(), Segment(UNKNOWN_EPISODE)
    found: list[Segment] = []  # the newest one may turn out to be the end of its episode
    num_left_out = 0
    for event in events:
        place.move(event)
        payload = event.payload
        read = _read(payload, contract) if isinstance(payload, Tick) else None
        num_left_out += isinstance(payload, Tick) and read is None
        if len(segment) and (read is None or place.gap == place.number or _skipped(payload)):
            found.append(segment)
            segment = Segment(place.episode)
        segment.episode = place.episode
        if read is not None:
            assert isinstance(payload, Tick), payload
            segment.observations.append(read)
            segment.actions.append(payload.executed)
            segment.last_number = event.number
        elif isinstance(payload, EpisodeEnd) and found:
            _end_episode(found[-1], place)
    if len(segment):
        found.append(segment)
    return Segments(found, num_left_out)


@dataclass
class _Place:
    """Place in the drive that its events have reached."""

    episode: int = UNKNOWN_EPISODE
    number: int = -1  # of the event
    gap: int = 0  # number of the first event after the newest gap
    tick: int = -1  # number of the newest tick's event
    index: int = 0  # of that tick

    def move(self, event: LogEvent) -> None:
        """Go on to the next event of the log."""
        payload = event.payload
        is_gap, self.number = event.number != self.number + 1, event.number
        self.gap = self.number if is_gap else self.gap
        if isinstance(payload, EpisodeStart):
            self.episode = payload.number
        elif event.snapshot is not None:
            self.episode = event.snapshot.start.number
        elif (
            isinstance(payload, Tick)
            and is_gap
            and payload.index - self.index < self.number - self.tick
        ):
            self.episode = UNKNOWN_EPISODE  # in the same one the index grows by as much at least
        if isinstance(payload, Tick):
            self.tick, self.index = self.number, payload.index


def _end_episode(last: Segment, place: _Place) -> None:
    """Note how far the last segment lies before the end of its episode, if nothing was lost."""
    is_sure = last.episode == place.episode and last.last_number >= place.gap
    last.events_to_end = place.number - last.last_number - 1 if is_sure else None


def _read(tick: Tick, contract: Contract) -> Mapping[str, Array] | None:
    """Return the signals that the policy read, if all of them are there and good."""
    names = [signal.name for signal in contract.inputs]
    read = {name: tick.observation[name] for name in names if name in tick.observation}
    executed = Signal(name="proprio/executed", shape=(contract.action.size,), dtype="float32")
    try:
        contract.check(read, inputs_only=True)
        executed.check(tick.executed)
    except SignalError:
        return None
    return read


def _skipped(payload: object) -> bool:
    return isinstance(payload, Tick) and payload.skipped > 0
