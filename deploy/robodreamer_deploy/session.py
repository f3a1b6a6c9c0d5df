"""One run of `robodreamer-deploy`: load, test, warm up, connect, drive, report.

Everything is composed here; what it is composed of knows nothing of files and command lines.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robodreamer_deploy.bundle import Draw, load_bundle
from robodreamer_deploy.drive import (
    Episode,
    ShouldStop,
    StopSignals,
    catch_stop_signals,
    drive,
    drive_episodes,
    stop_after,
)
from robodreamer_deploy.golden import load_golden
from robodreamer_deploy.loop import ControlLoop, MonotonicClock, VirtualClock
from robodreamer_deploy.policy import Controller, Policy
from robodreamer_deploy.robots import Robot, RobotError, check_features, is_episodic, load_robot
from robodreamer_deploy.safety import ReadOnly, Safety
from robodreamer_deploy.selftest import replay_golden
from robodreamer_deploy.summary import (
    format_episodes,
    format_loop,
    summarize_episodes,
    summarize_loop,
)

WARM_UP_STEPS = 10
DEFAULT_EPISODES = 10
DRY_RUN_SECONDS = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line asks for."""

    policy: Path
    robot: str
    fast: bool = False
    """Do not wait between ticks."""
    episodes: int | None = None
    seconds: float | None = None
    seed: int = 0
    draw: Draw | None = None
    """None for the manifest's."""
    dry_run: bool = False
    """Read, never write."""
    max_rate: tuple[float, ...] | None = None
    """See `Safety`."""
    report: Path | None = None


class Outcome:
    """How a drive went, gathered while it goes."""

    def __init__(self) -> None:
        self.episodes: list[Episode] = []
        self.stop_reason: str | None = None
        self.fault: str | None = None
        self.signal_number: int | None = None

    @property
    def exit_code(self) -> int:
        """0 as planned, 1 after a fault, 128 + number after a signal."""
        if self.fault is not None:
            return 1
        return 0 if self.signal_number is None else 128 + self.signal_number


def load_policy(folder: Path, say: Say) -> Policy:
    """Load a bundle, replay its golden sequence and warm the graphs up.

    Raises:
        BundleError: It must not drive a robot.
    """
    bundle = load_bundle(folder)
    manifest = bundle.manifest
    say(f"policy      {folder}: task {bundle.contract.task}, run {manifest.run}")
    policy = Policy(bundle)
    test = replay_golden(policy, load_golden(bundle))
    say(
        f"self-test   passed: {test.num_steps} golden steps, worst error {test.worst_error:.1e}, "
        f"{test.num_ties} ties"
    )
    times = policy.warm_up(WARM_UP_STEPS)
    say(f"warm-up     first step {1e3 * times[0]:.2f} ms, last {1e3 * times[-1]:.2f} ms")
    return policy


def run(options: Options, say: Say) -> int:
    """Drive as `options` say; return the exit code.

    Raises:
        BundleError: The policy must not drive.
        RobotError: The robot is unknown, does not fit the policy, or cannot be connected.
    """
    policy = load_policy(options.policy, say)
    contract = policy.bundle.contract
    robot = load_robot(options.robot, contract)
    outcome = Outcome()
    try:
        check_features(robot, contract)
        _check_options(options, robot)
        loop = _compose(options, policy, robot)
        _connect(robot, options.robot)
        say(f"robot       {options.robot}, draw {loop.controller.draw}, seed {options.seed}")
        with catch_stop_signals() as signals:
            _drive(loop, robot, options, signals, outcome, say)
    finally:
        robot.disconnect()
    figures = _summarize(options, policy, loop, outcome)
    _print_figures(figures, options, say)
    if options.report is not None:
        text = json.dumps(figures, indent=2, allow_nan=False)
        options.report.write_text(text + "\n", encoding="utf-8")
        say(f"report      {options.report}")
    return outcome.exit_code


