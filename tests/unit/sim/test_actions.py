"""Actions that are changes: what the simulator does is what a robot computes from the contract."""

from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest

from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.cameras.camera_spec import CameraPose
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.robots.in_process import SimulatedRobot
from robodreamer_sim.tasks.custom.actions import Cartesian, Relative
from robodreamer_sim.tasks.custom.measurements import joint_positions
from robodreamer_sim.tasks.custom.robot_task import RobotTask

XML = """
<mujoco>
  <option timestep="0.005"/>
  <default>
    <joint damping="2" armature="0.1" range="-150 150"/>
    <position kp="200"/>
    <default class="whole"><position kp="200" inheritrange="1"/></default>
    <geom density="200" size=".02" contype="0" conaffinity="0"/>
  </default>
  <worldbody>
    <body name="base" pos="0 0 .1" gravcomp="1">
      <joint name="yaw" axis="0 0 1"/>
      <geom type="capsule" fromto="0 0 0 0 0 .1"/>
      <body name="upper" pos="0 0 .1" gravcomp="1">
        <joint name="shoulder" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0 0 .3"/>
        <body name="lower" pos="0 0 .3" gravcomp="1">
          <joint name="elbow" axis="0 1 0"/>
          <geom type="capsule" fromto="0 0 0 0 0 .25"/>
          <body name="hand" pos="0 0 .25" gravcomp="1">
            <joint name="wrist" axis="0 1 0"/>
            <geom type="capsule" fromto="0 0 0 0 0 .05"/>
            <site name="tool" pos="0 0 .1" euler="0 0 30"/>
            <body name="finger" pos="0 .03 .05" gravcomp="1">
              <joint name="finger" type="slide" axis="0 1 0" range="0 .04"/>
              <geom type="box" size=".005 .005 .02"/>
            </body>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position name="m_yaw" joint="yaw" class="whole"/>
    <position name="m_shoulder" joint="shoulder" class="whole"/>
    <position name="m_elbow" joint="elbow" class="whole"/>
    <position name="m_wrist" joint="wrist" class="whole"/>
    <position name="m_finger" joint="finger" ctrlrange="0 .03"/>
  </actuator>
</mujoco>
"""
ARM = ("yaw", "shoulder", "elbow", "wrist")
PLAIN = EnvOptions(observe="proprio")


class Arm(RobotTask):
    """Hold still."""

    control_dt_s = 0.04
    max_episode_steps = 50
    proprio = (joint_positions(),)
    knows_success = False
    xml = XML

    def build(self) -> Any:
        return mujoco.MjSpec.from_string(self.xml)

    def begin(self, random: np.random.Generator) -> None:
        self.data.qpos[:5] = [0.2, 0.5, 1.2, 0.4, 0.01] + random.uniform(-0.05, 0.05, 5) * [
            1, 1, 1, 1, 0,
        ]  # fmt: skip
        self.data.ctrl[:] = self.data.qpos

    def reward(self) -> float:
        return 0.0


def arm(action: Relative | Cartesian | None, options: EnvOptions = PLAIN, **changes: Any) -> Any:
    return type("Made", (Arm,), {"action": action, **changes})("arm", options)


RELATIVE = Relative(0.05, absolute=("m_finger",))
KINDS = [
    RELATIVE,
    Relative({"m_yaw": 0.1, "m_shoulder": 0.05, "m_elbow": 0.05, "m_wrist": 0.2, "m_finger": 0.01}),
    Cartesian("tool", metres=0.03),
    Cartesian("tool", metres=0.03, radians=0.0),
    Cartesian("hand", metres=0.02, radians=0.1, axes="own"),
]


@pytest.mark.parametrize("action", KINDS)
def test_a_robot_computes_from_its_contract_what_the_simulator_is_given(action: Any) -> None:
    env = arm(action)
    contract = Contract.from_json(env.contract.to_json())
    assert contract == env.contract
    mapping = contract.action.mapping
    assert mapping is not None
    _, data = env.mujoco_handles
    observation, _ = env.reset(seed=3)
    random = np.random.default_rng(0)
    for _ in range(30):
        sent = random.uniform(-1.2, 1.2, contract.action.size).astype(np.float32)
        expected = contract.action.to_actuators(sent, observation)
        start = mapping.positions(observation)  # joints overshoot the ends of their ranges
        observation, *_ = env.step(sent)
        np.testing.assert_array_equal(data.ctrl, expected)
        assert (data.ctrl >= np.minimum(mapping.low, start)).all()
        assert (data.ctrl <= np.maximum(mapping.high, start)).all()


