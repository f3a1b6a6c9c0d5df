"""Mapping of the policy's names to those of a LeRobot class: motors, units, cameras.

The policy's labels find motors (`shoulder_pan` is `shoulder_pan.pos`), its picture signals cameras
of the same name. What cannot be known from names, a `LeRobotFile` says.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from robodreamer_deploy.contract import Array, Contract, Signal
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.image_fit import make_fit
from robodreamer_deploy.robots.joints import JointScale, given, known_ranges
from robodreamer_deploy.utils.strict_json import parse_json, read_object, read_record

SUFFIXES = {"rad": ".pos", "m": ".pos", "rad/s": ".vel", "m/s": ".vel"}
"""Suffix of LeRobot's keys, by the unit of the policy's value."""
ANGLES = ("rad", "rad/s")
DEGREE = math.pi / 180.0


@dataclass(frozen=True, kw_only=True)
class Joint(JointScale):
    """A joint of the policy as LeRobot knows it.

    Its factor is None for degrees. A gripper that goes from 0 to 100 while it opens by 8 cm has
    0.0008.
    """

    motor: str | None = None
    """Its key without `.pos` or `.vel`; None for the policy's label."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Camera of the LeRobot class that shows a signal of the policy."""

    camera: str | None = None
    """Its key; None for the part of the policy's name after the slash."""
    crop: tuple[int, int, int, int] | None = None
    """(top, left, height, width) in its pixels; None for the largest centred part."""


@dataclass(frozen=True, kw_only=True)
class LeRobotFile:
    """Contents of the JSON file given as the argument; without one, everything has its default."""

    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields of the class's `config_class`, plain values."""
    argument: str = ""
    """Arguments of a function that makes the robot, in place of `config`."""
    joints: Mapping[str, Joint] = field(default_factory=dict[str, Joint])
    """Joints by the policy's label."""
    pictures: Mapping[str, Picture] = field(default_factory=dict[str, Picture])
    """Pictures by the policy's signal, such as `image/front`."""
    command: Literal["position", "velocity"] | None = None
    """Kind of the policy's actions, if their unit does not determine it."""


