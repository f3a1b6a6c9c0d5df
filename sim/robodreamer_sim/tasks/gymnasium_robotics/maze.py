"""The mazes of gymnasium-robotics: `point_maze_...` and `ant_maze_...`.

A ball that is pushed along x and y, or an ant of 8 joints, is to come within 0.45 m of the red
sphere. The dense reward is exp(-distance), the sparse one 1 there and 0 elsewhere. The task never
ends: an episode is cut after the number of steps that the package registers.
"""

import math
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_sim.cameras.camera_spec import CameraPose, add_camera
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.physics.actuators import physical_action
from robodreamer_sim.tasks.catalog import robotics_tasks
from robodreamer_sim.tasks.gymnasium_robotics.base import (
    Layout,
    RoboticsTask,
    make_physics,
    max_steps,
)
from robodreamer_sim.tasks.gymnasium_robotics.vector_layout import (
    QUATERNION,
    XYZ,
    Part,
    joint_names,
    joint_part,
)

XY = ("x", "y")
FOVY_DEG = 40.0
FOLLOWED_CELLS = 1.4
"""Half the side of the square in the image of `follow`, in cells of the maze."""
CELL_M = {"point": 1.0, "ant": 4.0}
SEEN_OF_WALL = 0.3
"""Margin of the outer cells, which are walls, that `scene` leaves out."""
FORCES = ("torque", "force")
BODY = {"point": "particle", "ant": "torso"}


class MazeTask(RoboticsTask):
    """Maze task, by name; see the module."""

    def __init__(
        self, task: str, options: EnvOptions, renderers: RendererPool | None = None
    ) -> None:
        gymnasium_id = robotics_tasks()[task].gymnasium_id
        runner = task.partition("_")[0]
        physics = make_physics(gymnasium_id, lambda spec: _add_cameras(spec, runner))
        Path(physics.tmp_xml_file_path).unlink()  # the package leaves it behind
        self._is_ant = runner == "ant"
        model, maze = physics.model, physics.maze
        high = (maze.map_width * CELL_M[runner] / 2.0, maze.map_length * CELL_M[runner] / 2.0)
        position = Part("position", "m", XY, (-high[0], -high[1]), high)
        layout = Layout(
            parts=_ant_parts(position, model) if self._is_ant else _point_parts(position),
            goal=(position._replace(of="goal"),),
            action=physical_action(model, (-1.0,) * model.nu, (1.0,) * model.nu, _motors(model)),
            dt_s=float((physics.ant_env if self._is_ant else physics.point_env).dt),
            max_steps=max_steps(gymnasium_id),
            cameras=("scene", "follow", *(("track",) if self._is_ant else ())),
            default_cameras=("scene",),
        )
        super().__init__(task, physics, layout, options, renderers)

    def _vector(self) -> Array:
        """Return the whole measured vector; an ant's place is in its achieved goal only."""
        vector = super()._vector()
        return np.concatenate([self._raw["achieved_goal"], vector]) if self._is_ant else vector


def _point_parts(position: Part) -> tuple[Part, ...]:
    return position, Part("velocity", "m/s", XY, -5.0, 5.0)


def _ant_parts(position: Part, model: mujoco.MjModel) -> tuple[Part, ...]:
    joints = joint_names(model)[1:]
    bodies = [model.body(i).name or f"body{i}" for i in range(1, model.nbody)]
    forces = tuple(f"{b}_{kind}_{axis}" for b in bodies for kind in FORCES for axis in XYZ)
    return (
        position,
        Part("height", "m", ("z",), 0.2, 1.0),
        Part("rotation", "", QUATERNION, -1.0, 1.0),
        joint_part("joint_position", model, joints),
        Part("velocity", "m/s", XYZ, -3.0, 3.0),
        Part("angular_velocity", "rad/s", XYZ, -8.0, 8.0, "torso"),
        Part("joint_velocity", "rad/s", tuple(joints), -12.0, 12.0, "joint"),
        Part("contact", "N m, N", forces, -1.0, 1.0),  # clipped to these limits
    )


def _motors(model: mujoco.MjModel) -> tuple[str, ...]:
    return tuple(model.joint(model.actuator_trnid[i, 0]).name for i in range(model.nu))


def _add_cameras(spec: Any, runner: str) -> None:
    """Return a camera above the whole maze, and one above the cells around the runner."""
    cell = CELL_M[runner]
    walls = [geom.pos for geom in spec.geoms if geom.name.startswith("block_")]
    half = np.abs(walls)[:, :2].max() - SEEN_OF_WALL * cell
    add_camera(spec, "scene", _from_above(half))
    add_camera(spec, "follow", _from_above(FOLLOWED_CELLS * cell), BODY[runner])
    spec.camera("follow").mode = mujoco.mjtCamLight.mjCAMLIGHT_TRACK


def _from_above(half: float) -> CameraPose:
    """Return a camera above a square of twice `half` metres, y upwards in the image."""
    height = half / math.tan(math.radians(FOVY_DEG / 2.0))
    return CameraPose((0.0, -0.01 * height, height), (0.0, 0.0, 0.0), FOVY_DEG)
