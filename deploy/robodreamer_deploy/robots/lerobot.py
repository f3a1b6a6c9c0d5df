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
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.robots import RobotError
from robodreamer_deploy.robots.exclusive import Exclusive
from robodreamer_deploy.robots.joints import GoalPositions, commanded_quantity
from robodreamer_deploy.robots.lerobot_names import LeRobotFile, Vocabulary, read_lerobot_file
from robodreamer_deploy.robots.loading import find_callable

logger = logging.getLogger(__name__)

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
        settings = settings or LeRobotFile()
        self._name = type(robot).__name__
        self._exclusive = Exclusive(self._name)
        self._names = Vocabulary(
            self._name, robot.observation_features, robot.action_features, contract, settings
        )
        self._goals = GoalPositions(
            contract.action,
            commanded_quantity(contract.action, settings.command),
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
        names = (*self._names.signals, *self._names.pictures)
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
        with self._exclusive.use():
            self._is_opened, self._is_holding, self._measured = True, False, None
            self.robot.connect(calibrate=False)
            if not getattr(self.robot, "is_calibrated", True):
                self.disconnect()
                raise RobotError(f"{self._name} is not calibrated; do that with LeRobot's own tool")
        logger.warning("%s does not tell when its values were measured: age unknown", self._name)

    def get_observation(self) -> Mapping[str, Array]:
        """Return what the robot measured, in the policy's names, units and shapes."""
        with self._exclusive.use():
            theirs = self._observe()
        observation: dict[str, Array] = {}
        for name, channels in self._names.signals.items():
            values = [channel.to_ours(theirs) for channel in channels]
            observation[name] = np.array(values, np.float32).reshape(self._contract[name].shape)
        for name, (camera, fit) in self._names.pictures.items():
            if camera in theirs:  # a camera without a new frame may be left out
                observation[name] = fit(np.asarray(theirs[camera]))
        return observation

    def send_action(self, action: Array) -> Array:
        """Send goal positions; return the action that was really sent, by the robot's own word."""
        with self._exclusive.use():
            if self._measured is None:
                self._observe()
            if self._measured is None:
                raise RobotError(f"{self._name} measures no pose that is finite")
            if not self._pose:
                self._pose = self._measure_pose(self._measured)
            goals = self._goals.advance(action, self._driven_positions(self._measured))
            asked = dict(self._pose)
            for channel, goal in zip(self._names.driven, goals, strict=True):
                asked[channel.key] = channel.to_theirs(float(goal))
            self._is_holding = False
            sent = self._send(asked)
            return self._goals.executed(self._driven_positions({**asked, **sent}))

    def hold(self) -> Array:
        """Send the measured pose; return the action this amounts to.

        The pose is measured once, however often this is called; where measuring fails, yields NaN,
        or another thread hangs in it, the last one known is sent. Before `connect` and after
        `disconnect` there is nothing to hold.

        Raises:
            RobotError: The robot has lost its connection.
        """
        with self._exclusive.attempt(HANGING_S) as is_alone:
            if not self._is_opened:
                return np.zeros(self._contract.action.size, np.float32)
            if not self.robot.is_connected:
                raise RobotError(f"{self._name} is not connected any more")
            if not self._is_holding:
                theirs = self._observe_or_last() if is_alone else self._last_pose("hangs")
                self._pose, self._is_holding = self._measure_pose(theirs), True
            self._send(self._pose)
            return self._goals.held_at(self._driven_positions(self._pose))

    def disconnect(self) -> None:
        """Disconnect, if there is anything to disconnect; what happens then is the class's choice.

        Many classes switch the motors off then, unless their config says otherwise.
        """
        with self._exclusive.use():
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

    def _observe(self) -> Mapping[str, Any]:
        """Read everything; a pose that is not finite is nothing that motors may be sent to."""
        theirs = self.robot.get_observation()
        if all(math.isfinite(value) for value in self._measure_pose(theirs).values()):
            self._measured = theirs
        return theirs

    def _observe_or_last(self) -> Mapping[str, Any]:
        try:
            theirs = self._observe()
        except Exception as error:
            if self._measured is None:
                raise
            logger.warning("holding at the last known pose: %s", error)
            return self._measured
        return theirs if theirs is self._measured else self._last_pose("measures no finite pose")

    def _last_pose(self, why: str) -> Mapping[str, Any]:
        if self._measured is None:
            raise RobotError(f"{self._name} {why}, and its pose is unknown")
        logger.warning("holding at the last known pose: %s %s", self._name, why)
        return self._measured

    def _measure_pose(self, theirs: Mapping[str, Any]) -> dict[str, float]:
        return {key: float(theirs.get(key, math.nan)) for key in self.robot.action_features}

    def _driven_positions(self, theirs: Mapping[str, Any]) -> Array:
        return np.array([channel.to_ours(theirs) for channel in self._names.driven])


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
