"""The six-joint arm of the simulator on a simulated servo bus, and a contract that drives it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import robodreamer_sim
from robodreamer_deploy.contract import ActionSpec, Array, Contract, Signal
from robodreamer_deploy.robots.dynamixel.config import Servo, ServoBus
from robodreamer_deploy.robots.dynamixel.robot import DynamixelRobot
from servo_bus.bus import SimulatedBus
from servo_bus.joints import MujocoJoints, to_ticks
from servo_bus.servo import SimulatedServo

ARM = Path(robodreamer_sim.__file__).parent / "assets" / "arm.xml"
JOINTS = (
    "base_yaw", "shoulder_pitch", "elbow_pitch", "wrist_roll", "wrist_pitch", "tool_roll",
)  # fmt: skip
RESPONSE_TIMEOUT_S = 0.2
"""Ten times the default: the thread that answers shares its cores with other tests."""
HOME = np.radians([0.0, 20.0, 90.0, 0.0, 60.0, 0.0])
LOW, HIGH = np.radians([-90, -20, 5, -150, -90, -150]), np.radians([90, 90, 140, 150, 90, 150])


def arm_contract(unit: str = "rad", extra: tuple[Signal, ...] = ()) -> Contract:
    """Return the contract of a policy that commands positions (rad) or velocities (rad/s)."""
    low, high = (LOW, HIGH) if unit == "rad" else (np.full(6, -1.5), np.full(6, 1.5))
    return Contract(
        task="arm",
        observations=(
            Signal(
                name="proprio/joint_position", shape=(6,), dtype="float32", unit="rad",
                labels=JOINTS,
            ),
            Signal(
                name="proprio/joint_velocity", shape=(6,), dtype="float32", unit="rad/s",
                labels=JOINTS,
            ),
            *extra,
        ),
        action=ActionSpec(
            size=6, low=tuple(low.tolist()), high=tuple(high.tolist()), labels=JOINTS,
            units=(unit,) * 6,
        ),
        control_dt_s=0.02,
    )  # fmt: skip


def bus_config(port: str, *, watchdog_s: float = 1.0, **settings: Any) -> ServoBus:
    """Return a bus whose servos have the ids 11 to 16, the order of `JOINTS`."""
    servos = tuple(
        Servo(label=label, id=11 + i, low=float(LOW[i]), high=float(HIGH[i]))
        for i, label in enumerate(JOINTS)
    )
    given = {"response_timeout_s": RESPONSE_TIMEOUT_S, **settings}
    return ServoBus(port=port, servos=servos, watchdog_s=watchdog_s, **given)


def write_bus_file(path: Path, port: str) -> Path:
    """Write a file for `--robot dynamixel:FILE`."""
    servos = [
        {"label": label, "id": 11 + i, "low": float(LOW[i]), "high": float(HIGH[i])}
        for i, label in enumerate(JOINTS)
    ]
    settings = {"port": port, "response_timeout_s": RESPONSE_TIMEOUT_S, "servos": servos}
    path.write_text(json.dumps(settings))
    return path


@contextmanager
def simulated_bus() -> Iterator[SimulatedBus]:
    """Lend the arm at home, on its bus."""
    servos = [SimulatedServo(11 + i, to_ticks(angle)) for i, angle in enumerate(HOME)]
    with SimulatedBus(servos, MujocoJoints(ARM, HOME.tolist())) as bus:
        yield bus


CONTRACT = arm_contract()


def action_at(positions: Array) -> Array:
    """Return the action that sends the joints to positions in rad."""
    return CONTRACT.action.from_actuators(positions)


def drive(robot: DynamixelRobot, action: Array, seconds: float) -> dict[str, Array]:
    """Send one action for some time; return the last observation."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        robot.get_observation()
        robot.send_action(action)
        time.sleep(0.02)
    return dict(robot.get_observation())


def goals(bus: SimulatedBus) -> list[int]:
    """Return where the servos were last sent, in ticks."""
    return [servo.get("goal_position") for servo in bus.servos.values()]
