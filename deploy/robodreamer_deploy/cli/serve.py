"""`robodreamer-deploy serve ROBOT --policy POLICY`: put a robot where another process drives it."""

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
from robodreamer_deploy.robots.base import (
    Robot,
    check_features,
    is_stepped,
)
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.remote.address import Address
from robodreamer_deploy.robots.remote.command_timeout import Watch
from robodreamer_deploy.robots.remote.keys import Key
from robodreamer_deploy.robots.remote.listening import announce, listening
from robodreamer_deploy.robots.remote.server import Server
from robodreamer_deploy.utils.async_logging import LineThread

SILENCE_PERIODS = 5
"""Control periods without a command after which a robot is held, also where its class hangs."""

WITHIN_S = 1.0
"""How long a robot may keep its process busy, before the process ends."""
EPISODE_WITHIN_S = 30.0
"""How long it may take to begin an episode."""

Say = Callable[[str], None]


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
        RobotError: The robot, the limits, the key or the address is not to be used, or it did not
            hold.
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
    address, key = listening(arguments.listen, arguments.key)
    robot = load_robot(arguments.robot, contract)
    lines = LineThread(say)  # a terminal that takes nothing in must not keep a robot from holding
    is_told = False
    try:
        code = _serve(robot, contract, options, address, key, lines)
    finally:
        is_told = lines.close()
    if not is_told:
        os._exit(code)  # Python's own end would wait for the terminal; the robot has been left
    return code


@dataclass(kw_only=True)
class _Service:
    """Robot that is served, and all that watches over it."""

    robot: Robot
    commands: RemoteCommands
    watch: Watch
    watchdog: Watchdog
    say: Say
    faults: list[str] = field(default_factory=list[str])

    @contextmanager
    def around(self, kind: str) -> Generator[None, None, None]:
        """Expect the robot to have done in time what a request of this kind asks of it."""
        if is_stepped(self.robot):
            yield
            return

        def hold(_reason: str) -> None:
            self.commands.hold()

        within_s = EPISODE_WITHIN_S if kind == "start_episode" else WITHIN_S
        self.watchdog.watch(within_s, "the robot", hold)
        try:
            with self.watch.busy():
                yield
        except BaseException:
            self.watchdog.forget()
            raise
        self.watchdog.rest()

    def answer(self, server: Server, signals: StopSignals) -> None:
        """Answer until a signal comes or the robot hangs; tell its driver in the end."""
        try:
            server.serve(lambda: signals.reason, self.around)
        except (Exception, SystemExit, HungError) as error:  # noqa: BLE001  a driver raises what it likes
            self.faults.append(describe_error(error))
            with suppress(Exception, HungError):
                server.leave(describe_error(error), self.around)

    def tell(self, result: ShutdownResult, reason: str | None) -> int:
        """Say how the robot was left; return the exit code."""
        faults = self.faults
        if result.interrupt is not None:  # no signal of ours: its own code did it
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


def watched_commands(
    options: DriveOptions,
    robot: Robot,
    contract: Contract,
    now: Callable[[], float] = time_with_sleep,
) -> tuple[RemoteCommands, Watch]:
    """Return the judge of what a robot is commanded, and what holds it when commands cease.

    The judge looks at the deadline as well, last of all.

    Raises:
        RobotError: The limits cannot be read, or do not fit the action.
    """

    def look() -> None:
        watch.refuse_late()

    commands = make_remote_commands(options, robot, contract, look)
    watch = Watch(commands, SILENCE_PERIODS * contract.control_dt_s, now)
    return commands, watch


def _serve(
    robot: Robot,
    contract: Contract,
    options: DriveOptions,
    address: Address,
    key: Key | None,
    lines: LineThread,
) -> int:
    """Connect a robot and answer for it until a signal comes; leave it holding."""
    result = ShutdownResult()

    def give_up(reason: str, is_held: bool) -> None:
        service.faults.append(reason)
        result.give_up(reason, is_held)
        end_process(lambda: (service.tell(result, None), lines.close()), 1)

    try:
        check_features(robot, contract)
        commands, watch = watched_commands(options, robot, contract)
        server = Server(robot, watch, contract, address, key)
    except Exception:
        robot.disconnect()
        raise
    service = _Service(
        robot=robot,
        commands=commands,
        watch=watch,
        watchdog=Watchdog(look_s=WITHIN_S, give_up=give_up),
        say=lines.say,
    )
    with closing(server), catch_stop_signals() as signals, service.watchdog:

        def answer() -> None:
            announce(server, key, lines.say)
            with ExitStack() as standing_by:
                if not is_stepped(robot):
                    standing_by.enter_context(watch)
                service.answer(server, signals)

        clock, watchdog = MonotonicClock(), service.watchdog
        drive_connected(robot, watch, signals, clock, answer, watchdog, result)
    if result.connect_error is not None:
        raise RobotError(describe_error(result.connect_error)) from result.connect_error
    return service.tell(result, signals.reason)
