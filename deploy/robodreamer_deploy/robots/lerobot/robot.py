"""A class written for LeRobot, unchanged: `--robot lerobot:MODULE:CLASS[:ARGUMENT]`.

LeRobot's robots speak in flat dictionaries: a number per motor (`shoulder_pan.pos`, by default in
degrees), a picture per camera (`front`). The policy's labels find the motors and its picture
signals the cameras; what cannot be known from names stands in a JSON file given as the argument
(`LeRobotFile`). Such a robot does not tell when its values were measured: their age is unknown and
counts from when they were returned. Velocities that it does not measure are derived from its
positions (`velocity_filter`). It has no `hold` either: it is sent the pose that it measured, unless
that is not to be believed (`pose_check`).
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.device_lock import DeviceLock
from robodreamer_deploy.robots.joints import GoalPositions, commanded_quantities
from robodreamer_deploy.robots.lerobot.mapping import (
    Channel,
    LeRobotFile,
    NameMapping,
    read_lerobot_file,
)
from robodreamer_deploy.robots.loading import find_callable
from robodreamer_deploy.robots.pose_check import PAUSE_S, PoseCheck
from robodreamer_deploy.robots.velocity_filter import VelocityFilter

logger = logging.getLogger(__name__)

LIMP = "disable_torque_on_disconnect"
"""Names, or ends of names, of the config field that has motors switched off."""
HANGING_S = 0.2
"""A call of another thread that goes on for so long is not waited for when holding."""


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
        """True if it can be read and written."""
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


class LeRobotAdapter:
    """A LeRobot-style robot as one of ours; methods may be called from several threads.

    Args:
        robot: An object of the class.
        contract: Of the policy.
        settings: What names do not tell.
        now: Monotonic time in seconds.

    Raises (when it is made):
        RobotError: A joint that the policy needs is missing or of unknown unit, or cannot be held.
    """

    def __init__(
        self,
        robot: LeRobotLike,
        contract: Contract,
        settings: LeRobotFile | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.robot = robot
        self._contract = contract
        settings = settings or LeRobotFile()
        self._name = type(robot).__name__
        self._lock = DeviceLock(self._name)
        self._names = NameMapping(
            self._name, robot.observation_features, robot.action_features, contract, settings
        )
        self._now = now
        self._goals = GoalPositions(
            contract.action,
            commanded_quantities(contract.action, settings.command),
            low=self._names.lowest_goals,
            high=self._names.highest_goals,
            dt_s=contract.control_dt_s,
        )
        self._check = PoseCheck(
            contract.action.actuator_labels,
            self._names.low,
            self._names.high,
            span=self._names.span,
            speed=np.where(np.isfinite(self._goals.speed), self._goals.speed, self._names.speed),
        )
        self._velocities = {
            name: VelocityFilter(contract.control_dt_s) for name in self._names.derived
        }
        self._is_opened = False
        self._doubt = ""  # why the newest reading is no pose to drive from
        self._measured: Mapping[str, Any] | None = None  # the newest that is
        self._measured_s = self._read_s = 0.0  # when it was read, and when reading was last tried
        self._pose: dict[str, float] = {}  # what every motor was last sent to
        self._is_holding = False

    @property
    def observation_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every signal of the policy that the robot has."""
        names = (*self._names.signals, *self._names.derived, *self._names.pictures)
        return {name: self._contract[name].shape for name in names}

    @property
    def action_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of an action, `{"action": (A,)}`."""
        return {"action": (self._contract.action.size,)}

    @property
    def is_limp_when_disconnected(self) -> bool:
        """True if `disconnect` switches motors off, by LeRobot's own setting, True there.

        A robot of two arms has one for each, by a longer name or within another config.
        """
        return _goes_limp(_config_of(self.robot))

    def connect(self) -> None:
        """Connect without calibrating, which asks questions.

        Raises:
            RobotError: It is not calibrated.
        """
        with self._lock.use():
            self._is_opened, self._is_holding, self._measured = True, False, None
            self._check.reset()
            for velocity in self._velocities.values():
                velocity.reset()
            self.robot.connect(calibrate=False)
            if not getattr(self.robot, "is_calibrated", True):
                self.disconnect()
                raise RobotError(f"{self._name} is not calibrated; do that with LeRobot's own tool")
        logger.warning("%s does not tell when its values were measured: age unknown", self._name)
        self._warn_of_limits()

    def get_observation(self) -> Mapping[str, Array]:
        """Return what the robot measured, in the policy's names, units and shapes."""
        with self._lock.use():
            time_s = self._now()  # LeRobot reads its motors first, then its cameras
            theirs = self._observe()
            vectors = {k: _values(channels, theirs) for k, channels in self._names.signals.items()}
            for name, channels in self._names.derived.items():
                positions = _values(channels, theirs)
                vectors[name] = self._velocities[name].update(positions, time_s)
        observation: dict[str, Array] = {
            name: values.astype(np.float32).reshape(self._contract[name].shape)
            for name, values in vectors.items()
        }
        for name, (camera, fit) in self._names.pictures.items():
            if camera in theirs:  # a camera without a new frame may be left out
                observation[name] = fit(np.asarray(theirs[camera]))
        return observation

    def send_action(self, action: Array) -> Array:
        """Send goal positions; return the action that was really sent, by the robot's own word."""
        with self._lock.use():
            if self._measured is None or self._is_stale():
                self._observe_surely()
            if self._measured is None:
                raise RobotError(f"{self._name} measures no pose to start from: {self._doubt}")
            if self._goals.starts_from_measured and self._doubt:
                return self.hold()  # a change from where it was is no change from where it is
            if not self._pose:
                self._pose = self._measure_pose(self._measured)
                self._goals.held_at(self._driven_positions(self._measured))
            goals = self._goals.advance(action, self._driven_positions(self._measured))
            asked = dict(self._pose)
            for channel, goal in zip(self._names.driven, goals, strict=True):
                asked[channel.key] = channel.to_theirs(float(goal))
            self._is_holding = False
            sent = self._send(asked)
            return self._goals.executed(self._driven_positions({**asked, **sent}))

    def hold(self) -> Array:
        """Send the measured pose; return the equivalent action.

        The pose is measured once, however often this is called, and again where the arm was moved
        far from it, as by hand; where measuring fails, a joint seems to have jumped, or another
        thread hangs in it, the last good one is sent. Motors that the policy does not drive stay
        where they were sent, unless the arm was moved. Before `connect` and after `disconnect`
        there is nothing to hold.

        Raises:
            RobotError: The robot has lost its connection.
        """
        with self._lock.attempt(HANGING_S) as is_alone:
            if not self._is_opened:
                return np.zeros(self._contract.action.size, np.float32)
            if not self.robot.is_connected:
                raise RobotError(f"{self._name} is not connected any more")
            if not self._is_holding:
                theirs = self._observe_or_last() if is_alone else self._last_pose("hangs")
                self._pose, self._is_holding = self._pose_to_hold(theirs), True
            elif is_alone and (moved := self._find_moved()) is not None:
                self._pose = self._measure_pose(moved)
            self._send(self._pose)
            return self._goals.held_at(self._driven_positions(self._pose))

    def disconnect(self) -> None:
        """Disconnect, if there is anything to disconnect; what happens then is the class's choice.

        Many classes switch the motors off then, unless their config says otherwise.
        """
        with self._lock.use():
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

    def _is_stale(self) -> bool:
        """True if an action is a change of a pose that was measured more than a period ago."""
        age_s = self._now() - self._measured_s
        return self._goals.starts_from_measured and age_s > self._contract.control_dt_s

    def _observe(self) -> Mapping[str, Any]:
        """Read everything; take it for the pose that is known, if motors may be sent there."""
        time_s = self._read_s = self._now()
        theirs = self.robot.get_observation()
        pose = self._measure_pose(theirs)
        if lost := [key for key, value in pose.items() if not math.isfinite(value)]:
            doubt = f"{lost[0]} is {pose[lost[0]]}"
        else:
            doubt = self._check.doubt(self._driven_positions(theirs), time_s)
        self._doubt = doubt or ""
        if doubt is None:
            self._measured, self._measured_s = theirs, time_s
        return theirs

    def _observe_surely(self) -> Mapping[str, Any]:
        """Read everything; a second time where that tells whether to believe it."""
        theirs = self._observe()
        return self._observe() if self._check.wants_another else theirs

    def _find_moved(self) -> Mapping[str, Any] | None:
        """Return the pose, if it is far from the one that is held; measures after a pause."""
        measured = self._measured
        if self._now() - self._read_s > PAUSE_S:
            measured = self._observe_or_last()
        if measured is None or self._doubt:
            return None
        held = self._driven_positions(self._pose)
        return measured if self._check.is_far(held, self._driven_positions(measured)) else None

    def _observe_or_last(self) -> Mapping[str, Any]:
        try:
            theirs = self._observe_surely()
        except Exception as error:
            if self._measured is None:
                raise
            logger.warning("holding at the last known pose: %s", error)
            return self._measured
        return (
            theirs
            if not self._doubt
            else self._last_pose(f"measures no pose to stay at ({self._doubt})")
        )

    def _last_pose(self, why: str) -> Mapping[str, Any]:
        if self._measured is None:
            raise RobotError(f"{self._name} {why}, and its pose is unknown")
        logger.warning("holding at the last known pose: %s %s", self._name, why)
        return self._measured

    def _measure_pose(self, theirs: Mapping[str, Any]) -> dict[str, float]:
        return {key: float(theirs.get(key, math.nan)) for key in self.robot.action_features}

    def _pose_to_hold(self, theirs: Mapping[str, Any]) -> dict[str, float]:
        """Return the pose of the driven motors, and where all others were sent."""
        measured = self._measure_pose(theirs)
        driven = {channel.key for channel in self._names.driven}
        return {k: v if k in driven else self._pose.get(k, v) for k, v in measured.items()}

    def _driven_positions(self, theirs: Mapping[str, Any]) -> Array:
        return _values(self._names.driven, theirs)

    def _warn_of_limits(self) -> None:
        """Say what a user should know before the arm moves."""
        bounds = zip(
            self._contract.action.actuator_labels,
            self._names.lowest_goals,
            self._names.highest_goals,
            strict=True,
        )
        if unbounded := [label for label, *ends in bounds if not np.isfinite(ends).all()]:
            logger.warning(
                'nobody says how far %s may go; set "low" and "high" in the file\'s "joints"',
                ", ".join(unbounded),
            )
        if self.is_limp_when_disconnected:
            logger.warning(
                "%s switches its motors off when it is disconnected, and an arm falls then; set "
                "disable_torque_on_disconnect to false in its config to have it stay",
                self._name,
            )


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
    settings = (
        read_lerobot_file(Path(rest)) if rest.endswith(".json") else LeRobotFile(argument=rest)
    )
    factory = find_callable(where, name)
    return LeRobotAdapter(_make(factory, name, settings), contract, settings)


def _values(channels: Sequence[Channel], theirs: Mapping[str, Any]) -> Array:
    return np.array([channel.to_ours(theirs) for channel in channels])


def _config_of(robot: LeRobotLike) -> object:
    return getattr(robot, "config", None)


def _goes_limp(config: object, depth: int = 3) -> bool:
    """Return whether a config, or one within it, has motors switched off in the end."""
    if isinstance(config, Mapping):
        fields = cast("Mapping[str, object]", config)
    else:
        fields = {name: getattr(config, name) for name in dir(config) if name.endswith(LIMP)}
        fields |= getattr(config, "__dict__", {})
    return any(
        bool(value) if str(name).endswith(LIMP) else depth > 0 and _goes_limp(value, depth - 1)
        for name, value in fields.items()
    )


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
