"""A user's task: contract and simulation follow the class attributes."""

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from robodreamer_sim.cameras.camera_spec import BodyCamera, CameraPose
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.tasks.custom.measurements import (
    joint_positions,
    joint_velocities,
    position,
    sensor,
)
from robodreamer_sim.tasks.custom.robot_task import RobotTask, load_robot

XML = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body name="cart">
      <joint name="rail" type="slide" axis="1 0 0" range="-2 3" limited="true" damping="1"/>
      <geom size=".1" mass="1"/>
      <body name="pole">
        <joint name="hinge" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0 0 .5" size=".02" mass=".1"/>
        <site name="tip" pos="0 0 .5"/>
      </body>
    </body>
    <body name="ball" pos="0 1 0"><freejoint name="ball"/><geom size=".05"/></body>
  </worldbody>
  <actuator><motor name="push" joint="rail" ctrlrange="-4 2"/></actuator>
  <sensor><jointvel name="speed" joint="rail"/></sensor>
</mujoco>
"""
PLAIN = EnvOptions(observe="proprio")


class Cart(RobotTask):
    """Push the cart to x = 1."""

    control_dt_s = 0.05
    max_episode_steps = 7
    proprio = (
        joint_positions("rail", "hinge"),
        joint_velocities("hinge", limit=5.0),
        sensor("speed", unit="m/s", limit=2.0),
    )
    goals = (position("site", "tip", low=(-2, -1, -1), high=(3, 1, 1)),)
    privileged = (position("body", "ball", low=(-1,) * 3, high=(1,) * 3),)
    cameras = {  # noqa: RUF012  a constant
        "scene": CameraPose((0, -3, 1), (0, 0, 0), 50),
        "tip": BodyCamera("pole", CameraPose((0.3, 0, 0.5), (0, 0, 0.4), 60)),
    }
    xml = XML

    def build(self) -> Any:
        return mujoco.MjSpec.from_string(self.xml)

    def begin(self, random: np.random.Generator) -> None:
        self.data.joint("rail").qpos = random.uniform(-0.5, 0.5)

    def reward(self) -> float:
        return -abs(self.data.joint("rail").qpos[0] - 1.0)

    def is_success(self) -> bool:
        return self.reward() > -0.1

    def is_over(self) -> bool:
        return abs(self.data.joint("rail").qpos[0]) > 1.5


def edited(**attributes: Any) -> type[RobotTask]:
    return type("Edited", (Cart,), attributes)


def test_the_contract_says_what_the_class_does() -> None:
    env = Cart("cart", EnvOptions(image_size=(16, 24)))
    contract = env.contract
    assert [signal.name for signal in contract.observations] == [
        "image/scene",
        "proprio/joint_position",
        "proprio/joint_velocity",
        "proprio/speed",
        "goal/tip_position",
        "privileged/ball_position",
    ]
    joints = contract["proprio/joint_position"]
    assert joints.labels == ("rail", "hinge")
    assert joints.low == (-2.0, -np.pi)
    assert joints.high == (3.0, np.pi)
    assert contract["proprio/joint_velocity"].unit == "rad/s"
    assert contract["proprio/speed"].high == (2.0,)
    assert contract.action.low == (-4.0,)
    assert contract.action.high == (2.0,)
    assert contract.action.labels == ("push",)
    assert contract.control_dt_s == 0.05
    assert contract.max_episode_steps == 7
    env.close()


def test_measurements_are_those_of_the_simulation() -> None:
    env = Cart("cart", PLAIN)
    observation, _ = env.reset(seed=1)
    for _ in range(5):
        observation, *_ = env.step(np.array([0.7], np.float32))
    _, data = env.mujoco_handles
    expected = {
        "proprio/joint_position": [data.joint("rail").qpos[0], data.joint("hinge").qpos[0]],
        "proprio/joint_velocity": data.joint("hinge").qvel,
        "proprio/speed": data.joint("rail").qvel,
        "goal/tip_position": data.joint("rail").qpos[0] * np.eye(3)[0]
        + 0.5
        * np.array([np.sin(data.joint("hinge").qpos[0]), 0, np.cos(data.joint("hinge").qpos[0])]),
        "proprio/ball_position": data.joint("ball").qpos[:3],
    }
    assert observation.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(observation[name], value, rtol=1e-5, atol=1e-7, err_msg=name)
    assert abs(observation["proprio/speed"][0]) > 0.01


def test_an_action_is_held_for_one_control_step() -> None:
    env = Cart("cart", PLAIN)
    env.reset(seed=0)
    model, data = env.mujoco_handles
    expected = mujoco.MjData(model)
    mujoco.mj_copyData(expected, model, data)
    env.step(np.array([-1.0], np.float32))
    assert data.ctrl[0] == -4.0
    expected.ctrl[0] = -4.0
    for _ in range(5):
        mujoco.mj_step(model, expected)
    assert data.time == pytest.approx(0.05)
    np.testing.assert_allclose(data.qpos, expected.qpos, rtol=0, atol=1e-12)


def test_an_episode_ends_in_time_by_itself_or_is_cut() -> None:
    env = Cart("cart", PLAIN)
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(7)]
    assert ends == [(False, False)] * 6 + [(False, True)]
    short = edited(max_episode_steps=200)("cart", PLAIN)
    short.reset(seed=0)
    ends = []
    while not any(any(end) for end in ends):
        ends.append(short.step(np.ones(1, np.float32))[2:4])
    assert ends[-1] == (True, False)
    assert len(ends) < 200


def test_success_is_what_the_task_says() -> None:
    env = Cart("cart", PLAIN)
    env.reset(seed=0)
    env.data.joint("rail").qpos = 0.98
    *_, info = env.step(np.zeros(1, np.float32))
    assert info["success"] is True
    assert env.contract.knows_success
    assert not edited(knows_success=False)("cart", PLAIN).contract.knows_success


def test_cameras_of_the_class_come_first_and_those_of_the_model_after_them() -> None:
    xml = XML.replace("<worldbody>", '<worldbody><camera name="own" pos="0 -2 0" euler="90 0 0"/>')
    env = edited(xml=xml)("cart", EnvOptions(cameras=("tip", "own"), image_size=(8, 8)))
    mounts = {camera.signal: camera.mount for camera in env.contract.cameras}
    assert mounts == {"image/tip": "pole", "image/own": ""}
    env.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"control_dt_s": 0.055}, "control_dt_s = 0.055 s is no whole multiple .* of 0.01 s"),
        ({"proprio": (joint_positions("rial"),)}, "no joint 'rial'; it has rail, "),
        ({"proprio": (joint_positions("ball"),)}, "joint 'ball' has more than one axis"),
        ({"proprio": (sensor("sped", unit=""),)}, "no sensor 'sped'; it has speed"),
        (
            {"xml": XML.replace('<site name="tip"', "<site")},
            "no site 'tip'; it has none with a name",
        ),
        ({"xml": XML.replace('ctrlrange="-4 2"', "")}, "actuators without limits: push; give"),
        (
            {"xml": XML.partition("<actuator>")[0] + "</mujoco>"},
            "has no actuators; a URDF has none",
        ),
        (
            {"cameras": {"eye": BodyCamera("cat", CameraPose((1, 0, 0), (0, 0, 0), 40))}},
            "no body 'cat'; there are",
        ),
    ],
)
def test_a_class_that_makes_no_task_is_refused_in_words(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edited(**change)("cart", PLAIN)


def test_a_robot_without_camera_can_be_observed_without() -> None:
    blind = edited(cameras={})
    blind("cart", PLAIN).close()
    with pytest.raises(ValueError, match="cart has no camera; name some in `cameras`"):
        blind("cart", EnvOptions())


def test_a_simulation_that_blows_up_is_no_episode() -> None:
    env = Cart("cart", PLAIN)
    env.reset(seed=0)
    env.data.qvel[0] = 1e12
    with pytest.raises(
        ValueError, match=r"the simulation diverged .* at .* s; a smaller time step"
    ):
        env.step(np.zeros(1, np.float32))


URDF = """
<robot name="one">
  <link name="base"/>
  <link name="arm"><inertial><mass value="1"/><inertia ixx=".1" iyy=".1" izz=".1" ixy="0" ixz="0"
    iyz="0"/></inertial>{shape}</link>
  <joint name="turn" type="revolute"><parent link="base"/><child link="arm"/><axis xyz="0 0 1"/>
    <limit lower="-1" upper="1" effort="1" velocity="1"/></joint>
