"""Drawn parts of a model: its geom groups, and meshes with fewer triangles."""

from typing import Any

import mujoco
import numpy as np
import pytest
from test_robot_task import edited

from fine_mesh import PARTS, lump, scene
from robodreamer_sim import EnvOptions, make
from robodreamer_sim.cameras.camera_spec import CameraPose
from robodreamer_sim.cameras.drawn_geoms import count_faces
from robodreamer_sim.cameras.mesh_thinning import MAX_FACES, cluster, thin
from robodreamer_sim.cameras.mujoco_images import MujocoImages
from robodreamer_sim.options import FAST, Appearance

SIDE = 64


def draw(model: mujoco.MjModel, data: mujoco.MjData, appearance: Appearance) -> np.ndarray:
    pictures = MujocoImages(lambda: (model, data), {"eye": "eye"}, appearance)
    picture = pictures.draw("eye", SIDE, SIDE).astype(int)
    pictures.close()
    return picture


def test_a_fine_mesh_is_thinned_and_looks_as_before() -> None:
    model, data = scene()
    before = {n: v.copy() for n in dir(model) if isinstance(v := getattr(model, n), np.ndarray)}
    full, thinned = (draw(model, data, FAST._replace(meshes=meshes)) for meshes in ("full", "thin"))
    lump_id, small_id = model.mesh("lump").id, model.mesh("small").id
    left = thin(model).mesh_facenum
    assert MAX_FACES / 4 < left[lump_id] <= MAX_FACES < model.mesh_facenum[lump_id] / 10
    assert left[small_id] == model.mesh_facenum[small_id]
    differs = np.abs(full - thinned).max(axis=-1) > 40
    assert differs.mean() < 0.01
    assert (full != thinned).any()
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(model, name), value, err_msg=name)


def test_the_finest_grid_that_leaves_few_enough_triangles_is_taken() -> None:
    vertices, triangles = lump()
    counts = []
    for most in (100, 1000, 10_000):
        moved, kept = cluster(vertices, triangles, most)
        assert most / 5 < len(kept) <= most
        corners = moved[triangles[kept]]
        areas = np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        assert (areas > 0).mean() > 0.99
        furthest = np.linalg.norm(moved - vertices, axis=1).max()
        counts.append((len(kept), furthest))
    assert counts == sorted(counts)
    assert [far for _, far in counts] == sorted((far for _, far in counts), reverse=True)


def test_both_sides_of_a_thin_sheet_stay() -> None:
    square = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], float)
    sheet = np.concatenate([square, square - np.array([0, 0, 1e-4])])
    front, back = [(0, 2, 1), (0, 3, 2)], [(4, 5, 6), (4, 6, 7)]
    again = [(1, 0, 2)]  # the first of the front, from another corner on
    _, kept = cluster(sheet, np.array([*front, *back, *again]), 4)
    assert kept.tolist() == [0, 1, 2, 3]


def test_only_the_groups_that_are_asked_for_are_drawn() -> None:
    model, data = scene()
    usual = draw(model, data, FAST)
    np.testing.assert_array_equal(draw(model, data, Appearance("fast", (0, 1, 2))), usual)
    without_hull = draw(model, data, Appearance("fast", (1, 2)))
    model.geom("hull").rgba[3] = 0
    np.testing.assert_array_equal(without_hull, draw(model, data, FAST))
    assert (without_hull != usual).any()
    frame = draw(model, data, Appearance("fast", (4,)))
    assert (frame.reshape(-1, 3).argmax(-1) == 2)[frame.reshape(-1, 3).max(-1) > 50].all()
    assert frame.max() > 50


def test_faces_are_counted_of_what_is_drawn_and_of_each_geom() -> None:
    spec = mujoco.MjSpec.from_string(PARTS)
    second = spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="small", group=3)
    assert count_faces(spec.compile(), None) == 4
    second.group = 2
    assert count_faces(spec.compile(), None) == 8
    assert count_faces(spec.compile(), (0,)) == 0


def test_a_class_says_which_groups_are_drawn_and_the_contract_tells() -> None:
    xml = PARTS.replace(
        "</worldbody>",
        '<body><joint name="j" axis="0 0 1"/><geom size=".1" group="2"/></body></worldbody>'
        '<actuator><motor joint="j" ctrlrange="-1 1"/></actuator>',
    )
    kind: dict[str, Any] = {
        "xml": xml,
        "control_dt_s": 0.02,
        "geom_groups": (1, 2),
        "proprio": (),
        "goals": (),
        "privileged": (),
        "cameras": {"eye": CameraPose((3, 0.1, 0.6), (0, 0, 0), 45)},
        "begin": lambda self, random: None,
        "reward": lambda self: 0.0,
        "is_over": lambda self: False,
    }
    pictures = {}
    for groups in (None, (0, 1, 2)):
        env = edited(**kind)("parts", EnvOptions(geom_groups=groups))
        options = EnvOptions.from_dict(env.contract.options)
        assert options.geom_groups == (groups or (1, 2))
        again = edited(**{**kind, "geom_groups": None})("parts", options)
        for made in (env, again):
            made.reset(seed=0)
        pictures[groups] = env.observe()["image/eye"]
        np.testing.assert_array_equal(again.observe()["image/eye"], pictures[groups])
        assert again.contract == env.contract
        env.close()
        again.close()
    assert (pictures[None] != pictures[0, 1, 2]).any()


@pytest.mark.parametrize("task", ["fetch_reach", "dmc_reacher_easy", "gym:Ant-v5"])
def test_every_task_that_mujoco_draws_takes_both_options(task: str) -> None:
    options = EnvOptions(geom_groups=(0, 1), meshes="thin", image_size=(32, 32))
    env = make(task, options)
    env.reset(seed=0)
    assert env.observe()[env.contract.inputs[0].name].std() > 3
    assert EnvOptions.from_dict(env.contract.options) == options
    env.close()
    with pytest.raises(ValueError, match=r"geom_groups \(3,\) have no geom; the model has "):
        make(task, EnvOptions(geom_groups=(3,)))


def test_a_task_that_draws_itself_has_neither() -> None:
    for options in (EnvOptions(geom_groups=(1,)), EnvOptions(meshes="thin")):
        with pytest.raises(ValueError, match=r"draws itself by render\(\), .* neither geom_groups"):
            make("gym:CartPole-v1", options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"geom_groups": ()}, r"geom_groups are some of 0 to 5, got \(\)"),
        ({"geom_groups": (0, 6)}, r"geom_groups are some of 0 to 5, got \(0, 6\)"),
        ({"meshes": "hull"}, "meshes is one of full, thin, got 'hull'"),
        (
            {"meshes": "thin", "render_quality": "reference"},
            "render_quality=reference draws as the model asks",
        ),
    ],
)
def test_what_cannot_be_drawn_so_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnvOptions(**options)


def test_a_contract_says_nothing_of_what_is_as_usual() -> None:
    assert not {"geom_groups", "meshes"} & EnvOptions().to_dict().keys()
