"""Process of the virtual hardware: `robodreamer robot TASK --listen tcp://127.0.0.1:5555`."""

import argparse
import logging
import os
import sys
from pathlib import Path

from robodreamer_deploy.control.realtime import real_time
from robodreamer_deploy.control.stop_signals import catch_stop_signals
from robodreamer_deploy.errors import BundleError, RobotError
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.robots.remote.address import parse_address
from robodreamer_deploy.robots.remote.keys import load_key
from robodreamer_deploy.robots.remote.server import Server, announce
from robodreamer_deploy.utils.async_logging import LineThread, ThreadHandler
from robodreamer_sim.errors import GraphicsError
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.randomization import read_word
from robodreamer_sim.registry import make
from robodreamer_sim.robots.in_process import SimulatedRobot, make_robot
from robodreamer_sim.robots.virtual_hardware.command_monitor import CommandLimits, format_verdict
from robodreamer_sim.robots.virtual_hardware.firmware import Firmware
from robodreamer_sim.robots.virtual_hardware.sensors import SensorModel

USER_ERROR = 2


def run(arguments: argparse.Namespace, prog: str) -> int:
    """Run the robot until a signal comes; return the exit status, 1 if commands were unsafe.

    Args:
        arguments: Of `hardware.arguments`.
        prog: What the program is called, in the sentence about a user's mistake.
    """
    handler, lines = ThreadHandler(), LineThread(_say)  # whoever reads nothing stops nothing
    logging.basicConfig(format="%(levelname)s %(message)s", handlers=[handler])
    is_told = False
    try:
        status = _run(arguments, prog, lines)
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
        is_told = lines.close()
    if not is_told:
        os._exit(status)  # Python's own end would wait for whoever reads
    return status


def _run(arguments: argparse.Namespace, prog: str, lines: LineThread) -> int:
    try:
        address = parse_address(arguments.listen)
        key = None if arguments.key is None else load_key(arguments.key, "robot")
        plant = make_plant(arguments.task, arguments.policy, arguments.randomize)
        firmware = make_firmware(plant, arguments)
        firmware.connect()
        server = Server(firmware, firmware, plant.contract, address, key)
    except (RobotError, BundleError, GraphicsError, ValueError, OSError) as error:
        sys.stderr.write(f"{prog}: {' '.join(str(error).split())}\n")
        return USER_ERROR
    try:
        with catch_stop_signals() as signals, real_time():
            announce(server, key, lines.say)
            server.serve(lambda: signals.reason)
    finally:
        server.close()
        firmware.disconnect()
    for line in format_verdict(firmware.verdict()):
        lines.say(line)
    return 1 if firmware.monitor.unsafe else 0


def make_plant(task: str, policy: Path | None, randomize: str | None) -> SimulatedRobot:
    """Make the simulated task, as for a policy's training or with default options.

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
    """Make the firmware of a plant from command-line arguments.

    Raises:
        ValueError: A number that cannot be, or a file of limits that holds none.
    """
    if arguments.watchdog < 1:
        raise ValueError(f"--watchdog is 1 or more control periods, got {arguments.watchdog}")
    path, contract = arguments.check_limits, plant.contract
    return Firmware(
        plant,
        contract,
        sensor_model=SensorModel(
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
