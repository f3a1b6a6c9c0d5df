"""A class written for LeRobot, unchanged: `--robot lerobot:MODULE:CLASS[:ARGUMENT]`.

LeRobot's robots speak in flat dictionaries: a number per motor (`shoulder_pan.pos`, by default in
degrees), a picture per camera (`front`). The policy's labels find the motors and its picture
signals the cameras; what cannot be known from names stands in a JSON file given as the argument
(`LeRobotFile`). Such a robot does not tell when its values were measured: their age is unknown and
counts from when they were returned. It has no `hold` either: it is sent the pose that it measured.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from robodreamer_deploy.contract import Array, Contract, Signal
from robodreamer_deploy.records import parse_json, read_object, read_record
from robodreamer_deploy.robots import RobotError
from robodreamer_deploy.robots.exclusive import Exclusive
from robodreamer_deploy.robots.joints import GoalPositions, commanded_quantity
from robodreamer_deploy.robots.loading import find_callable
from robodreamer_deploy.robots.pictures import make_fit

logger = logging.getLogger(__name__)

SUFFIXES = {"rad": ".pos", "m": ".pos", "rad/s": ".vel", "m/s": ".vel"}
"""Of LeRobot's keys, by the unit of the policy's value."""
ANGLES = ("rad", "rad/s")
DEGREE = math.pi / 180.0


class LeRobotLike(Protocol):
    """The part of LeRobot's documented interface that is used."""

    @property
    def observation_features(self) -> Mapping[str, Any]:
        """`float` by motor, (height, width, channels) by camera."""
        ...

    @property
    def action_features(self) -> Mapping[str, Any]:
        """`float` by motor."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether it can be read and written."""
        ...

    def connect(self, calibrate: bool = True) -> None:
        """Open the hardware."""
        ...

    def get_observation(self) -> Mapping[str, Any]:
        """Return a value for each of `observation_features`."""
        ...

    def send_action(self, action: dict[str, Any], /) -> Mapping[str, Any]:
        """Send a value for each of `action_features`; return what was really sent."""
        ...

    def disconnect(self) -> None:
        """Close the hardware."""
        ...


@dataclass(frozen=True, kw_only=True)
class Joint:
    """How a joint of the policy is known to LeRobot: policy = factor * theirs + offset."""

    motor: str | None = None
    """Its key without `.pos` or `.vel`; None for the policy's label."""
    factor: float | None = None
    """Rad or m per unit of theirs; None for degrees. A gripper that goes from 0 to 100 while it
    opens by 8 cm has 0.0008."""
    offset: float = 0.0
    """Where the policy's joint is when theirs reads 0; velocities have none."""

    def __post_init__(self) -> None:
        """Refuse a joint that every value would leave in one place."""
        if self.factor == 0.0:
            raise ValueError("factor is 0")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Which camera of the LeRobot class shows what the policy saw."""

    camera: str | None = None
    """Its key; None for the part of the policy's name after the slash."""
    crop: tuple[int, int, int, int] | None = None
    """(top, left, height, width) in its pixels; None for the largest centred part."""


@dataclass(frozen=True, kw_only=True)
class LeRobotFile:
    """What a JSON file given as the argument says; without one, everything has its default."""

    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields of the class's `config_class`, plain values."""
    argument: str = ""
    """For a function that makes the robot, in place of `config`."""
    joints: Mapping[str, Joint] = field(default_factory=dict[str, Joint])
    """By the policy's label."""
    pictures: Mapping[str, Picture] = field(default_factory=dict[str, Picture])
    """By the policy's signal, such as `image/front`."""
    command: Literal["position", "velocity"] | None = None
    """What the policy's actions are, if their unit does not say."""


class _Channel(NamedTuple):
    """One number of theirs; ours = factor * theirs + offset."""

    key: str
    factor: float
    offset: float

    def to_ours(self, values: Mapping[str, Any]) -> float:
        if self.key not in values:
            raise RobotError(f"the observation lacks {self.key}, one of observation_features")
        return self.factor * float(values[self.key]) + self.offset

    def to_theirs(self, value: float) -> float:
        return (value - self.offset) / self.factor


