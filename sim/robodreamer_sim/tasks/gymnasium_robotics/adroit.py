"""The Adroit hand of gymnasium-robotics: `adroit_door`, `_hammer`, `_pen` and `_relocate`.

A Shadow hand with 24 joints, each with a servo of its own, on an arm that moves as each task needs;
the actions are positions to hold, over the whole range of each joint (for `ART...`, which shift the
arm, in metres). Episodes are cut after 200 steps of 0.01 s; the task itself never ends.
"""

from typing import Any

import mujoco

from robodreamer_sim.cameras.camera_spec import CameraPose
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.tasks.catalog import robotics_tasks
from robodreamer_sim.tasks.gymnasium_robotics.base import (
    Layout,
    RoboticsTask,
    add_cameras,
    make_physics,
    max_steps,
    whole_range_action,
)
from robodreamer_sim.tasks.gymnasium_robotics.vector_layout import (
    XYZ,
    Part,
    joint_names,
    joint_part,
)

# `scene` looks past the hand at what it is to move; `wrist` from under the wrist past the fingers.
SCENES = {
    "adroit_door": CameraPose((-0.55, -0.58, 0.62), (0.04, 0.02, 0.22), 54),
    "adroit_hammer": CameraPose((-0.50, -0.60, 0.45), (-0.03, -0.12, 0.14), 42),
    "adroit_pen": CameraPose((0.06, -0.62, 0.58), (0.06, -0.19, 0.23), 42),
    "adroit_relocate": CameraPose((0.40, -0.52, 1.00), (0.0, 0.04, 0.12), 46),
}
WRIST = CameraPose((0.0, -0.12, -0.05), (0.0, -0.03, 0.10), 75), "palm"
OWN_CAMERAS = ("fixed", "vil_camera")
TABLE = (-0.4, -0.4, 0.0), (0.4, 0.4, 0.5)
"""Lowest and highest places of hand and objects, metres."""


class AdroitTask(RoboticsTask):
    """Task of the Adroit hand, by name; see the module."""

    def __init__(
        self, task: str, options: EnvOptions, renderers: RendererPool | None = None
    ) -> None:
        gymnasium_id = robotics_tasks()[task].gymnasium_id
        kind = task.removesuffix("_sparse")
        cameras = {"scene": (SCENES[kind], ""), "wrist": WRIST}
        physics = make_physics(gymnasium_id, lambda spec: add_cameras(spec, cameras))
        layout = Layout(
            parts=PARTS[kind](physics.model),
            action=whole_range_action(physics.model),
            dt_s=float(physics.dt),
            max_steps=max_steps(gymnasium_id),
            cameras=(*cameras, *OWN_CAMERAS),
            default_cameras=("scene",),
        )
        super().__init__(task, physics, layout, options, renderers)


def _hand_parts(model: mujoco.MjModel, first: int = 0) -> list[Part]:
    """Return the joints of arm and hand from `first` on: those that shift, then those that turn."""
    shifts = [name for name in joint_names(model)[first:] if name.startswith("ART")]
    turns = [name for name in joint_names(model)[first:] if name.startswith(TURNING)]
    parts = [joint_part("joint_position", model, turns)]
    return [joint_part("arm_position", model, shifts, "m"), *parts] if shifts else parts


def _place(name: str, *, of: Any = "object") -> Part:
    return Part(name, "m", XYZ, *TABLE, of=of)


def _offset(name: str, start: str, *, of: Any = "object") -> Part:
    return Part(name, "m", XYZ, -0.5, 0.5, f"world, from the {start}", of=of)


def _direction(name: str, *, of: Any = "object", most: float = 1.0) -> Part:
    return Part(name, "", XYZ, -most, most, of=of)


def _door_parts(model: mujoco.MjModel) -> tuple[Part, ...]:
    return (
        *_hand_parts(model, first=1),  # all but the shift towards the door
        joint_part("latch_angle", model, ["latch"], of="object"),
        joint_part("door_angle", model, ["door_hinge"], of="object"),
        _place("palm_position", of="robot"),
        _place("handle_position"),
        _offset("palm_offset", "handle"),
        Part("door_is_open", "", ("open",), -1.0, 1.0, "", "object"),
    )


def _hammer_parts(model: mujoco.MjModel) -> tuple[Part, ...]:
    return (
        *_hand_parts(model),
        joint_part("nail_depth", model, ["nail_dir"], "m", of="object"),
        Part("object_velocity", "m/s", XYZ, -1.0, 1.0, of="object"),
        Part("object_angular_velocity", "rad/s", XYZ, -1.0, 1.0, of="object"),
        _place("palm_position", of="robot"),
        _place("object_position"),
        Part("object_rotation", "rad", XYZ, -3.2, 3.2, "world, Euler angles", "object"),
        _place("nail_position"),
        Part("nail_force", "N", ("force",), -1.0, 1.0, "sensor", "object"),
    )


def _pen_parts(model: mujoco.MjModel) -> tuple[Part, ...]:
    return (
        *_hand_parts(model),
        _place("object_position"),
        Part("object_velocity", "m/s", XYZ, -1.0, 1.0, of="object"),
        Part("object_angular_velocity", "rad/s", XYZ, -8.0, 8.0, of="object"),
        _direction("object_direction"),
        _direction("direction", of="goal"),
        _offset("object_offset", "goal"),
        _direction("direction_error", most=2.0),
    )


def _relocate_parts(model: mujoco.MjModel) -> tuple[Part, ...]:
    return (
        *_hand_parts(model),
        _offset("palm_offset", "object"),
        _offset("palm_offset", "goal", of="goal"),
        _offset("object_offset", "goal"),
    )


TURNING = ("ARR", "WR", "FF", "MF", "RF", "LF", "TH")
"""Prefixes of the names of joints that turn."""
PARTS = {
    "adroit_door": _door_parts,
    "adroit_hammer": _hammer_parts,
    "adroit_pen": _pen_parts,
    "adroit_relocate": _relocate_parts,
}
