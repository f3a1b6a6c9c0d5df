"""Verdict of a dry run: faults that would stop a drive, or spoil it, in its first minute."""

from collections import Counter

from robodreamer_deploy.control.events import EpisodeStart, Tick
from robodreamer_deploy.control.loop import ControlLoop
from robodreamer_deploy.robots.image_fit import is_one_colour

HELD_SHARE = 0.1
"""Share of ticks that may be held before a robot is not ready."""
MISSING_SHARE = 0.5
"""Share of ticks that may lack a frame."""


class Readiness:
    """Listener of a dry run that finds what would stop the drive."""

    def __init__(self, loop: ControlLoop) -> None:
        """Judge what `loop` reports."""
        self._loop = loop
        self._cameras = [s.name for s in loop.contract.inputs if s.is_image]
        self._num_frames: Counter[str] = Counter()
        self._num_plain: Counter[str] = Counter()

    def episode_started(self, start: EpisodeStart) -> None:
        """Take note that the dry run begins."""

    def ticked(self, tick: Tick) -> None:
        """Look at the pictures of a tick."""
        for name in self._cameras:
            if (picture := tick.observation.get(name)) is not None:
                self._num_frames[name] += 1
                self._num_plain[name] += is_one_colour(picture)

    def episode_ended(self, reason: str) -> None:
        """Take note that the dry run is over."""

    @property
    def fault(self) -> str | None:
        """Reason why the robot is not ready to be driven; None if nothing was found."""
        stats = self._loop.stats
        found: list[str] = []
        if (slow := self._loop.why_too_slow) is not None:
            found.append(slow)
        for name, count in stats.missing_frames.items():
            if count > MISSING_SHARE * stats.ticks:
                found.append(f"{name} had no frame to trust in {count} of {stats.ticks} ticks")
        if stats.held_ticks > HELD_SHARE * stats.ticks:
            refused = ", ".join(f"{name} {n}" for name, n in stats.bad_observations.items())
            found.append(f"{stats.held_ticks} of {stats.ticks} ticks were held ({refused})")
        for name, count in self._num_frames.items():
            if self._num_plain[name] == count:
                found.append(f"{name} was all one colour: is the lens covered, or the light off?")
        return f"not ready: {'; '.join(found)}" if found else None
