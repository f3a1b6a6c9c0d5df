"""A 6-joint arm that reaches and pushes: the example of docs/your-task.md, and two tasks.

Joints are driven at their velocity, 20 times a second. `assets/arm.xml` holds the arm, made of
primitives; what a task needs besides is added in `build`.
"""

from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from robodreamer_sim.cameras.camera_spec import BodyCamera, CameraPose
from robodreamer_sim.tasks.custom.measurements import joint_positions, joint_velocities, position
from robodreamer_sim.tasks.custom.robot_task import RobotTask, load_robot

ARM = Path(__file__).parents[1] / "assets" / "arm.xml"
HOME = np.radians([0.0, 20.0, 90.0, 0.0, 60.0, 0.0])
CLOSE_M = 0.05
LOW, HIGH = (0.25, -0.30, 0.0), (0.60, 0.30, 0.40)


class ArmReach(RobotTask):
    """Move the tool to the red ball; the reward is minus the distance in metres."""

    control_dt_s = 0.048
    max_episode_steps = 60
    proprio = (joint_positions(), joint_velocities(limit=1.5))
    goals = (position("site", "goal", low=LOW, high=HIGH, name="position"),)
    privileged = (position("site", "tool", low=LOW, high=HIGH),)
    cameras = {  # noqa: RUF012  a constant
        "scene": CameraPose((1.15, -0.75, 0.70), (0.36, -0.02, 0.20), 40),
        "wrist": BodyCamera("hand", CameraPose((-0.10, 0.0, 0.0), (0.02, 0.0, 0.2), 70)),
    }

    def build(self) -> Any:
        """Return the arm."""
        return load_robot(ARM)

    def begin(self, random: np.random.Generator) -> None:
        """Start near the home pose; put the ball somewhere above the table."""
        self.data.qpos[:6] = HOME + random.uniform(-0.1, 0.1, 6)
        self.data.mocap_pos[0] = random.uniform((*LOW[:2], 0.05), HIGH)

    def reward(self) -> float:
        """Return minus the distance of tool and ball."""
        return -self.distance("tool", "goal")

    def is_success(self) -> bool:
        """Return whether the tool is within 5 cm."""
        return self.distance("tool", "goal") < CLOSE_M

    def distance(self, one: str, other: str) -> float:
        """Return the distance of two sites in metres."""
        data = self.data
        return float(np.linalg.norm(data.site(one).xpos - data.site(other).xpos))


class ArmPush(ArmReach):
    """Push the block to the red spot; the reward also calls the tool to the block."""

    max_episode_steps = 100
    privileged = (*ArmReach.privileged, position("site", "block", low=LOW, high=HIGH))

    def build(self) -> Any:
        """Return the arm and a block."""
        spec = super().build()
        block = spec.worldbody.add_body(name="block")
        block.add_freejoint(name="block")
        block.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.03,) * 3, mass=0.1, rgba=(0.1, 0.6, 0.3, 1)
        )
        block.add_site(name="block", size=(0.001,) * 3)
        return spec

    def begin(self, random: np.random.Generator) -> None:
        """Start above the table, with block and spot on it and apart."""
        super().begin(random)
        block, goal = random.uniform((0.35, -0.2), (0.5, 0.2), (2, 2))
        self.data.joint("block").qpos[:3] = (*block, 0.03)
        self.data.mocap_pos[0] = (*goal, 0.0)

    def reward(self) -> float:
        """Return minus the way that is left for the block, and a fifth of the tool's to it."""
        return -self.distance("block", "goal") - 0.2 * self.distance("tool", "block")

    def is_success(self) -> bool:
        """Return whether the block is within 5 cm of the spot."""
        return self.distance("block", "goal") < CLOSE_M
