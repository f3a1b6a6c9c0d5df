"""The simulated hardware as a process: `robodreamer robot TASK --listen tcp://127.0.0.1:5555`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from robodreamer_deploy.bundle.bundle import BundleError, load_bundle
from robodreamer_deploy.commands.serve import add_listening, announce, listening
from robodreamer_deploy.driving.realtime import real_time
from robodreamer_deploy.driving.signals import catch_stop_signals
from robodreamer_deploy.robots import RobotError
from robodreamer_deploy.robots.remote.server import Server
from robodreamer_sim.faults import GraphicsError
from robodreamer_sim.hardware.checker import CommandLimits, format_verdict
from robodreamer_sim.hardware.firmware import WATCHDOG_PERIODS, Firmware
from robodreamer_sim.hardware.sensors import Imperfections
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.randomize import read_word
from robodreamer_sim.robot import SimulatedRobot, make_robot
from robodreamer_sim.tasks.registry import make

USER_ERROR = 2

Say = Callable[[str], None]


def main(words: Sequence[str] | None = None, prog: str = "robodreamer robot") -> int:
    """Run the robot until a signal comes; return the exit status, 1 if commands were unsafe."""
    arguments = _parser(prog).parse_args(words)
    try:
        address, key = listening(arguments.listen, arguments.key)
        plant = make_plant(arguments.task, arguments.policy, arguments.randomize)
        firmware = make_firmware(plant, arguments)
        firmware.connect()
        server = Server(firmware, firmware, plant.contract, address, key)
    except (RobotError, BundleError, GraphicsError, ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {' '.join(str(error).split())}\n")
        return USER_ERROR
    try:
        with catch_stop_signals() as signals, real_time():
            announce(server, key, _say)
            server.serve(lambda: signals.reason)
    finally:
        server.close()
        firmware.disconnect()
    for line in format_verdict(firmware.verdict()):
        _say(line)
    return 1 if firmware.checker.unsafe else 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="A simulated robot in a process of its own, in place of hardware: it has its "
        "own clock, imperfect sensors, and a watchdog that holds it when commands cease. It judges "
        "what it is commanded, and tells at its end.",
    )
    add = parser.add_argument
    add("task", metavar="TASK", help="what is simulated; `robodreamer tasks` lists all")
    add_listening(parser)
    add(
        "--policy", type=Path, metavar="FOLDER",
        help="policy that will drive it: the task is made as it was for its training",
    )  # fmt: skip
    add(
        "--randomize", metavar="PRESET",
        help="noise, and other imperfections of signals and simulation: none, mild, strong, or a "
        "JSON file; by default what the policy was trained with",
    )  # fmt: skip
    add("--camera-drop", type=float, default=0.0, metavar="P", help="part of pictures that is lost")
    for name, what in {
        "camera-delay": "age of every picture",
        "measurement-delay": "age of every measurement",
        "action-delay": "time that an action takes to the actuators",
    }.items():
        add(f"--{name}", type=int, default=0, metavar="N", help=f"{what}, in control periods")
    add(
        "--watchdog", type=int, default=WATCHDOG_PERIODS, metavar="N",
        help=f"control periods without a command until it holds (default {WATCHDOG_PERIODS})",
    )  # fmt: skip
    add(
        "--check-limits", type=Path, metavar="FILE",
        help='JSON of what the checker allows per element, such as {"max_rate": [10, 10, 10, 10], '
        '"max_acceleration": [400, 400, 400, 400]}',
    )  # fmt: skip
    return parser


def make_plant(task: str, policy: Path | None, randomize: str | None) -> SimulatedRobot:
    """Make what is simulated, as a policy was trained with it or as the task is by default.

    Raises:
        RobotError: The task is not what the policy was trained for.
        BundleError: The policy cannot be read.
        ValueError: No such task, or no such randomisation.
    """
    if policy is not None:
        argument = task if randomize is None else f"{task}:randomize={randomize}"
        return make_robot(argument, load_bundle(policy).contract)
    return SimulatedRobot(make(task, EnvOptions(randomize=read_word(randomize or "none"))))


def make_firmware(plant: SimulatedRobot, arguments: argparse.Namespace) -> Firmware:
    """Put the firmware that the command line asks for around a plant.

    Raises:
        ValueError: A number that cannot be, or a file of limits that holds none.
    """
    if arguments.watchdog < 1:
        raise ValueError(f"--watchdog is 1 or more control periods, got {arguments.watchdog}")
    path, contract = arguments.check_limits, plant.contract
    return Firmware(
        plant,
        contract,
        imperfections=Imperfections(
            camera_drop=arguments.camera_drop,
            camera_delay=arguments.camera_delay,
            measurement_delay=arguments.measurement_delay,
            action_delay=arguments.action_delay,
        ),
        limits=None if path is None else CommandLimits.read(path, contract.action),
        watchdog_periods=arguments.watchdog,
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
