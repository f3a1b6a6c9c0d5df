"""Events of a drive, and the interface of whatever listens to them: recorders, displays, tests.

A drive is a sequence of episodes (one, on a robot without episodes), an episode one of ticks. What
`Tick` and `EpisodeStart` hold is enough to repeat the commands bit for bit: the observation as it
was read, the steps the model took, and the action that was executed. A robot whose time stands
still between commands (a simulator in this process) skips nothing, however long a tick takes.

Letters: A action.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy.controller import Step
from robodreamer_deploy.policy.manifest import ActionSelection


class EpisodeStart(NamedTuple):
    """Reset of the controller, whose noise is a function of `seed` and the step's counter."""

    number: int  # 0, 1, ... within the drive
    seed: int
    draw: ActionSelection


class EpisodeEnd(NamedTuple):
    """End of driving; the robot holds."""

    reason: str


class Tick(NamedTuple):
    """One period of the control loop, as it was once the robot had its command."""

    # Place on the episode's grid; skipped ticks leave gaps.
    index: int  # pyright: ignore[reportIncompatibleMethodOverride]  no caller means tuple's
    skipped: int  # ticks passed over right before this one, each a prior step unless `is_first`
    time_s: float  # monotonic, when the tick began
    lateness_s: float  # behind the grid
    sense_to_act_s: float
    is_first: bool  # the model was reset for this step, or will be for the next if this tick held
    observation: Mapping[str, Array]  # as read, also where it was refused; empty if not read
    stamps: Mapping[str, float]  # monotonic seconds at which signals were measured, where known
    missing: tuple[str, ...]  # cameras without a usable frame, in whose place the prior stood
    step: Step | None  # None if it held undecided: the model took a prior step, unless `is_first`
    sent: Array | None  # float32 (A,), the command after all limits; None for a hold
    executed: Array  # float32 (A,), the action that the robot reports
    limits: tuple[str, ...]  # names of the limits that changed the action
    fault: str | None  # why the tick held; None if it did not


class Listener(Protocol):
    """Observer in the loop's thread: returns within microseconds and never raises."""

    def episode_started(self, start: EpisodeStart) -> None:
        """Take an episode's start."""
        ...

    def ticked(self, tick: Tick) -> None:
        """Take a tick. The observation's arrays are the robot's: copy what is kept."""
        ...

    def episode_ended(self, reason: str) -> None:
        """Take the reason for the end of driving: the robot holds now, or is about to."""
        ...
