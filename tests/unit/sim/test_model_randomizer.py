"""Randomised models: every field changes its own arrays by the drawn amount, and no others."""

from typing import Any

import mujoco
import numpy as np
import pytest

from robodreamer_deploy.contract import Array
from robodreamer_sim.randomization import Choice, Entry, Randomization, Uniform
from robodreamer_sim.randomization.delay import keep_history
from robodreamer_sim.randomization.model_elements import elements
from robodreamer_sim.randomization.model_randomizer import ModelRandomizer
from robodreamer_sim.randomization.parameters import FIELDS, SIGNAL_KINDS
from toy_model import differing, model_arrays, toy_spec

BY_MASS = {"body_subtreemass", "body_invweight0", "dof_M0", "dof_invweight0", "actuator_acc0"}
BY_SHAPE = BY_MASS | {
    "body_sameframe",
    "geom_sameframe",
    "site_sameframe",
    "bvh_aabb",
    "dof_length",
}

OF_THE_COMPILER = {
    "cam_poscom0", "light_poscom0",  # how far what follows a centre of mass keeps from it: as far
    "stat.center", "stat.meaninertia", "stat.meanmass",
}  # fmt: skip

MOVES: dict[str, tuple[str, float, str, dict[str, str], set[str]]] = {
    "friction": ("scale", 1.5, "floor", {"geom_friction": "geom"}, set()),
    "mass": ("scale", 2.0, "fore", {"body_mass": "body", "body_inertia": "body"}, BY_MASS),
    "center_of_mass": ("add", 0.03, "crate", {"body_ipos": "body"}, BY_SHAPE),
    "damping": ("add", 0.5, "elbow", {"dof_damping": "dof"}, set()),
    "armature": ("set", 0.5, "elbow", {"dof_armature": "dof"}, BY_MASS),
    "friction_loss": ("set", 0.5, "shoulder", {"dof_frictionloss": "dof"}, set()),
    "stiffness": ("scale", 3.0, "shoulder", {"jnt_stiffness": "joint"}, set()),
    "actuator_gain": (
        "scale", 1.2, "servo",
        {"actuator_gainprm": "actuator", "actuator_biasprm": "actuator"}, set(),
    ),
    "force_limit": ("scale", 0.5, "servo", {"actuator_forcerange": "actuator"}, set()),
    "actuator_delay": ("set", 3.0, "motor", {"actuator_delay": "actuator"}, set()),
    "sensor_delay": ("set", 2.0, "angle", {"sensor_delay": "sensor"}, set()),
    "gravity": ("scale", 0.9, "model", {"opt.gravity": ""}, set()),
    "control_jitter": ("scale", 1.1, "model", {"opt.timestep": ""}, set()),
    "camera_position": (
        "add", 0.1, "wrist",
        {"cam_pos": "camera", "cam_pos0": "camera", "cam_poscom0": "camera"}, set(),
    ),
    "camera_rotation": (
        "add", 0.1, "scene", {"cam_quat": "camera", "cam_mat0": "camera"}, set(),
    ),
    "camera_fovy": ("scale", 1.1, "scene", {"cam_fovy": "camera"}, set()),
    "light_position": (
        "add", 0.5, "lamp",
        {"light_pos": "light", "light_pos0": "light", "light_poscom0": "light"}, set(),
    ),
    "light_direction": (
        "add", 0.4, "escort", {"light_dir": "light", "light_dir0": "light"}, set(),
    ),
    "light_color": ("scale", 1.5, "lamp", {"light_diffuse": "light"}, set()),
    "headlight": (
        "scale", 0.5, "model", {"vis.headlight.diffuse": "", "vis.headlight.ambient": ""}, set(),
    ),
    "geom_color": ("scale", 0.5, "upper", {"geom_rgba": "geom"}, set()),
    "material_color": ("set", 0.1, "plain", {"mat_rgba": "material"}, set()),
    "texture_repeat": ("scale", 2.0, "tiled", {"mat_texrepeat": "material"}, set()),
}  # fmt: skip
"""Cases of every field: operation, value, element, arrays in which only the element's row may
change (with the kind of their rows), and arrays that MuJoCo derives from it."""


