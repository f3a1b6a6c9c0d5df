"""Rest actions: present positions for servos, the middle of the range for other actuators."""

import mujoco
import numpy as np
import pytest

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_sim.physics.actuators import physical_action
from robodreamer_sim.physics.servos import hold_pose

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


@pytest.mark.parametrize(
    ("pose", "held"),
    [(2.0, [0.5, 0, 0]), (-1.0, [-1.0, 0, 0]), (9.0, [1.0, 0, 0])],  # the last beyond its range
)
def test_only_position_servos_are_told_where_they_are(pose: float, held: list[float]) -> None:
    model = mujoco.MjModel.from_xml_string(MODEL)
    spec = physical_action(model, *model.actuator_ctrlrange.T, labels=("a", "b", "c"))
    np.testing.assert_allclose(held_action(spec, model, pose), held, atol=1e-6)


def test_actions_that_are_not_the_model_s_actuators_are_left_alone() -> None:
    model = mujoco.MjModel.from_xml_string(MODEL)
    spec = ActionSpec(size=3, low=(-1.0,) * 3, high=(1.0,) * 3)
    assert not held_action(spec, model, 2.0).any()
    two = ActionSpec(size=2, low=(-1.0,) * 2, high=(1.0,) * 2, quantities=("position",) * 2)
    assert not held_action(two, model, 2.0).any()


def held_action(spec: ActionSpec, model: mujoco.MjModel, pose: float) -> Array:
    data = mujoco.MjData(model)
    data.qpos[:] = pose
    mujoco.mj_forward(model, data)
    action = np.zeros(spec.size, np.float32)
    hold_pose(action, spec, model, data)
    return action
