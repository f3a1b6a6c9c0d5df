"""`robodreamer-deploy serve ROBOT --policy POLICY`: let another process drive a robot."""

import argparse
import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from robodreamer_deploy.cli.arguments import POLICY, ROBOTS, add_limits, add_listening
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.control.clock import MonotonicClock, time_with_sleep
from robodreamer_deploy.control.remote_commands import RemoteCommands
from robodreamer_deploy.control.shutdown import ShutdownResult, describe_shutdown, drive_connected
from robodreamer_deploy.control.stop_signals import StopSignals, catch_stop_signals
from robodreamer_deploy.control.watchdog import Watchdog, end_process
from robodreamer_deploy.drive_options import DriveOptions, make_remote_commands
from robodreamer_deploy.errors import HungError, RobotError, describe_error
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.robots.base import Robot, check_features, is_stepped
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.remote.address import Address, parse_address
from robodreamer_deploy.robots.remote.command_timeout import CommandTimeout
from robodreamer_deploy.robots.remote.keys import Key, load_key
from robodreamer_deploy.robots.remote.server import Server, announce
from robodreamer_deploy.utils.async_logging import LineThread
from robodreamer_deploy.utils.streams import Say

SILENCE_PERIODS = 5
"""Control periods without a command after which a robot is held, also if its class hangs."""
WITHIN_S = 1.0
"""Time in seconds for which a robot may block its process before the process ends."""
EPISODE_WITHIN_S = 30.0
"""Time in seconds that it may take to start an episode."""


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy serve",
        description="Put a robot behind an address, where a policy of another process or computer "
        "drives it with --robot tcp://HOST:PORT (docs/remote-robot.md). The bounds of motion given "
        "here hold whoever drives.",
    )
    result.add_argument("robot", metavar="ROBOT", help=ROBOTS)
    result.add_argument("--policy", type=Path, required=True, help=POLICY)
    add_listening(result)
    add_limits(result)
    return result


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Serve until a signal comes; return the exit code.

    Raises:
        RobotError: The robot, the limits, the key or the address cannot be used, or the robot did
            not hold.
        BundleError: The policy cannot be read.
    """
    contract = load_bundle(arguments.policy).contract
    options = DriveOptions(
        limits=arguments.limits,
        max_rate=None if arguments.max_rate is None else tuple(arguments.max_rate),
        max_speed=arguments.max_speed,
        ramp=arguments.ramp,
        dead_man=arguments.dead_man,
    )
    address = parse_address(arguments.listen)
    key = None if arguments.key is None else load_key(arguments.key, "robot")
    robot = load_robot(arguments.robot, contract)
    lines = LineThread(say)  # a terminal that is paused must not delay a hold
    is_printed = False
    try:
        code = _serve(robot, contract, options, address, key, lines)
    finally:
        is_printed = lines.close()
    if not is_printed:
        os._exit(code)  # Python's own exit would wait for the terminal; the robot is disconnected
    return code


@dataclass(kw_only=True)
class _Service:
    """Served robot with its command path, its timeouts and its faults."""

    robot: Robot
    commands: RemoteCommands
    timeout: CommandTimeout
    watchdog: Watchdog
    say: Say
    faults: list[str] = field(default_factory=list[str])

    @contextmanager
    def around(self, kind: str) -> Generator[None, None, None]:
        """Bound the time that the robot may take for a request of this kind."""
        if is_stepped(self.robot):
            yield
            return

        def hold(_reason: str) -> None:
            self.commands.hold()

        within_s = EPISODE_WITHIN_S if kind == "start_episode" else WITHIN_S
        self.watchdog.watch(within_s, "the robot", hold)
        try:
            with self.timeout.busy():
                yield
        except BaseException:
            self.watchdog.forget()
            raise
        self.watchdog.rest()

    def answer(self, server: Server, signals: StopSignals) -> None:
        """Answer until a signal comes or the robot hangs; answer the driver so in the end."""
        try:
            server.serve(lambda: signals.reason, self.around)
        except (Exception, SystemExit, HungError) as error:  # noqa: BLE001  a driver raises what it likes
            self.faults.append(describe_error(error))
            with suppress(Exception, HungError):
                server.shut_down(describe_error(error), self.around)

    def report(self, result: ShutdownResult, reason: str | None) -> int:
        """Print how the robot was left; return the exit code."""
        faults = self.faults
        if result.interrupt is not None:  # none of our signals: the robot's own code raised it
            faults = [*faults, "interrupted by the robot's own code"]
        if result.disconnect_fault is not None:
            faults = [*faults, f"disconnecting: {result.disconnect_fault}"]
        if (fault := self.commands.switch_fault) is not None:
            faults = [*faults, fault]
        if self.commands.limits:
            counts = self.commands.limits.most_common()
            self.say(f"limited     {', '.join(f'{name} {count}' for name, count in counts)}")
        for fault in faults:
            self.say(f"FAULT       {fault}")
        self.say(f"stopped     {reason or 'by a fault'}; {describe_shutdown(result)}")
        return 1 if faults or result.hold_fault is not None else 0


def make_command_path(
    options: DriveOptions,
    robot: Robot,
    contract: Contract,
    now: Callable[[], float] = time_with_sleep,
) -> tuple[RemoteCommands, CommandTimeout]:
    """Return the filter of a robot's commands, and the timeout in front of it.

    The filter checks the deadline once more, directly before it sends.

    Raises:
        RobotError: The limits cannot be read, or do not fit the action.
    """

    def check_deadline() -> None:
        timeout.refuse_late()

    commands = make_remote_commands(options, robot, contract, check_deadline)
    timeout = CommandTimeout(commands, SILENCE_PERIODS * contract.control_dt_s, now)
    return commands, timeout


def _serve(
    robot: Robot,
    contract: Contract,
    options: DriveOptions,
    address: Address,
    key: Key | None,
    lines: LineThread,
) -> int:
    """Connect a robot and answer its requests until a signal comes; leave it holding."""
    result = ShutdownResult()

    def give_up(reason: str, is_held: bool) -> None:
        service.faults.append(reason)
        result.give_up(reason, is_held)
        end_process(lambda: (service.report(result, None), lines.close()), 1)

    try:
        check_features(robot, contract)
        commands, timeout = make_command_path(options, robot, contract)
        server = Server(robot, timeout, contract, address, key)
    except Exception:
        robot.disconnect()
        raise
    service = _Service(
        robot=robot,
        commands=commands,
        timeout=timeout,
        watchdog=Watchdog(look_s=WITHIN_S, give_up=give_up),
        say=lines.say,
    )
    with closing(server), catch_stop_signals() as signals, service.watchdog:

        def answer() -> None:
            announce(server, key, lines.say)
            with ExitStack() as background:
                if not is_stepped(robot):
                    background.enter_context(timeout)
                service.answer(server, signals)

        clock, watchdog = MonotonicClock(), service.watchdog
        drive_connected(robot, timeout, signals, clock, answer, watchdog, result)
    if result.connect_error is not None:
        raise RobotError(describe_error(result.connect_error)) from result.connect_error
    return service.report(result, signals.reason)