def entry(field: str, operation: Any, value: float, *select: str, **settings: Any) -> Entry:
    return Entry(
        field=field,
        operation=operation,
        distribution=Choice(values=(value,)),
        select=select or ("*",),
        **settings,
    )


class World:
    """The toy model with what randomises it."""

    def __init__(self, *entries: Entry) -> None:
        spec = toy_spec()
        keep_history(spec.actuator("motor"), 4)
        keep_history(spec.sensor("angle"), 4)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.nominal = model_arrays(self.model)
        self.randomizer = ModelRandomizer(self.model, self.data, Randomization(entries=entries))

    def changed(self, seed: int = 0) -> dict[str, list[int]]:
        self.randomizer.begin(0, seed)
        return differing(self.nominal, model_arrays(self.model))

    def array(self, name: str) -> Array:
        return model_arrays(self.model)[name]


def row_of(model: mujoco.MjModel, what: str, name: str) -> list[int]:
    if what == "dof":
        return [int(model.joint(name).dofadr[0])]
    return [int(getattr(model, what)(name).id)]


def test_every_field_of_the_model_is_tried_here() -> None:
    fields = {name for name, field in FIELDS.items() if field.kind not in SIGNAL_KINDS}
    assert {*MOVES} == fields - {"push"}


@pytest.mark.parametrize("field", [*MOVES])
def test_a_field_moves_what_it_says_and_nothing_else(field: str) -> None:
    operation, value, name, arrays, derived = MOVES[field]
    world = World(entry(field, operation, value, name))
    changed = world.changed()
    for array, what in arrays.items():
        rows = changed.pop(array)
        assert not what or rows == row_of(world.model, what, name)
    assert {*changed} <= derived
    world.randomizer.restore()
    assert differing(world.nominal, model_arrays(world.model)) == {}


def test_a_factor_of_one_and_a_shift_of_zero_change_no_bit() -> None:
    neutral = [
        entry(field, operation, 1.0 if operation == "scale" else 0.0)
        for field, (operation, *_) in MOVES.items()
        if operation != "set"
    ]
    assert World(*neutral).changed() == {}


def test_nothing_adds_up_over_episodes() -> None:
    entries = [
        Entry(field=field, operation="scale", distribution=Uniform(low=0.5, high=2.0))
        for field in ("mass", "friction", "damping", "control_jitter")
    ]
    world, fresh = World(*entries), World(*entries)
    for seed in range(5):
        world.changed(seed)
    fresh.changed(4)
    assert differing(model_arrays(fresh.model), model_arrays(world.model)) == {}


@pytest.mark.parametrize(
    ("field", "operation", "value", "array", "index", "expected"),
    [
        ("friction", "scale", 1.5, "geom_friction", (0, 0), 1.5),
        ("friction", "scale", 1.5, "geom_friction", (0, 1), 0.005),
        ("damping", "add", 0.5, "dof_damping", 1, 0.6),
        ("damping", "add", -0.5, "dof_damping", 1, 0.0),
        ("armature", "set", 0.5, "dof_armature", 1, 0.5),
        ("gravity", "scale", 0.5, "opt.gravity", 2, -4.905),
        ("control_jitter", "scale", 1.5, "opt.timestep", (), 0.003),
        ("force_limit", "scale", 0.5, "actuator_forcerange", (1, 0), -1.5),
        ("actuator_gain", "scale", 2.0, "actuator_gainprm", (1, 0), 20.0),
        ("actuator_gain", "scale", 2.0, "actuator_biasprm", (1, 1), -20.0),
        ("actuator_gain", "scale", 2.0, "actuator_biasprm", (1, 2), -2.0),
        ("camera_fovy", "scale", 2.0, "cam_fovy", 0, 90.0),
        ("material_color", "scale", 2.0, "mat_rgba", (0, 1), 1.0),
        ("material_color", "scale", 2.0, "mat_rgba", (0, 3), 1.0),
        ("light_color", "scale", 1.5, "light_diffuse", (0, 2), 0.75),
        ("texture_repeat", "scale", 2.0, "mat_texrepeat", (1, 0), 8.0),
    ],
)
def test_a_field_is_scaled_added_to_or_set_within_its_limits(
    field: str, operation: str, value: float, array: str, index: Any, expected: float
) -> None:
    world = World(entry(field, operation, value))
    world.changed()
    assert world.array(array)[index] == pytest.approx(expected)


