"""One run of `robodreamer-deploy`: load, test, warm up, connect, drive, report.

Everything is composed here; what it is composed of knows nothing of files and command lines.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robodreamer_deploy.bundle.bundle import load_bundle
from robodreamer_deploy.bundle.golden import load_golden
from robodreamer_deploy.bundle.manifest import Draw
from robodreamer_deploy.driving.clock import MonotonicClock, VirtualClock
from robodreamer_deploy.driving.episodes import (
    Episode,
    ShouldStop,
    drive,
    drive_episodes,
    stop_after,
)
from robodreamer_deploy.driving.leaving import Leaving, drive_connected
from robodreamer_deploy.driving.loop import ControlLoop
from robodreamer_deploy.driving.safety import ReadOnly, Safety
from robodreamer_deploy.driving.signals import StopSignals, catch_stop_signals
from robodreamer_deploy.faults import full_traceback, sentence
from robodreamer_deploy.inference.controller import Controller, warm_up
from robodreamer_deploy.inference.policy import Policy
from robodreamer_deploy.inference.providers import Provider
from robodreamer_deploy.inference.selftest import replay_golden
from robodreamer_deploy.robots import Robot, RobotError, check_features, is_episodic
from robodreamer_deploy.robots.loading import load_robot
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
    provider: Provider = "cpu"
    """Where the graphs are computed."""
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
        self.traceback: str | None = None
        self.signal_number: int | None = None
        self.leaving = Leaving()
        self.report_fault: str | None = None

    @property
    def faults(self) -> list[str]:
        """All that went wrong, as sentences."""
        undone = self.leaving.disconnect_fault and f"disconnecting: {self.leaving.disconnect_fault}"
        return [fault for fault in (self.fault, undone, self.report_fault) if fault is not None]

    @property
    def exit_code(self) -> int:
        """0 as planned, 1 after a fault, 128 + number after a signal."""
        if self.faults or self.leaving.hold_fault is not None:
            return 1
        return 0 if self.signal_number is None else 128 + self.signal_number

    def blame(self, where: str, error: BaseException) -> None:
        """Take down a fault; the first one is the cause."""
        if self.fault is None:
            self.fault = f"{where}: {sentence(error)}"
            self.traceback = full_traceback(error)


def load_policy(folder: Path, say: Say, provider: Provider = "cpu") -> Policy:
    """Load a bundle, replay its golden sequence and warm the graphs up.

    Raises:
        BundleError: It must not drive a robot.
    """
    bundle = load_bundle(folder)
    manifest = bundle.manifest
    say(f"policy      {folder}: task {bundle.contract.task}, run {manifest.run}")
    policy = Policy(bundle, provider=provider)
    test = replay_golden(policy, load_golden(bundle))
    say(
        f"self-test   passed: {test.num_steps} golden steps, worst error {test.worst_error:.1e}, "
        f"{test.num_ties} ties" + (f", {test.flip_rate:.1%} flips" if test.flip_rate else "")
    )
    times = warm_up(policy, WARM_UP_STEPS)
    say(f"warm-up     first step {1e3 * times[0]:.2f} ms, last {1e3 * times[-1]:.2f} ms")
    return policy


def run(options: Options, say: Say) -> int:
    """Drive as `options` say; return the exit code.

    Raises:
        BundleError: The policy must not drive.
        RobotError: The robot is unknown, does not fit the policy, or cannot be connected.
    """
    policy = load_policy(options.policy, say, options.provider)
    robot = load_robot(options.robot, policy.bundle.contract)
    try:
        check_features(robot, policy.bundle.contract)
        _check_options(options, robot)
        loop = _compose(options, policy, robot)
    except RobotError:
        robot.disconnect()
        raise
    outcome = Outcome()
    with catch_stop_signals() as signals:
        _drive_and_leave(loop, robot, options, signals, outcome, say)
        figures = _summarize(options, policy, loop, outcome)
        if outcome.leaving.connect_error is None:
            _print_figures(figures, options, say)
        _write_report(figures, options, outcome, say)
    if outcome.leaving.connect_error is not None:
        raise RobotError(outcome.fault) from outcome.leaving.connect_error
    _print_ending(outcome, options, say)
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
            ReadOnly(action) if options.dry_run else robot,
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


def _drive_and_leave(
    loop: ControlLoop,
    robot: Robot,
    options: Options,
    signals: StopSignals,
    outcome: Outcome,
    say: Say,
) -> None:
    """Connect, drive and leave the robot; all that happens meanwhile ends up in `outcome`."""

    def drive_it() -> None:
        say(f"robot       {options.robot}, draw {loop.controller.draw}, seed {options.seed}")
        _drive(loop, robot, options, signals, outcome, say)

    outcome.leaving = drive_connected(robot, loop.safety, signals, loop.clock, drive_it)
    outcome.signal_number = signals.number
    if outcome.leaving.was_interrupted:
        outcome.stop_reason = f"{signals.reason}, twice"
    if outcome.leaving.connect_error is not None:
        outcome.blame(f"{options.robot} cannot be connected", outcome.leaving.connect_error)


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
            outcome.stop_reason = drive(loop, robot, seed=options.seed, should_stop=should_stop)
        outcome.fault = loop.safety.stop_reason
    except (Exception, SystemExit) as error:  # noqa: BLE001  a driver raises what it likes
        outcome.blame(options.robot, error)


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
        "fault_traceback": outcome.traceback,
        "hold_fault": outcome.leaving.hold_fault,
        "disconnect_fault": outcome.leaving.disconnect_fault,
        **summarize_episodes(outcome.episodes),
        **summarize_loop(loop.report, manifest.contract.control_dt_s),
    }


def _write_report(figures: dict[str, Any], options: Options, outcome: Outcome, say: Say) -> None:
    if options.report is None:
        return
    text = json.dumps(figures, indent=2, allow_nan=False)
    try:
        options.report.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        outcome.report_fault = f"--report {options.report} cannot be written: {error}"
    else:
        say(f"report      {options.report}")


def _print_figures(figures: dict[str, Any], options: Options, say: Say) -> None:
    for line in format_episodes(figures) + format_loop(figures, is_paced=not options.fast):
        say(line)


def _print_ending(outcome: Outcome, options: Options, say: Say) -> None:
    for fault in outcome.faults:
        say(f"FAULT       {fault}")
    ending = _describe_ending(outcome.leaving, is_dry_run=options.dry_run)
    say(f"stopped     {outcome.stop_reason or 'by a fault'}; {ending}")


def _describe_ending(leaving: Leaving, *, is_dry_run: bool) -> str:
    if is_dry_run:
        return "nothing was commanded"
    if leaving.hold_fault is None:
        return "the robot holds"
    return f"holding the robot FAILED ({leaving.hold_fault}): CUT ITS POWER"


def _format_episode(number: int, episode: Episode) -> str:
    success = {True: "success", False: "no success", None: ""}[episode.success]
    return (
        f"episode {number:<3} seed {episode.seed}, {episode.ticks} ticks, "
        f"return {episode.episode_return:.2f}  {success}"
    ).rstrip()
