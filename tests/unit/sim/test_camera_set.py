"""Camera sets: which cameras a policy observes, their sizes, rates and depth ranges."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import mujoco
import numpy as np
import pytest

from robodreamer_sim.cameras.camera_set import CameraSet
from robodreamer_sim.cameras.camera_spec import CameraPose, add_camera
from robodreamer_sim.cameras.mujoco_images import MujocoImages
from robodreamer_sim.options import FAST, Appearance, CameraConfig, EnvOptions, RenderQuality
from robodreamer_sim.registry import make

WALL = """
<mujoco>
  <statistic center="0 0 0" extent="4"/>
  <worldbody>
    <geom name="wall" type="box" size=".1 2 2" pos="0 0 0" rgba="1 0 0 1"/>
    <body name="ball" pos="1 0 0"><joint type="slide" axis="1 0 0"/>
      <geom type="sphere" size=".2" rgba="0 1 0 1"/></body>
  </worldbody>
</mujoco>
"""


class Scene:
    """A red wall at x = 0.1 and a green ball before it, seen along -x from x = 3."""

    def __init__(self) -> None:
        spec = mujoco.MjSpec.from_string(WALL)
        add_camera(spec, "eye", CameraPose((3, 0, 0), (0, 0, 0), 40))
        add_camera(spec, "ear", CameraPose((3, 1, 0), (0, 0, 0), 40))
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)
        handles = self.model, self.data
        self.pictures = MujocoImages(lambda: handles, {"eye": "eye", "ear": "ear"}, FAST)

    def camera_set(self, *words: str, control_dt_s: float = 0.02) -> CameraSet:
        options = EnvOptions(cameras=words or None, image_size=(20, 24))
        return CameraSet("wall", self.pictures, options, ("ear",), control_dt_s, is_used=True)

    def move_ball(self, x: float) -> None:
        self.data.qpos[0] = x
        mujoco.mj_forward(self.model, self.data)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.pictures.close()


@pytest.mark.parametrize(
    ("word", "request_"),
    [
        ("wrist", CameraConfig(name="wrist")),
        ("wrist:48x64", CameraConfig(name="wrist", image_size=(48, 64))),
        ("wrist@7.5", CameraConfig(name="wrist", rate_hz=7.5)),
        ("wrist+depth", CameraConfig(name="wrist", has_depth=True)),
        (
            "left-eye_2+depth=1.5:8x9@30",
            CameraConfig(
                name="left-eye_2",
                image_size=(8, 9),
                rate_hz=30,
                has_depth=True,
                depth_range_m=1.5,
            ),
        ),
    ],
)
def test_a_camera_is_asked_for_in_a_word(word: str, request_: CameraConfig) -> None:
    assert CameraConfig.parse(word) == request_


@pytest.mark.parametrize(
    "word", ["", "wrist:48", "wrist@", "wrist+deep", "wrist@30:8x8", "a:0x8", "a@0", "a@1.2.3"]
)
def test_a_word_that_is_no_camera_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=f"camera {word!r}".replace("+", r"\+")):
        EnvOptions(cameras=(word,))


def test_a_camera_is_asked_for_once() -> None:
    with pytest.raises(ValueError, match="a camera is named twice: eye, eye"):
        EnvOptions(cameras=("eye", "eye:8x8"))


def test_every_camera_has_its_own_size_and_the_rest_the_common_one(scene: Scene) -> None:
    camera_set = scene.camera_set("eye:8x10", "ear")
    shapes = {name: frame.shape for name, frame in camera_set.capture(0).items()}
    assert shapes == {"image/eye": (8, 10, 3), "image/ear": (20, 24, 3)}
    assert {s.name: s.shape for s in camera_set.signals} == shapes
    assert camera_set.default == "eye"
    assert list(scene.camera_set().capture(0)) == ["image/ear"]


@pytest.mark.parametrize(("rate", "new"), [(25, [0, 2, 4, 6]), (30, [0, 2, 4, 5, 7]), (50, None)])
def test_a_slow_camera_repeats_its_picture_until_the_next_is_due(
    scene: Scene, rate: float, new: list[int] | None
) -> None:
    camera_set = scene.camera_set(f"eye@{rate}")
    changed, before = [], np.zeros(0)
    for step in range(8):
        scene.move_ball(0.1 * step)
        picture = camera_set.capture(step)["image/eye"]
        if not np.array_equal(picture, before):
            changed.append(step)
        before = picture
    assert changed == (list(range(8)) if new is None else new)


def test_an_episode_begins_with_a_picture_of_its_own(scene: Scene) -> None:
    camera_set = scene.camera_set("eye@10")
    first = camera_set.capture(0)["image/eye"]
    scene.move_ball(-0.8)
    assert np.array_equal(camera_set.capture(1)["image/eye"], first)
    assert not np.array_equal(camera_set.capture(0)["image/eye"], first)


def test_a_repeated_picture_is_an_array_of_its_own(scene: Scene) -> None:
    camera_set = scene.camera_set("eye@10")
    first = camera_set.capture(0)["image/eye"]
    expected = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(camera_set.capture(1)["image/eye"], expected)


def test_depth_is_the_distance_along_the_view_in_shares_of_the_range(scene: Scene) -> None:
    camera_set = scene.camera_set("eye+depth=4:41x41")
    seen = camera_set.capture(0)
    depth = seen["image/eye_depth"]
    assert depth.shape == (41, 41, 1)
    assert depth.dtype == np.uint8
    assert depth[20, 20, 0] == pytest.approx(255 * (3 - 1.2) / 4, abs=1.5)  # the ball's front
    assert depth[20, 2, 0] == pytest.approx(255 * (3 - 0.1) / 4, abs=1.5)  # the wall, off the axis
    assert scene.camera_set("eye+depth=2:41x41").capture(0)["image/eye_depth"][20, 2, 0] == 255
    np.testing.assert_array_equal(seen["image/eye"], scene.pictures.draw("eye", 41, 41))


STAIRS = """
<mujoco>
  <statistic center="0 0 0" extent="2"/>
  <visual><map znear=".05" zfar="20"/><quality offsamples="4"/></visual>
  <worldbody>
    <camera name="eye" pos="0 0 0" xyaxes="1 0 0 0 1 0" fovy="90"/>
    <geom type="plane" size="9 9 .1" pos="0 0 -3" rgba=".5 .5 .5 1"/>
    <geom type="box" size=".5 .5 .1" pos="-.5 .5 -1.1" rgba="1 0 0 1"/>
    <geom type="box" size=".5 .5 .1" pos="-.5 -.5 -.2" rgba="0 1 0 1"/>
    <geom type="box" size=".5 .5 .1" pos=".5 .5 -.6" rgba="0 0 1 1"/>
  </worldbody>
