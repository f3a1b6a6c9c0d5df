"""Stretches of a log in which one step follows the other, as in training: what can be learned from.

A step needs every signal that the policy reads, and the action that was really executed. Where a
tick held because of a bad signal, or was skipped, or is missing from the log, a stretch ends and
the next one begins; so there is always one control step between two of its steps.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from robodreamer_deploy.contract import Array, Contract, SignalError
from robodreamer_deploy.driving.tick import EpisodeStart, Tick
from robodreamer_deploy.recording.tape import Entry, EpisodeEnd


@dataclass
class Stretch:
    """Steps that follow each other."""

    episode: int
    """Number in the drive."""
    observations: list[Mapping[str, Array]] = field(default_factory=list)
    """What the policy read, per step."""
    actions: list[Array] = field(default_factory=list)
    """What was executed after it, float32 (A,)."""
    ends_episode: bool = False
    """Whether the drive ended after the last step, rather than the log or what is good of it."""

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.actions)


@dataclass
class Cut:
    """Cuts entries into stretches, and counts what has to be left out."""

    contract: Contract
    num_left_out: int = 0
    """Ticks of which something is missing or bad."""

    def stretches(self, entries: Iterable[Entry]) -> Iterator[Stretch]:
        """Yield the stretches, in order."""
        stretch, number = Stretch(-1), -1
        for entry in entries:
            event = entry.event
            is_gap = entry.number != number + 1
            number = entry.number
            step = self._step(event) if isinstance(event, Tick) else None
            begins = is_gap or step is None or (isinstance(event, Tick) and event.skipped > 0)
            if isinstance(event, EpisodeEnd):
                stretch.ends_episode = not is_gap
            if begins and len(stretch):
                yield stretch
            episode = event.number if isinstance(event, EpisodeStart) else stretch.episode
            if entry.state is not None:
                episode = entry.state.start.number
            if begins:
                stretch = Stretch(episode)
            if step is not None:
                stretch.observations.append(step)
                assert isinstance(event, Tick), event
                stretch.actions.append(event.executed)
        if len(stretch):
            yield stretch

    def _step(self, tick: Tick) -> Mapping[str, Array] | None:
        """Return what the policy read, if it is all there and good."""
        names = [signal.name for signal in self.contract.inputs]
        read = {name: tick.observation[name] for name in names if name in tick.observation}
        try:
            self.contract.check(read, inputs_only=True)
        except SignalError:
            self.num_left_out += 1
            return None
        return read
