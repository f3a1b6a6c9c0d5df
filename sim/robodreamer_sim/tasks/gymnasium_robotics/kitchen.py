"""The kitchen of gymnasium-robotics: `franka_kitchen`, and one task for each thing to do in it.

A Franka arm is driven by the velocities of its 7 joints and 2 fingers. `franka_kitchen` asks for
all of the seven things, `franka_kitchen_microwave` and its like for one. Each earns 1 when it is
first done; when all are, the task has succeeded and ends. Otherwise it is cut after 280 steps of
0.08 s. What the arm and the things measure is noisy.
"""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import mujoco
import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array, Signal
from robodreamer_sim.cameras.camera_spec import CameraPose
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.tasks.catalog import KITCHEN_GOALS, robotics_tasks
from robodreamer_sim.tasks.gymnasium_robotics.base import (
    Layout,
    RoboticsTask,
    add_cameras,
    make_physics,
    max_steps,
)
from robodreamer_sim.tasks.gymnasium_robotics.vector_layout import (
    QUATERNION,
    XYZ,
    Part,
    joint_names,
    joint_part,
    plain,
)

# `scene` looks over the arm's left shoulder at everything it can reach; `wrist` along the fingers.
# The model's own two show a cabinet from within.
CAMERAS = {
    "scene": (CameraPose((-0.75, -1.05, 3.05), (-0.22, 0.50, 2.02), 50), ""),
    "wrist": (CameraPose((0.08, -0.08, 0.04), (0.0, 0.0, 0.26), 75), "panda0_link7"),
}
NUM_DRIVEN = 9
"""The model's first joints are the arm's and its fingers'; the last is the kettle's."""
FINISHED = "privileged/finished"
KETTLE = (-0.8, 0.0, 1.5), (0.5, 1.0, 2.3)
FASTEST = 2.0
"""Velocity of every joint at an action of 1, rad/s (fingers: m/s)."""


class KitchenTask(RoboticsTask):
    """Kitchen task, by name; see the module."""

    def __init__(
        self, task: str, options: EnvOptions, renderers: RendererPool | None = None
    ) -> None:
        gymnasium_id = robotics_tasks()[task].gymnasium_id
        wanted = task.removeprefix("franka_kitchen").removeprefix("_").replace("_", " ")
        self._goals = (wanted,) if wanted else KITCHEN_GOALS
        physics = make_physics(
            gymnasium_id,
            lambda spec: add_cameras(spec, CAMERAS),
            {"tasks_to_complete": list(self._goals)},
        )
        model = physics.model
        labels = tuple(plain(name) for name in joint_names(model)[:NUM_DRIVEN])
        layout = Layout(
            parts=_parts(model),
            goal=tuple(_goal(model, goal) for goal in self._goals),
            action=ActionSpec(
                size=NUM_DRIVEN,
                low=(-FASTEST,) * NUM_DRIVEN,
                high=(FASTEST,) * NUM_DRIVEN,
                labels=labels,
                units=tuple("m/s" if _slides(model, i) else "rad/s" for i in range(NUM_DRIVEN)),
                quantities=("velocity",) * NUM_DRIVEN,
            ),
            dt_s=float(physics.robot_env.dt),
            max_steps=max_steps(gymnasium_id),
            cameras=tuple(CAMERAS),
            default_cameras=("scene",),
        )
        super().__init__(task, physics, layout, options, renderers)

    def _measure(self) -> dict[str, Array]:
        finished = [goal in self._physics.episode_task_completions for goal in self._goals]
        return super()._measure() | {FINISHED: np.array(finished, np.float32)}

    def _is_success(self, info: Mapping[str, Any]) -> bool:
        return len(info["episode_task_completions"]) == len(self._goals)

    def _vector_signals(self) -> Iterator[Signal]:
        yield from super()._vector_signals()
        labels = tuple(_snake(goal) for goal in self._goals)
        yield Part("finished", "", labels, 0.0, 1.0, "").signal(FINISHED)


def _parts(model: mujoco.MjModel) -> tuple[Part, ...]:
    joints = joint_names(model)
    arm, fingers, fixtures = joints[:7], joints[7:NUM_DRIVEN], joints[NUM_DRIVEN:-1]
    arm_labels, finger_labels = (tuple(plain(j) for j in names) for names in (arm, fingers))
    return (
        joint_part("joint_position", model, arm),
        joint_part("finger_position", model, fingers, "m"),
        Part("joint_velocity", "rad/s", arm_labels, -1.0, 1.0, "joint"),
        Part("finger_velocity", "m/s", finger_labels, -0.2, 0.2, "joint"),
        joint_part("fixture_position", model, fixtures, "", of="object"),  # some turn, some slide
        Part("kettle_position", "m", XYZ, *KETTLE, of="object"),
        Part("kettle_rotation", "", QUATERNION, -1.0, 1.0, of="object"),
        Part("fixture_velocity", "", tuple(fixtures), -2.0, 2.0, "joint", "object"),
        Part("kettle_velocity", "m/s", XYZ, -1.0, 1.0, of="object"),
        Part("kettle_angular_velocity", "rad/s", XYZ, -5.0, 5.0, of="object"),
    )


def _slides(model: mujoco.MjModel, joint: int) -> bool:
    return int(model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_SLIDE)


def _goal(model: mujoco.MjModel, goal: str) -> Part:
    """Return the goal positions of the joints of a thing."""
    if goal == "kettle":
        low, high = (limit + (one,) * 4 for limit, one in zip(KETTLE, (-1.0, 1.0), strict=True))
        return Part(goal, "", (*XYZ, *(f"q{axis}" for axis in QUATERNION)), low, high, of="goal")
    package: Any = importlib.import_module("gymnasium_robotics.envs.franka_kitchen.kitchen_env")
    names = [joint_names(model)[i] for i in package.OBS_ELEMENT_INDICES[goal]]
    return joint_part(_snake(goal), model, names, "", of="goal")


def _snake(goal: str) -> str:
    return goal.replace(" ", "_")
