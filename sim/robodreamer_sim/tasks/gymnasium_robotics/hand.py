"""The Shadow hand of gymnasium-robotics: `hand_reach` and `hand_manipulate_...`.

20 servos hold the positions that the actions give them, over the whole range of each; 24 joints
move, the last two of every finger together. `hand_reach` asks the fingertips to be where the
coloured dots are. `hand_manipulate_...` asks for an orientation of a block, an egg or a pen that
lies in the palm, and in the tasks without `_rotate` for its position as well; a see-through copy
shows it, beside the hand where the position does not matter. `_touch` adds 92 pressure sensors.

The task itself never ends: episodes are cut after 50 (reach) or 100 steps of 0.04 s.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np

from robodreamer_sim.cameras.camera_spec import CameraPose
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.options import EnvOptions, RenderQuality
from robodreamer_sim.tasks.catalog import robotics_tasks
from robodreamer_sim.tasks.gymnasium_robotics.base import (
    UNDRAWN_GROUP,
    Layout,
    RoboticsTask,
    add_cameras,
    make_physics,
    max_steps,
    whole_range_action,
)
from robodreamer_sim.tasks.gymnasium_robotics.vector_layout import (
    QUATERNION,
    XYZ,
    Part,
    joint_names,
    joint_part,
    plain,
)

# `scene` looks from the thumb's side, so that it sees the fingers curl; `top` into the palm. In the
# tasks that turn an object and show the goal beside the hand both stand back to hold it.
WRIST = CameraPose((0.0, -0.15, -0.06), (0.0, -0.015, 0.09), 60), "robot0:palm"
NEAR = {
    "scene": (CameraPose((0.80, 0.70, 0.36), (1.005, 0.875, 0.15), 36), ""),
    "top": (CameraPose((1.005, 0.80, 0.55), (1.005, 0.875, 0.14), 36), ""),
    "wrist": WRIST,
}
WIDE = {
    "scene": (CameraPose((1.00, 0.56, 0.44), (1.06, 0.875, 0.14), 42), ""),
    "top": (CameraPose((1.06, 0.80, 0.60), (1.06, 0.875, 0.14), 38), ""),
    "wrist": WRIST,
}
IGNORED_POSITION_OFFSET = (0.15, 0.0, 0.0)
"""Place of a shown goal whose position does not matter, as in gymnasium-robotics."""
FINGERS = ("ff", "mf", "rf", "lf", "th")
TIPS = tuple(f"{finger}_{axis}" for finger in FINGERS for axis in XYZ)
AROUND_PALM = (0.9, 0.75, 0.05), (1.1, 0.95, 0.25)
TIP_LIMITS = AROUND_PALM[0] * len(FINGERS), AROUND_PALM[1] * len(FINGERS)
TIP_GOAL = (Part("fingertip_position", "m", TIPS, *TIP_LIMITS, of="goal"),)


class HandTask(RoboticsTask):
    """Task of the Shadow hand, by name; see the module."""

    def __init__(
        self, task: str, options: EnvOptions, renderers: RendererPool | None = None
    ) -> None:
        gymnasium_id = robotics_tasks()[task].gymnasium_id
        cameras = WIDE if "_rotate" in task else NEAR
        physics = make_physics(
            gymnasium_id, lambda spec: _edit_model(spec, cameras, options.render_quality)
        )
        self._is_reach = task.startswith("hand_reach")
        if self._is_reach:
            parts, goal = _reach_parts(physics.model), TIP_GOAL
        else:
            parts, goal = _object_parts(physics), _object_goal(physics)
        layout = Layout(
            parts=parts,
            goal=goal,
            action=whole_range_action(physics.model),
            dt_s=float(physics.dt),
            max_steps=max_steps(gymnasium_id),
            cameras=tuple(cameras),
            default_cameras=("scene",),
        )
        super().__init__(task, physics, layout, options, renderers)

    @contextmanager
    def _markers_placed(self) -> Iterator[None]:
        """Place dots and copies right before drawing.

        That moves nothing else; gymnasium-robotics' own way runs the dynamics once more.
        """
        physics = self._physics
        if self._is_reach:
            tips = self._raw["achieved_goal"].reshape(-1, 3)
            for i, (goal, tip) in enumerate(zip(physics.goal.reshape(-1, 3), tips, strict=True)):
                physics.data.site(f"target{i}").xpos[:] = goal
                physics.data.site(f"finger{i}").xpos[:] = tip
        else:
            is_aside = physics.target_position == "ignore"
            position = physics.goal[:3] + (IGNORED_POSITION_OFFSET if is_aside else 0.0)
            place_body(physics.model, physics.data, "target", position, physics.goal[3:])
        yield


def place_body(
    model: mujoco.MjModel, data: mujoco.MjData, name: str, position: Any, quaternion: Any
) -> None:
    """Draw a body at another place, until the next simulation step puts it back.

    Args:
        model: The model.
        data: Its state, of which only the computed places of the body's geoms and sites change.
        name: The body.
        position: Of its frame, in the world, metres.
        quaternion: Of its frame.
    """
    rotation = _matrix(quaternion)
    body = model.body(name).id
    kinds = (
        (model.geom_bodyid, model.geom_pos, model.geom_quat, data.geom_xpos, data.geom_xmat),
        (model.site_bodyid, model.site_pos, model.site_quat, data.site_xpos, data.site_xmat),
    )
    for owners, offsets, turns, places, matrices in kinds:
        for index in np.flatnonzero(owners == body):
            places[index] = position + rotation @ offsets[index]
            matrices[index] = (rotation @ _matrix(turns[index])).ravel()


def _matrix(quaternion: Any) -> Any:
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(quaternion, np.float64))
    return matrix.reshape(3, 3)


def _joint_parts(model: mujoco.MjModel) -> tuple[Part, Part]:
    joints = [name for name in joint_names(model) if name.startswith("robot0:")]
    labels = tuple(plain(joint) for joint in joints)
    return (
        joint_part("joint_position", model, joints),
        Part("joint_velocity", "rad/s", labels, -6.0, 6.0, "joint"),
    )


def _reach_parts(model: mujoco.MjModel) -> tuple[Part, ...]:
    return *_joint_parts(model), Part("fingertip_position", "m", TIPS, *TIP_LIMITS)


def _object_parts(physics: Any) -> tuple[Part, ...]:
    parts = [
        *_joint_parts(physics.model),
        Part("object_velocity", "m/s", XYZ, -0.5, 0.5, of="object"),
        Part("object_angular_velocity", "rad/s", XYZ, -5.0, 5.0, of="object"),
        Part("object_position", "m", XYZ, *AROUND_PALM, of="object"),
        Part("object_rotation", "", QUATERNION, -1.0, 1.0, of="object"),
    ]
    names = [physics.model.sensor(i).name for i in range(physics.model.nsensor)]
    touched = tuple(name.removeprefix("robot0:TS_") for name in names if ":TS_" in name)
    if touched:
        is_boolean = physics.touch_get_obs == "boolean"
        unit, most = ("", 1.0) if is_boolean else ("N", 10.0)
        parts.append(Part("touch", unit, touched, 0.0, most, "sensor"))
    return tuple(parts)


def _object_goal(physics: Any) -> tuple[Part, ...]:
    """Return the parts of the goal; a position that does not matter is not one."""
    counts = physics.target_position != "ignore"
    return (
        Part("object_position", "m", XYZ, *AROUND_PALM, of="goal" if counts else "nothing"),
        Part("object_rotation", "", QUATERNION, -1.0, 1.0, of="goal"),
    )


def _edit_model(
    spec: Any, cameras: dict[str, tuple[CameraPose, str]], render_quality: RenderQuality
) -> None:
    """Add the cameras; with `fast`, leave out the drawn pressure sensors."""
    if render_quality == "fast":
        for site in spec.sites:
            if site.name.startswith("robot0:T_"):
                site.group = UNDRAWN_GROUP
    add_cameras(spec, cameras)
