"""Camera poses of the contract, which are those that MuJoCo draws from."""

import mujoco
import numpy as np
import pytest

from robodreamer_deploy.contract import Array, Camera
from robodreamer_deploy.kinematics import Quaternion, rotation_matrix
from robodreamer_sim.cameras.camera_spec import fixed_camera
from robodreamer_sim.cameras.pose import nominal_pose
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make

MODEL = """
<mujoco>
  <worldbody>
    <geom size=".1"/>
    <camera name="still" pos="1 2 3" euler="30 40 50"/>
    <body name="post" pos="0 1 0" euler="0 0 90">
      <camera name="post" pos=".1 .2 .3" euler="10 20 30"/>
    </body>
    <body name="arm" pos="1 0 1" euler="0 20 0"><joint axis="0 1 0"/><geom size=".1" pos=".1 0 0"/>
      <camera name="hand" pos=".1 .2 .3" euler="10 20 30"/>
      <camera name="along" mode="track" pos="0 -2 1" xyaxes="1 0 0 0 1 2"/>
      <camera name="mass" mode="trackcom" pos="0 -2 1" xyaxes="1 0 0 0 1 2"/>
      <camera name="looking" mode="targetbody" target="post" pos="0 -2 1"/>
    </body>
  </worldbody>
</mujoco>
"""


def drawn(model: mujoco.MjModel, data: mujoco.MjData, view: mujoco.MjvCamera) -> tuple[Array, ...]:
    """Return from where MuJoCo draws: position, and the axes to the right, up and backward."""
    scene = mujoco.MjvScene(model, 10)
    category = mujoco.mjtCatBit.mjCAT_ALL
    mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, view, category, scene)
    eye = scene.camera[0]
    ahead, up = np.array(eye.forward), np.array(eye.up)
    position = (np.array(eye.pos) + scene.camera[1].pos) / 2.0  # of both eyes
    return position, np.stack([np.cross(ahead, up), up, -ahead], axis=1)


@pytest.mark.parametrize("name", ["still", "post", "hand", "along", "mass"])
def test_a_camera_of_the_model_stands_where_the_contract_says(name: str) -> None:
    model = mujoco.MjModel.from_xml_string(MODEL)
    data = mujoco.MjData(model)
    pose = nominal_pose(model, fixed_camera(model, name))
    assert pose is not None
    frames = {"still": "world", "post": "world", "hand": "arm", "along": "world axes at arm"}
    assert pose.frame == frames.get(name, "world axes at the centre of mass of arm")
    for angle in (0.0, 0.7):
        data.qpos[:] = angle
        mujoco.mj_forward(model, data)
        arm = data.body("arm")
        origin, turn = {
            "hand": (arm.xpos, arm.xmat.reshape(3, 3)),
            "along": (arm.xpos, np.eye(3)),
            "mass": (data.subtree_com[arm.id], np.eye(3)),
        }.get(name, (np.zeros(3), np.eye(3)))
        position, rotation = drawn(model, data, fixed_camera(model, name))
        np.testing.assert_allclose(origin + turn @ pose.position, position, atol=1e-5)
        np.testing.assert_allclose(turn @ rotation_matrix(pose.quaternion), rotation, atol=1e-5)


@pytest.mark.parametrize("kind", ["FREE", "TRACKING"])
def test_a_camera_that_people_look_through_has_a_place_as_well(kind: str) -> None:
    model = mujoco.MjModel.from_xml_string(MODEL)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    view = mujoco.MjvCamera()
    view.type = getattr(mujoco.mjtCamera, f"mjCAMERA_{kind}").value
    view.trackbodyid, view.distance, view.azimuth, view.elevation = 2, 3.0, 70.0, -20.0
    view.lookat[:] = (0.1, 0.2, 0.3)
    pose = nominal_pose(model, view)
    assert pose is not None
    followed = data.subtree_com[2].copy() if kind == "TRACKING" else np.zeros(3)
    position, rotation = drawn(model, data, view)
    np.testing.assert_allclose(followed + pose.position, position, atol=1e-5)
    np.testing.assert_allclose(rotation_matrix(pose.quaternion), rotation, atol=1e-5)


def test_a_camera_that_turns_after_something_has_no_pose() -> None:
    model = mujoco.MjModel.from_xml_string(MODEL)
    assert nominal_pose(model, fixed_camera(model, "looking")) is None


@pytest.mark.parametrize(
    "quaternion", [(0.5, 0.5, 0.5, 0.5), (1.0, 0.0, 0.0, 0.0), (0.1, -0.7, 0.7, -0.1)]
)
def test_opencv_s_axes_are_half_a_turn_about_x_from_mujoco_s(quaternion: Quaternion) -> None:
    length = float(np.linalg.norm(quaternion))
    w, x, y, z = (value / length for value in quaternion)
    camera = Camera(signal="image/a", frame="world", position=(0, 0, 0), quaternion=(w, x, y, z))
    assert camera.opencv_quaternion is not None
    turned = rotation_matrix(camera.opencv_quaternion)
    ours = rotation_matrix((w, x, y, z))
    np.testing.assert_allclose(turned, ours * [1.0, -1.0, -1.0], atol=1e-12)


def test_a_pose_is_whole_or_not_there() -> None:
    with pytest.raises(ValueError, match="image/a needs position, quaternion and frame"):
        Camera(signal="image/a", position=(0, 0, 0))
    assert Camera(signal="image/a").opencv_quaternion is None


def test_a_randomised_camera_is_told_where_it_nominally_stands() -> None:
    plain, strong = (make("arm_reach", EnvOptions(randomize=word)) for word in ("none", "strong"))
    for seed in range(2):
        strong.reset(seed=seed)
    assert strong.contract.cameras == plain.contract.cameras
    assert strong.all_cameras == plain.all_cameras
    (camera,) = plain.contract.cameras
    assert camera.position == (1.15, -0.75, 0.7)
    assert camera.frame == "world"
    wrist = next(c for c in plain.all_cameras if c.signal == "image/wrist")
    assert (wrist.frame, wrist.position) == ("hand", (-0.1, 0.0, 0.0))
    plain.close()
    strong.close()