def _check_options(options: Options, robot: Robot) -> None:
    if is_episodic(robot):
        return
    for flag, is_given in {"--fast": options.fast, "--episodes": options.episodes}.items():
        if is_given:
            raise RobotError(f"{flag} needs a robot with episodes, {options.robot} has none")


def _compose(options: Options, policy: Policy, robot: Robot) -> ControlLoop:
    action = policy.bundle.contract.action
    try:
        safety = Safety(
            ReadOnly(action.size) if options.dry_run else robot,
            action,
            control_dt_s=policy.bundle.contract.control_dt_s,
            max_rate=options.max_rate,
        )
    except ValueError as error:
        raise RobotError(f"--max-rate: {error}") from error
    return ControlLoop(
        Controller(policy, draw=options.draw),
        safety,
        clock=VirtualClock() if options.fast else MonotonicClock(),
    )


def _connect(robot: Robot, name: str) -> None:
    try:
        robot.connect()
    except OSError as error:
        raise RobotError(f"{name} cannot be connected: {error}") from error


def _drive(
    loop: ControlLoop,
    robot: Robot,
    options: Options,
    signals: StopSignals,
    outcome: Outcome,
    say: Say,
) -> None:
    """Drive until done, stopped or interrupted; faults of the robot end up in `outcome`."""

    def finished(episode: Episode) -> None:
        outcome.episodes.append(episode)
        say(_format_episode(len(outcome.episodes), episode))

    should_stop = _when_to_stop(loop, options, signals)
    try:
        if is_episodic(robot) and not options.dry_run:
            outcome.stop_reason = drive_episodes(
                loop,
                robot,
                seeds=_seeds(options),
                should_stop=should_stop,
                finished=finished,
            )
        else:
            if is_episodic(robot):
                robot.start_episode(options.seed)
            outcome.stop_reason = drive(loop, robot, seed=options.seed, should_stop=should_stop)
        outcome.fault = loop.safety.stop_reason
    except (RobotError, OSError) as error:
        outcome.fault = f"{options.robot}: {error}"
    outcome.signal_number = signals.number


def _when_to_stop(loop: ControlLoop, options: Options, signals: StopSignals) -> ShouldStop:
    seconds = options.seconds
    if seconds is None and options.dry_run:
        seconds = DRY_RUN_SECONDS
    if seconds is None:
        return lambda: signals.reason
    time_is_up = stop_after(loop.clock, seconds)
    return lambda: signals.reason or time_is_up()


def _seeds(options: Options) -> "itertools.count[int] | range":
    """Episode i has seed `--seed` + i, so that any one can be repeated alone."""
    if options.seconds is not None:
        return itertools.count(options.seed)
    num_episodes = DEFAULT_EPISODES if options.episodes is None else options.episodes
    return range(options.seed, options.seed + num_episodes)


def _summarize(
    options: Options, policy: Policy, loop: ControlLoop, outcome: Outcome
) -> dict[str, Any]:
    manifest = policy.bundle.manifest
    return {
        "policy": str(options.policy),
        "task": manifest.contract.task,
        "run": manifest.run,
        "commit": manifest.commit,
        "robot": options.robot,
        "draw": loop.controller.draw,
        "seed": options.seed,
        "is_paced": not options.fast,
        "is_dry_run": options.dry_run,
        "stop_reason": outcome.stop_reason,
        "fault": outcome.fault,
        **summarize_episodes(outcome.episodes),
        **summarize_loop(loop.report, manifest.contract.control_dt_s),
    }


def _print_figures(figures: dict[str, Any], options: Options, say: Say) -> None:
    if figures["fault"] is not None:
        say(f"FAULT       {figures['fault']}")
    say(f"stopped     {figures['stop_reason'] or 'by a fault'}; the robot holds")
    for line in format_episodes(figures) + format_loop(figures, is_paced=not options.fast):
        say(line)


def _format_episode(number: int, episode: Episode) -> str:
    success = {True: "success", False: "no success", None: ""}[episode.success]
    return (
        f"episode {number:<3} seed {episode.seed}, {episode.ticks} ticks, "
        f"return {episode.episode_return:.2f}  {success}"
    ).rstrip()
