"""A task that keeps every promise, and one for each promise that is broken."""

from typing import Any

import mujoco
import numpy as np

from robodreamer_sim.cameras.camera_spec import CameraPose
from robodreamer_sim.env import Transition
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.tasks.custom.measurements import joint_positions, joint_velocities
from robodreamer_sim.tasks.custom.robot_task import RobotTask

XML = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <geom name="post" size=".2" pos="0 2 0" rgba="1 1 1 1"/>
    <body><joint name="turn" axis="0 0 1" damping=".1"/>
      <geom type="capsule" fromto="0 0 0 .6 0 0" size=".1" rgba="1 0 0 1" mass="1"/></body>
  </worldbody>
  <actuator><motor joint="turn" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


ABOVE = CameraPose((0, -1, 2), (0, 0, 0), 60)


OPTIONS = EnvOptions(image_size=(24, 32))


class Fit(RobotTask):
    """Turn a bar; keeps every promise."""

    control_dt_s = 0.02
    max_episode_steps = 25
    proprio = (joint_positions(), joint_velocities())
    cameras = {"scene": ABOVE}  # noqa: RUF012  a constant

    def build(self) -> Any:
        return mujoco.MjSpec.from_string(XML)

    def begin(self, random: np.random.Generator) -> None:
        self.data.qpos[0] = random.uniform(-1, 1)

    def reward(self) -> float:
        return float(np.cos(self.data.qpos[0]))


class Lengthy(Fit):
    """Its steps are too long for any controller."""

    control_dt_s = 0.5


class Forgetful(Fit):
    """Cannot be made twice alike."""

    made = 0

    def build(self) -> Any:
        Forgetful.made += 1
        spec = super().build()
        spec.actuators[0].ctrlrange = (-Forgetful.made, 1)
        return spec


class NotANumber(Fit):
    """Measures NaN in the middle of an episode."""

    def _measure(self) -> Any:
        measured = super()._measure()
        if self._num_steps == 5:
            measured["proprio/joint_velocity"][0] = np.nan
        return measured


class NoReward(Fit):
    """Has an infinite reward."""

    def reward(self) -> float:
        return float("inf")


class Shared(Fit):
    """Hands out the simulation's own memory."""

    def _measure(self) -> Any:
        if not hasattr(self, "_memory"):
            self._memory = super()._measure()
        for name, value in super()._measure().items():
            self._memory[name][:] = value
        return dict(self._memory)


class Moody(Fit):
    """Begins at random, whatever the seed."""

    source = np.random.default_rng(0)

    def begin(self, random: np.random.Generator) -> None:
        super().begin(self.source)


class Monotonous(Fit):
    """Begins and goes on as always."""

    def begin(self, random: np.random.Generator) -> None:
        self.model.actuator_gainprm[:] = 0


class Shy(Fit):
    """Moves when somebody looks."""

    def render_camera(self, *args: Any, **settings: Any) -> Any:
        self.data.qvel[0] += 0.1
        return super().render_camera(*args, **settings)


class Dark(Fit):
    """Looks away."""

    cameras = {"scene": CameraPose((0, -1, 2), (0, -2, 4), 30)}  # noqa: RUF012  a constant


class Still(Fit):
    """Looks at what never moves."""

    cameras = {"scene": CameraPose((0, 1.2, 0.3), (0, 2, 0), 40)}  # noqa: RUF012  a constant


class Boundless(Fit):
    """Takes more than its limits."""

    def take_action(self, action: Any) -> Any:
        transition = super().take_action(action)
        self.data.qpos[0] += np.abs(action[0])
        return transition


class Gullible(Fit):
    """Takes anything for an action."""

    def step(self, action: Any) -> Any:
        return super().step(np.nan_to_num(action[:1]))


class Late(Fit):
    """Is cut later than it says."""

    def _advance(self, actuators: Any) -> Transition:
        transition = super()._advance(actuators)
        return transition._replace(is_truncated=self._elapsed_steps >= 26)


class Early(Late):
    """Is cut sooner than it says."""

    def _advance(self, actuators: Any) -> Transition:
        transition = super()._advance(actuators)
        return transition._replace(is_truncated=self._elapsed_steps >= 24)
