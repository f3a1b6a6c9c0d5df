"""Options of a drive, and the parts that are made from them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from robodreamer_deploy.contract import ActionSpec, Contract
from robodreamer_deploy.control.enable_switch import enabling
from robodreamer_deploy.control.fault_tolerance import FaultTolerance
from robodreamer_deploy.control.limits import (
    Limits,
    LimitsFile,
    contract_limits,
    file_limits,
    rate_limits,
    read_limits_file,
    slow,
)
from robodreamer_deploy.control.remote_commands import RemoteCommands
from robodreamer_deploy.control.safety import Safety, StartupProfile, Writable
from robodreamer_deploy.control.surprise import Response, SurpriseGuard, surprise_limit
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.policy.manifest import ActionSelection
from robodreamer_deploy.policy.providers import Provider
from robodreamer_deploy.robots.base import (
    Robot,
    is_stepped,
)
from robodreamer_deploy.utils.suggest import closest

WARM_UP_TICKS = 5
RAMP_S = 1.0


@dataclass(frozen=True, kw_only=True)
class DriveOptions:
    """Options of how a robot is driven; the command line's option is in brackets."""

    limits: Path | None = None
    """File that `limits` describes (--limits)."""
    max_rate: tuple[float, ...] | None = None
    """Largest change per second in the policy's units, one or one per element (--max-rate)."""
    max_speed: float | None = None
    """Share of its range that each element of the action has (--max-speed); None for all of it."""
    max_age: Mapping[str, float] = field(default_factory=dict[str, float])
    """Largest age in seconds, by signal, where it is another one than in training (--max-age)."""
    ramp: float | None = None
    """Seconds of the ramp (--ramp); None for `RAMP_S`, or none on a stepped robot."""
    dead_man: Path | None = None
    """File whose touching allows motion (--dead-man)."""
    on_surprise: Response | None = None
    """Response to surprise (--on-surprise); None for none."""
    watchdog: int = FaultTolerance.silent_ticks
    """Ticks without a command after which the robot is stopped (--watchdog)."""
    real_time: bool = True
    """True to ask for real-time privileges (--no-real-time)."""
    core: int | None = None
    """CPU that the loop keeps to (--core)."""

    @property
    def tolerance(self) -> FaultTolerance:
        """Fault tolerance with the watchdog's setting."""
        return FaultTolerance(silent_ticks=self.watchdog)


@dataclass(frozen=True, kw_only=True)
class Options(DriveOptions):
    """Options of one drive, from the command line."""

    policy: Path
    robot: str
    fast: bool = False
    """Do not wait between ticks."""
    episodes: int | None = None
    seconds: float | None = None
    seed: int = 0
    draw: ActionSelection | None = None
    """None for the manifest's."""
    provider: Provider = "cpu"
    """Device that computes the graphs."""
    dry_run: bool = False
    """Read, never write."""
    report: Path | None = None
    log: Path | None = None
    """File to record to."""


def make_safety(
    options: DriveOptions, written: Writable, robot: Robot, contract: Contract
) -> Safety:
    """Return the safety object of `robot`, which writes to `written`.

    Raises:
        RobotError: The limits cannot be read, or do not fit the action.
    """
    ramp_s = options.ramp
    if ramp_s is None:
        ramp_s = 0.0 if is_stepped(robot) else RAMP_S
    return Safety(
        written,
        contract.action,
        control_dt_s=contract.control_dt_s,
        limits=read_limits(options, contract.action),
        startup=StartupProfile(
            warm_up_ticks=0 if is_stepped(robot) else WARM_UP_TICKS, ramp_s=ramp_s
        ),
        is_enabled=enabling(robot, options.dead_man),
    )


def make_remote_commands(
    options: DriveOptions,
    robot: Robot,
    contract: Contract,
    check_deadline: Callable[[], None] = lambda: None,
) -> RemoteCommands:
    """Return the filter of the commands that another process sends to `robot`.

    By default it ramps where it has a dead-man's switch, whose restarts a driver may not notice;
    every other restart is the driver's own, which has its ramp.

    Raises:
        RobotError: The limits cannot be read, or do not fit the action.
    """
    is_enabled = enabling(robot, options.dead_man)
    default_s = 0.0 if is_enabled is None else RAMP_S
    return RemoteCommands(
        robot,
        contract,
        limits=read_limits(options, contract.action),
        ramp_s=default_s if options.ramp is None else options.ramp,
        is_enabled=is_enabled,
        check_deadline=check_deadline,
        now=None if is_stepped(robot) else time.monotonic,
    )


def make_guard(
    options: DriveOptions, safety: Safety, quantiles: Mapping[str, float]
) -> SurpriseGuard | None:
    """Return what acts on surprise, of which the manifest holds `quantiles`; None for nothing.

    Raises:
        RobotError: There is no limit, or nothing to slow down.
    """
    if options.on_surprise is None:
        return None
    if options.on_surprise == "slow" and not safety.can_slow_down:
        raise RobotError(
            "--on-surprise slow needs a rate limit of every element: --max-rate or --limits"
        )
    try:
        limit_nats = surprise_limit(quantiles, _file(options).surprise_nats)
    except ValueError as error:
        raise RobotError(f"--on-surprise: {error}") from error
    return SurpriseGuard(limit_nats, options.on_surprise)


def read_limits(options: DriveOptions, action: ActionSpec) -> Limits:
    """Return the limits that `options` ask for.

    Raises:
        RobotError: They cannot be read, or do not fit the action.
    """
    try:
        if options.max_rate is not None:
            limits = rate_limits(action, options.max_rate)
        else:
            limits = contract_limits(action)
    except ValueError as error:
        raise RobotError(f"--max-rate: {error}") from error
    try:
        if options.limits:
            limits = file_limits(_file(options), action)
    except ValueError as error:
        raise RobotError(f"--limits: {error}") from error
    try:
        return limits if options.max_speed is None else slow(limits, action, options.max_speed)
    except ValueError as error:
        raise RobotError(f"--max-speed: {error}") from error


def check_max_age(max_age: Mapping[str, float], contract: Contract) -> None:
    """Refuse an age of what the policy does not read.

    Raises:
        RobotError: With the signals that it reads.
    """
    names = [signal.name for signal in contract.inputs]
    if unknown := [name for name in max_age if name not in names]:
        near = closest(unknown[0], names)
        raise RobotError(f"--max-age: the policy reads no {unknown[0]}; it reads {near}")


def _file(options: DriveOptions) -> LimitsFile:
    return LimitsFile() if options.limits is None else read_limits_file(options.limits)
