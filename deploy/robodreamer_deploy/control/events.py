"""What happened in one tick, and who may watch: recorders, displays, tests.

A drive is a sequence of episodes (one, on a robot without episodes), an episode one of ticks. What
`Tick` and `EpisodeStart` hold is enough to repeat the commands bit for bit: the observation as it
was read, the steps the model took, and the action that was executed. A robot whose time stands
still between commands (a simulator in this process) skips nothing, however long a tick takes.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy.controller import Step
from robodreamer_deploy.policy.manifest import ActionSelection


class EpisodeStart(NamedTuple):
    """The controller was reset; its noise is a function of `seed` and the step's counter."""

    number: int  # 0, 1, ... within the drive
    seed: int
    draw: ActionSelection


class Tick(NamedTuple):
    """One tick, as it was when the robot had been told."""

    # Place on the episode's grid; skipped ticks leave gaps.
    index: int  # pyright: ignore[reportIncompatibleMethodOverride]  no caller means tuple's
    skipped: int  # ticks passed over right before this one, each a prior step unless `is_first`
    time_s: float  # monotonic, when the tick began
    lateness_s: float  # behind the grid
    sense_to_act_s: float
    is_first: bool  # the model began anew with this step, or will with the next if this one held
    observation: Mapping[str, Array]  # as read, also where it was refused; empty if not read
    stamps: Mapping[str, float]  # monotonic seconds at which signals were measured, where known
    missing: tuple[str, ...]  # cameras without a frame to trust, whose place the model's prior took
    step: Step | None  # None if it held undecided: the model took a prior step, unless `is_first`
    sent: Array | None  # float32 (A,), the command after all limits; None if it was told to hold
    executed: Array  # float32 (A,), what was really done
    limits: tuple[str, ...]  # `Safety`'s, which changed the action
    fault: str | None  # why the tick held; None if it did not


class Listener(Protocol):
    """Told of everything, in the loop's thread: returns within microseconds and never raises."""

    def episode_started(self, start: EpisodeStart) -> None:
        """Take note that a new episode begins."""
        ...

    def ticked(self, tick: Tick) -> None:
        """Take note of a tick. The observation's arrays are the robot's: copy what is kept."""
        ...

    def episode_ended(self, reason: str) -> None:
        """Take note of why driving ended: the robot holds now, or is being told to."""
        ...
