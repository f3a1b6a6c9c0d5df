"""Position servos: the action that holds them in place."""

import mujoco
import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_sim.physics.actuators import positions


def hold_pose(action: Array, spec: ActionSpec, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Set the position elements of an action (A,) to the present positions, in place.

    They are known where each action element goes to one actuator of the model. Elements that
    command a change of position stay at 0.
    """
    if model.nu != spec.num_actuators or "position" not in spec.quantities:
        return
    elements = range(spec.size)
    if spec.mapping is not None:
        elements = [
            None if target.measured is not None else target.element
            for target in spec.mapping.targets
        ]
    values = (np.array(spec.low) + spec.high) / 2.0
    for element, place in zip(elements, positions(model, data), strict=True):
        if element is not None and spec.quantities[element] == "position":
            values[element] = place
    held = np.clip(spec.from_values(values), -1.0, 1.0)
    is_servo = np.array([quantity == "position" for quantity in spec.quantities])
    action[is_servo] = held[is_servo]