@pytest.mark.parametrize("action", KINDS)
def test_what_was_sent_is_read_back_as_the_action_it_amounts_to(action: Any) -> None:
    env = arm(action)
    observation, _ = env.reset(seed=1)
    spec = env.contract.action
    sent = np.full(spec.size, 0.4, np.float32)
    targets = spec.to_actuators(sent, observation)
    back = spec.from_actuators(targets, observation)
    is_solved = not isinstance(action, Cartesian) or action.radians is None
    moved = slice(None) if is_solved else slice(0, 0)  # 4 joints cannot do 6 things at once
    np.testing.assert_allclose(back[moved], sent[moved], atol=1e-5)
    assert np.isfinite(back).all()


def test_a_relative_action_moves_the_joints_by_radians_and_leaves_the_gripper_absolute() -> None:
    env = arm(RELATIVE)
    spec = env.contract.action
    assert spec.labels == (*ARM, "m_finger")
    assert spec.quantities == ("displacement",) * 4 + ("position",)
    assert spec.units == ("rad",) * 4 + ("m",)
    assert (spec.low[0], spec.high[0], spec.low[4], spec.high[4]) == (-0.05, 0.05, 0.0, 0.03)
    observation, _ = env.reset(seed=0)
    env.step(np.array([1, -1, 0, 0, 1], np.float32))
    _, data = env.mujoco_handles
    start = observation["proprio/joint_position"].astype(np.float64)
    np.testing.assert_allclose(data.ctrl[:4] - start[:4], [0.05, -0.05, 0, 0], atol=1e-15)
    assert data.ctrl[4] == 0.03


def test_a_cartesian_action_moves_the_hand_by_metres() -> None:
    env = arm(Cartesian("tool", metres=0.03))
    spec = env.contract.action
    assert spec.labels == ("x", "y", "z", "m_finger")
    assert spec.frames == ("world", "world", "world", "joint")
    assert spec.actuator_labels == (*ARM, "m_finger")
    model, data = env.mujoco_handles
    for axis in range(3):
        observation, _ = env.reset(seed=axis)
        start = data.site("tool").xpos.copy()
        action = np.zeros(4, np.float32)
        action[axis] = 1.0
        targets = spec.to_actuators(action, observation)
        data.qpos[:] = targets
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(
            data.site("tool").xpos - start, 0.03 * np.eye(3)[axis], atol=1e-6
        )


def test_a_hand_that_is_told_to_keeps_how_it_is_turned() -> None:
    env = arm(Cartesian("tool", metres=0.03, radians=0.0))
    assert env.contract.action.labels == ("x", "y", "z", "m_finger")
    model, data = env.mujoco_handles
    observation, _ = env.reset(seed=0)
    turned = data.site("tool").xmat.copy()
    data.qpos[:] = env.contract.action.to_actuators(np.array([0, 0, 1, 0], np.float32), observation)
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(data.site("tool").xmat, turned, atol=1e-6)


def test_actions_start_from_what_was_observed_noise_and_delay_included() -> None:
    env = arm(RELATIVE)
    _, data = env.mujoco_handles
    env.reset(seed=0)
    noisy = {"proprio/joint_position": np.zeros(5, np.float32)}
    env._randomizer = SimpleNamespace(observe=lambda _: noisy, act=lambda action: action)
    env.step(np.zeros(5, np.float32))
    env.step(np.ones(5, np.float32))
    np.testing.assert_array_equal(data.ctrl, [0.05] * 4 + [0.03])


def test_actions_start_from_where_the_robot_is_when_nobody_observes() -> None:
    env = arm(RELATIVE)
    _, data = env.mujoco_handles
    env.reset(seed=0)
    for _ in range(20):
        expected = data.qpos[0] + 0.05
        env.take_action(np.ones(5, np.float32))
        assert data.ctrl[0] == pytest.approx(expected, abs=1e-6)


def test_a_task_is_measured_for_an_action_only_if_that_is_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = arm(None)
    env.reset(seed=0)
    monkeypatch.setattr(env, "_measure", lambda: pytest.fail("it takes time"))
    low = TaskEnv.to_controls(env, -np.ones(5, np.float32))
    np.testing.assert_allclose(low, env.contract.action.low)


def test_a_simulated_robot_that_holds_sends_no_change_and_the_gripper_s_place() -> None:
    env = arm(RELATIVE)
    robot = SimulatedRobot(env)
    robot.connect()
    held = robot.hold()
    _, data = env.mujoco_handles
    np.testing.assert_array_equal(held[:4], 0.0)
    assert held[4] == pytest.approx(2.0 * 0.01 / 0.03 - 1.0, abs=0.05)
    places = data.qpos.copy()
    for _ in range(20):
        robot.hold()
    np.testing.assert_allclose(data.qpos, places, atol=0.02)


def test_a_controlled_hand_goes_where_it_is_sent_in_the_simulation() -> None:
    env = arm(Cartesian("tool", metres=0.02))
    _, data = env.mujoco_handles
    env.reset(seed=0)
    start = data.site("tool").xpos.copy()
    for _ in range(10):
        env.step(np.array([0, 1, 0, 0], np.float32))
    moved = data.site("tool").xpos - start
    assert moved[1] > 0.05
    assert np.abs(moved[[0, 2]]).max() < 0.03


