"""Cameras: where they look, that drawing changes nothing, and that renderers are shared."""

import os
import subprocess
import sys
from typing import Any

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from robodreamer_sim.cameras.camera_spec import CameraPose, add_camera
from robodreamer_sim.cameras.images import resize
from robodreamer_sim.cameras.mujoco_images import MujocoImages
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.mujoco_hooks import models_edited
from robodreamer_sim.options import FAST

Array = NDArray[Any]

BALL = """
<mujoco>
  <visual><headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/></visual>
  <asset>
    <texture type="skybox" builtin="flat" rgb1="0 0 0" rgb2="0 0 0" width="8" height="8"/>
  </asset>
  <worldbody>
    <body name="turned" pos="1 2 3" euler="0 0 90">
      <geom name="ball" type="sphere" size=".1" rgba="1 0 0 1" pos="0 .5 0"/>
    </body>
  </worldbody>
</mujoco>
"""


def scene(aim: CameraPose, body: str = "", xml: str = BALL) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Return a model with a red ball before black, and a camera `eye`."""
    spec = mujoco.MjSpec.from_string(xml)
    add_camera(spec, "eye", aim, body)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def image_source_of(
    model: mujoco.MjModel, data: mujoco.MjData, renderers: RendererPool | None = None
) -> MujocoImages:
    return MujocoImages(lambda: (model, data), {"eye": "eye"}, FAST, renderers)


def look(model: mujoco.MjModel, data: mujoco.MjData, height: int, width: int) -> Array:
    cameras = image_source_of(model, data)
    picture = cameras.draw("eye", height, width)
    cameras.close()
    return picture


def center_of_red(picture: Array) -> Array:
    """Return row and column of the middle of the red pixels."""
    return np.argwhere(picture[..., 0] > 100).mean(axis=0)


@pytest.mark.parametrize("position", [(3.0, 2.0, 3.0), (0.5, 0.5, 5.0), (0.0, 4.0, 1.0)])
def test_a_camera_shows_its_target_in_the_centre(position: tuple[float, float, float]) -> None:
    model, data = scene(CameraPose(position, (0.5, 2.0, 3.0), 40))
    center = center_of_red(look(model, data, 41, 61))
    np.testing.assert_allclose(center, (20, 30), atol=0.6)


def test_up_is_up_right_is_right_and_rows_run_downwards() -> None:
    # Looking along +x from the origin, the ball is up and to the left (towards +y).
    model, data = scene(CameraPose((-1.5, 1.5, 2.5), (0.5, 1.5, 2.5), 60))
    row, column = center_of_red(look(model, data, 41, 41))
    assert row < 15
    assert column < 15


def test_a_mounted_camera_moves_with_its_body() -> None:
    model, data = scene(CameraPose((0.0, -1.0, 0.0), (0.0, 0.5, 0.0), 40), body="turned")
    np.testing.assert_allclose(center_of_red(look(model, data, 41, 41)), (20, 20), atol=0.6)
    assert model.body(model.cam_bodyid[0]).name == "turned"


def test_a_camera_may_look_straight_down() -> None:
    model, data = scene(CameraPose((0.5, 2.0, 6.0), (0.5, 2.0, 3.0), 40))
    np.testing.assert_allclose(center_of_red(look(model, data, 41, 41)), (20, 20), atol=0.6)
    model, data = scene(CameraPose((0.5, 1.5, 6.0), (0.5, 1.5, 3.0), 40))
    row, column = center_of_red(look(model, data, 41, 41))  # the ball lies towards +y
    assert row < 15
    assert column == pytest.approx(20, abs=0.6)


def test_a_camera_on_no_body_is_refused_with_the_bodies_there_are() -> None:
    with pytest.raises(ValueError, match="camera eye: there is no body 'tuned'; there are turned"):
        scene(CameraPose((3, 0, 0), (0, 0, 0), 40), body="tuned")


def test_the_field_of_view_is_vertical_and_as_asked() -> None:
    model, data = scene(CameraPose((3.5, 2.0, 3.0), (0.5, 2.0, 3.0), 20))
    picture = look(model, data, 100, 300)
    height = np.ptp(np.flatnonzero((picture[..., 0] > 100).any(axis=1))) + 1
    assert height == pytest.approx(100 * 0.2 / (2 * 3.0 * np.tan(np.radians(10))), abs=2)


def test_drawing_changes_neither_model_nor_data() -> None:
    model, data = scene(CameraPose((3, 2, 3), (0.5, 2, 3), 40))
    before = [model_values(model), model_values(data)]
    look(model, data, 20, 20)
    for one, other in zip(before, [model_values(model), model_values(data)], strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert model.vis.quality.shadowsize > 0
    assert model.vis.quality.offsamples > 0


def model_values(struct: Any) -> dict[str, Array]:
    """Return every array of a MuJoCo struct."""
    values = {name: getattr(struct, name) for name in dir(struct) if not name.startswith("_")}
    return {k: v.copy() for k, v in values.items() if isinstance(v, np.ndarray)}


def test_cameras_are_all_that_is_added_to_a_model(tmp_path: Any) -> None:
    path = tmp_path / "ball.xml"
    path.write_text(BALL)
    plain = model_values(mujoco.MjModel.from_xml_path(str(path)))
    with models_edited(lambda spec: add_camera(spec, "eye", CameraPose((3, 2, 3), (0, 2, 3), 40))):
        added = mujoco.MjModel.from_xml_path(str(path))
    assert added.ncam == 1
    assert mujoco.MjModel.from_xml_path(str(path)).ncam == 0
    values = model_values(added)
    for name, value in plain.items():
        if not name.startswith(("cam_", "name", "paths", "buffer")):
            np.testing.assert_array_equal(value, values[name], err_msg=name)


def test_models_with_the_same_meshes_share_a_renderer_and_keep_their_own_colours() -> None:
    renderers = RendererPool()
    red, red_data = scene(CameraPose((3, 2, 3), (0.5, 2, 3), 40))
    green, green_data = scene(CameraPose((2, 2, 3), (0.5, 2, 3), 40))
    green.geom("ball").rgba[:] = (0, 1, 0, 1)
    pictures = []
    for model, data in [(red, red_data), (green, green_data), (red, red_data)]:
        cameras = image_source_of(model, data, renderers)
        pictures.append(cameras.draw("eye", 30, 30))
    assert len(renderers._renderers) == 1
    np.testing.assert_array_equal(pictures[0], look(red, red_data, 30, 30))
    np.testing.assert_array_equal(pictures[1], look(green, green_data, 30, 30))
    np.testing.assert_array_equal(pictures[2], pictures[0])
    red_value, green_value, _ = pictures[1][15, 15]
    assert red_value < 10 < green_value
    renderers.close()


def test_a_texture_of_its_own_needs_a_renderer_of_its_own() -> None:
    renderers = RendererPool()
    plain, plain_data = scene(CameraPose((3, 2, 3), (0.5, 2, 3), 40))
    blue_sky = BALL.replace('rgb1="0 0 0"', 'rgb1="0 0 1"')
    blue, blue_data = scene(CameraPose((3, 2, 3), (0.5, 2, 3), 40), xml=blue_sky)
    for model, data in [(plain, plain_data), (blue, blue_data)]:
        image_source_of(model, data, renderers).draw("eye", 8, 8)
    assert len(renderers._renderers) == 2
    renderers.close()


def test_a_picture_may_be_larger_than_any_before() -> None:
    model, data = scene(CameraPose((3, 2, 3), (0.5, 2, 3), 40))
    cameras = image_source_of(model, data)
    small = cameras.draw("eye", 20, 10)
    large = cameras.draw("eye", 480, 640)
    assert large.shape == (480, 640, 3)
    np.testing.assert_allclose(center_of_red(large), (239.5, 319.5), atol=1)
    np.testing.assert_array_equal(cameras.draw("eye", 20, 10), small)
    cameras.close()


def test_an_unknown_camera_is_answered_with_those_that_exist() -> None:
    model, data = scene(CameraPose((3, 2, 3), (0.5, 2, 3), 40))
    cameras = image_source_of(model, data)
    with pytest.raises(ValueError, match="no camera 'ear'; there are eye"):
        cameras.draw("ear", 8, 8)


REFERENCE = """
import numpy as np
import mujoco
import robodreamer_sim as sim
env = sim.make("fetch_push", sim.EnvOptions(render_quality="reference"))
env.reset(seed=3)
model, data = env._physics.model, env._physics.data
ours = env.render_camera("scene", 60, 80)
model.vis.global_.offwidth, model.vis.global_.offheight = 80, 60
renderer = mujoco.Renderer(model, 60, 80)
renderer.update_scene(data, "scene")
np.testing.assert_array_equal(ours, renderer.render())
renderer.close()
lean = sim.make("fetch_push")
lean.reset(seed=3)
difference = np.abs(lean.render_camera("scene", 60, 80).astype(int) - ours)
assert 0 < difference.mean() < 10, difference.mean()
env.close()
lean.close()
"""


def test_the_reference_look_is_that_of_mujocos_own_renderer_and_lean_is_close() -> None:
    command = [sys.executable, "-W", "ignore", "-c", REFERENCE]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr


def test_resizing_keeps_the_mean_and_flat_pictures() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (30, 42, 3), np.uint8)
    for height, width in [(10, 14), (7, 11), (30, 42), (64, 64)]:
        small = resize(image, height, width)
        assert small.shape == (height, width, 3)
        np.testing.assert_allclose(small.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=1.0)
    np.testing.assert_array_equal(resize(image, 30, 42), image)
    assert (resize(np.full((5, 9, 3), 255, np.uint8), 3, 4) == 255).all()


def test_resizing_averages_the_area_each_pixel_covers() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 0] = 200
    image[0, 3] = 100
    np.testing.assert_array_equal(resize(image, 1, 2)[0, :, 0], [100, 25])
    np.testing.assert_array_equal(resize(image[:1, :3], 1, 2)[0, :, 0], [133, 0])
