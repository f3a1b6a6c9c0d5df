"""`robodreamer-deploy serve ROBOT --policy POLICY`: put a robot where another process drives it."""

import argparse
from collections.abc import Callable
from pathlib import Path

from robodreamer_deploy.bundle.bundle import load_bundle
from robodreamer_deploy.commands.arguments import POLICY, ROBOTS, add_listening
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.driving.signals import StopSignals, catch_stop_signals
from robodreamer_deploy.faults import sentence
from robodreamer_deploy.robots import Robot, RobotError, check_features
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.remote.address import Address
from robodreamer_deploy.robots.remote.keys import Key
from robodreamer_deploy.robots.remote.listening import announce, listening
from robodreamer_deploy.robots.remote.server import Server
from robodreamer_deploy.robots.remote.watch import Watch

SILENCE_PERIODS = 5
"""Control periods without a command after which a robot is held."""

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
    try:
        check_features(robot, contract)
        watch = Watch(robot, SILENCE_PERIODS * contract.control_dt_s)
        server = Server(robot, watch, contract, address, key)
        with catch_stop_signals() as signals:
            try:
                robot.connect()
                announce(server, key, say)
                server.serve(lambda: signals.reason)
            finally:
                server.close()
                _hold(watch, signals, say)
    finally:
        robot.disconnect()
    say(f"stopped     {signals.reason}; the robot holds")
    return 0


def _hold(watch: Watch, signals: StopSignals, say: Say) -> None:
    signals.shield()
    try:
        watch.hold()
    except Exception as error:
        say(f"FAULT       holding the robot FAILED ({sentence(error)}): CUT ITS POWER")
        raise RobotError(sentence(error)) from error
