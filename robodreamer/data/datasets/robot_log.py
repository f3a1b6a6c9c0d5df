"""Stretches of a log in which one step follows the other, as in training: what can be learned from.

A step needs every signal that the policy reads, and the action that was really executed. Where a
tick held because of a bad signal, or was skipped, or is missing from the log, a stretch ends and
the next one begins; so there is always one control step between two of its steps.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from robodreamer_deploy.contract import (
    Array,
    Contract,
    Signal,
)
from robodreamer_deploy.control.events import EpisodeStart, Tick
from robodreamer_deploy.errors import SignalError
from robodreamer_deploy.recording.event_stream import Entry, EpisodeEnd

UNKNOWN_EPISODE = -1


@dataclass
class Stretch:
    """Steps that follow each other."""

    episode: int
    """Number in the drive; `UNKNOWN_EPISODE` where entries before it were lost."""
    observations: list[Mapping[str, Array]] = field(default_factory=list)
    """What the policy read, per step."""
    actions: list[Array] = field(default_factory=list)
    """What was executed after it, float32 (A,)."""
    last_number: int = -1
    """Number of the last step's entry."""
    entries_to_end: int | None = None
    """Entries between the last step and the end of the episode; None where the log does not hold
    that end, or another stretch of the episode comes after this one."""

    @property
    def ends_episode(self) -> bool:
        """Whether the episode ended right after the last step."""
        return self.entries_to_end == 0

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.actions)


@dataclass
class _Place:
    """Place in the drive that its entries have got to."""

    episode: int = UNKNOWN_EPISODE
    number: int = -1  # of the entry
    gap: int = 0  # number of the first entry after the newest gap
    tick: int = -1  # number of the newest tick's entry
    index: int = 0  # of that tick

    def move(self, entry: Entry) -> None:
        """Go on to the next entry that there is."""
        event = entry.event
        is_gap, self.number = entry.number != self.number + 1, entry.number
        self.gap = self.number if is_gap else self.gap
        if isinstance(event, EpisodeStart):
            self.episode = event.number
        elif entry.state is not None:
            self.episode = entry.state.start.number
        elif (
            isinstance(event, Tick)
            and is_gap
            and event.index - self.index < self.number - self.tick
        ):
            self.episode = UNKNOWN_EPISODE  # in the same one the index grows by as much at least
        if isinstance(event, Tick):
            self.tick, self.index = self.number, event.index


@dataclass
class Cut:
    """Cuts entries into stretches, and counts what has to be left out."""

    contract: Contract
    num_left_out: int = 0
    """Ticks of which something is missing or bad."""

    def __post_init__(self) -> None:
        """Tell what an executed action has to be."""
        shape = (self.contract.action.size,)
        self._executed = Signal(name="proprio/executed", shape=shape, dtype="float32")

    def stretches(self, entries: Iterable[Entry]) -> Iterator[Stretch]:
        """Yield the stretches, in order."""
        place, stretch = _Place(), Stretch(UNKNOWN_EPISODE)
        last: Stretch | None = None  # has steps, and may turn out to be the end of its episode
        for entry in entries:
            place.move(entry)
            event = entry.event
            step = self._step(event) if isinstance(event, Tick) else None
            if len(stretch) and (step is None or place.gap == place.number or _skipped(event)):
                if last is not None:
                    yield last
                last, stretch = stretch, Stretch(place.episode)
            stretch.episode = place.episode
            if step is not None:
                assert isinstance(event, Tick), event
                stretch.observations.append(step)
                stretch.actions.append(event.executed)
                stretch.last_number = entry.number
            elif isinstance(event, EpisodeEnd) and last is not None:
                is_sure = last.episode == place.episode and last.last_number >= place.gap
                last.entries_to_end = entry.number - last.last_number - 1 if is_sure else None
        yield from (found for found in (last, stretch) if found is not None and len(found))

    def _step(self, tick: Tick) -> Mapping[str, Array] | None:
        """Return what the policy read, if it is all there and good."""
        names = [signal.name for signal in self.contract.inputs]
        read = {name: tick.observation[name] for name in names if name in tick.observation}
        try:
            self.contract.check(read, inputs_only=True)
            self._executed.check(tick.executed)
        except SignalError:
            self.num_left_out += 1
            return None
        return read


def _skipped(event: object) -> bool:
    return isinstance(event, Tick) and event.skipped > 0