def read_lerobot_file(path: Path) -> LeRobotFile:
    """Read a JSON file.

    Raises:
        RobotError: No such file, or not such a description; says which field is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return read_record(LeRobotFile, read_object(parse_json(text), str(path)), str(path))
    except (OSError, ValueError) as error:
        raise RobotError(f"{path} cannot be read: {error}") from error


class Channel(NamedTuple):
    """One number of theirs; ours = factor * theirs + offset."""

    key: str
    factor: float
    offset: float

    def to_ours(self, values: Mapping[str, Any]) -> float:
        """Return our value, out of all of theirs."""
        if self.key not in values:
            raise RobotError(f"the observation lacks {self.key}, one of observation_features")
        return self.factor * float(values[self.key]) + self.offset

    def to_theirs(self, value: float) -> float:
        """Return theirs for one of ours."""
        return (value - self.offset) / self.factor


class NameMapping:
    """Translates between a contract and a robot that has `measured` and accepts `accepted`.

    Args:
        robot: Its name, for errors.
        measured: Its `observation_features`.
        accepted: Its `action_features`.
        contract: Of the policy.
        settings: What names do not tell.

    Raises (when it is made):
        RobotError: A joint that the policy needs is missing or of unknown unit, or cannot be held.
    """

    def __init__(
        self,
        robot: str,
        measured: Mapping[str, Any],
        accepted: Mapping[str, Any],
        contract: Contract,
        settings: LeRobotFile,
    ) -> None:
        self._robot = robot
        self._measured, self._accepted = measured, accepted
        self._contract = contract
        self._settings = settings
        self.signals: dict[str, list[Channel]] = {}
        """The motors behind each signal of which the robot has them all."""
        self.derived: dict[str, list[Channel]] = {}
        """The motors, as positions, behind each velocity that the robot does not measure."""
        self._find_signals()
        self.pictures = self._find_pictures()
        """Key of the camera and fit of its pictures, by signal."""
        self.driven = self._find_driven()
        """The motor behind each actuator of the action, as a position."""
        labels = contract.action.actuator_labels
        self.low, self.high = known_ranges(contract, labels, "position")
        """Between which positions (U,) the policy's driven joints are; infinite if unknown."""
        lowest, highest = known_ranges(contract, labels, "velocity")
        self.speed = np.maximum(np.abs(lowest), np.abs(highest))
        """Largest speeds (U,), by the range of the policy's signals; or infinite."""
        own = [settings.joints.get(label, Joint()) for label in labels]
        self.lowest_goals = given([joint.low for joint in own], self.low)
        """Between which positions they may be sent (U,): what the file says, else their range."""
        self.highest_goals = given([joint.high for joint in own], self.high)
        known, goals = self.high - self.low, self.highest_goals - self.lowest_goals
        self.span = np.where(np.isfinite(known), known, goals)
        """Largest extents (U,): by the policy, else by the file; or infinite."""

    def _find_signals(self) -> None:
        for signal in self._contract.inputs:
            suffix = SUFFIXES.get(signal.unit)
            if suffix is None or not signal.labels:
                continue
            if self._has_all(signal, suffix):
                self.signals[signal.name] = [self._channel(k, signal.unit) for k in signal.labels]
            elif suffix == ".vel" and self._has_all(signal, ".pos"):
                unit = signal.unit.removesuffix("/s")
                self.derived[signal.name] = [self._channel(k, unit) for k in signal.labels]

    def _has_all(self, signal: Signal, suffix: str) -> bool:
        """Return whether the robot measures every element of a signal, rather than none."""
        keys = [self._motor(label) + suffix for label in signal.labels]
        missing = [key for key in keys if key not in self._measured]
        if missing and len(missing) < len(keys):
            raise RobotError(
                f"{signal.name} needs {', '.join(missing)}; {self._robot} has "
                f"{', '.join(self._measured)}"
            )
        return not missing

    def _find_pictures(self) -> dict[str, tuple[str, Callable[[Array], Array]]]:
        features = self._measured
        found: dict[str, tuple[str, Callable[[Array], Array]]] = {}
        for signal in self._contract.inputs:
            picture = self._settings.pictures.get(signal.name, Picture())
            camera = picture.camera or signal.name.partition("/")[2]
            if signal.family == "image" and isinstance(features.get(camera), tuple):
                found[signal.name] = camera, make_fit(signal.shape, picture.crop)
            elif picture.camera is not None:
                raise RobotError(f"{self._robot} has no camera {camera}; {', '.join(features)}")
        return found

    def _find_driven(self) -> list[Channel]:
        action, features = self._contract.action, self._accepted
        positions = [s for s in self._contract.inputs if SUFFIXES.get(s.unit) == ".pos"]
        units = {label: s.unit for s in positions for label in s.labels}
        channels: list[Channel] = []
        told = action.actuator_units or ("",) * action.num_actuators
        for label, command in zip(action.actuator_labels, told, strict=False):
            unit = units.get(label, "rad" if command in ("", *ANGLES) else "m")
            channel = self._channel(label, unit)
            if channel.key not in features:
                raise RobotError(
                    f"the action drives {label}, {self._robot} takes {', '.join(features)}"
                )
            channels.append(channel)
        if not channels:
            raise RobotError("the policy's action has no labels, so its joints are unknown")
        if unheld := [k for k in features if k not in self._measured]:
            raise RobotError(f"{self._robot} cannot be held: it does not measure {unheld[0]}")
        return channels

    def _motor(self, label: str) -> str:
        motor = self._settings.joints.get(label, Joint()).motor or label
        return motor.removesuffix(".pos").removesuffix(".vel")

    def _channel(self, label: str, unit: str) -> Channel:
        joint = self._settings.joints.get(label, Joint())
        key = self._motor(label) + SUFFIXES[unit]
        factor = joint.factor
        if factor is None:
            if unit not in ANGLES:
                raise RobotError(
                    f"{label} is in {unit}, and LeRobot has no unit for {key}; say in the file's "
                    f'"joints" how many {unit} one of it is ("factor")'
                )
            factor = DEGREE
        return Channel(key, factor, joint.offset if SUFFIXES[unit] == ".pos" else 0.0)
