"""MuJoCo Warp's camera: the pictures are OpenGL's but for light, and all are drawn together.

Warp is no part of `make setup`: without the extra `warp` most of this is skipped.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from fine_mesh import scene as scene_with_fine_mesh
from robodreamer_sim import EnvOptions, VectorEnv, make
from robodreamer_sim.cameras import gl_backend
from robodreamer_sim.cameras.blank_check import BLANK
from robodreamer_sim.cameras.camera_spec import CameraPose, add_camera, fixed_camera
from robodreamer_sim.cameras.gl_backend import choose_back_end
from robodreamer_sim.cameras.gl_renderer import GLRenderer
from robodreamer_sim.cameras.renderer import View
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.cameras.warp.batch import Batch
from robodreamer_sim.compat import OWN_VARIABLE, VARIABLE, WARP
from robodreamer_sim.errors import GraphicsError
from robodreamer_sim.options import FAST, Appearance
from robodreamer_sim.testing.conformance import CHECKS, OPTIONS, TaskUnderTest

needs_warp = pytest.mark.skipif(
    not gl_backend.has_warp(), reason="needs the extra `warp`: pip install robodreamer[warp]"
)
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:warp")
SIZE = (40, 48)
FAR_M = 20.0
"""Beyond is only the sky."""
SCENE = """
<mujoco>
  <statistic center="0 0 0" extent="4"/>
  <visual><headlight ambient=".6 .6 .6" diffuse="0 0 0" specular="0 0 0"/></visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1=".2 .4 .9" rgb2="0 0 .2" width="64"
      height="384"/>
    <texture name="checker" type="2d" builtin="checker" rgb1="1 1 1" rgb2="0 0 0" width="64"
      height="64"/>
    <texture name="dice" type="cube" builtin="flat" rgb1="1 1 0" rgb2=".5 .1 .6" width="32"
      height="32" mark="cross" markrgb="0 0 0"/>
    <material name="checker" texture="checker" texrepeat="2 2"/>
    <material name="dice" texture="dice"/>
    <mesh name="pyramid" vertex="-.2 -.2 0  .2 -.2 0  0 .2 0  0 0 .5"/>
  </asset>
  <worldbody>
    <geom type="plane" size="2 2 .1" material="checker"/>
    <geom type="box" size=".2 .3 .25" pos=".6 .6 .25" material="dice" euler="0 0 30"/>
    <geom type="ellipsoid" size=".2 .3 .25" pos="-.6 .6 .25" material="dice"/>
    <geom type="cylinder" size=".2 .3" pos="-.6 -.6 .3" material="dice"/>
    <geom type="mesh" mesh="pyramid" pos=".5 -.5 0" rgba="0 1 0 1"/>
    <geom type="sphere" size="1" pos="0 0 1" group="4"/>
    <site name="goal" type="sphere" size=".15" pos="0 0 .7" rgba="1 0 0 1"/>
    <site name="anchor" pos="0 0 1.2"/>
    <body pos="0 0 .4"><freejoint/><geom size=".1" rgba="0 0 1 1"/><site name="hook"/></body>
  </worldbody>
  <tendon><spatial width=".03" rgba="1 0 1 1"><site site="anchor"/><site site="hook"/></spatial>
  </tendon>
</mujoco>
"""


@pytest.fixture
def warp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Warp draw."""
    monkeypatch.setenv(OWN_VARIABLE, WARP)


@pytest.fixture
def scene() -> View:
    spec = mujoco.MjSpec.from_string(SCENE)
    add_camera(spec, "eye", CameraPose((1.5, -2.0, 1.6), (0, 0, 0.3), 50))
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return View(model, data, fixed_camera(model, "eye"))


