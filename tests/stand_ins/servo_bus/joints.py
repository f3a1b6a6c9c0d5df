"""MuJoCo joints behind simulated servos, for models whose actuators are velocity servos."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

TICKS_PER_TURN = 4096
CENTRE_TICKS = 2048
SPEED_UNIT = 0.229 * 2.0 * math.pi / 60.0
"""Rad per second of one unit of a servo's present velocity."""
GAIN = 20.0
"""Gain of the servo's position loop: rad per second for each rad of error."""


class MujocoJoints:
    """Hinge joints of a model's velocity actuators, in the actuators' order.

    Joint position 0 is at 2048 ticks. A joint without torque is braked, not limp: the model's
    velocity actuator stands in for the gear.

    Args:
        model: Path of the XML.
        start: Initial position of each joint, in rad; None for 0.
    """

    def __init__(self, model: Path, start: Sequence[float] | None = None) -> None:
        self.model: Any = mujoco.MjModel.from_xml_path(str(model))
        self.data: Any = mujoco.MjData(self.model)
        joints = self.model.actuator_trnid[:, 0]
        self.names = tuple(self.model.joint(int(i)).name for i in joints)
        self._positions = self.model.jnt_qposadr[joints]
        self._velocities = self.model.jnt_dofadr[joints]
        self._left_s = 0.0
        if start is not None:
            self.data.qpos[self._positions] = start
        mujoco.mj_forward(self.model, self.data)

    def advance(self, seconds: float, targets: Sequence[int | None]) -> None:
        """Let time pass while each joint is driven to its target."""
        step_s = float(self.model.opt.timestep)
        self._left_s += seconds
        goals = [math.nan if t is None else to_rad(t) for t in targets]
        while self._left_s >= step_s:
            self._left_s -= step_s
            wanted = GAIN * (np.array(goals) - self.data.qpos[self._positions])
            self.data.ctrl[:] = np.nan_to_num(wanted, nan=0.0)
            mujoco.mj_step(self.model, self.data)

    def positions(self) -> list[int]:
        """Return the joint positions in ticks."""
        return [to_ticks(value) for value in self.data.qpos[self._positions]]

    def velocities(self) -> list[int]:
        """Return the joint velocities in units of 0.229 turns per minute."""
        return [round(float(v) / SPEED_UNIT) for v in self.data.qvel[self._velocities]]


def to_rad(ticks: int) -> float:
    """Convert servo ticks to a joint position in rad."""
    return (ticks - CENTRE_TICKS) * 2.0 * math.pi / TICKS_PER_TURN


def to_ticks(position: float) -> int:
    """Convert a joint position in rad to servo ticks."""
    return round(float(position) / (2.0 * math.pi) * TICKS_PER_TURN) + CENTRE_TICKS
