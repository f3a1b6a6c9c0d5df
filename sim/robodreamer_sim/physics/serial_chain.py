"""Serial chain of joints between the world and a frame, taken from a MuJoCo model."""

from typing import Any, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.kinematics import Chain, Link, Quaternion, Vector
from robodreamer_deploy.utils.suggest import closest

Array = NDArray[Any]
Offset = tuple[Array, Array]
"""Position and quaternion of a frame in another."""
IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])
DECIMALS = 12
"""Decimals of lengths and directions, so that another machine's rounding keeps the contract."""
KINDS: dict[int, Literal["hinge", "slide"]] = {
    int(mujoco.mjtJoint.mjJNT_HINGE): "hinge",
    int(mujoco.mjtJoint.mjJNT_SLIDE): "slide",
}


def serial_chain(
    model: mujoco.MjModel,
    frame: str,
    *,
    axes: Literal["world", "own"] = "world",
    rotation: Literal["free", "kept", "commanded"] = "free",
    max_step: float = 0.2,
) -> Chain:
    """Return the chain of joints between the world and a site or a body.

    Raises:
        ValueError: No such frame, no joint that moves it, or one with more than one axis.
    """
    body, position, quaternion = _frame(model, frame)
    bodies: list[int] = []
    while body:
        bodies.insert(0, body)
        body = int(model.body_parentid[body])
    links: list[Link] = []
    offset: Offset = np.zeros(3), IDENTITY  # since the joint before
    for index in bodies:
        if model.body_mocapid[index] >= 0:
            raise ValueError(
                f"{frame} is carried by {model.body(index).name}, a mocap body, not by joints"
            )
        offset = _compose(offset, (model.body_pos[index], model.body_quat[index]))
        start, count = int(model.body_jntadr[index]), int(model.body_jntnum[index])
        for joint in range(start, start + count):
            anchor = np.array(model.jnt_pos[joint])
            links.append(_link(model, frame, joint, _compose(offset, (anchor, IDENTITY))))
            offset = -anchor, IDENTITY
    position, quaternion = _compose(offset, (position, quaternion))
    return Chain(
        frame=frame, links=tuple(links), position=_vector(position),
        quaternion=_quaternion(quaternion), axes=axes, rotation=rotation, max_step=max_step,
    )  # fmt: skip


def _frame(model: mujoco.MjModel, name: str) -> tuple[int, Array, Array]:
    """Return the body of a frame, which is a body or a site, and the frame's pose in it."""
    site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, name)
    if site >= 0:
        return int(model.site_bodyid[site]), model.site_pos[site], model.site_quat[site]
    body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name)
    if body > 0:
        return body, np.zeros(3), IDENTITY
    names = [model.site(i).name for i in range(model.nsite)]
    names += [model.body(i).name for i in range(1, model.nbody)]
    known = closest(name, [known for known in names if known]) or "none with a name"
    raise ValueError(f"the model has no site and no body {name!r}; it has {known}")


def _link(model: mujoco.MjModel, frame: str, joint: int, offset: Offset) -> Link:
    name, kind = model.joint(joint).name, int(model.jnt_type[joint])
    if not name:
        raise ValueError(f"a joint between the world and {frame} has no name; give it one")
    if kind not in KINDS:
        raise ValueError(
            f"joint {name} between the world and {frame} has more than one axis; a hand is moved "
            "by hinges and slides on a base that stands still"
        )
    position, quaternion = offset
    return Link(
        joint=name, kind=KINDS[kind], position=_vector(position),
        quaternion=_quaternion(quaternion), axis=_vector(model.jnt_axis[joint]),
        zero=float(model.qpos0[model.jnt_qposadr[joint]]),
    )  # fmt: skip


def _compose(one: Offset, other: Offset) -> Offset:
    """Compose two poses: that of a frame whose pose in the frame `one` is `other`."""
    position, quaternion = np.empty(3), np.empty(4)
    mujoco.mju_rotVecQuat(position, np.asarray(other[0], np.float64), one[1])
    mujoco.mju_mulQuat(quaternion, one[1], np.asarray(other[1], np.float64))
    return one[0] + position, quaternion


def _vector(values: Array) -> Vector:
    x, y, z = (round(float(value), DECIMALS) + 0.0 for value in values)
    return x, y, z


def _quaternion(values: Array) -> Quaternion:
    w, x, y, z = (round(float(value), DECIMALS) + 0.0 for value in values)
    return w, x, y, z
