"""One run of `robodreamer-deploy`: load, test, warm up, connect, drive, report.

Everything is composed here; the parts know nothing of files and command lines.
"""

import dataclasses
import itertools
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from robodreamer_deploy.control.clock import MonotonicClock, VirtualClock
from robodreamer_deploy.control.episodes import (
    Episode,
    ShouldStop,
    drive,
    drive_episodes,
    stop_after,
)
from robodreamer_deploy.control.loop import HOLD_WITHIN_S, ControlLoop
from robodreamer_deploy.control.readiness import Readiness
from robodreamer_deploy.control.realtime import real_time
from robodreamer_deploy.control.safety import ReadOnly
from robodreamer_deploy.control.shutdown import drive_connected
from robodreamer_deploy.control.stop_signals import StopSignals, catch_stop_signals, tell_on_request
from robodreamer_deploy.control.watchdog import Watchdog, end_process
from robodreamer_deploy.drive_options import Options, check_max_age, make_guard, make_safety
from robodreamer_deploy.drive_outcome import Outcome, Teller
from robodreamer_deploy.drive_summary import format_privileges
from robodreamer_deploy.errors import RobotError, describe_error
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.controller import Controller, warm_up
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.providers import Provider
from robodreamer_deploy.policy.selftest import SelfTest, replay_golden
from robodreamer_deploy.policy.time_limit import within
from robodreamer_deploy.recording.drive_log import CLOSING_S, DriveLog
from robodreamer_deploy.robots.base import (
    Robot,
    check_features,
    is_episodic,
    is_stepped,
)
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.utils.streams import Say

WARM_UP_STEPS = 10
LOAD_WITHIN_S: Mapping[Provider, float] = {"cpu": 120.0, "cuda": 120.0, "tensorrt": 1800.0}
"""Longest time of loading, self-test and warm-up: usually below 1 s, but TensorRT compiles."""
DEFAULT_EPISODES = 10
DRY_RUN_SECONDS = 5.0
GIVING_UP_S = 1.0
"""Longest time in seconds for ending a log when the main thread hangs."""


def load_policy(folder: Path, say: Say, provider: Provider = "cpu") -> Policy:
    """Load a bundle, replay its golden sequence and warm the graphs up.

    Raises:
        BundleError: It must not drive a robot, or all of that takes longer than it may.
    """
    bundle = load_bundle(folder)
    manifest = bundle.manifest
    say(f"policy      {folder}: task {bundle.contract.task}, run {manifest.run}")

    def try_it() -> tuple[Policy, SelfTest, list[float]]:
        policy = Policy(bundle, provider=provider)
        test = replay_golden(policy, load_golden(bundle))
        return policy, test, warm_up(policy, WARM_UP_STEPS)

    policy, test, times = within(LOAD_WITHIN_S[provider], try_it)
    say(
        f"self-test   passed: {test.num_steps} golden steps, worst error {test.worst_error:.1e}, "
        f"{test.num_ties} ties" + (f", {test.flip_rate:.1%} flips" if test.flip_rate else "")
    )
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
        outcome.shutdown.give_up(reason, is_held)
        end_process(tell_last_words, outcome.exit_code)

    def tell_last_words() -> None:
        outcome.log_fault = _end_log(drive_log, loop, outcome, GIVING_UP_S)
        teller.tell()

    try:
        check_features(robot, policy.bundle.contract)
        _check_options(options, robot)
        watchdog = _make_watchdog(options, policy, robot, give_up)
        loop = _compose(options, policy, robot, watchdog)
        drive_log = DriveLog(
            loop, options.robot, dataclasses.asdict(options), log=options.log, say=say
        )
    except Exception:
        robot.disconnect()
        raise
    teller = Teller(options=options, policy=policy, loop=loop, outcome=outcome, say=say)
    with catch_stop_signals() as signals:
        with tell_on_request(teller.tell_loop):
            _drive_and_leave(loop, robot, options, signals, teller, watchdog)
        outcome.log_fault = _end_log(drive_log, loop, outcome, CLOSING_S)
        if outcome.shutdown.connect_error is None:
            teller.tell()
        else:
            teller.write_report()
    if outcome.shutdown.connect_error is not None:
        raise RobotError(outcome.fault) from outcome.shutdown.connect_error
    return outcome.exit_code


