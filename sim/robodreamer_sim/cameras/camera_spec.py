"""Cameras of a model: added through `MjSpec` where they are missing, and found by name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.utils.suggest import closest


class Aim(NamedTuple):
    """Where a camera stands and what appears in the centre of its picture, in one frame."""

    position: tuple[float, float, float]
    """Metres."""
    target: tuple[float, float, float]
    """Metres."""
    fovy_deg: float
    """Vertical field of view."""


def add_camera(spec: Any, name: str, aim: Aim, body: str = "") -> None:
    """Add a camera to a model (an `MjSpec`), in the frame of a body or of the world.

    The frame's z axis points upwards in the picture; seen from straight above or below, its y axis.

    Raises:
        ValueError: There is no such body; lists those that exist, closest first.
    """
    mount = spec.body(body) if body else spec.worldbody
    if mount is None:
        names = [known.name for known in spec.bodies]
        raise ValueError(
            f"camera {name}: there is no body {body!r}; there are {closest(body, names)}"
        )
    mount.add_camera(name=name, pos=aim.position, quat=quaternion(aim), fovy=aim.fovy_deg)


def quaternion(aim: Aim) -> NDArray[np.float64]:
    """Return how a camera is turned in the frame that it is aimed in: (4,), real part first."""
    forward = np.subtract(aim.target, aim.position)
    backward = -forward / np.linalg.norm(forward)  # a camera looks along its -z, y is up
    is_vertical = abs(backward[2]) > 1.0 - 1e-9
    right = np.cross((0.0, 1.0, 0.0) if is_vertical else (0.0, 0.0, 1.0), backward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(backward, right), backward], axis=1)
    turn = np.empty(4)
    mujoco.mju_mat2Quat(turn, rotation.ravel())
    return turn


@contextmanager
def cameras_added(add: Callable[[Any], None]) -> Iterator[None]:
    """Let `add` put cameras into every model (an `MjSpec`) that is loaded from XML meanwhile.

    Third-party environments load their model in their constructor and leave no other way in.
    """
    original = mujoco.MjModel.from_xml_path

    def load(path: str) -> mujoco.MjModel:
        spec = mujoco.MjSpec.from_file(path)
        add(spec)
        return spec.compile()

    mujoco.MjModel.from_xml_path = load
    try:
        yield
    finally:
        mujoco.MjModel.from_xml_path = original


def fixed_camera(model: mujoco.MjModel, name_or_index: str | int) -> mujoco.MjvCamera:
    """Return the view of a camera that the model has, by name (or index if it has no name)."""
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value
    camera.fixedcamid = model.camera(name_or_index).id
    return camera