def run(script: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def share_alike(one: Any, other: Any, tolerance: int = 40) -> float:
    """Return the share of pixels that are about the same in two pictures."""
    return float((np.abs(one.astype(int) - other).max(axis=-1) < tolerance).mean())


@needs_warp
@pytest.mark.usefixtures("warp")
def test_it_draws_what_opengl_draws(scene: View) -> None:
    expected = GLRenderer(scene.model, FAST, *SIZE).stage(scene, *SIZE, has_depth=True)()
    drawn = RendererPool().get(scene.model, FAST, *SIZE).stage(scene, *SIZE, has_depth=True)()
    assert share_alike(drawn.color, expected.color) > 0.9
    assert drawn.depth is not None
    assert expected.depth is not None
    is_near = expected.depth < FAR_M
    error = np.abs(drawn.depth - expected.depth)[is_near]
    assert (error < 0.02).mean() > 0.97
    assert ((drawn.depth < FAR_M) == is_near).mean() > 0.97


@needs_warp
@pytest.mark.usefixtures("warp")
@pytest.mark.parametrize("part", ["site", "tendon", "cube", "sky"])
def test_sites_tendons_cubes_and_the_sky_are_drawn(scene: View, part: str) -> None:
    with_it = RendererPool().get(scene.model, FAST, *SIZE).stage(scene, *SIZE)().color
    model = scene.model
    if part == "site":
        model.site_rgba[0, 3] = 0
    elif part == "tendon":
        model.tendon_rgba[0, 3] = 0
    elif part == "cube":
        model.mat_texid[model.material("dice").id] = -1
    else:
        model.tex_data[: 64 * 384 * 3] = 0
    renderers = RendererPool()
    without = renderers.get(model, FAST, *SIZE).stage(scene, *SIZE)().color
    expected = GLRenderer(model, FAST, *SIZE).stage(scene, *SIZE)().color
    assert share_alike(with_it, without) < 0.995
    assert share_alike(without, expected) > 0.9


DICE = """
<mujoco>
  <visual><headlight ambient=".9 .9 .9" diffuse="0 0 0" specular="0 0 0"/></visual>
  <asset>
    <texture name="dice" type="cube" builtin="flat" width="32" height="32"/>
    <material name="dice" texture="dice"/>
    <mesh name="lump" vertex="-1 -1 -1 1 -1 -1 -1 1 -1 1 1 -1 -1 -1 1 1 -1 1 -1 1 1 1 1 1"/>
  </asset>
  <worldbody><geom {geom} material="dice"/></worldbody>
</mujoco>
"""


@needs_warp
@pytest.mark.usefixtures("warp")
@pytest.mark.parametrize(
    "geom",
    ['type="box" size="1 .8 .9"', 'type="ellipsoid" size="1 .8 .9"', 'type="mesh" mesh="lump"'],
)
@pytest.mark.parametrize("eye", [(2.2, 1.9, 2.4), (-2.2, -2.0, -2.3)])
def test_each_side_of_a_cube_texture_is_where_opengl_has_it(
    geom: str, eye: tuple[float, float, float]
) -> None:
    spec = mujoco.MjSpec.from_string(DICE.format(geom=geom))
    add_camera(spec, "eye", CameraPose(eye, (0, 0, 0), 40))
    model = spec.compile()
    sides = model.tex_data.reshape(6, 4, 8, 4, 8, 3)  # squares of eight pixels
    sides[:] = 255 * np.random.default_rng(0).integers(0, 2, (6, 4, 1, 4, 1, 3))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    view = View(model, data, fixed_camera(model, "eye"))
    drawn = RendererPool().get(model, FAST, 64, 64).stage(view, 64, 64)().color
    assert share_alike(drawn, GLRenderer(model, FAST, 64, 64).draw(view, 64, 64), 60) > 0.9


@needs_warp
@pytest.mark.usefixtures("warp")
def test_shadows_are_cast_where_they_are_asked_for(scene: View) -> None:
    spec = mujoco.MjSpec.from_string(SCENE)
    add_camera(spec, "eye", CameraPose((1.5, -2.0, 1.6), (0, 0, 0.3), 50))
    spec.worldbody.add_light(pos=(3, 2, 3), dir=(-1, -0.7, -1), castshadow=True)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    view, renderers = View(model, data, fixed_camera(model, "eye")), RendererPool()
    lean, shadows = (
        renderers.get(model, Appearance(quality), *SIZE).stage(view, *SIZE)().color.astype(int)
        for quality in ("fast", "shadows")
    )
    assert (lean - shadows).min() == 0
    assert 0.01 < ((lean - shadows).max(axis=-1) > 10).mean() < 0.3


@needs_warp
@pytest.mark.usefixtures("warp")
def test_pictures_that_are_staged_together_are_drawn_in_one_call(
    scene: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    draw = Batch._draw
    monkeypatch.setattr(Batch, "_draw", lambda self: (calls.append(len(self._pending)), draw(self)))
    renderer, goal = RendererPool().get(scene.model, FAST, *SIZE), scene.model.site("goal").id
    heights = np.linspace(0.3, 1.2, 5)
    alone, takings = [], []
    for height in heights:
        scene.data.site_xpos[goal, 2] = height
        alone.append(renderer.stage(scene, *SIZE)().color)
    assert calls == [1] * 5
    for height in heights:
        scene.data.site_xpos[goal, 2] = height
        takings.append(renderer.stage(scene, *SIZE))
    together = [taking().color for taking in takings]
    assert calls == [1, 1, 1, 1, 1, 5]
    np.testing.assert_array_equal(alone, together)
    assert not np.array_equal(together[0], together[1])


@needs_warp
@pytest.mark.usefixtures("warp")
@pytest.mark.parametrize(
    "task",
    [
        "fetch_reach",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "arm_push",
                "dmc_walker_walk",
                "dmc_quadruped_escape",
                "hand_manipulate_egg_rotate",
                "adroit_door",
                "franka_kitchen_microwave",
                "point_maze_umaze",
                "manipulation_reach_site",
                "locomotion_cmu_humanoid_run_walls",
                "gym:HalfCheetah-v5",
            )
        ),
    ],
)
def test_tasks_keep_their_promises_with_it(task: str) -> None:
    under_test = TaskUnderTest(lambda options: make(task, options), OPTIONS)
    for check in CHECKS.values():
        check(under_test)
    under_test.close()


