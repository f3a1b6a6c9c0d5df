"""One run of `robodreamer-deploy`: load, test, warm up, connect, drive, report.

Everything is composed here; what it is composed of knows nothing of files and command lines.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable
from contextlib import ExitStack
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
from robodreamer_deploy.driving.leaving import (
    MOTORS_ARE_OFF,
    Leaving,
    describe_leaving,
    drive_connected,
)
from robodreamer_deploy.driving.loop import HOLD_WITHIN_S, ControlLoop
from robodreamer_deploy.driving.options import (
    DriveOptions,
    check_max_age,
    make_guard,
    make_safety,
)
from robodreamer_deploy.driving.realtime import Privilege, real_time
from robodreamer_deploy.driving.safety import ReadOnly
from robodreamer_deploy.driving.signals import StopSignals, catch_stop_signals, tell_on_request
from robodreamer_deploy.driving.watchdog import Watchdog, end_process
from robodreamer_deploy.faults import HungError, full_traceback, sentence
from robodreamer_deploy.inference.controller import Controller, warm_up
from robodreamer_deploy.inference.policy import Policy
from robodreamer_deploy.inference.providers import Provider
from robodreamer_deploy.inference.selftest import replay_golden
from robodreamer_deploy.recording.drive_log import DriveLog
from robodreamer_deploy.robots import (
    Robot,
    RobotError,
    check_features,
    is_episodic,
    is_stepped,
)
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.summary import (
    format_episodes,
    format_loop,
    format_privileges,
    summarize_episodes,
    summarize_loop,
)

WARM_UP_STEPS = 10
DEFAULT_EPISODES = 10
DRY_RUN_SECONDS = 5.0
GIVING_UP_S = 1.0
"""How long a log may take to end when the main thread hangs."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options(DriveOptions):
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
    report: Path | None = None
    log: Path | None = None
    """File to record to."""


class Outcome:
    """How a drive went, gathered while it goes."""

    def __init__(self) -> None:
        self.episodes: list[Episode] = []
        self.stop_reason: str | None = None
        self.fault: str | None = None
        self.traceback: str | None = None
        self.privileges: tuple[Privilege, ...] = ()
        self.signal_number: int | None = None
        self.leaving = Leaving()
        self.log_fault: str | None = None
        self.report_fault: str | None = None

    @property
    def faults(self) -> list[str]:
        """All that went wrong, as sentences."""
        undone = self.leaving.disconnect_fault and f"disconnecting: {self.leaving.disconnect_fault}"
        told = (self.fault, undone, self.log_fault, self.report_fault)
        return [fault for fault in told if fault is not None]

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
    outcome = Outcome()

    def give_up(reason: str, is_held: bool) -> None:  # in the watchdog's thread: this one hangs
        outcome.fault = f"{options.robot}: {reason}"
        outcome.leaving.hold_fault = None if is_held else reason
        end_process(tell_last_words, outcome.exit_code)

    def tell_last_words() -> None:
        outcome.log_fault = drive_log.close(outcome.faults, patience_s=GIVING_UP_S)
        _tell(options, policy, loop, outcome, say)

    try:
        check_features(robot, policy.bundle.contract)
        _check_options(options, robot)
        watchdog = _make_watchdog(options, policy, robot, give_up)
        loop = _compose(options, policy, robot, watchdog)
        drive_log = DriveLog(
            loop, options.robot, dataclasses.asdict(options), log=options.log, say=say
        )
    except RobotError:
        robot.disconnect()
        raise
    with catch_stop_signals() as signals:
        with tell_on_request(lambda: _print_loop(options, policy, loop, say)):
            _drive_and_leave(loop, robot, options, signals, outcome, watchdog, say)
        outcome.log_fault = drive_log.close(outcome.faults)
        if outcome.leaving.connect_error is None:
            _tell(options, policy, loop, outcome, say)
        else:
            _write_report(_summarize(options, policy, loop, outcome), options, outcome, say)
    if outcome.leaving.connect_error is not None:
        raise RobotError(outcome.fault) from outcome.leaving.connect_error
    return outcome.exit_code


