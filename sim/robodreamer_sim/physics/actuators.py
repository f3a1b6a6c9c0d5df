"""Physical meaning of actuator controls: positions, velocities, forces and torques.

The meaning of a MuJoCo control follows from gain, bias, gear and transmission: 1 is 1 rad for a
servo, and 150 N m for a motor with a gear of 150. A contract states the physical value.
"""

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_deploy.joint_mapping import Quantity

TRANSMISSIONS = mujoco.mjtTrn
LAGGING = (mujoco.mjtDyn.mjDYN_NONE, mujoco.mjtDyn.mjDYN_FILTER, mujoco.mjtDyn.mjDYN_FILTEREXACT)
"""Dynamics that delay a control without changing its meaning."""
SPRINGS = mujoco.mjtBias.mjBIAS_NONE, mujoco.mjtBias.mjBIAS_AFFINE
OF_JOINTS = (TRANSMISSIONS.mjTRN_JOINT, TRANSMISSIONS.mjTRN_JOINTINPARENT)
UNITS = {
    "position": {"rad": "rad", "m": "m"},
    "velocity": {"rad": "rad/s", "m": "m/s"},
    "effort": {"rad": "N m", "m": "N"},
}
"""Units by quantity: for rotation, and for translation."""


class Meaning(NamedTuple):
    """Physical meaning of an actuator's control: value = factor * control + offset."""

    quantity: Quantity
    unit: str
    factor: float = 1.0
    offset: float = 0.0

    def to_value(self, control: float) -> float:
        """Convert a control to its physical value."""
        return self.factor * control + self.offset

    def to_control(self, value: float) -> float:
        """Convert a physical value to a control."""
        return (value - self.offset) / self.factor


UNKNOWN = Meaning("unknown", "")


def meaning(model: mujoco.MjModel, actuator: int) -> Meaning:
    """Return the meaning of an actuator's control, along the actuator's own direction."""
    law = _law(model, actuator)
    if law.quantity not in UNITS:
        return law
    gear = _gear(model, actuator)
    if gear == 0.0 or law.factor <= 0.0:
        return UNKNOWN
    scale = gear if law.quantity == "effort" else 1.0 / gear
    unit = UNITS[law.quantity].get(_length_unit(model, actuator), "")
    return Meaning(law.quantity, unit, law.factor * scale, law.offset * scale)


def meanings(model: mujoco.MjModel) -> list[Meaning]:
    """Return the meaning of every actuator's control."""
    return [meaning(model, i) for i in range(model.nu)]


def physical_action(
    model: mujoco.MjModel, low: Sequence[float], high: Sequence[float], labels: Sequence[str]
) -> ActionSpec:
    """Return an action spec, in physical units, for controls from `low` to `high`."""
    told = meanings(model)
    return ActionSpec(
        size=model.nu,
        low=tuple(one.to_value(float(value)) for one, value in zip(told, low, strict=True)),
        high=tuple(one.to_value(float(value)) for one, value in zip(told, high, strict=True)),
        labels=tuple(labels),
        units=tuple(one.unit for one in told),
        quantities=tuple(one.quantity for one in told),
    )


def positions(model: mujoco.MjModel, data: mujoco.MjData) -> Array:
    """Return the position of every actuator, (nu,), in the unit of servo commands."""
    gears = np.array([_gear(model, i) for i in range(model.nu)])
    return data.actuator_length / np.where(gears > 0.0, gears, 1.0)


def joint_of(model: mujoco.MjModel, actuator: int) -> int | None:
    """Return the one-axis joint that an actuator moves; None if it moves something else."""
    if int(model.actuator_trntype[actuator]) not in map(int, OF_JOINTS):
        return None
    joint = int(model.actuator_trnid[actuator, 0])
    one_axis = mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE
    return joint if int(model.jnt_type[joint]) in map(int, one_axis) else None


def actuator_label(model: mujoco.MjModel, actuator: int) -> str:
    """Return an actuator's name, its joint's where it has none, or its number."""
    joint = joint_of(model, actuator)
    name = model.actuator(actuator).name or (model.joint(joint).name if joint is not None else "")
    return name or f"actuator_{actuator}"


