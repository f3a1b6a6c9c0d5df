"""Servos that hold a position: what keeps them where they are."""

import mujoco
import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array


def hold_pose(action: Array, spec: ActionSpec, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Set those elements of an action (A,) that command positions to the positions there are.

    They are found where the task's actions go to the model's actuators, one each, over their whole
    control range.
    """
    low, high = np.array(spec.low), np.array(spec.high)
    if model.nu != spec.size or not np.allclose(model.actuator_ctrlrange.T, (low, high)):
        return
    gain, bias = model.actuator_gainprm[:, 0], model.actuator_biasprm[:, 1]
    is_servo = (gain > 0.0) & np.isclose(gain, -bias) & (high > low)
    middle, half = (low + high) / 2.0, np.where(high > low, (high - low) / 2.0, 1.0)
    pose = np.clip((data.actuator_length - middle) / half, -1.0, 1.0)
    action[is_servo] = pose[is_servo]