def _make_watchdog(
    options: Options, policy: Policy, robot: Robot, give_up: Callable[[str, bool], None]
) -> Watchdog | None:
    """Return a watchdog, unless the robot's time stands still while nothing is sent."""
    if is_stepped(robot):
        return None
    return Watchdog(
        look_s=min(options.watchdog * policy.bundle.contract.control_dt_s, HOLD_WITHIN_S),
        give_up=give_up,
    )


def _check_options(options: Options, robot: Robot) -> None:
    if options.episodes is not None and not is_episodic(robot):
        raise RobotError(f"--episodes needs a robot with episodes, {options.robot} has none")
    if options.fast and not is_stepped(robot):
        raise RobotError(f"--fast needs a simulator in this process, {options.robot} is none")


def _compose(
    options: Options, policy: Policy, robot: Robot, watchdog: Watchdog | None
) -> ControlLoop:
    contract = policy.bundle.contract
    written = ReadOnly(contract.action) if options.dry_run else robot
    check_max_age(options, contract)
    safety = make_safety(options, written, robot, contract)
    return ControlLoop(
        Controller(policy, draw=options.draw),
        safety,
        clock=VirtualClock() if options.fast else MonotonicClock(),
        bounds=options.bounds,
        surprise=make_guard(options, safety, policy.bundle.manifest.surprise_quantiles),
        watchdog=watchdog,
        is_stepped=is_stepped(robot),
        max_ages_s=options.max_age,
    )


def _drive_and_leave(
    loop: ControlLoop,
    robot: Robot,
    options: Options,
    signals: StopSignals,
    outcome: Outcome,
    watchdog: Watchdog | None,
    say: Say,
) -> None:
    """Connect, drive and leave the robot; all that happens meanwhile ends up in `outcome`."""

    def drive_it() -> None:
        say(f"robot       {options.robot}, draw {loop.controller.draw}, seed {options.seed}")
        _drive(loop, robot, options, signals, outcome, say)

    with ExitStack() as around:
        if watchdog is not None and options.real_time:
            outcome.privileges = around.enter_context(real_time(options.core))
            for line in format_privileges(outcome.privileges):
                say(line)
        if watchdog is not None:
            around.enter_context(watchdog)
        outcome.leaving = drive_connected(
            robot, loop.safety, signals, loop.clock, drive_it, watchdog
        )
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
        say(_format_episode(episode))

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
    except (Exception, SystemExit, HungError) as error:  # noqa: BLE001  a driver raises what it likes
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
        "max_age_s": dict(options.max_age),
        "max_speed": options.max_speed,
        "stop_reason": outcome.stop_reason,
        "fault": outcome.fault,
        "fault_traceback": outcome.traceback,
        "hold_fault": outcome.leaving.hold_fault,
        "disconnect_fault": outcome.leaving.disconnect_fault,
        "log_fault": outcome.log_fault,
        "real_time": {
            privilege.name: {"is_granted": privilege.is_granted, "detail": privilege.detail}
            for privilege in outcome.privileges
        },
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


def _tell(options: Options, policy: Policy, loop: ControlLoop, outcome: Outcome, say: Say) -> None:
    """Print how the drive went, and write it where `--report` says."""
    figures = _summarize(options, policy, loop, outcome)
    for line in format_episodes(figures):
        say(line)
    _print_loop(options, policy, loop, say)
    _write_report(figures, options, outcome, say)
    _print_ending(outcome, options, say)


def _print_loop(options: Options, policy: Policy, loop: ControlLoop, say: Say) -> None:
    figures = summarize_loop(loop.report, policy.bundle.contract.control_dt_s)
    for line in format_loop(figures, is_paced=not options.fast):
        say(line)


def _print_ending(outcome: Outcome, options: Options, say: Say) -> None:
    for fault in outcome.faults:
        say(f"FAULT       {fault}")
    ending = describe_leaving(outcome.leaving)
    if options.dry_run:
        limp = f"; {MOTORS_ARE_OFF}" if outcome.leaving.is_limp else ""
        ending = f"nothing was commanded{limp}"
    say(f"stopped     {outcome.stop_reason or 'by a fault'}; {ending}")


def _format_episode(episode: Episode) -> str:
    success = {True: "success", False: "no success", None: ""}[episode.success]
    return (
        f"episode {episode.number:<3} seed {episode.seed}, {episode.ticks} ticks, "
        f"return {episode.episode_return:.2f}  {success}"
    ).rstrip()