UNLIMITED = XML.replace('range="-150 150"', "").replace(' class="whole"/>', "/>")
FIXED = XML.replace('<position name="m_elbow" joint="elbow" class="whole"/>', "")
TWICE = XML.replace("</actuator>", '<position name="again" joint="yaw"/></actuator>')
MOTOR = XML.replace(
    '<position name="m_yaw" joint="yaw" class="whole"/>',
    '<motor name="m_yaw" joint="yaw" ctrlrange="-1 1"/>',
)
NEGATIVE = XML.replace('name="m_yaw" joint="yaw"', 'name="m_yaw" joint="yaw" gear="-1"')
FREE = XML.replace(
    '<joint name="yaw" axis="0 0 1"/>', '<joint name="yaw" type="ball" range="0 150"/>'
)
MOCAP = XML.replace("</worldbody>", '<body name="goal" mocap="true"/></worldbody>')
BESIDE = XML.replace(
    "</worldbody>", '<body name="post" pos="1 0 0"><site name="lamp"/></body></worldbody>'
)
SOME = (joint_positions("yaw", "shoulder"),)


@pytest.mark.parametrize(
    ("action", "changes", "words"),
    [
        (Cartesian("tol", metres=0.1), {}, "no site and no body 'tol'; it has tool"),
        (Cartesian("tool", metres=0.0), {}, "metres is 0.0, expected a number above 0"),
        (Cartesian("tool", metres=0.1, radians=4.0), {}, "radians is 4.0, expected 0 up to"),
        (
            Cartesian("tool", metres=0.1),
            {"xml": FIXED},
            "no actuator moves joint elbow, which lies",
        ),
        (Cartesian("tool", metres=0.1), {"xml": TWICE}, "2 actuators move joint yaw"),
        (Cartesian("tool", metres=0.1), {"xml": MOTOR}, "m_yaw is sent a value that is effort"),
        (Cartesian("goal", metres=0.1), {"xml": MOCAP}, "goal is carried by goal, a mocap body"),
        (Cartesian("lamp", metres=0.1), {"xml": BESIDE}, "no joint moves lamp"),
        (Cartesian("tool", metres=0.1), {"proprio": SOME}, "does not measure where joint elbow is"),
        (Cartesian("tool", metres=0.1, signal="joints"), {}, "start from proprio/joints, which is"),
        (Relative(0.05), {"xml": MOTOR}, "need position servos"),
        (Relative(0.05), {"xml": UNLIMITED}, "joint yaw has no limits; give the joint a range"),
        (Relative(0.05), {"xml": TWICE}, "two actuators move yaw"),
        (Relative(0.05), {"xml": NEGATIVE}, "m_yaw has a negative gear"),
        (Relative(0.05, absolute=("grip",)), {}, "there is no actuator 'grip'; there are"),
        (Relative(-0.05), {}, "the change of m_yaw is -0.05, expected a number above 0"),
        (Relative((0.1, 0.1)), {}, "2 changes for 5 joints: m_yaw, m_shoulder"),
        (Relative({"m_yaw": 0.1}), {}, "`change` says nothing of m_shoulder"),
        (Relative(0.05, absolute=tuple(f"m_{n}" for n in (*ARM, "finger"))), {}, "every actuator"),
    ],
)
def test_a_model_that_actions_cannot_move_is_refused_in_a_sentence(
    action: Any, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        arm(action, **changes)


def test_a_base_that_moves_freely_is_refused() -> None:
    xml = FREE.replace('<position name="m_yaw" joint="yaw" class="whole"/>', "")
    some = (joint_positions("shoulder", "elbow", "wrist", "finger"),)
    with pytest.raises(ValueError, match=r"joint yaw between .* has more than one axis"):
        arm(Cartesian("tool", metres=0.1), xml=xml, proprio=some)


def test_a_policy_that_sees_pictures_alone_cannot_start_from_its_joints() -> None:
    with pytest.raises(ValueError, match=r"joint_position, which is not observed; .* observe both"):
        arm(
            RELATIVE,
            EnvOptions(observe="camera"),
            cameras={"eye": CameraPose((1, 0, 1), (0, 0, 0), 50)},
        )


def test_an_action_without_a_fresh_measurement_is_refused() -> None:
    spec = arm(RELATIVE).contract.action
    action = np.zeros(5, np.float32)
    with pytest.raises(ValueError, match="pass the observation that the robot has just measured"):
        spec.to_actuators(action)
    for values in (np.full(5, np.nan), np.zeros(2)):
        measured: dict[str, Array] = {"proprio/joint_position": values}
        with pytest.raises(ValueError, match="does not tell where"):
            spec.to_actuators(action, measured)
