"""A whole drive: one stretch on a robot without episodes, or many episodes on one that has them."""

import signal
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

from robodreamer_deploy.loop import Clock, ControlLoop
from robodreamer_deploy.robots import EpisodicRobot, Robot

EPISODE_OVER = "episode over"
ShouldStop = Callable[[], str | None]


class Episode(NamedTuple):
    """One completed episode."""

    seed: int
    episode_return: float
    success: bool | None  # None if the task does not know success
    ticks: int


class StopSignals:
    """Remembers the first SIGINT or SIGTERM; a second one interrupts at once."""

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def reason(self) -> str | None:
        """Name of the signal that came; None so far."""
        return None if self.number is None else signal.Signals(self.number).name

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Let the loop finish its tick the first time; do not wait for it the second."""
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number


@contextmanager
def catch_stop_signals() -> Generator[StopSignals, None, None]:
    """Turn SIGINT and SIGTERM into a reason to stop; restores the old handlers."""
    signals = StopSignals()
    previous = {
        number: signal.signal(number, signals.handle) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def stop_after(clock: Clock, seconds: float) -> ShouldStop:
    """Return a `should_stop` that gives a reason once `seconds` have passed from now."""
    end = clock.now() + seconds
    return lambda: f"{seconds:g} s are over" if clock.now() >= end else None


def drive_episodes(
    loop: ControlLoop,
    robot: EpisodicRobot,
    *,
    seeds: Iterable[int],
    should_stop: ShouldStop,
    finished: Callable[[Episode], None],
) -> str:
    """Drive one episode per seed, which also seeds the policy's noise; return why it ended.

    `finished` is called with every episode that came to its own end.
    """

    def over() -> str | None:
        return should_stop() or (EPISODE_OVER if robot.is_episode_over else None)

    for seed in seeds:
        robot.start_episode(seed)
        loop.controller.reset(seed)
        ticks = loop.report.ticks
        reason = loop.run(robot.get_observation, over)
        if reason != EPISODE_OVER:
            return reason
        finished(
            Episode(seed, robot.episode_return, robot.episode_success, loop.report.ticks - ticks)
        )
    return "all episodes are over"


def drive(loop: ControlLoop, robot: Robot, *, seed: int, should_stop: ShouldStop) -> str:
    """Drive one stretch until `should_stop` gives a reason; return it."""
    loop.controller.reset(seed)
    return loop.run(robot.get_observation, should_stop)