@needs_warp
@pytest.mark.usefixtures("warp")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "camera"), [("dmc_walker_walk", "side"), ("fetch_reach", "wrist+depth")]
)
def test_pictures_do_not_depend_on_workers(task: str, camera: str) -> None:
    def collect(num_workers: int) -> list[dict[str, Any]]:
        options = EnvOptions(image_size=(24, 32), cameras=(camera,))
        with VectorEnv(task, options, num_envs=4, num_workers=num_workers, seed=1) as environments:
            rng = np.random.default_rng(0)
            environments.start()
            seen = [{k: v.copy() for k, v in environments.recv().items()}]
            for _ in range(8):
                shape = 4, environments.contract.action.size
                environments.send(rng.uniform(-1, 1, shape).astype(np.float32))
                seen.append({k: v.copy() for k, v in environments.recv().items()})
            assert environments.renderer_name().startswith("MuJoCo Warp on ")
        return seen

    one, two = collect(1), collect(2)
    for step, (expected, found) in enumerate(zip(one, two, strict=True)):
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=f"{name} at step {step}")
    images = [value for name, value in one[-1].items() if name.startswith("image/")]
    assert all(image.std() > BLANK for image in images)
    assert not np.array_equal(images[0][0], images[0][1])


@needs_warp
@pytest.mark.usefixtures("warp")
@pytest.mark.parametrize("appearance", [Appearance("fast", (0, 4)), Appearance(meshes="thin")])
def test_groups_of_geoms_and_thin_meshes_are_those_of_opengl(appearance: Appearance) -> None:
    model, data = scene_with_fine_mesh()
    view = View(model, data, fixed_camera(model, "eye"))
    usual, drawn = (
        RendererPool().get(model, one, *SIZE).stage(view, *SIZE)().color
        for one in (FAST, appearance)
    )
    expected = GLRenderer(model, appearance, *SIZE).draw(view, *SIZE)
    assert share_alike(drawn, expected) > 0.97
    assert (drawn != usual).any()