def test_a_joint_has_one_draw_for_all_its_degrees_of_freedom() -> None:
    span = Uniform(low=0.5, high=2.0)
    free = Entry(field="armature", operation="set", distribution=span, select=("free", "elbow"))
    world = World(free)
    assert world.changed()["dof_armature"] == [1, *range(2, 8)]
    elbow, *crate = world.array("dof_armature")[1:8]
    assert {*crate} == {crate[0]} != {elbow}


def test_entries_of_one_field_act_one_after_the_other() -> None:
    world = World(entry("friction", "set", 0.5), entry("friction", "scale", 3.0, "floor"))
    world.changed()
    assert world.array("geom_friction")[:, 0].tolist() == [1.5, *(0.5,) * (world.model.ngeom - 1)]


@pytest.mark.parametrize("change", ["mass", "center_of_mass", "armature"])
def test_what_is_derived_is_what_compiling_the_changed_model_yields(change: str) -> None:
    world = World(
        {
            "mass": entry("mass", "scale", 1.7, "crate", "arm"),
            "center_of_mass": entry("center_of_mass", "add", 0.05, "crate", "arm"),
            "armature": entry("armature", "scale", 3.0, "elbow"),
        }[change]
    )
    world.changed()
    nominal, changed = World().model, world.model
    spec = toy_spec()
    keep_history(spec.actuator("motor"), 4)
    keep_history(spec.sensor("angle"), 4)
    spec.joint("elbow").armature = changed.dof_armature[1]
    for name in ("crate", "arm"):
        body, index = spec.body(name), changed.body(name).id
        body.explicitinertial = True
        body.mass, body.inertia = changed.body_mass[index], changed.body_inertia[index]
        body.ipos, body.iquat = changed.body_ipos[index], nominal.body_iquat[index]
    compiled = model_arrays(spec.compile())
    for name, value in model_arrays(changed).items():
        if name not in OF_THE_COMPILER:
            np.testing.assert_allclose(value, compiled[name], atol=1e-9, err_msg=name)


def test_a_shifted_center_of_mass_moves_no_geom_and_no_contact() -> None:
    world = World(entry("center_of_mass", "add", 0.05, "crate"))

    def touch() -> tuple[Array, Array, int]:
        mujoco.mj_resetData(world.model, world.data)
        world.data.joint("free").qpos[2] = 0.08
        mujoco.mj_forward(world.model, world.data)
        body = world.model.body("crate").id
        return world.data.xipos[body].copy(), world.data.geom_xpos.copy(), world.data.ncon

    centre, geoms, contacts = touch()
    world.changed()
    centre_after, geoms_after, contacts_after = touch()
    np.testing.assert_allclose(centre_after - centre, 0.05)
    np.testing.assert_allclose(geoms_after, geoms, atol=1e-12)
    assert contacts_after == contacts > 0


def test_the_mass_of_a_body_that_mujoco_takes_for_symmetric_is_not_shifted() -> None:
    world = World()
    assert "ball" in elements(world.model, "mass")
    assert "ball" not in elements(world.model, "center_of_mass")