</robot>
"""


def test_a_urdf_becomes_a_task_once_it_has_actuators(tmp_path: Path) -> None:
    path = tmp_path / "one.urdf"
    path.write_text(URDF.format(shape=""))

    def build(self: RobotTask) -> Any:
        spec = load_robot(path)
        spec.add_actuator(
            name="turn",
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            target="turn",
            ctrllimited=True,
            ctrlrange=(-1, 1),
        )
        return spec

    turn = edited(
        build=build,
        control_dt_s=0.02,
        proprio=(joint_positions(),),
        goals=(),
        privileged=(),
        cameras={},
        begin=lambda self, random: None,
        reward=lambda self: 0.0,
        is_over=lambda self: False,
    )
    env = turn("turn", PLAIN)
    assert env.contract["proprio/joint_position"].labels == ("turn",)
    assert env.contract["proprio/joint_position"].high == (1.0,)


def test_a_robot_file_that_lacks_something_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no robot file .*nowhere\.xml"):
        load_robot(tmp_path / "nowhere.xml")
    path = tmp_path / "one.urdf"
    mesh = '<collision><geometry><mesh filename="hull.stl"/></geometry></collision>'
    path.write_text(URDF.format(shape=mesh))
    with pytest.raises(ValueError, match=r"(?s)one\.urdf is no robot .*hull\.stl"):
        load_robot(path)