@needs_warp
@pytest.mark.usefixtures("warp")
def test_what_it_cannot_draw_is_refused_in_words(scene: View) -> None:
    with pytest.raises(
        GraphicsError, match=r"render_quality=reference has OpenGL's .* render_quality=shadows"
    ):
        RendererPool().get(scene.model, Appearance("reference"), *SIZE)
    scene.model.cam_projection[0] = 1
    renderer = RendererPool().get(scene.model, FAST, *SIZE)
    with pytest.raises(GraphicsError, match="this one is orthographic"):
        renderer.stage(scene, *SIZE)


@needs_warp
def test_its_name_is_taken_out_of_mujocos_variable() -> None:
    script = (
        "from robodreamer_sim.compat import import_mujoco; import_mujoco()\n"
        "from robodreamer_sim.cameras.gl_backend import *\n"
        "print(choose_back_end().name, probe_back_end('egl').works, named_back_end())"
    )
    assert run(script, **{VARIABLE: "Warp"}).stdout.split() == ["warp", "True", "warp"]


def test_a_task_without_cameras_is_made_where_warp_is_to_draw() -> None:
    script = (
        "import robodreamer_sim as sim, os; from robodreamer_sim.cameras.gl_backend import *\n"
        "sim.make('fetch_reach', sim.EnvOptions(observe='proprio')).reset(seed=0)\n"
        "print(named_back_end(), os.environ['MUJOCO_GL'])"
    )
    assert run(script, **{VARIABLE: "Warp"}).stdout.split() == ["warp", "disabled"]


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, scene: View
) -> None:
    monkeypatch.setenv(OWN_VARIABLE, WARP)
    monkeypatch.setattr(gl_backend, "find_spec", lambda _: None)
    with pytest.raises(GraphicsError, match=r"not installed; `pip install robodreamer\[warp\]`"):
        RendererPool().get(scene.model, FAST, *SIZE)


def test_a_gpus_camera_comes_before_opengl_in_software(monkeypatch: pytest.MonkeyPatch) -> None:
    llvmpipe = gl_backend.BackEndProbe(
        back_end="egl",
        works=True,
        renderer="llvmpipe (LLVM 15)",
        pictures_per_second=900.0,
        reason="",
    )
    cuda = llvmpipe._replace(
        back_end=WARP, renderer="MuJoCo Warp on NVIDIA H200", pictures_per_second=2000.0
    )
    cpu, nvidia = cuda._replace(renderer="MuJoCo Warp on CPU"), llvmpipe._replace(renderer="NVIDIA")
    broken = llvmpipe._replace(works=False, reason="it is broken")
    assert gl_backend.pick([llvmpipe, cuda]) == cuda
    assert gl_backend.pick([nvidia, cuda]) == nvidia
    assert gl_backend.pick([llvmpipe, cpu]) == llvmpipe
    assert gl_backend.pick([broken, cpu]) == cpu
    assert gl_backend.pick([broken]) is None
    probes = {"egl": llvmpipe, "osmesa": broken, WARP: cuda}
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(gl_backend, "has_warp", lambda: True)
    monkeypatch.setattr(gl_backend, "_has_cuda_camera", lambda: True)
    monkeypatch.setattr(gl_backend, "probe_back_end", lambda name, _: probes[name])
    name, why = choose_back_end()
    assert name == WARP
    assert "egl is llvmpipe" in why
    assert Path("/dev/nvidiactl").exists() or "2,000 small pictures" in why