def _end_log(log: DriveLog, loop: ControlLoop, outcome: Outcome, patience_s: float) -> str | None:
    """End the log; return why it is not whole, whatever the reason."""
    try:
        fault = log.close(outcome.faults, patience_s)
    except Exception as error:  # noqa: BLE001  the figures and the last line come after this
        fault = f"the log cannot be ended: {describe_error(error)}"
    told = loop.stats.listener_fault
    return fault if told is None else f"recording ended early: {told}"


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
    check_max_age(options.max_age, contract)
    safety = make_safety(options, written, robot, contract)
    return ControlLoop(
        Controller(policy, draw=options.draw),
        safety,
        clock=VirtualClock() if options.fast else MonotonicClock(),
        tolerance=options.tolerance,
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
    teller: Teller,
    watchdog: Watchdog | None,
) -> None:
    """Connect, drive and leave the robot; record everything that happens in the outcome."""
    outcome, say = teller.outcome, teller.say

    def drive_it() -> None:
        say(f"robot       {options.robot}, draw {loop.controller.draw}, seed {options.seed}")
        _drive(loop, robot, options, signals, teller)

    with ExitStack() as around:
        if watchdog is not None and options.real_time:
            outcome.privileges = around.enter_context(real_time(options.core))
            for line in format_privileges(outcome.privileges):
                say(line)
        if watchdog is not None:
            around.enter_context(watchdog)
        drive_connected(
            robot, loop.safety, signals, loop.clock, drive_it, watchdog, outcome.shutdown
        )
    _explain_end(options, signals, outcome)


def _explain_end(options: Options, signals: StopSignals, outcome: Outcome) -> None:
    """Record which signal or error ended the drive."""
    shutdown = outcome.shutdown
    if shutdown.interrupt is not None:
        if signals.was_taken:  # a library had taken Ctrl-C, and it was pressed
            signals.number = signals.number or signal.SIGINT
            outcome.stop_reason = signals.reason
        else:
            outcome.blame(options.robot, shutdown.interrupt)
    outcome.signal_number = signals.number
    if shutdown.was_interrupted:
        outcome.stop_reason = f"{signals.reason}, twice"
    if shutdown.connect_error is not None:
        outcome.blame(f"{options.robot} cannot be connected", shutdown.connect_error)


def _drive(
    loop: ControlLoop, robot: Robot, options: Options, signals: StopSignals, teller: Teller
) -> None:
    """Drive until done, stopped or interrupted; record faults of the robot in the outcome."""
    outcome = teller.outcome

    def finished(episode: Episode) -> None:
        outcome.episodes.append(episode)
        teller.tell_episode(episode)

    should_stop = _when_to_stop(loop, options, signals)
    try:
        if options.dry_run:
            loop.add_listener(readiness := Readiness(loop))
            outcome.stop_reason = drive(loop, robot, seed=options.seed, should_stop=should_stop)
            outcome.fault = _fault(loop) or readiness.fault
            return
        if is_episodic(robot):
            outcome.stop_reason = drive_episodes(
                loop,
                robot,
                seeds=_seeds(options),
                should_stop=should_stop,
                finished=finished,
            )
        else:
            outcome.stop_reason = drive(loop, robot, seed=options.seed, should_stop=should_stop)
        outcome.fault = _fault(loop)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a driver raises what it likes
        outcome.blame(options.robot, error)


def _fault(loop: ControlLoop) -> str | None:
    return loop.safety.stop_reason or loop.safety.switch_fault


def _when_to_stop(loop: ControlLoop, options: Options, signals: StopSignals) -> ShouldStop:
    seconds = options.seconds
    if seconds is None and options.dry_run:
        seconds = DRY_RUN_SECONDS
    time_is_up = (lambda: None) if seconds is None else stop_after(loop.clock, seconds)

    def should_stop() -> str | None:
        signals.keep()
        return signals.reason or time_is_up()

    return should_stop


def _seeds(options: Options) -> "itertools.count[int] | range":
    """Episode i has seed `--seed` + i, so that any one can be repeated alone."""
    if options.seconds is not None:
        return itertools.count(options.seed)
    num_episodes = DEFAULT_EPISODES if options.episodes is None else options.episodes
    return range(options.seed, options.seed + num_episodes)
