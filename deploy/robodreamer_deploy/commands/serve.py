"""`robodreamer-deploy serve ROBOT --policy POLICY`: let a policy of elsewhere drive a robot."""

import argparse
from collections.abc import Callable
from pathlib import Path

from robodreamer_deploy.bundle.bundle import load_bundle
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.driving.signals import StopSignals, catch_stop_signals
from robodreamer_deploy.faults import sentence
from robodreamer_deploy.robots import Robot, RobotError, check_features
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.remote.address import Address, parse_address
from robodreamer_deploy.robots.remote.keys import Key, load_key
from robodreamer_deploy.robots.remote.server import Server
from robodreamer_deploy.robots.remote.watch import Watch

DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"
SILENCE_PERIODS = 5
"""Control periods without a command after which a robot is held."""

Say = Callable[[str], None]


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy serve", description="Put a robot behind an address."
    )
    result.add_argument("robot", metavar="ROBOT", help="as in --robot")
    result.add_argument(
        "--policy", type=Path, required=True, help="what it will be driven with: its contract"
    )
    add_listening(result)
    return result


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Answer for the robot until a signal comes; return the exit code.

    Raises:
        RobotError: The robot, the key or the address is not to be used.
        BundleError: The policy is not.
    """
    contract = load_bundle(arguments.policy).contract
    address, key = listening(arguments.listen, arguments.key)
    robot = load_robot(arguments.robot, contract)
    return _serve(robot, contract, address, key, say)


def add_listening(parser: argparse.ArgumentParser) -> None:
    """Add what says where to listen, and to whom."""
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        default=DEFAULT_ADDRESS,
        help=f"where to listen; by default {DEFAULT_ADDRESS}, which only this machine reaches",
    )
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="robot.key of `robodreamer-deploy keys`; without, all of this machine may drive",
    )


def listening(listen: str, key: Path | None) -> tuple[Address, Key | None]:
    """Return what `add_listening` asked for.

    Raises:
        RobotError: It is no address, or no key.
    """
    return parse_address(listen), None if key is None else load_key(key, "robot")


def announce(server: Server, key: Key | None, say: Say) -> None:
    """Tell how to drive what a server answers for."""
    who = "this machine's processes, without a key" if key is None else "who has driver.key"
    suffix = "" if key is None else ":driver.key"
    say(f"listening   {server.address} for {who}")
    say(f"drive it    robodreamer-deploy POLICY --robot {server.address}{suffix}")


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
