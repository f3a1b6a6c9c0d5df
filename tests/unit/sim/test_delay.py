"""Delays: after exactly as many steps as stated, inside MuJoCo and around it."""

from typing import Any

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodreamer_sim.env import TaskEnv
from robodreamer_sim.mujoco_hooks import models_edited
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.randomization import Choice, Entry, Randomization
from robodreamer_sim.randomization.delay import DelayLine, delay, delay_s, history_edits
from robodreamer_sim.registry import make
from toy_model import XML, differing, model_arrays, toy_spec

INTEGRATORS = [*mujoco.mjtIntegrator.__members__]


def slider(steps: int, timestep: float = 0.002, integrator: str = "mjINT_EULER") -> Any:
    """Return a body on a rail, in empty space, with a motor and a position sensor."""
    spec = mujoco.MjSpec()
    spec.option.timestep, spec.option.gravity = timestep, (0, 0, 0)
    spec.option.integrator = mujoco.mjtIntegrator.__members__[integrator].value
    body = spec.worldbody.add_body(name="cart")
    body.add_joint(name="rail", type=mujoco.mjtJoint.mjJNT_SLIDE)
    body.add_geom(size=(0.1, 0.1, 0.1))
    spec.add_actuator(name="motor", target="rail", trntype=mujoco.mjtTrn.mjTRN_JOINT)
    spec.add_sensor(
        name="place",
        type=mujoco.mjtSensor.mjSENS_JOINTPOS,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        objname="rail",
    )
    delay(spec, "actuator", {"motor": steps})
    return spec


def steps_without_motion(model: mujoco.MjModel, data: mujoco.MjData) -> int:
    """Command a force and return after how many steps the first motion follows."""
    data.ctrl[:] = 1.0
    for step in range(200):
        mujoco.mj_step(model, data)
        if data.qvel[0] != 0.0:
            return step
    raise AssertionError("it never moved")


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_motion_begins_after_exactly_the_stated_physics_steps(steps: int, integrator: str) -> None:
    model = slider(steps, integrator=integrator).compile()
    assert steps_without_motion(model, mujoco.MjData(model)) == steps


@pytest.mark.parametrize("timestep", [0.01, 0.005, 0.0025, 0.002])
def test_a_delay_stays_the_same_however_long_the_simulation_has_run(timestep: float) -> None:
    model = slider(6, timestep).compile()
    for idle in (1, 333, 5000):
        data = mujoco.MjData(model)
        mujoco.mj_step(model, data, nstep=idle)
        assert steps_without_motion(model, data) == 6, idle


def test_a_delay_may_be_changed_while_it_fits_into_the_past_that_is_kept() -> None:
    model = slider(6).compile()
    for steps in (0, 3, 6):
        model.actuator_delay[0] = delay_s(model, steps)
        assert steps_without_motion(model, mujoco.MjData(model)) == steps


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_sensor_tells_what_was_exactly_the_stated_steps_ago(steps: int) -> None:
    spec = slider(0)
    delay(spec, "sensor", {"place": steps})
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qvel[0] = 1.0
    places, told = [], []
    for _ in range(10):
        mujoco.mj_forward(model, data)
        places.append(data.qpos[0])
        told.append(data.sensordata[0])
        mujoco.mj_step(model, data)
    assert told[steps:] == places[: len(places) - steps]


def test_delays_change_nothing_else_in_a_model() -> None:
    spec = toy_spec()
    before = model_arrays(spec.compile())
    delay(spec, "actuator", {"servo": 3})
    delay(spec, "sensor", {"angle": 2})
    assert {*differing(before, model_arrays(spec.compile()))} == {
        "actuator_delay", "actuator_history", "actuator_historyadr", "nhistory",
        "sensor_delay", "sensor_history", "sensor_historyadr",
    }  # fmt: skip


def test_an_actuator_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="no actuator 'serv'; it has servo, motor"):
        delay(toy_spec(), "actuator", {"serv": 2})
    with pytest.raises(ValueError, match="no sensor 'motor'; it has angle"):
        delay(toy_spec(), "sensor", {"motor": 2})


@given(
    values=st.lists(st.integers(), min_size=1, max_size=20),
    delays=st.lists(st.integers(0, 5), min_size=20, max_size=20),
)
def test_a_line_passes_on_what_went_in_as_many_steps_ago(
    values: list[int], delays: list[int]
) -> None:
    line = DelayLine(longest=5, first=-1)
    for step, value in enumerate(values):
        late = line.send(value, delays[step])
        assert line.newest == value
        assert late == (values[step - delays[step]] if delays[step] <= step else -1)


def handles(env: TaskEnv) -> tuple[mujoco.MjModel, mujoco.MjData]:
    assert env.mujoco_handles is not None
    return env.mujoco_handles


def delayed(field: str, steps: int, *select: str) -> Randomization:
    entry = Entry(
        field=field,
        operation="set",
        distribution=Choice(values=(float(steps),)),
        select=select or ("*",),
    )
    return Randomization(entries=(entry,))


def test_a_task_keeps_the_past_that_its_delays_need_and_nothing_else_changes() -> None:
    late = EnvOptions(observe="proprio", randomize=delayed("actuator_delay", 3, "slide"))
    plain = make("dmc_cartpole_swingup", EnvOptions(observe="proprio"))
    env = make("dmc_cartpole_swingup", late)
    before, after = (model_arrays(handles(each)[0]) for each in (plain, env))
    assert {*differing(before, after)} == {
        "actuator_history", "actuator_historyadr", "nhistory",
    }  # fmt: skip


@pytest.mark.parametrize(("field", "steps"), [("action_delay", 2), ("actuator_delay", 20)])
def test_a_late_action_moves_a_task_as_the_same_one_sent_two_steps_later(
    field: str, steps: int
) -> None:
    late = EnvOptions(observe="proprio", randomize=delayed(field, steps))
    plain = make("dmc_ball_in_cup_catch", EnvOptions(observe="proprio"))
    env = make("dmc_ball_in_cup_catch", late)  # ten physics steps per control step
    plain.reset(seed=3)
    env.reset(seed=3)
    rng = np.random.default_rng(0)
    actions = [np.zeros(2), np.zeros(2), *rng.uniform(-1.0, 1.0, (10, 2))]
    for now, in_time in zip(actions[2:], actions, strict=False):
        env.step(now.astype(np.float32))
        plain.step(in_time.astype(np.float32))
        assert np.array_equal(handles(plain)[1].qpos, handles(env)[1].qpos)


def test_models_are_loaded_as_ever_afterwards() -> None:
    before = mujoco.MjModel.from_xml_path, mujoco.MjModel.from_xml_string, mujoco.MjSpec.compile
    with models_edited(*history_edits(delayed("actuator_delay", 1, "moto?"))):
        assert mujoco.MjModel.from_xml_string(XML).actuator_history[:, 0].tolist() == [2, 0]
    assert before == (
        mujoco.MjModel.from_xml_path,
        mujoco.MjModel.from_xml_string,
        mujoco.MjSpec.compile,
    )
