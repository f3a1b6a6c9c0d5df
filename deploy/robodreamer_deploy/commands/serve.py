"""`robodreamer-deploy serve ROBOT --policy POLICY`: put a robot where another process drives it."""

import argparse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from robodreamer_deploy.bundle.bundle import load_bundle
from robodreamer_deploy.commands.arguments import POLICY, ROBOTS, add_listening
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.driving.clock import MonotonicClock
from robodreamer_deploy.driving.leaving import Leaving, describe_leaving, drive_connected
from robodreamer_deploy.driving.signals import catch_stop_signals
from robodreamer_deploy.driving.watchdog import Watchdog, end_process
from robodreamer_deploy.faults import HungError, sentence
from robodreamer_deploy.robots import Robot, RobotError, check_features, is_episodic
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.remote.address import Address
from robodreamer_deploy.robots.remote.keys import Key
from robodreamer_deploy.robots.remote.listening import announce, listening
from robodreamer_deploy.robots.remote.server import Server
from robodreamer_deploy.robots.remote.watch import Watch

SILENCE_PERIODS = 5
"""Control periods without a command after which a robot is held."""

WITHIN_S = 1.0
"""How long a robot may keep its process busy, before it is told to hold and the process ends."""

Say = Callable[[str], None]


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy serve",
        description="Put a robot behind an address, where a policy of another process or computer "
        "drives it with --robot tcp://HOST:PORT (docs/remote-robot.md).",
    )
    result.add_argument("robot", metavar="ROBOT", help=ROBOTS)
    result.add_argument("--policy", type=Path, required=True, help=POLICY)
    add_listening(result)
    return result


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Serve until a signal comes; return the exit code.

    Raises:
        RobotError: The robot, the key or the address is not to be used, or it did not hold.
        BundleError: The policy cannot be read.
    """
    contract = load_bundle(arguments.policy).contract
    address, key = listening(arguments.listen, arguments.key)
    return _serve(load_robot(arguments.robot, contract), contract, address, key, say)


def _serve(robot: Robot, contract: Contract, address: Address, key: Key | None, say: Say) -> int:
    """Connect a robot and answer for it until a signal comes; leave it holding."""
    watch = Watch(robot, SILENCE_PERIODS * contract.control_dt_s)
    try:
        check_features(robot, contract)
        server = Server(robot, watch, contract, address, key)
    except RobotError:
        robot.disconnect()
        raise
    faults: list[str] = []

    def give_up(reason: str, is_held: bool) -> None:
        leaving = Leaving(hold_fault=None if is_held else reason)
        end_process(lambda: _tell(leaving, [reason], None, say), 1)

    watchdog = Watchdog(look_s=WITHIN_S, give_up=give_up)
    with closing(server), catch_stop_signals() as signals, watchdog:

        def answer() -> None:
            announce(server, key, say)
            try:
                server.serve(lambda: _watched(robot, watch, watchdog) or signals.reason)
            except HungError as error:
                faults.append(sentence(error))

        leaving = drive_connected(robot, watch, signals, MonotonicClock(), answer, watchdog)
    if leaving.connect_error is not None:
        raise RobotError(sentence(leaving.connect_error)) from leaving.connect_error
    return _tell(leaving, faults, signals.reason, say)


def _watched(robot: Robot, watch: Watch, watchdog: Watchdog) -> None:
    """Expect the robot to have done what it is asked for next; to begin an episode takes longer."""

    def hold(_reason: str) -> None:
        watch.hold()

    if not is_episodic(robot):
        watchdog.watch(WITHIN_S, "the robot", hold)


def _tell(leaving: Leaving, faults: list[str], reason: str | None, say: Say) -> int:
    """Say how the robot was left; return the exit code."""
    if leaving.disconnect_fault is not None:
        faults = [*faults, f"disconnecting: {leaving.disconnect_fault}"]
    for fault in faults:
        say(f"FAULT       {fault}")
    say(f"stopped     {reason or 'by a fault'}; {describe_leaving(leaving)}")
    return 1 if faults or leaving.hold_fault is not None else 0