def _law(model: mujoco.MjModel, i: int) -> Meaning:
    """Return the meaning of a control before the gear, without its unit.

    Force = gain * control + b0 + b1 * length + b2 * velocity: with b1 it is 0 at a position, with
    b2 alone at a velocity.
    """
    dynamics, gain_type = int(model.actuator_dyntype[i]), int(model.actuator_gaintype[i])
    bias_type = int(model.actuator_biastype[i])
    if dynamics == mujoco.mjtDyn.mjDYN_MUSCLE or gain_type == mujoco.mjtGain.mjGAIN_MUSCLE:
        return Meaning("activation", "")
    if gain_type != mujoco.mjtGain.mjGAIN_FIXED or bias_type not in map(int, SPRINGS):
        return UNKNOWN
    gain = float(model.actuator_gainprm[i, 0])
    b0, b1, b2 = map(float, model.actuator_biasprm[i, :3])
    if bias_type == mujoco.mjtBias.mjBIAS_NONE:
        b0 = b1 = b2 = 0.0
    quantity: Quantity = "position" if b1 < 0.0 else "velocity" if b2 < 0.0 else "effort"
    if dynamics == mujoco.mjtDyn.mjDYN_INTEGRATOR and quantity == "position":
        return Meaning("velocity", "", gain / -b1)
    if dynamics not in map(int, LAGGING) or b1 > 0.0:
        return UNKNOWN
    stiffness = {"position": -b1, "velocity": -b2}.get(quantity, 1.0)
    return Meaning(quantity, "", gain / stiffness, b0 / stiffness)


def _gear(model: mujoco.MjModel, i: int) -> float:
    """Return the gear ratio between an actuator and its transmission; at least 0."""
    gear = np.asarray(model.actuator_gear[i])
    if _is_of_many_axes(model, i):
        return float(np.linalg.norm(gear))
    if int(model.actuator_trntype[i]) == TRANSMISSIONS.mjTRN_BODY:
        return 1.0
    return abs(float(gear[0]))


def _is_of_many_axes(model: mujoco.MjModel, i: int) -> bool:
    """Return whether the gear has six numbers: along and about axes of a site or free joint."""
    transmission = int(model.actuator_trntype[i])
    if transmission == TRANSMISSIONS.mjTRN_SITE:
        return True
    return transmission in map(int, OF_JOINTS) and joint_of(model, i) is None


def _length_unit(model: mujoco.MjModel, i: int) -> str:
    """Return the unit of an actuator's transmission: rad, m, or empty for a mixture."""
    gear = np.asarray(model.actuator_gear[i])
    joint = joint_of(model, i)
    if joint is not None:
        return _joint_unit(model, joint)
    if _is_of_many_axes(model, i):
        transmission = int(model.actuator_trntype[i])
        is_ball = transmission != TRANSMISSIONS.mjTRN_SITE and int(
            model.jnt_type[model.actuator_trnid[i, 0]]
        ) == int(mujoco.mjtJoint.mjJNT_BALL)
        shifts, turns = gear[:3].any() and not is_ball, gear[3:].any() or is_ball
        return "" if shifts and turns else "m" if shifts else "rad"
    if int(model.actuator_trntype[i]) == TRANSMISSIONS.mjTRN_TENDON:
        return _tendon_unit(model, int(model.actuator_trnid[i, 0]))
    return "m"  # a slider, or what adheres


def _tendon_unit(model: mujoco.MjModel, tendon: int) -> str:
    """Return the unit of a tendon's length: of a sum of joints, or of a path in space."""
    start, count = int(model.tendon_adr[tendon]), int(model.tendon_num[tendon])
    wraps = range(start, start + count)
    is_sum = all(int(model.wrap_type[w]) == mujoco.mjtWrap.mjWRAP_JOINT for w in wraps)
    units = {_joint_unit(model, int(model.wrap_objid[w])) for w in wraps} if is_sum else {"m"}
    return units.pop() if len(units) == 1 else ""


def _joint_unit(model: mujoco.MjModel, joint: int) -> str:
    return "m" if int(model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_SLIDE) else "rad"
