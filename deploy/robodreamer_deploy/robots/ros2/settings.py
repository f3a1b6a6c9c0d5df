"""Contents of a ROS 2 robot's file: topics, joints, and commands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.joints import JointScale
from robodreamer_deploy.utils.strict_json import parse_json, read_object, read_record


@dataclass(frozen=True, kw_only=True)
class Ros2Joint(JointScale):
    """A joint of the policy in ROS."""

    factor: float = 1.0
    """-1 turns its direction round. ROS speaks rad and m, as policies do."""
    name: str | None = None
    """Name in JointState and JointTrajectory; None for the policy's label."""


@dataclass(frozen=True, kw_only=True)
class Ros2Picture:
    """Topic of a signal's pictures, as sensor_msgs/Image."""

    topic: str
    crop: tuple[int, int, int, int] | None = None
    """(top, left, height, width) in its pixels; None for the largest centred part."""


@dataclass(frozen=True, kw_only=True)
class Ros2Command:
    """Commands of the robot: topic, message and kind of value."""

    topic: str
    type: Literal["Float64MultiArray", "JointTrajectory"] = "Float64MultiArray"
    """Message: of std_msgs, one number per joint, in the order of `joints`; of trajectory_msgs, one
    point, to be reached within a control period."""
    quantity: Literal["position", "velocity"] = "position"
    """Kind of value that the controller takes. Velocities of a policy become positions for a
    controller of positions."""
    joints: tuple[str, ...] = ()
    """Names of the controller's joints, in its order; empty for those of the policy's action.
    Those that the policy does not drive stay where they are."""

    def __post_init__(self) -> None:
        """Refuse what there is no message for."""
        if self.type == "JointTrajectory" and self.quantity == "velocity":
            raise ValueError("a JointTrajectory takes positions")


@dataclass(frozen=True, kw_only=True)
class Ros2File:
    """The JSON file behind `--robot ros2:FILE`."""

    command: Ros2Command
    joint_states: str = "/joint_states"
    """Topic of sensor_msgs/JointState; any number of nodes may publish parts there."""
    joints: Mapping[str, Ros2Joint] = field(default_factory=dict[str, Ros2Joint])
    """Joints by the policy's label, where names, directions or zeros differ."""
    pictures: Mapping[str, Ros2Picture] = field(default_factory=dict[str, Ros2Picture])
    """Pictures by the policy's signal, such as `image/front`."""
    vectors: Mapping[str, str] = field(default_factory=dict[str, str])
    """Topics of std_msgs/Float64MultiArray by the policy's signal, such as `goal/position`."""
    action: Literal["position", "velocity"] | None = None
    """Kind of the policy's actions, if their unit does not determine it."""
    connect_within_s: float = 5.0
    """Longest wait in seconds for the first message of every topic, and for the controller."""

    def __post_init__(self) -> None:
        """Refuse a wait that never ends."""
        if not 0.0 < self.connect_within_s <= 60.0:
            raise ValueError(f"connect_within_s is {self.connect_within_s}, not within 0 .. 60")


def read_ros2_file(path: Path) -> Ros2File:
    """Read a JSON file.

    Raises:
        RobotError: No such file, or not such a description; says which field is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return read_record(Ros2File, read_object(parse_json(text), str(path)), str(path))
    except (OSError, ValueError) as error:
        raise RobotError(f"{path} cannot be read: {error}") from error
