"""The Fetch arm of gymnasium-robotics: reach, push, slide, pick and place.

A 7-joint arm whose gripper points down and is moved by up to 5 cm per step. The four actions are
the gripper's displacement along x, y, z of the world (x away from the robot, z up) and the opening
of its fingers. Episodes are cut after 50 steps of 0.04 s; the task itself never ends.

A plain name has the dense reward, minus the distance to the goal, which teaches soonest; `_sparse`
has the one of gymnasium-robotics' plain names, -1 until the goal is met.

The physics is gymnasium-robotics' own class, unchanged, with cameras added to its model. What it
returns as one vector is taken apart into named signals in SI units (it reports velocities in metres
per step). With a camera on, the object's pose is privileged: a real robot does not measure it.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_sim.cameras.camera_spec import CameraPose, add_camera
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.env import SignalEvaluation
from robodreamer_sim.options import EnvOptions, RenderQuality
from robodreamer_sim.tasks.gymnasium_robotics.base import (
    UNDRAWN_GROUP,
    Layout,
    RoboticsTask,
    make_physics,
)
from robodreamer_sim.tasks.gymnasium_robotics.vector_layout import XYZ, Part

MAX_STEPS = 50

# `scene` stands in front of the robot, above the table, as close as all goals and the gripper at
# work allow: the goal sphere (4 cm) is about 4 of 64 pixels wide, 3 at the far end and 7 at the
# near one. From the front the arm hides the fewest goals, about one in ten. `side` stands on the
# arm's left and separates far from high, which from the front lie in one direction.
FIXED_CAMERAS = {
    "fetch_reach": {
        "scene": CameraPose((1.75, 0.75, 1.00), (1.33, 0.75, 0.53), 48),
        "side": CameraPose((1.34, 1.45, 0.68), (1.34, 0.75, 0.53), 36),
    },
    "fetch_push": {
        "scene": CameraPose((1.75, 0.75, 1.00), (1.33, 0.75, 0.50), 48),
        "side": CameraPose((1.34, 1.45, 0.75), (1.34, 0.75, 0.48), 36),
    },
    "fetch_slide": {
        "scene": CameraPose((1.98, 0.75, 1.15), (1.35, 0.75, 0.42), 56),
        "side": CameraPose((1.36, 1.85, 0.95), (1.36, 0.75, 0.42), 52),
    },
    "fetch_pick_and_place": {
        "scene": CameraPose((2.00, 0.75, 1.10), (1.33, 0.75, 0.61), 48),
        "side": CameraPose((1.34, 1.60, 0.80), (1.34, 0.75, 0.62), 42),
    },
}
# On the gripper, looking past the fingers, in its frame (x points down).
WRIST_CAMERA = CameraPose((-0.06, 0.0, 0.12), (0.12, 0.0, 0.0), 75)
CAMERAS = ("scene", "side", "wrist", "external_camera_0")  # the model's others look into the robot
VISUAL_CAMERAS = ("scene", "side")


# Half of the arm's triangles, of which no camera sees more than two pixels; half of drawing's time.
HARDLY_SEEN = ("robot0:estop_link", "robot0:laser_link")
# What pulls the gripper along is drawn as three crossing lines, which no real camera sees.
PULLER = "robot0:mocap"
GYMNASIUM_NAMES = {
    "fetch_reach": "FetchReach",
    "fetch_push": "FetchPush",
    "fetch_slide": "FetchSlide",
    "fetch_pick_and_place": "FetchPickAndPlace",
}
FINGERS = ("right", "left")
WORKSPACE = (1.19, 0.60, 0.38), (1.49, 0.90, 0.68)
"""Lowest and highest places of goals, metres; the gripper begins in the middle."""
PARTS = (
    Part("gripper_position", "m", XYZ, *WORKSPACE),
    Part("object_position", "m", XYZ, *WORKSPACE, of="object"),
    Part("object_offset", "m", XYZ, -0.25, 0.25, "world, from the gripper", of="object"),
    Part("finger_position", "m", FINGERS, 0.0, 0.05, "joint"),
    Part("object_rotation", "rad", XYZ, -math.pi, math.pi, "world, Euler angles", of="object"),
    Part("object_velocity", "m/s", XYZ, -1.0, 1.0, "world, relative to the gripper", of="object"),
    Part("object_angular_velocity", "rad/s", XYZ, -10.0, 10.0, of="object"),
    Part("gripper_velocity", "m/s", XYZ, -1.0, 1.0),
    Part("finger_velocity", "m/s", FINGERS, -0.2, 0.2, "joint"),
)
GOAL = Part("position", "m", XYZ, *WORKSPACE, of="goal")
DISPLACEMENT_M = 0.05
"""Displacement of the gripper per simulator step for an action of 1, as in gymnasium-robotics."""
FINGER_DISPLACEMENT_M = 1.0
"""Displacement of a finger for an action of 1; its range is 5 cm."""


class FetchTask(RoboticsTask):
    """Fetch task, by name; see the module."""

    def __init__(
        self, task: str, options: EnvOptions, renderers: RendererPool | None = None
    ) -> None:
        kind = task.removesuffix("_sparse")
        hides_goal = kind.endswith("_visual")
        if hides_goal and not options.uses_cameras:
            raise ValueError(
                f"{task} shows its goal in the picture only and observe={options.observe!r} has "
                "no picture; observe camera or both, or choose fetch_reach"
            )
        physics = _make_physics(
            kind.removesuffix("_visual"), options.render_quality, is_dense=kind == task
        )
        parts = tuple(part for part in PARTS if physics.has_object or part.of != "object")
        self._target_site = physics.model.site("target0").id
        # gymnasium-robotics gives velocities per control step.
        self._divisors = np.concatenate(
            [
                np.full(len(part.labels), physics.dt if part.unit.endswith("/s") else 1.0)
                for part in (*parts, GOAL)
            ]
        )
        layout = Layout(
            parts=parts,
            goal=(GOAL,),
            action=_action(options.action_repeat, moves_fingers=not physics.block_gripper),
            dt_s=float(physics.dt),
            max_steps=MAX_STEPS,
            cameras=CAMERAS,
            default_cameras=VISUAL_CAMERAS if hides_goal else CAMERAS[:1],
            hides_goal=hides_goal,
        )
        super().__init__(task, physics, layout, options, renderers)

    def _vector(self) -> Array:
        return super()._vector() / self._divisors

    def _evaluate_signals(self, signals: Mapping[str, Array]) -> SignalEvaluation | None:
        """Compare what was achieved with the goal: the gripper's position, or the object's."""
        achieved = "object_position" if self._physics.has_object else "gripper_position"
        place, goal = signals.get(f"proprio/{achieved}"), signals.get("goal/position")
        if place is None or goal is None:
            return None
        return SignalEvaluation(
            reward=float(self._physics.compute_reward(place, goal, {})),
            success=bool(self._physics._is_success(place, goal)),  # noqa: SLF001  it has no other
            is_terminal=False,
            privileged={"privileged/achieved_goal": place.astype(np.float32)},
        )

    @contextmanager
    def _markers_placed(self) -> Iterator[None]:
        """Place the goal, a site that the simulation leaves behind, right before drawing.

        That moves nothing else; gymnasium-robotics' own way runs the dynamics once more.
        """
        self._physics.data.site_xpos[self._target_site] = self._physics.goal
        yield


def _action(repeat: int, *, moves_fingers: bool) -> ActionSpec:
    """Return the action spec: the gripper along the world's axes, and the fingers if they move."""
    high = (*(repeat * DISPLACEMENT_M,) * 3, FINGER_DISPLACEMENT_M if moves_fingers else 0.0)
    return ActionSpec(
        size=4,
        low=tuple(0.0 - value for value in high),
        high=high,
        labels=(*XYZ, "fingers"),
        units=("m",) * 4,
        quantities=("displacement",) * 4,
        frames=("world", "world", "world", "joint"),
    )


def _make_physics(kind: str, render_quality: RenderQuality, *, is_dense: bool) -> Any:
    gymnasium_id = f"{GYMNASIUM_NAMES[kind]}{'Dense' if is_dense else ''}-v4"
    return make_physics(
        gymnasium_id, lambda spec: _edit_model(spec, FIXED_CAMERAS[kind], render_quality)
    )


def _edit_model(
    spec: Any, cameras: Mapping[str, CameraPose], render_quality: RenderQuality
) -> None:
    """Add the cameras; with `fast`, leave out what no image needs."""
    if render_quality == "fast":
        for name in HARDLY_SEEN:
            spec.geom(name).group = UNDRAWN_GROUP
        for geom in spec.body(PULLER).geoms:
            geom.group = UNDRAWN_GROUP
    for name, aim in cameras.items():
        add_camera(spec, name, aim)
    add_camera(spec, "wrist", WRIST_CAMERA, body="robot0:gripper_link")
