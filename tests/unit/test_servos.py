"""What keeps a robot where it is: a position for servos, the middle of the range for the rest."""

import mujoco
import numpy as np
import pytest

from robodreamer_deploy.contract import ActionSpec
from robodreamer_sim.servos import hold_pose

MODEL = """
<mujoco>
  <worldbody>
    <body><joint name="a"/><geom size="0.1"/></body>
    <body pos="1 0 0"><joint name="b"/><geom size="0.1"/></body>
    <body pos="2 0 0"><joint name="c"/><geom size="0.1"/></body>
  </worldbody>
  <actuator>
    <position joint="a" kp="30" ctrlrange="-1 3"/>
    <velocity joint="b" kv="5" ctrlrange="-2 2"/>
    <motor joint="c" ctrlrange="-2 2"/>
  </actuator>
</mujoco>
"""
LOW, HIGH = (-1.0, -2.0, -2.0), (3.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("pose", "low", "held"),
    [
        (2.0, LOW, [0.5, 0, 0]),
        (-1.0, LOW, [-1.0, 0, 0]),
        (9.0, LOW, [1.0, 0, 0]),  # beyond its range
        (2.0, (-1.5, -2.0, -2.0), [0, 0, 0]),  # the task's actions are something else
        (2.0, LOW[:2], [0, 0]),
    ],
)
def test_only_position_servos_are_told_where_they_are(
    pose: float, low: tuple[float, ...], held: list[float]
) -> None:
    model = mujoco.MjModel.from_xml_string(MODEL)
    data = mujoco.MjData(model)
    data.qpos[:] = pose
    mujoco.mj_forward(model, data)
    action = np.zeros(len(low), np.float32)
    hold_pose(action, ActionSpec(size=len(low), low=low, high=HIGH[: len(low)]), model, data)
    np.testing.assert_allclose(action, held, atol=1e-6)
