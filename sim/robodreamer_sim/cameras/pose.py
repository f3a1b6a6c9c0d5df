"""Nominal poses of the cameras of a MuJoCo model, as a contract records them."""

import math
from typing import NamedTuple

import mujoco
import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.kinematics import Quaternion, Vector

WORLD = "world"
FOLLOWING = "world axes at {}"
"""Frame that moves with a body while its axes stay parallel to the world's."""
DECIMALS = 9
"""Nanometres, so that the rounding of another machine does not change the contract."""


class NominalPose(NamedTuple):
    """Pose of a camera's axes (x right, y up, it looks along -z) in a frame."""

    frame: str
    position: Vector
    quaternion: Quaternion


def nominal_pose(model: mujoco.MjModel, view: mujoco.MjvCamera) -> NominalPose | None:
    """Return the pose of a camera as the model is built; None if it turns to face a target."""
    if view.type == mujoco.mjtCamera.mjCAMERA_FIXED.value:
        return _pose_in_model(model, view.fixedcamid)
    if view.type not in (mujoco.mjtCamera.mjCAMERA_FREE, mujoco.mjtCamera.mjCAMERA_TRACKING):
        return None
    azimuth, elevation = math.radians(view.azimuth), math.radians(view.elevation)
    flat = math.cos(elevation)
    ahead = np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)])
    right = np.array([math.sin(azimuth), -math.cos(azimuth), 0.0])
    rotation = np.stack([right, np.cross(right, ahead), -ahead], axis=1)
    if view.type == mujoco.mjtCamera.mjCAMERA_FREE:
        return _pose(WORLD, view.lookat - view.distance * ahead, rotation)
    followed = f"the centre of mass of {model.body(view.trackbodyid).name}"
    return _pose(FOLLOWING.format(followed), -view.distance * ahead, rotation)


def _pose_in_model(model: mujoco.MjModel, camera: int) -> NominalPose | None:
    modes = mujoco.mjtCamLight
    mode, body = int(model.cam_mode[camera]), int(model.cam_bodyid[camera])
    name = model.body(body).name
    if mode == modes.mjCAMLIGHT_FIXED and not _moves(model, body):
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        return _pose(WORLD, data.cam_xpos[camera], data.cam_xmat[camera])
    if mode == modes.mjCAMLIGHT_FIXED:
        rotation = np.empty(9)
        mujoco.mju_quat2Mat(rotation, model.cam_quat[camera])
        return _pose(name, model.cam_pos[camera], rotation)
    if mode == modes.mjCAMLIGHT_TRACK:
        return _pose(FOLLOWING.format(name), model.cam_pos0[camera], model.cam_mat0[camera])
    if mode == modes.mjCAMLIGHT_TRACKCOM:
        followed = f"the centre of mass of {name}"
        return _pose(FOLLOWING.format(followed), model.cam_poscom0[camera], model.cam_mat0[camera])
    return None


def _moves(model: mujoco.MjModel, body: int) -> bool:
    """Return whether a body can move in the world, by joints or as a mocap body."""
    while body:
        if model.body_jntnum[body] or model.body_mocapid[body] >= 0:
            return True
        body = int(model.body_parentid[body])
    return False


def _pose(frame: str, position: Array, rotation: Array) -> NominalPose:
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.asarray(rotation, np.float64).ravel())
    quaternion = quaternion if quaternion[0] >= 0.0 else -quaternion
    x, y, z = (round(float(value), DECIMALS) + 0.0 for value in position)  # no -0.0
    w, i, j, k = (round(float(value), DECIMALS) + 0.0 for value in quaternion)
    return NominalPose(frame, (x, y, z), (w, i, j, k))