class LeRobotAdapter:
    """A LeRobot-style robot as one of ours; methods may be called from several threads.

    Raises (when it is made):
        RobotError: A joint that the policy needs is missing or of unknown unit, or cannot be held.
    """

    def __init__(
        self, robot: LeRobotLike, contract: Contract, settings: LeRobotFile | None = None
    ) -> None:
        self.robot = robot
        self._contract = contract
        self._settings = settings or LeRobotFile()
        self._name = type(robot).__name__
        self._in_use = Exclusive(self._name).use
        self._signals = self._find_signals()
        self._pictures = self._find_pictures()
        quantity = commanded_quantity(contract.action, self._settings.command)
        self._driven = self._find_driven()
        self._goals = GoalPositions(
            contract.action,
            quantity,
            low=np.full(contract.action.size, -np.inf),
            high=np.full(contract.action.size, np.inf),
            dt_s=contract.control_dt_s,
        )
        self._is_opened = False
        self._measured: Mapping[str, Any] | None = None
        self._pose: dict[str, float] = {}  # what every motor was last sent to
        self._is_holding = False

    @property
    def observation_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every signal of the policy that the robot has."""
        names = (*self._signals, *self._pictures)
        return {name: self._contract[name].shape for name in names}

    @property
    def action_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of an action, `{"action": (A,)}`."""
        return {"action": (self._contract.action.size,)}

    def connect(self) -> None:
        """Connect without calibrating, which asks questions.

        Raises:
            RobotError: It is not calibrated.
        """
        with self._in_use():
            self._is_opened, self._is_holding, self._measured = True, False, None
            self.robot.connect(calibrate=False)
            if not getattr(self.robot, "is_calibrated", True):
                self.disconnect()
                raise RobotError(f"{self._name} is not calibrated; do that with LeRobot's own tool")
        logger.warning("%s does not tell when its values were measured: age unknown", self._name)

    def get_observation(self) -> Mapping[str, Array]:
        """Return what the robot measured, in the policy's names, units and shapes."""
        with self._in_use():
            theirs = self._measured = self.robot.get_observation()
        observation: dict[str, Array] = {}
        for name, channels in self._signals.items():
            values = [channel.to_ours(theirs) for channel in channels]
            observation[name] = np.array(values, np.float32).reshape(self._contract[name].shape)
        for name, (camera, fit) in self._pictures.items():
            if camera in theirs:  # a camera without a new frame may be left out
                observation[name] = fit(np.asarray(theirs[camera]))
        return observation

    def send_action(self, action: Array) -> Array:
        """Send goal positions; return the action that was really sent, by the robot's own word."""
        with self._in_use():
            if self._measured is None:
                self._measured = self.robot.get_observation()
            if not self._pose:
                self._pose = self._measure_pose(self._measured)
            goals = self._goals.advance(action, self._driven_positions(self._measured))
            asked = dict(self._pose)
            for channel, goal in zip(self._driven, goals, strict=True):
                asked[channel.key] = channel.to_theirs(float(goal))
            self._is_holding = False
            sent = self._send(asked)
            return self._goals.executed(self._driven_positions({**asked, **sent}))

    def hold(self) -> Array:
        """Send the measured pose; return the action this amounts to.

        The pose is measured once, however often this is called; where measuring fails, the last
        one known is sent. Before `connect` and after `disconnect` there is nothing to hold.

        Raises:
            RobotError: The robot has lost its connection.
        """
        with self._in_use():
            if not self._is_opened:
                return np.zeros(self._contract.action.size, np.float32)
            if not self.robot.is_connected:
                raise RobotError(f"{self._name} is not connected any more")
            if not self._is_holding:
                self._pose, self._is_holding = self._measure_pose(self._observe_or_last()), True
            self._send(self._pose)
            return self._goals.held_at(self._driven_positions(self._pose))

    def disconnect(self) -> None:
        """Disconnect, if there is anything to disconnect; what happens then is the class's choice.

        Many classes switch the motors off then, unless their config says otherwise.
        """
        with self._in_use():
            is_connected = self.robot.is_connected
            if not is_connected and not self._is_opened:
                return
            self._is_opened, self._pose = False, {}
            try:
                self.robot.disconnect()
            except Exception as error:
                if is_connected:
                    raise
                logger.info("%s, which was half open: %s", self._name, error)

    def _send(self, command: dict[str, float]) -> Mapping[str, Any]:
        return self.robot.send_action(dict(command))

    def _observe_or_last(self) -> Mapping[str, Any]:
        try:
            self._measured = self.robot.get_observation()
        except Exception as error:
            if self._measured is None:
                raise
            logger.warning("holding at the last known pose: %s", error)
        return self._measured

    def _measure_pose(self, theirs: Mapping[str, Any]) -> dict[str, float]:
        return {key: float(theirs[key]) for key in self.robot.action_features}

    def _driven_positions(self, theirs: Mapping[str, Any]) -> Array:
        return np.array([channel.to_ours(theirs) for channel in self._driven])

    # --- what the policy's names mean ---------------------------------------------------------

    def _find_signals(self) -> dict[str, list[_Channel]]:
        """Return the motors behind each signal of which the robot has them all."""
        features = self.robot.observation_features
        found: dict[str, list[_Channel]] = {}
        for signal in self._contract.inputs:
            suffix = SUFFIXES.get(signal.unit)
            if suffix is None or not signal.labels:
                continue
            keys = [self._motor(label) + suffix for label in signal.labels]
            missing = [key for key in keys if key not in features]
            if len(missing) == len(keys):
                continue
            if missing:
                raise RobotError(
                    f"{signal.name} needs {', '.join(missing)}; {self._name} has "
                    f"{', '.join(features)}"
                )
            found[signal.name] = [self._channel(label, signal.unit) for label in signal.labels]
        return found

    def _find_pictures(self) -> dict[str, Any]:
        """Return, by signal, the camera's key and what makes its pictures fit."""
        features = self.robot.observation_features
        found: dict[str, Any] = {}
        for signal in self._contract.inputs:
            picture = self._settings.pictures.get(signal.name, Picture())
            camera = picture.camera or signal.name.partition("/")[2]
            if signal.family == "image" and isinstance(features.get(camera), tuple):
                found[signal.name] = camera, make_fit(signal.shape, picture.crop)
            elif picture.camera is not None:
                raise RobotError(f"{self._name} has no camera {camera}; {', '.join(features)}")
        return found

    def _find_driven(self) -> list[_Channel]:
        """Return the motor behind each element of the action."""
        action, features = self._contract.action, self.robot.action_features
        units = {label: s.unit for s in self._position_signals() for label in s.labels}
        channels: list[_Channel] = []
        for label in action.labels:
            unit = units.get(label, "rad" if action.unit in ("", *ANGLES) else "m")
            channel = self._channel(label, unit)
            if channel.key not in features:
                raise RobotError(
                    f"the action drives {label}, {self._name} takes {', '.join(features)}"
                )
            channels.append(channel)
        if not channels:
            raise RobotError("the policy's action has no labels, so its joints are unknown")
        if unheld := [k for k in features if k not in self.robot.observation_features]:
            raise RobotError(f"{self._name} cannot be held: it does not measure {unheld[0]}")
        return channels

    def _position_signals(self) -> list[Signal]:
        return [s for s in self._contract.inputs if SUFFIXES.get(s.unit) == ".pos"]

    def _motor(self, label: str) -> str:
        motor = self._settings.joints.get(label, Joint()).motor or label
        return motor.removesuffix(".pos").removesuffix(".vel")

    def _channel(self, label: str, unit: str) -> _Channel:
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
        return _Channel(key, factor, joint.offset if SUFFIXES[unit] == ".pos" else 0.0)


