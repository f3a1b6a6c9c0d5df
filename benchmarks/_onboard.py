"""Episodes of a simulated robot through the onboard loop, as `robodreamer-deploy --fast` drives.

Nothing waits: the clock is the loop's own, so that figures depend on no machine's speed.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.control.clock import VirtualClock
from robodreamer_deploy.control.episodes import Episode, drive_episodes
from robodreamer_deploy.control.loop import ControlLoop
from robodreamer_deploy.control.loop_stats import LoopStats
from robodreamer_deploy.control.safety import Safety
from robodreamer_deploy.drive_summary import Z95
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import replay_golden
from robodreamer_sim.robots.in_process import SimulatedRobot

FIRST_SEED = 1_000_003  # far from any training seed
POLICY = Path(__file__).parents[1] / "policies" / "fetch_reach"


class Drive(NamedTuple):
    """What came of some episodes."""

    episodes: list[Episode]
    surprises: list[Array]
    """In nats, of every step that had an observation, by episode."""
    stats: LoopStats
    """Of the loop, over all episodes."""

    @property
    def returns(self) -> Array:
        """One per episode."""
        return np.array([episode.episode_return for episode in self.episodes])

    @property
    def success(self) -> float | None:
        """Share of the episodes; None if the task does not know."""
        known = [episode.success for episode in self.episodes if episode.success is not None]
        return float(np.mean(known)) if known else None


def load_policy(folder: Path) -> Policy:
    """Load a policy that passes its self-test."""
    policy = Policy(load_bundle(folder))
    replay_golden(policy, load_golden(policy.bundle))
    return policy


def seeds(episodes: int) -> range:
    """Return the seeds of that many episodes, the same ones for everybody."""
    return range(FIRST_SEED, FIRST_SEED + episodes)


def drive(policy: Policy, robot: SimulatedRobot, episode_seeds: Iterable[int]) -> Drive:
    """Drive an episode per seed, with the draw that did better when the policy was exported."""
    contract = policy.bundle.contract
    safety = Safety(robot, contract.action, control_dt_s=contract.control_dt_s)
    loop = ControlLoop(Controller(policy), safety, clock=VirtualClock(), is_stepped=True)
    found = Drive([], [], loop.stats)
    told = 0

    def finished(episode: Episode) -> None:
        nonlocal told
        found.episodes.append(episode)
        found.surprises.append(np.array(loop.stats.surprise[told:]))
        told = len(loop.stats.surprise)

    robot.connect()
    try:
        drive_episodes(
            loop, robot, seeds=episode_seeds, should_stop=lambda: None, finished=finished
        )
    finally:
        robot.disconnect()
    if safety.stop_reason:
        raise RuntimeError(f"the loop stopped the robot: {safety.stop_reason}")
    return found


def mean_and_half(values: Array | Sequence[float]) -> tuple[float, float]:
    """Return a mean and half the width of its 95 % interval."""
    array = np.asarray(values)
    spread = float(array.std(ddof=1)) / np.sqrt(len(array)) if len(array) > 1 else 0.0
    return float(array.mean()), float(Z95 * spread)
