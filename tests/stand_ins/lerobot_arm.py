"""A robot class as LeRobot's documentation describes one, knowing nothing of this project.

A `config_class` that registers itself, and raises when it is defined a second time; flat features
with `float` and (h, w, c), `connect(calibrate)`, `is_calibrated`, `send_action` that returns what
was sent after its own limit, motors that go off with `disconnect`, errors as LeRobot raises them.
The motors are a few numbers that follow their goals.
"""

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

REGISTERED = cast("Any", builtins).__dict__.setdefault("registered_robots", {})
"""Of the process, as LeRobot's registry is: it outlives a module that is executed again."""


def register_subclass(name: str) -> Callable[[type], type]:
    def register(kind: type) -> type:
        if name in REGISTERED:
            raise ValueError(f"{name} is already registered")
        return REGISTERED.setdefault(name, kind)

    return register


@register_subclass("toy_arm")
@dataclass
class ArmConfig:
    port: str = "/dev/ttyACM0"
    id: str | None = None
    max_relative_target: float | None = None  # degrees
    is_calibrated: bool = True
    disable_torque_on_disconnect: bool = True


class Arm:
    """Two joints in degrees, a gripper from 0 to 100, a camera."""

    config_class = ArmConfig
    name = "toy_arm"

    def __init__(self, config: ArmConfig) -> None:
        self.config = config
        self.positions = {"shoulder_pan": 10.0, "elbow_flex": -20.0, "gripper": 50.0}
        self.sent: list[dict[str, float]] = []
        self.is_deaf = False
        self.are_motors_on = False
        self._is_connected = False

    @property
    def _motors(self) -> dict[str, type]:
        return {f"{motor}.pos": float for motor in self.positions}

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**self._motors, "front": (48, 64, 3)}

    @property
    def action_features(self) -> dict[str, Any]:
        return self._motors

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    @property
    def is_calibrated(self) -> bool:
        return self.config.is_calibrated

    def connect(self, calibrate: bool = True) -> None:
        if self._is_connected:
            raise ConnectionError("already connected")
        if self.config.port == "/dev/nowhere":
            raise ConnectionError("no such port")
        self._is_connected = self.are_motors_on = True
        if calibrate and not self.is_calibrated:
            self.calibrate()

    def calibrate(self) -> None:
        raise AssertionError("asks questions on the terminal")

    def configure(self) -> None:
        pass

    def get_observation(self) -> dict[str, Any]:
        self._require_connected()
        if self.is_deaf:
            raise ConnectionError("the bus does not answer")
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, :32, 0] = 255  # the left half is red
        return {**{f"{k}.pos": v for k, v in self.positions.items()}, "front": picture}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self._require_connected()
        assert action.keys() == self.action_features.keys()
        goals = {key.removesuffix(".pos"): float(value) for key, value in action.items()}
        if (limit := self.config.max_relative_target) is not None:
            goals = {
                motor: float(
                    np.clip(goal, self.positions[motor] - limit, self.positions[motor] + limit)
                )
                for motor, goal in goals.items()
            }
        self.sent.append(goals)
        self.positions = dict(goals)
        return {f"{motor}.pos": goal for motor, goal in goals.items()}

    def disconnect(self) -> None:
        self._require_connected()
        self._is_connected = False
        self.are_motors_on = not self.config.disable_torque_on_disconnect

    def _require_connected(self) -> None:
        if not self._is_connected:
            raise ConnectionError("not connected")


def make_arm(port: str = "/dev/ttyACM0") -> Arm:
    """Make one as a user's own function would."""
    return Arm(ArmConfig(port=port))
