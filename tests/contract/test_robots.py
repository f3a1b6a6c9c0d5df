"""Every robot that is built in keeps what `robots.conformance` demands, and a user's can be asked.

Each runs against what it really talks to: a simulator, a serial line with simulated servos, a film.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from lerobot_arm import Arm, ArmConfig
from robodreamer_deploy.contract import ActionSpec, Contract, Signal
from robodreamer_deploy.robots.base import Robot
from robodreamer_deploy.robots.camera import CameraSettings, OpenCVCamera
from robodreamer_deploy.robots.composite import CompositeRobot
from robodreamer_deploy.robots.conformance import CHECKS, RobotUnderTest, SkippedCheckError
from robodreamer_deploy.robots.dynamixel.robot import DynamixelRobot
from robodreamer_deploy.robots.lerobot.robot import LeRobotAdapter
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.remote.server import Server
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.robots.in_process import make_robot
from robodreamer_sim.robots.virtual_hardware.firmware import Firmware
from served import ANY_PORT, served, serving
from servo_arm import arm_contract, bus_config, simulated_bus
from servo_bus.bus import SimulatedBus
from toy_robot import CONTRACT as TOY
from toy_robot import Bench, Point

GOAL = Signal(name="goal/position", shape=(3,), dtype="float32", unit="m")
EYE = Signal(name="image/eye", shape=(24, 32, 3), dtype="uint8")
LEROBOT = Contract(
    task="pan",
    observations=(
        Signal(
            name="proprio/angle", shape=(1,), dtype="float32", unit="rad", labels=("elbow_flex",)
        ),
        Signal(name="image/front", shape=(24, 32, 3), dtype="uint8"),
    ),
    action=ActionSpec(size=1, low=(-2.0,), high=(2.0,), labels=("elbow_flex",), units=("rad",)),
    control_dt_s=0.02,
)


class Plant(Point):
    """What simulated firmware moves."""

    rest_action = np.zeros(2, np.float32)


class Hardware(NamedTuple):
    """What the robots talk to."""

    bus: SimulatedBus
    film: Path
    bench: Server
    firmware: Server


@pytest.fixture(scope="module")
def hardware(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hardware]:
    film = tmp_path_factory.mktemp("film") / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 50, (64, 48))
    for number in range(150):
        picture = np.full((48, 64, 3), number % 255, np.uint8)
        picture[:24] = 255 - picture[:24]  # all one colour would be a covered lens
        writer.write(picture)
    writer.release()
    firmware = Firmware(Plant("", TOY), TOY)
    firmware.connect()
    with (
        simulated_bus() as bus,
        served(Bench("", TOY), TOY) as bench,
        serving(Server(firmware, firmware, TOY, ANY_PORT, None)) as behind_firmware,
    ):
        yield Hardware(bus, film, bench, behind_firmware)


def toy(_: Hardware) -> RobotUnderTest:
    return RobotUnderTest(lambda: Bench("", TOY), TOY, reach=1.0)


def toy_with_episodes(_: Hardware) -> RobotUnderTest:
    contract = dataclasses.replace(TOY, control_dt_s=0.002)
    return RobotUnderTest(lambda: Point("", contract), contract, reach=1.0)


def simulator(_: Hardware) -> RobotUnderTest:
    env = make("arm_reach", EnvOptions(image_size=(24, 32)))
    env.close()
    return RobotUnderTest(lambda: make_robot("arm_reach", env.contract), env.contract, reach=1.0)


def lerobot(_: Hardware) -> RobotUnderTest:
    def adapt(port: str) -> Robot:
        return LeRobotAdapter(Arm(ArmConfig(port=port)), LEROBOT)

    return RobotUnderTest(
        lambda: adapt("/dev/ttyACM0"),
        LEROBOT,
        reach=0.1,
        make_unreachable=lambda: adapt("/dev/nowhere"),
    )


PATIENT = {"response_timeout_s": 1.0, "watchdog_s": 2.5}
"""Waits for a bus that is a thread of this process, on a machine that is busy."""


def servos(hardware: Hardware) -> RobotUnderTest:
    contract = arm_contract()
    return RobotUnderTest(
        lambda: DynamixelRobot(bus_config(hardware.bus.port, **PATIENT), contract),
        contract,
        reach=0.05,
        make_unreachable=lambda: DynamixelRobot(bus_config("/dev/nowhere"), contract),
    )


def servos_in_velocity(hardware: Hardware) -> RobotUnderTest:
    contract = arm_contract("rad/s")
    return RobotUnderTest(
        lambda: DynamixelRobot(bus_config(hardware.bus.port, **PATIENT), contract),
        contract,
        reach=0.2,
    )


def composed(hardware: Hardware) -> RobotUnderTest:
    contract = arm_contract(extra=(EYE, GOAL))

    def assemble(film: str) -> Robot:
        camera = OpenCVCamera(CameraSettings(source=film), EYE.shape)
        arm = DynamixelRobot(bus_config(hardware.bus.port, **PATIENT), contract)
        return CompositeRobot(arm, {EYE.name: camera}, {GOAL.name: np.zeros(3)})

    return RobotUnderTest(
        lambda: assemble(str(hardware.film)),
        contract,
        make_unreachable=lambda: assemble("/dev/video99"),
    )


def remote(hardware: Hardware) -> RobotUnderTest:
    def gone() -> Robot:
        with served(Bench("", TOY), TOY) as server:
            return load_robot(str(server.address), TOY)

    address = str(hardware.bench.address)
    return RobotUnderTest(lambda: load_robot(address, TOY), TOY, reach=1.0, make_unreachable=gone)


def remote_firmware(hardware: Hardware) -> RobotUnderTest:
    return RobotUnderTest(lambda: load_robot(str(hardware.firmware.address), TOY), TOY, reach=1.0)


ROBOTS: dict[str, Callable[[Hardware], RobotUnderTest]] = {
    "toy": toy,
    "toy with episodes": toy_with_episodes,
    "simulator": simulator,
    "lerobot": lerobot,
    "servos": servos,
    "servos in velocity": servos_in_velocity,
    "servos, camera and goal": composed,
    "remote": remote,
    "remote firmware": remote_firmware,
}


VARIANTS = ("toy with episodes", "servos in velocity")
"""Of others, so examined with `make test-all` only."""


def marked(name: str) -> Any:
    return pytest.param(name, marks=(pytest.mark.slow,) if name in VARIANTS else ())


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("robot", [marked(name) for name in ROBOTS])
def test_every_robot_keeps_its_promises(robot: str, check: str, hardware: Hardware) -> None:
    try:
        CHECKS[check](ROBOTS[robot](hardware))
    except SkippedCheckError as reason:
        pytest.skip(str(reason))
