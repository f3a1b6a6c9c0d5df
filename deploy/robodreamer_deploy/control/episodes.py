"""A whole drive: one stretch on a robot without episodes, or many episodes on one that has them."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from robodreamer_deploy.control.clock import Clock
from robodreamer_deploy.control.loop import ControlLoop
from robodreamer_deploy.robots.base import EpisodicRobot, Robot

EPISODE_OVER = "episode over"
ShouldStop = Callable[[], str | None]


class Episode(NamedTuple):
    """One completed episode."""

    number: int  # 0, 1, ... in the drive: the same on the screen, in the report, the log and marks
    seed: int
    episode_return: float
    success: bool | None  # None if the task does not know success
    ticks: int


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
        if reason := should_stop():
            return reason
        robot.start_episode(seed)
        ticks = loop.stats.ticks
        reason = loop.run(robot, over, seed=seed)
        if reason != EPISODE_OVER:
            return reason
        number, ticks = loop.num_episodes - 1, loop.stats.ticks - ticks
        success = robot.episode_success
        known = None if success is None else bool(success)  # also of numpy's, which JSON lacks
        finished(Episode(number, seed, float(robot.episode_return), known, ticks))
    return "all episodes are over"


def drive(loop: ControlLoop, robot: Robot, *, seed: int, should_stop: ShouldStop) -> str:
    """Drive one stretch until `should_stop` gives a reason; return it."""
    return loop.run(robot, should_stop, seed=seed)