@pytest.mark.parametrize("camera", ["scene", "wrist", "escort"])
def test_a_camera_moves_along_and_turns_about_its_own_axes(camera: str) -> None:
    still = World()
    world = World(
        entry("camera_position", "add", 0.1, camera), entry("camera_rotation", "add", 0.05, camera)
    )
    world.changed()
    for each in (still, world):
        mujoco.mj_forward(each.model, each.data)
    before, after = still.data.camera(camera), world.data.camera(camera)
    axes = before.xmat.reshape(3, 3)
    np.testing.assert_allclose(axes.T @ (after.xpos - before.xpos), 0.1, atol=1e-9)
    turn, quaternion, vector = axes.T @ after.xmat.reshape(3, 3), np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, turn.ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    np.testing.assert_allclose(vector, 0.05, atol=1e-6)


def test_what_always_looks_at_a_body_cannot_be_turned() -> None:
    assert "aimed" in elements(World().model, "camera_position")
    with pytest.raises(ValueError, match="camera_rotation: no camera 'aimed' can be randomised"):
        World(entry("camera_rotation", "add", 0.1, "aimed"))


def test_a_geom_that_shows_its_material_keeps_its_unseen_color() -> None:
    assert {*elements(World().model, "geom_color")} == {"upper", "lower", "box", "lid", "ball"}


def test_a_push_changes_the_momentum_of_all_that_hangs_on_a_body() -> None:
    world = World(entry("push", "add", 0.5, "crate", when="interval", interval_s=1.0))
    mujoco.mj_resetData(world.model, world.data)
    world.randomizer.begin(0, 0)
    times, velocity = [], world.data.joint("free").qvel.copy()
    for step in range(400):
        world.randomizer.advance(0.01)
        change = world.data.joint("free").qvel - velocity
        velocity = world.data.joint("free").qvel.copy()
        if np.any(change):
            times.append(0.01 * step)
            mujoco.mj_comVel(world.model, world.data)
            np.testing.assert_allclose(
                change[:3] + np.cross(change[3:], offset(world)), [0.5, 0.5, 0], atol=1e-9
            )
    assert 2 <= len(times) <= 7
    assert min(np.diff([0.0, *times])) >= 0.5
    assert max(np.diff([0.0, *times])) <= 1.5


def offset(world: World) -> Array:
    """Return where the crate's centre of mass lies from its origin, in the world."""
    body = world.model.body("crate").id
    return world.data.xipos[body] - world.data.xpos[body]


def test_only_bodies_that_stand_on_what_does_not_move_are_pushed() -> None:
    assert {*elements(World().model, "push")} == {"arm", "crate", "ball"}


def test_an_interval_of_zero_draws_at_every_step_and_computes_nothing_anew() -> None:
    jitter = Entry(
        field="control_jitter",
        operation="scale",
        distribution=Uniform(low=0.9, high=1.1),
        when="interval",
        interval_s=0.0,
    )
    world = World(jitter)
    world.randomizer.begin(0, 0)
    world.data.xpos[:] = 7.0
    seen = set()
    for _ in range(20):
        world.randomizer.advance(0.01)
        seen.add(world.model.opt.timestep)
    assert (world.data.xpos == 7.0).all()
    assert len(seen) == 20
    assert all(0.0018 <= timestep <= 0.0022 for timestep in seen)


def test_an_element_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(
        ValueError, match="friction: no geom 'flor' can be randomised; there are flo"
    ):
        World(entry("friction", "scale", 2.0, "flor"))
    with pytest.raises(ValueError, match=r"no joint 'elb'.*there are elbow, "):
        World(entry("damping", "scale", 2.0, "should*", "elb"))


def test_everything_there_is_may_be_nothing() -> None:
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    entries = tuple(entry(field, *MOVES[field][:2]) for field in MOVES if field != "headlight")
    ModelRandomizer(model, mujoco.MjData(model), Randomization(entries=entries)).begin(0, 0)


def test_a_delay_longer_than_the_past_that_is_kept_is_refused() -> None:
    with pytest.raises(ValueError, match=r"actuator motor keeps 5 steps .* longest delay of 5"):
        World(entry("actuator_delay", "set", 5.0, "motor"))
    with pytest.raises(ValueError, match="actuator servo keeps 0 steps"):
        World(entry("actuator_delay", "set", 1.0, "servo"))
