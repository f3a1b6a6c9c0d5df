"""Drives of the toy through the control loop, with recorders and without waiting."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from robodreamer_deploy.contract import Array
from robodreamer_deploy.control.clock import VirtualClock
from robodreamer_deploy.control.episodes import drive_episodes
from robodreamer_deploy.control.limits import rate_limits
from robodreamer_deploy.control.loop import ControlLoop
from robodreamer_deploy.control.safety import Safety, StartupProfile
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.recording.event_stream import EventStream, Sink
from robodreamer_deploy.recording.log_metadata import LogMetadata, describe_drive
from toy_robot import CONTRACT, Point

Change = Callable[[int], Mapping[str, Array | None]]


class Watched(Point):
    """Toy robot with some bad readings, or readings that take time."""

    def __init__(self, clock: VirtualClock, change: Change, busy_s: Callable[[int], float]) -> None:
        super().__init__("", CONTRACT)
        self.clock, self.change, self.busy_s = clock, change, busy_s
        self.num_read = 0

    def get_observation(self) -> dict[str, Array]:
        number, self.num_read = self.num_read, self.num_read + 1
        self.clock.sleep(self.busy_s(number))
        changed = {**super().get_observation(), **self.change(number)}
        return {name: value for name, value in changed.items() if value is not None}


class RecordedDrive:
    """One robot and one controller, whose drives go to sinks.

    Args:
        policy: Policy of the controller.
        change: Returns the changed signals of reading i, None for a missing one.
        busy_s: Returns the seconds that reading i takes.
        ramp_s: Length of the ramp, which also makes the drive warm up.
    """

    def __init__(
        self,
        policy: Policy,
        change: Change = lambda _: {},
        busy_s: Callable[[int], float] = lambda _: 0.0,
        ramp_s: float = 0.0,
    ) -> None:
        self.clock = VirtualClock()
        self.robot = Watched(self.clock, change, busy_s)
        self.controller = Controller(policy, draw="sample")
        self.safety = Safety(
            self.robot, CONTRACT.action, control_dt_s=CONTRACT.control_dt_s,
            limits=rate_limits(CONTRACT.action, (8.0,)), startup=StartupProfile(ramp_s=ramp_s),
        )  # fmt: skip
        self.policy = policy

    def metadata(self, **options: Any) -> LogMetadata:
        return describe_drive(self.policy, self.safety, "toy:Point", options)

    def record(
        self, sinks: Sequence[Sink], seeds: Iterable[int], ticks_per_snapshot: int = 5
    ) -> None:
        """Drive one episode per seed."""
        stream = EventStream(
            sinks, now=self.clock.now, controller=self.controller.snapshot,
            safety=self.safety.snapshot, ticks_per_snapshot=ticks_per_snapshot,
        )  # fmt: skip
        loop = ControlLoop(
            self.controller, self.safety, clock=self.clock, stopwatch=self.clock.now,
            listeners=(stream,),
        )  # fmt: skip
        drive_episodes(
            loop, self.robot, seeds=seeds, should_stop=lambda: None, finished=lambda _: None
        )
