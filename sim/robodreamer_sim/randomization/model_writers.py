"""Writers of fields into a MuJoCo model.

A writer changes some rows of the model's arrays. They hold the nominal values when the first entry
of a field is written, and what the entries before made of them when further ones are.

n rows, s numbers per row.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array
from robodreamer_sim.randomization.delay import delay_s
from robodreamer_sim.randomization.model_elements import Indices, Model
from robodreamer_sim.randomization.parameters import FIELDS, Operation

Values = NDArray[np.float64]
Write = Callable[[Model, Indices, Values, Operation], None]

MASS_DERIVED = (
    "body_subtreemass", "body_invweight0", "dof_M0", "dof_invweight0", "tendon_invweight0",
    "actuator_acc0",
)  # fmt: skip
SHAPE_DERIVED = ("body_sameframe", "geom_sameframe", "site_sameframe", "bvh_aabb", "dof_length")


class Writer(NamedTuple):
    """Writer of one field."""

    arrays: tuple[str, ...]
    """Arrays that it changes, in the rows of its elements."""
    write: Write
    derived: tuple[str, ...] = ()
    """Arrays that MuJoCo derives from it (`mj_setConst`) and has to recompute."""


def get_array(model: Model, path: str) -> Array:
    """Return an array of a model, such as `body_mass` or `vis.headlight.diffuse`, as a view."""
    value: Any = model
    for name in path.split("."):
        value = getattr(value, name)
    return np.asarray(value)


def get_rows(model: Model, path: str, rows: Indices) -> Array:
    """Return a copy of rows of an array; of one for the whole model, as `opt.gravity`, all."""
    return np.array(get_array(model, path)[... if "." in path else rows])


def set_rows(model: Model, path: str, rows: Indices, values: Array) -> None:
    """Write what `get_rows` returned, or what was made of it."""
    if path == "opt.timestep":  # a number, of which there is no view
        model.opt.timestep = float(values)
    else:
        get_array(model, path)[... if "." in path else rows] = values


def _changed(current: Array, values: Array, operation: Operation, field: str) -> Array:
    """Return what becomes of values, within the field's limits where they were so before."""
    about = FIELDS[field]
    if operation == "set":
        return np.broadcast_to(values, current.shape)
    changed = current * values if operation == "scale" else current + values
    return np.clip(changed, np.minimum(about.low, current), np.maximum(about.high, current))


def _plain(field: str, *paths: str, columns: int = 0, derived: tuple[str, ...] = ()) -> Writer:
    """Return the writer of fields that stand in arrays as they are, in the first `columns`."""

    def write(model: Model, rows: Indices, values: Values, operation: Operation) -> None:
        for path in paths:
            block = get_rows(model, path, rows)
            changed = block[..., :columns] if columns else block
            fitting = values if block.ndim > 1 else values.reshape(block.shape)
            changed[...] = _changed(changed, fitting, operation, field)
            set_rows(model, path, rows, block)

    return Writer(paths, write, derived)


def _write_mass(model: Model, rows: Indices, values: Values, operation: Operation) -> None:
    before = model.body_mass[rows]
    after = _changed(before, values[:, 0], operation, "mass")
    model.body_mass[rows] = after
    model.body_inertia[rows] *= (after / before)[:, None]


def _write_camera_position(
    model: Model, rows: Indices, values: Values, _operation: Operation
) -> None:
    """Move cameras along their own axes, also those whose place follows a body by itself."""
    for index, offset in zip(rows, values, strict=True):
        model.cam_pos[index] += _matrix(model.cam_quat[index]) @ offset
        in_world = model.cam_mat0[index].reshape(3, 3) @ offset
        model.cam_pos0[index] += in_world
        model.cam_poscom0[index] += in_world


def _write_camera_rotation(
    model: Model, rows: Indices, values: Values, _operation: Operation
) -> None:
    """Turn cameras about their own axes, also those that keep their direction in the world."""
    for index, rotation in zip(rows, values, strict=True):
        turn = _quaternion(rotation)
        turned = np.empty(4)
        mujoco.mju_mulQuat(turned, model.cam_quat[index], turn)
        model.cam_quat[index] = turned
        matrix = model.cam_mat0[index].reshape(3, 3) @ _matrix(turn)
        model.cam_mat0[index] = matrix.ravel()


def _write_light_direction(
    model: Model, rows: Indices, values: Values, _operation: Operation
) -> None:
    for index, rotation in zip(rows, values, strict=True):
        turn = _matrix(_quaternion(rotation))
        model.light_dir[index] = turn @ model.light_dir[index]
        model.light_dir0[index] = turn @ model.light_dir0[index]


def _write_delay(path: str) -> Write:
    """Return the writer of delays in whole physics steps."""

    def write(model: Model, rows: Indices, values: Values, _operation: Operation) -> None:
        delays = [delay_s(model, int(steps)) for steps in values[:, 0]]
        get_array(model, path)[rows] = delays

    return write


def _matrix(quaternion: Array) -> Values:
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def _quaternion(rotation: Array) -> Values:
    """Return the quaternion of a rotation vector (3,), rad."""
    quaternion = np.empty(4)
    angle = float(np.linalg.norm(rotation))
    mujoco.mju_axisAngle2Quat(quaternion, rotation / (angle or 1.0), angle)
    return quaternion


CAMERA_POSITION = ("cam_pos", "cam_pos0", "cam_poscom0")
LIGHT_POSITION = ("light_pos", "light_pos0", "light_poscom0")
SERVO = ("actuator_gainprm", "actuator_biasprm")

WRITERS: Mapping[str, Writer] = {
    "friction": _plain("friction", "geom_friction", columns=1),
    "mass": Writer(("body_mass", "body_inertia"), _write_mass, MASS_DERIVED),
    "center_of_mass": _plain("center_of_mass", "body_ipos", derived=MASS_DERIVED + SHAPE_DERIVED),
    "damping": _plain("damping", "dof_damping"),
    "armature": _plain("armature", "dof_armature", derived=MASS_DERIVED),
    "friction_loss": _plain("friction_loss", "dof_frictionloss"),
    "stiffness": _plain("stiffness", "jnt_stiffness"),
    "actuator_gain": _plain("actuator_gain", *SERVO, columns=3),
    "force_limit": _plain("force_limit", "actuator_forcerange"),
    "actuator_delay": Writer(("actuator_delay",), _write_delay("actuator_delay")),
    "sensor_delay": Writer(("sensor_delay",), _write_delay("sensor_delay")),
    "gravity": _plain("gravity", "opt.gravity"),
    "control_jitter": _plain("control_jitter", "opt.timestep"),
    "camera_position": Writer(CAMERA_POSITION, _write_camera_position),
    "camera_rotation": Writer(("cam_quat", "cam_mat0"), _write_camera_rotation),
    "camera_fovy": _plain("camera_fovy", "cam_fovy"),
    "light_position": _plain("light_position", *LIGHT_POSITION),
    "light_direction": Writer(("light_dir", "light_dir0"), _write_light_direction),
    "light_color": _plain("light_color", "light_diffuse"),
    "headlight": _plain("headlight", "vis.headlight.diffuse", "vis.headlight.ambient"),
    "geom_color": _plain("geom_color", "geom_rgba", columns=3),
    "material_color": _plain("material_color", "mat_rgba", columns=3),
    "texture_repeat": _plain("texture_repeat", "mat_texrepeat"),
}
"""Writers of all fields of the model; a push acts on the state."""