</mujoco>
"""
"""Seen from above, a box at another distance in each quarter but the right lower one."""


@pytest.mark.parametrize("quality", ["fast", "shadows", "reference"])
def test_every_pixel_of_depth_is_the_distance_of_what_the_picture_shows_there(
    quality: RenderQuality,
) -> None:
    model = mujoco.MjModel.from_xml_string(STAIRS)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    pictures = MujocoImages(lambda: (model, data), {"eye": "eye"}, Appearance(quality))
    color, depth = pictures.stage("eye", 40, 40, has_depth=True)()
    pictures.close()
    assert depth is not None
    places = {"red": (14, 14), "green": (30, 10), "blue": (10, 30), "floor": (30, 30)}
    measured = {name: float(depth[place]) for name, place in places.items()}
    expected = {"red": 1.0, "green": 0.1, "blue": 0.5, "floor": 3.0}
    assert measured == pytest.approx(expected, rel=1e-3)
    assert [int(color[places[name]].argmax()) for name in ("red", "green", "blue")] == [0, 1, 2]


SLOPE = """
<mujoco>
  <statistic center="0 0 0" extent="2"/>
  <visual><map znear=".01" zfar="40"/><quality offsamples="4"/></visual>
  <asset><material name="mirror" reflectance=".5"/></asset>
  <worldbody>
    <light pos="0 0 4"/>
    <camera name="eye" pos="0 0 .5" xyaxes="0 -1 0 .1 0 1" fovy="40"/>
    <geom type="plane" size="90 90 .1" material="mirror"/>
    <geom type="box" size=".1 .1 .1" pos="1.5 .1 .1"/>
  </worldbody>
