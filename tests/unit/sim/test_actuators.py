"""Physical meaning of actions: the positions, velocities and forces in MuJoCo."""

import dataclasses

import mujoco
import numpy as np
import pytest

from robodreamer_deploy.contract import ActionSpec
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.physics.actuators import actuator_label, joint_of, meanings, physical_action
from robodreamer_sim.registry import make
from robodreamer_sim.testing.conformance import ConformanceError, TaskUnderTest, check_units

STATE = EnvOptions(observe="state")
MODEL = """
<mujoco>
  <worldbody>
    <body><joint name="h1"/><geom size=".1"/></body>
    <body><joint name="h2"/><geom size=".1"/></body>
    <body><joint name="s1" type="slide"/><geom size=".1"/><site name="here"/></body>
    <body><joint name="s2" type="slide"/><geom size=".1"/></body>
    <body><joint name="ball" type="ball"/><geom size=".1"/></body>
  </worldbody>
  <tendon>
    <fixed name="turns"><joint joint="h1" coef="1"/><joint joint="h2" coef="1"/></fixed>
    <fixed name="mixed"><joint joint="h1" coef="1"/><joint joint="s1" coef="1"/></fixed>
  </tendon>
  <actuator>
    <motor joint="h1" gear="150"/>
    <motor joint="s1" gear="-3"/>
    <position joint="h2" kp="20" gear="2"/>
    <velocity joint="s2" kv="5"/>
    <intvelocity joint="h2" kp="20" actrange="-1 1"/>
    <general joint="h1" gainprm="10" biastype="affine" biasprm="4 -20 0"/>
    <position tendon="turns" kp="3"/>
    <motor tendon="mixed"/>
    <motor site="here" gear="0 0 0 0 0 7"/>
    <motor joint="ball" gear="3 4 0 0 0 0"/>
    <muscle joint="h1" lengthrange="0 1"/>
    <general joint="h1" gaintype="affine" gainprm="1 1 0"/>
  </actuator>
</mujoco>
"""
MEANT = [
    ("effort", "N m", 150.0, 0.0),
    ("effort", "N", 3.0, 0.0),
    ("position", "rad", 0.5, 0.0),
    ("velocity", "m/s", 1.0, 0.0),
    ("velocity", "rad/s", 1.0, 0.0),
    ("position", "rad", 0.5, 0.2),
    ("position", "rad", 1.0, 0.0),
    ("effort", "", 1.0, 0.0),
    ("effort", "N m", 7.0, 0.0),
    ("effort", "N m", 5.0, 0.0),
    ("activation", "", 1.0, 0.0),
    ("unknown", "", 1.0, 0.0),
]


def test_gain_bias_gear_and_transmission_say_what_a_control_means() -> None:
    assert [tuple(one) for one in meanings(mujoco.MjModel.from_xml_string(MODEL))] == MEANT


@pytest.mark.parametrize(
    "task", ["arm_reach", "hand_reach", "adroit_hammer", "dmc_walker_walk", "dmc_quadruped_walk"]
)
def test_a_servo_rests_at_what_it_is_told_and_a_motor_pushes_with_it(task: str) -> None:
    env = make(task, STATE)
    env.reset(seed=0)
    assert env.mujoco_handles is not None
    model, data = env.mujoco_handles
    spec, random = env.contract.action, np.random.default_rng(0)
    action = random.uniform(-1.0, 1.0, spec.size).astype(np.float32)
    values = spec.to_actuators(action)
    data.qvel[:] = 0.0
    controls = [one.to_control(value) for one, value in zip(meanings(model), values, strict=True)]
    data.ctrl[:], model.actuator_forcelimited[:] = controls, 0
    has_filter = model.actuator_actadr >= 0
    data.act[model.actuator_actadr[has_filter]] = data.ctrl[has_filter]  # which has settled
    for i, (value, quantity) in enumerate(zip(values, spec.quantities, strict=True)):
        joint = joint_of(model, i)
        if joint is None:
            continue
        if quantity == "position":
            data.qpos[model.jnt_qposadr[joint]] = value
        elif quantity == "velocity":
            data.qvel[model.jnt_dofadr[joint]] = value
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        mujoco.mj_fwdActuation(model, data)
        force = abs(data.actuator_force[i] * model.actuator_gear[i, 0])
        expected = abs(value) if quantity == "effort" else 0.0
        assert force == pytest.approx(expected, abs=1e-6), (actuator_label(model, i), quantity)
    env.close()


def test_an_action_of_a_gymnasium_model_is_in_newton_metres_unless_a_wrapper_changes_it() -> None:
    ant = make("gym:Ant-v5", STATE)
    assert ant.contract.action.units == ("N m",) * 8
    assert ant.contract.action.high == (150.0,) * 8
    ant.reset(seed=0)
    ant.step(np.full(8, 0.5, np.float32))
    assert ant.mujoco_handles is not None
    np.testing.assert_array_equal(ant.mujoco_handles[1].ctrl, 0.5)
    assert ant.contract.action.labels[0] == "hip_4"
    ant.close()
    pendulum = make("gym:Pendulum-v1", STATE)  # no MuJoCo: nobody can know
    assert pendulum.contract.action.quantities == ("unknown",)
    pendulum.close()


def test_fetch_moves_by_five_centimetres_and_blocked_fingers_by_nothing() -> None:
    reach, grasp = (make(task, STATE) for task in ("fetch_reach", "fetch_pick_and_place"))
    assert reach.contract.action.high == (0.05, 0.05, 0.05, 0.0)
    assert grasp.contract.action.high == (0.05, 0.05, 0.05, 1.0)
    start, _ = grasp.reset(seed=0)
    end = start
    for _ in range(4):
        end, *_ = grasp.step(np.array([0, 1, 0, 0], np.float32))
    name = "proprio/gripper_position"
    moved = end[name] - start[name]
    assert 0.1 < moved[1] < 0.2  # the last steps are still under way
    assert np.abs(moved[[0, 2]]).max() < 0.01
    reach.close()
    grasp.close()


def test_an_action_without_kind_or_unit_is_a_broken_promise() -> None:
    env = make("dmc_pendulum_swingup", STATE)
    under_test = TaskUnderTest(lambda options: env)
    check_units(under_test)
    action = env.contract.action
    for change, words in (
        ({"quantities": ()}, "does not say what the actions are"),
        ({"units": ("",)}, "the action torque is a effort without a unit"),
        ({"units": ()}, "the action torque is a effort without a unit"),
    ):
        spec = dataclasses.replace(action, **change)
        env.contract = dataclasses.replace(env.contract, action=spec)
        with pytest.raises(ConformanceError, match=words):
            check_units(under_test)
    unknown = ActionSpec(size=1, low=(-1.0,), high=(1.0,), quantities=("unknown",))
    env.contract = dataclasses.replace(env.contract, action=unknown)
    check_units(under_test)
    under_test.close()


def test_a_range_of_controls_becomes_one_of_physical_values() -> None:
    model = mujoco.MjModel.from_xml_string(MODEL)
    spec = physical_action(model, [-1.0] * 12, [2.0] * 12, [str(i) for i in range(12)])
    assert (spec.low[0], spec.high[0]) == (-150.0, 300.0)
    assert (spec.low[5], spec.high[5]) == (-0.3, 1.2)