def make_robot(argument: str, contract: Contract) -> LeRobotAdapter:
    """Make the robot of `--robot lerobot:MODULE:CLASS[:ARGUMENT]` for a policy's contract.

    A class with a `config_class` is made from it, with the fields in the file's `config`. Anything
    else is called with the argument, or with nothing if there is none.

    Raises:
        RobotError: No such class, an unreadable file, or the robot does not serve the policy.
    """
    where, _, rest = argument.partition(":")
    name, _, rest = rest.partition(":")
    if not name:
        raise RobotError(f"lerobot:{argument} is not of the form lerobot:MODULE:CLASS[:ARGUMENT]")
    settings = _read_file(Path(rest)) if rest.endswith(".json") else LeRobotFile(argument=rest)
    factory = find_callable(where, name)
    return LeRobotAdapter(_make(factory, name, settings), contract, settings)


def _make(factory: Any, name: str, settings: LeRobotFile) -> LeRobotLike:
    config_class = getattr(factory, "config_class", None)
    if config_class is None:
        return factory(settings.argument) if settings.argument else factory()
    if settings.argument:
        raise RobotError(
            f"{name} is made from a {config_class.__name__}: give a .json file whose "
            f'"config" has its fields, or name a function that makes the robot'
        )
    try:
        return factory(config_class(**settings.config))
    except TypeError as error:
        raise RobotError(f"{name} cannot be made from the file's config: {error}") from error


def _read_file(path: Path) -> LeRobotFile:
    try:
        text = path.read_text(encoding="utf-8")
        return read_record(LeRobotFile, read_object(parse_json(text), str(path)), str(path))
    except (OSError, ValueError) as error:
        raise RobotError(f"{path} cannot be read: {error}") from error