</mujoco>
"""
"""A floor that mirrors, seen at a grazing angle; near and far plane at 2 cm and 80 m."""


def test_depth_is_that_of_the_pixels_centre_whatever_the_look_does_for_the_picture() -> None:
    model = mujoco.MjModel.from_xml_string(SLOPE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    seen = {}
    for quality in ("fast", "shadows", "reference"):
        pictures = MujocoImages(lambda: (model, data), {"eye": "eye"}, Appearance(quality))
        alone = pictures.draw("eye", 60, 60)
        seen[quality] = pictures.stage("eye", 60, 60, has_depth=True)()
        np.testing.assert_array_equal(seen[quality].color, alone)
        pictures.close()
    assert not np.array_equal(seen["reference"].color, seen["fast"].color)
    for quality in ("shadows", "reference"):
        np.testing.assert_array_equal(seen[quality].depth, seen["fast"].depth)
    up, forward = np.array([0.1, 0, 1]), np.array([1, 0, -0.1])
    heights = (29.5 - np.arange(60)) / 30 * np.tan(np.radians(20))
    rays = (forward + heights[:, None] * up) / np.linalg.norm(forward)  # 1 m along the view
    on_floor = rays[:, 2] < -0.01
    expected = 0.5 / -rays[on_floor, 2]  # of the column at the right edge, beside the box
    np.testing.assert_allclose(seen["reference"].depth[on_floor, 59], expected, rtol=2e-3)
    assert expected.max() > 5 * expected.min()


def test_the_range_of_depth_is_in_the_contract(scene: Scene) -> None:
    camera_set = scene.camera_set("eye+depth", "ear")
    ranges = {camera.signal: camera.depth_range_m for camera in camera_set.cameras}
    assert ranges == {
        "image/eye": None,
        "image/eye_depth": pytest.approx(6.0),
        "image/ear": None,
    }
    assert [signal.name for signal in camera_set.signals] == list(ranges)


def test_a_camera_faster_than_control_is_refused(scene: Scene) -> None:
    with pytest.raises(ValueError, match="wall is controlled at 50 Hz; camera eye cannot"):
        scene.camera_set("eye@60")


def test_an_unknown_camera_is_answered_with_those_that_exist(scene: Scene) -> None:
    with pytest.raises(ValueError, match="wall has no camera 'eyes'; it has eye, ear"):
        scene.camera_set("eyes")


def test_depth_needs_a_simulator_that_measures_it() -> None:
    with pytest.raises(ValueError, match=r"gym:CartPole-v1 is drawn by its own render\(\)"):
        make("gym:CartPole-v1", EnvOptions(cameras=("camera+depth",)))


def test_a_task_with_slow_small_and_depth_cameras_keeps_its_contract() -> None:
    words = ("scene:32x48@12.5", "wrist+depth=1:16x16")
    env: Any = make("fetch_push", EnvOptions(cameras=words))
    observation, _ = env.reset(seed=0)
    frames = [observation["image/scene"]]
    for _ in range(4):
        observation, *_ = env.step(np.array([1, 0, 0, 0], np.float32))
        env.contract.check(observation)
        frames.append(observation["image/scene"])
    same = [np.array_equal(a, b) for a, b in pairwise(frames)]
    assert same == [True, False, True, False]
    assert env.contract["image/scene"].rate_hz == 12.5
    assert make("fetch_push", EnvOptions.from_dict(env.contract.options)).contract == env.contract
    env.close()


def test_the_look_with_shadows_has_some() -> None:
    pictures = {}
    for quality in ("fast", "shadows", "reference"):
        env = make("gym:Ant-v5", EnvOptions(render_quality=quality))
        env.reset(seed=0)
        pictures[quality] = env.render_camera("camera", 96, 96).astype(int).sum(-1)
        env.close()
    darker = pictures["fast"] - pictures["shadows"] > 30
    assert 0.005 < darker.mean() < 0.5
    assert not np.array_equal(pictures["shadows"], pictures["reference"])
