"""Servos that hold a position: what keeps them where they are."""

import mujoco
import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_sim.actuators import positions


def hold_pose(action: Array, spec: ActionSpec, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Set those elements of an action (A,) that command positions to the positions there are.

    They are found where the task's actions go to the model's actuators, one each.
    """
    if model.nu != spec.size or "position" not in spec.quantities:
        return
    is_servo = np.array([quantity == "position" for quantity in spec.quantities])
    pose = np.clip(spec.from_values(positions(model, data)), -1.0, 1.0)
    action[is_servo] = pose[is_servo]
