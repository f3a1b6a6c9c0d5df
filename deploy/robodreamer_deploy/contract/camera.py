"""Geometry of the cameras behind image signals."""

from dataclasses import dataclass
from typing import Literal

from robodreamer_deploy.kinematics import Quaternion, Vector


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Geometry of the camera behind an image signal, as the model was built: the nominal one."""

    signal: str
    """Name of the signal, `image/<camera>`."""
    fovy_rad: float | None = None
    """Vertical field of view; None if the model does not tell."""
    mount: str = ""
    """Body or link that carries it; empty for one that stands in the world."""
    frame: str = ""
    """Frame of the pose: `world`, which is that of the signals, or the body that carries it, or
    `world axes at` a place that moves. Empty if the pose is not known, or changes with what the
    camera looks at."""
    position: Vector | None = None
    """Position of the optical centre in `frame`, m; None if unknown."""
    quaternion: Quaternion | None = None
    """Orientation of the camera in `frame`: w, x, y, z. Its axes are MuJoCo's and OpenGL's: x to
    the right, y up, and it looks along -z."""
    color_order: Literal["rgb"] = "rgb"
    depth_range_m: float | None = None
    """Distance, for a picture of depth (one channel), along the viewing direction that 255 stands
    for; 0 is the camera itself. None for a picture of colours."""

    def __post_init__(self) -> None:
        """Refuse half a pose."""
        if len({self.position is None, self.quaternion is None, not self.frame}) > 1:
            raise ValueError(f"{self.signal} needs position, quaternion and frame, or none of them")

    @property
    def opencv_quaternion(self) -> Quaternion | None:
        """Orientation in `frame` with OpenCV's and ROS' optical axes: w, x, y, z.

        There x goes to the right, y down, and it looks along z, as the manifest's pinholes have it.
        """
        if self.quaternion is None:
            return None
        w, x, y, z = self.quaternion  # times (0, 1, 0, 0): half a turn about its own x
        return (-x, w, z, -y) if x <= 0.0 else (x, -w, -z, y)  # the same turn, w not below 0
