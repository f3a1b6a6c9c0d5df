"""Measurements of a robot: named readings of a MuJoCo simulation, with units, labels and ranges.

A task names its measurements; each is bound to the model once, which looks up addresses and working
ranges, and then reads an array at every step.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np

from robodreamer_deploy.contract import Array, Signal
from robodreamer_deploy.utils.suggest import closest

Read = Callable[[mujoco.MjData], Array]
AXES = ("x", "y", "z")
FREE_OF_LIMITS_RAD = math.pi
ONE_AXIS = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)


class Bound(NamedTuple):
    """Measurement that is bound to one model."""

    signal: Signal
    read: Read


class Measurement(NamedTuple):
    """Measurement of a task: the signal's name without its family, and a function that binds it."""

    name: str
    bind: Callable[[str, mujoco.MjModel], Bound]
    """Function of the signal's full name, such as `proprio/joint_position`, and the model."""


def joint_positions(
    *joints: str, name: str = "joint_position", low: float | None = None, high: float | None = None
) -> Measurement:
    """Measure hinge and slide joints, in radians or metres.

    Args:
        joints: Names, in the order wanted; none takes every joint that an actuator moves.
        name: Of the signal.
        low: Lower end of the working range of all; None takes the joints' limits, and half a turn
            where there are none.
        high: Its upper end.
    """

    def bind(signal: str, model: mujoco.MjModel) -> Bound:
        ids = _joints(model, joints)
        limits = [_limits(model, i) for i in ids]
        return _of_joints(
            signal,
            model,
            ids,
            address=model.jnt_qposadr[ids],
            field="qpos",
            low=tuple(lowest if low is None else low for lowest, _ in limits),
            high=tuple(highest if high is None else high for _, highest in limits),
            per_second=False,
        )

    return Measurement(name, bind)


def joint_velocities(
    *joints: str, name: str = "joint_velocity", limit: float = math.pi
) -> Measurement:
    """Measure joint velocities, in radians or metres per second, within plus and minus `limit`."""

    def bind(signal: str, model: mujoco.MjModel) -> Bound:
        ids = _joints(model, joints)
        return _of_joints(
            signal,
            model,
            ids,
            address=model.jnt_dofadr[ids],
            field="qvel",
            low=(-limit,) * len(ids),
            high=(limit,) * len(ids),
            per_second=True,
        )

    return Measurement(name, bind)


def sensor(
    sensor_name: str, *, unit: str, limit: float | None = None, name: str | None = None
) -> Measurement:
    """Measure a sensor of the model; `limit` is the working range, plus and minus."""

    def bind(signal: str, model: mujoco.MjModel) -> Bound:
        index = find(model, "sensor", sensor_name)
        start, size = int(model.sensor_adr[index]), int(model.sensor_dim[index])
        limits = None if limit is None else (limit,) * size
        return Bound(
            Signal(
                name=signal,
                shape=(size,),
                dtype="float32",
                unit=unit,
                low=None if limits is None else tuple(-v for v in limits),
                high=limits,
            ),
            lambda data: data.sensordata[start : start + size],
        )

    return Measurement(name or sensor_name, bind)


def position(
    kind: str,
    owner: str,
    *,
    low: Sequence[float],
    high: Sequence[float],
    name: str | None = None,
) -> Measurement:
    """Measure the place of a body, geom or site in the world, in metres.

    Args:
        kind: `body`, `geom` or `site`.
        owner: Its name.
        low: Lower ends of the working range, x, y, z.
        high: Its upper ends.
        name: Of the signal; by default `<owner>_position`.
    """

    def bind(signal: str, model: mujoco.MjModel) -> Bound:
        index = find(model, kind, owner)
        field = "xpos" if kind == "body" else f"{kind}_xpos"
        return Bound(
            Signal(
                name=signal,
                shape=(3,),
                dtype="float32",
                unit="m",
                frame="world",
                labels=AXES,
                low=tuple(low),
                high=tuple(high),
            ),
            lambda data: getattr(data, field)[index],
        )

    return Measurement(name or f"{owner}_position", bind)


def find(model: mujoco.MjModel, kind: str, name: str) -> int:
    """Return the index of a named element of a model: a joint, sensor, body, geom or site.

    Raises:
        ValueError: There is none; lists those that exist, closest first.
    """
    index = mujoco.mj_name2id(model, getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}"), name)
    if index >= 0:
        return index
    names = _names(model, kind)
    exist = closest(name, names) or "none with a name"
    raise ValueError(f"the model has no {kind} {name!r}; it has {exist}")


def _names(model: mujoco.MjModel, kind: str) -> list[str]:
    count = {"joint": model.njnt, "sensor": model.nsensor, "body": model.nbody}
    count |= {"geom": model.ngeom, "site": model.nsite}
    accessor: Any = getattr(model, kind)
    return [name for i in range(count[kind]) if (name := accessor(i).name)]


def _joints(model: mujoco.MjModel, names: Sequence[str]) -> list[int]:
    """Return the joints named, or all that actuators move, in the actuators' order.

    Raises:
        ValueError: One has more than one axis, or no actuator moves any.
    """
    if names:
        ids = [find(model, "joint", name) for name in names]
    else:
        kinds = (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT)
        moved = [i for i in range(model.nu) if int(model.actuator_trntype[i]) in map(int, kinds)]
        ids = list(dict.fromkeys(int(model.actuator_trnid[i, 0]) for i in moved))
        if not ids:
            raise ValueError("no actuator of the model moves a joint; name the joints to measure")
    for index in ids:
        if int(model.jnt_type[index]) not in map(int, ONE_AXIS):
            raise ValueError(
                f"joint {model.joint(index).name!r} has more than one axis; measure the position "
                "of its body, or a sensor"
            )
    return ids


def _limits(model: mujoco.MjModel, joint: int) -> tuple[float, float]:
    if model.jnt_limited[joint]:
        low, high = model.jnt_range[joint]
        return float(low), float(high)
    return -FREE_OF_LIMITS_RAD, FREE_OF_LIMITS_RAD


def _of_joints(
    signal: str,
    model: mujoco.MjModel,
    ids: Sequence[int],
    *,
    address: Array,
    field: str,
    low: tuple[float, ...],
    high: tuple[float, ...],
    per_second: bool,
) -> Bound:
    slides = [int(model.jnt_type[i]) == int(mujoco.mjtJoint.mjJNT_SLIDE) for i in ids]
    unit = "m" if all(slides) else "" if any(slides) else "rad"
    addresses = np.array(address)
    return Bound(
        Signal(
            name=signal,
            shape=(len(ids),),
            dtype="float32",
            unit=f"{unit}/s" if unit and per_second else unit,
            frame="joint",
            labels=tuple(model.joint(i).name for i in ids),
            low=low,
            high=high,
        ),
        lambda data: getattr(data, field)[addresses],
    )
