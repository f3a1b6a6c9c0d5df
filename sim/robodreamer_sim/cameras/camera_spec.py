"""Cameras of a model: where they are, how they are added through `MjSpec`, and found by name."""

from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.utils.suggest import closest


class CameraPose(NamedTuple):
    """Pose and field of view of a camera: its position and the point in the centre of its image."""

    position: tuple[float, float, float]
    """Metres."""
    target: tuple[float, float, float]
    """Point in the centre of the image, in the same frame as the position, metres."""
    fovy_deg: float
    """Vertical field of view."""


class BodyCamera(NamedTuple):
    """Camera that is fixed to a body; `pose` is in the body's frame."""

    body: str
    pose: CameraPose


def add_camera(spec: Any, name: str, pose: CameraPose, body: str = "") -> None:
    """Add a camera to a model (an `MjSpec`), in the frame of a body or of the world.

    The frame's z axis points upwards in the image; for a camera that looks straight up or down,
    its y axis does.

    Raises:
        ValueError: There is no such body; lists those that exist, closest first.
    """
    mount = spec.body(body) if body else spec.worldbody
    if mount is None:
        names = [known.name for known in spec.bodies]
        raise ValueError(
            f"camera {name}: there is no body {body!r}; there are {closest(body, names)}"
        )
    mount.add_camera(name=name, pos=pose.position, quat=quaternion(pose), fovy=pose.fovy_deg)


def quaternion(pose: CameraPose) -> NDArray[np.float64]:
    """Return the rotation of a camera in the frame of its pose: (4,), real part first."""
    forward = np.subtract(pose.target, pose.position)
    backward = -forward / np.linalg.norm(forward)  # a MuJoCo camera looks along its -z, y is up
    is_vertical = abs(backward[2]) > 1.0 - 1e-9
    right = np.cross((0.0, 1.0, 0.0) if is_vertical else (0.0, 0.0, 1.0), backward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(backward, right), backward], axis=1)
    turn = np.empty(4)
    mujoco.mju_mat2Quat(turn, rotation.ravel())
    return turn


def fixed_camera(model: mujoco.MjModel, name_or_index: str | int) -> mujoco.MjvCamera:
    """Return a camera of the model, by name (or by index if it has no name)."""
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value
    camera.fixedcamid = model.camera(name_or_index).id
    return camera
