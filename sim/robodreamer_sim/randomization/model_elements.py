"""Elements of a MuJoCo model that can be randomised, by name and field."""

from collections.abc import Callable, Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_sim.randomization.parameters import FIELDS

Model = mujoco.MjModel
Indices = NDArray[np.intp]

OBJECTS = {
    "geom": (mujoco.mjtObj.mjOBJ_GEOM, "ngeom"),
    "body": (mujoco.mjtObj.mjOBJ_BODY, "nbody"),
    "root": (mujoco.mjtObj.mjOBJ_BODY, "nbody"),
    "joint": (mujoco.mjtObj.mjOBJ_JOINT, "njnt"),
    "actuator": (mujoco.mjtObj.mjOBJ_ACTUATOR, "nactuator"),
    "sensor": (mujoco.mjtObj.mjOBJ_SENSOR, "nsensor"),
    "camera": (mujoco.mjtObj.mjOBJ_CAMERA, "ncam"),
    "light": (mujoco.mjtObj.mjOBJ_LIGHT, "nlight"),
    "material": (mujoco.mjtObj.mjOBJ_MATERIAL, "nmat"),
}
AIMED = (
    mujoco.mjtCamLight.mjCAMLIGHT_TARGETBODY.value,
    mujoco.mjtCamLight.mjCAMLIGHT_TARGETBODYCOM.value,
)
LINEAR = (mujoco.mjtGain.mjGAIN_FIXED.value, mujoco.mjtGain.mjGAIN_AFFINE.value)


def elements(model: Model, field: str) -> dict[str, int]:
    """Return the elements whose `field` can be randomised: name to index, in the model's order.

    An element without a name is called by its kind and index, such as `geom_3`; the only element
    of kind `model` is called so.
    """
    kind = FIELDS[field].kind
    if kind == "model":
        return {"model": 0}
    object_type, count = OBJECTS[kind]
    can = CONDITIONS.get(field, lambda _model, _index: True)
    return {
        mujoco.mj_id2name(model, object_type, index) or f"{kind}_{index}": index
        for index in range(getattr(model, count))
        if can(model, index)
    }


def degrees_of_freedom(model: Model, joints: Indices) -> tuple[Indices, Indices]:
    """Return the degrees of freedom of joints, and for each the place of its joint among them."""
    own = [np.flatnonzero(model.dof_jntid == joint) for joint in joints]
    places = np.repeat(np.arange(len(joints)), [len(dofs) for dofs in own])
    return np.concatenate([*own, np.empty(0, np.intp)]), places


def _is_root(model: Model, body: int) -> bool:
    parent = model.body_parentid[body]
    moves = model.body_weldid[body] != 0 and model.body_mocapid[body] < 0
    return bool(moves and model.body_weldid[parent] == 0)


def _can_shift_mass(model: Model, body: int) -> bool:
    """MuJoCo computes some bodies, such as free balls, in a way that only holds while symmetric."""
    return bool(model.body_mass[body] > 0.0 and not model.body_simple[body])


def _has_own_color(model: Model, geom: int) -> bool:
    """MuJoCo draws a geom in its material's colour as long as its own is the usual grey."""
    is_usual = np.array_equal(model.geom_rgba[geom], (0.5, 0.5, 0.5, 1.0))
    return bool(model.geom_matid[geom] < 0 or not is_usual)


CONDITIONS: Mapping[str, Callable[[Model, int], bool]] = {
    "mass": lambda model, body: bool(model.body_mass[body] > 0.0),
    "center_of_mass": _can_shift_mass,
    "push": _is_root,
    "actuator_gain": lambda model, index: model.actuator_gaintype[index] in LINEAR,
    "force_limit": lambda model, index: bool(model.actuator_forcelimited[index]),
    "camera_rotation": lambda model, index: model.cam_mode[index] not in AIMED,
    "light_direction": lambda model, index: model.light_mode[index] not in AIMED,
    "geom_color": _has_own_color,
    "texture_repeat": lambda model, index: bool((model.mat_texid[index] >= 0).any()),
}
"""Conditions of fields that not all elements have."""
