"""One robot out of several parts: joints, cameras, and goals that somebody sets.

`--robot composite:FILE` reads the parts from a JSON file:

    {
      "robot": "dynamixel:arm.json",
      "cameras": {"image/scene": {"source": "/dev/video0"}},
      "goals": {"goal/position": [0.4, 0.1, 0.2]}
    }

Such a file is code, as a class is: "robot" has any module imported and called.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.base import (
    Robot,
    has,
    is_stamped,
)
from robodreamer_deploy.robots.camera import CameraSettings, Frame, OpenCVCamera
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.utils.strict_json import parse_json, read_object, read_record

PASSED_ON = (
    "is_enabled",
    "is_stepped",
    "is_limp_when_disconnected",
    "start_episode",
    "is_episode_over",
    "episode_return",
    "episode_success",
)
"""Optional members of a robot: dead-man's switch, own time, motors that go off, episodes."""


class PictureSource(Protocol):
    """Source of pictures for a robot; `OpenCVCamera` is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, C) of its pictures; readable unconnected."""
        ...

    @property
    def fault(self) -> str | None:
        """Reason why no more frames come; None while they do."""
        ...

    def connect(self) -> None:
        """Open it; return when the first frame is there."""
        ...

    def newest(self) -> Frame | None:
        """Return the newest frame at once."""
        ...

    def disconnect(self) -> None:
        """Close it. Must work after a failed `connect`, and more than once."""
        ...


class CompositeRobot:
    """A robot whose pictures come from cameras of its own, and whose goals are set by hand.

    Args:
        robot: Delivers everything else, and moves.
        cameras: Cameras by signal, such as `image/scene`.
        goals: First value of each goal by signal, such as `goal/position`.

    Raises (when it is made):
        RobotError: Two parts deliver the same signal.
    """

    def __init__(
        self,
        robot: Robot,
        cameras: Mapping[str, PictureSource],
        goals: Mapping[str, Array] | None = None,
    ) -> None:
        self.robot = robot
        self.cameras = dict(cameras)
        self._goals = {k: np.asarray(v, np.float32) for k, v in (goals or {}).items()}
        names = [*robot.observation_features, *self.cameras, *self._goals]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise RobotError(f"two parts of the robot deliver {', '.join(twice)}")
        self._stamps: dict[str, float] = {}

    @property
    def observation_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every signal of all parts."""
        return {
            **self.robot.observation_features,
            **{name: camera.shape for name, camera in self.cameras.items()},
            **{name: goal.shape for name, goal in self._goals.items()},
        }

    @property
    def action_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of what the robot accepts."""
        return self.robot.action_features

    @property
    def observation_stamps(self) -> Mapping[str, float]:
        """Monotonic times in seconds at which the newest observation was measured."""
        return self._stamps

    def set_goal(self, name: str, values: Array | Sequence[float]) -> None:
        """Show the policy another goal from the next observation on; from any thread.

        Raises:
            ValueError: No such goal (lists those there are), another shape, or not finite.
        """
        if name not in self._goals:
            raise ValueError(f"there is no {name}; there are {', '.join(sorted(self._goals))}")
        goal = np.array(values, np.float32)
        if goal.shape != self._goals[name].shape or not np.isfinite(goal).all():
            raise ValueError(
                f"{name} takes {self._goals[name].shape} finite values, got {goal.tolist()}"
            )
        self._goals[name] = goal

    def connect(self) -> None:
        """Open the cameras, then the robot.

        Raises:
            RobotError: A part cannot be opened; those that could are closed again.
        """
        try:
            for name, camera in self.cameras.items():
                _connect(name, camera)
            self.robot.connect()
        except BaseException:
            self.disconnect()
            raise

    def get_observation(self) -> Mapping[str, Array]:
        """Return every part's newest values; a camera that has ended is left out.

        Raises:
            RobotError: As the robot does.
        """
        observation = dict(self.robot.get_observation())
        now = time.monotonic()
        self._stamps = dict.fromkeys(observation, now)
        if is_stamped(self.robot):
            self._stamps.update(self.robot.observation_stamps)
        for name, camera in self.cameras.items():
            frame = camera.newest()
            if frame is not None and camera.fault is None:
                observation[name], self._stamps[name] = frame.picture, frame.stamp_s
        for name, goal in self._goals.items():
            observation[name], self._stamps[name] = goal, now
        return observation

    def send_action(self, action: Array) -> Array:
        """Send one action to the robot; return what was really sent."""
        return self.robot.send_action(action)

    def hold(self) -> Array:
        """Bring the robot to rest; return the equivalent action."""
        return self.robot.hold()

    def __getattr__(self, name: str) -> Any:
        """Pass on what only some robots have."""
        if name not in PASSED_ON or not has(self.robot, name):
            raise AttributeError(f"{type(self).__name__} has no {name}")
        try:
            return getattr(self.robot, name)
        except AttributeError as error:  # passed on, it would say that there is no such thing
            raise RobotError(f"{name} of the robot cannot be read: {error}") from error

    def disconnect(self) -> None:
        """Close every part, whatever another one raises, the robot first; an error is passed on."""
        with ExitStack() as parts:
            for camera in self.cameras.values():
                parts.callback(camera.disconnect)
            parts.callback(self.robot.disconnect)  # the first to be called


def _connect(name: str, camera: PictureSource) -> None:
    try:
        camera.connect()
    except RobotError as error:
        raise RobotError(f"{name}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class CompositeFile:
    """Contents of the file behind `--robot composite:FILE`."""

    robot: str
    """Robot of the joints, in the form that `--robot` takes."""
    cameras: Mapping[str, CameraSettings] = field(default_factory=dict[str, CameraSettings])
    """By signal, such as `image/scene`."""
    goals: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    """Goals by signal, such as `goal/position`."""


def make_robot(path: str, contract: Contract) -> CompositeRobot:
    """Make the robot of `--robot composite:FILE` for a policy's contract.

    Raises:
        RobotError: The file is none, names a signal that the policy does not read, or a part
            cannot be made.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        parts = read_record(CompositeFile, read_object(parse_json(text), path), path)
    except (OSError, ValueError) as error:
        raise RobotError(f"the composite robot {path} cannot be read: {error}") from error
    shapes = {signal.name: signal.shape for signal in contract.inputs}
    for name in (*parts.cameras, *parts.goals):
        if name not in shapes:
            raise RobotError(f"{path} has {name}; the policy reads {', '.join(sorted(shapes))}")
    cameras = {
        name: OpenCVCamera(settings, shapes[name]) for name, settings in parts.cameras.items()
    }
    goals = {name: np.array(values, np.float32) for name, values in parts.goals.items()}
    return CompositeRobot(load_robot(parts.robot, contract), cameras, goals)
