"""dm_control's manipulation and locomotion: signals, cameras that follow the model, seeds."""

from typing import Any

import numpy as np
import pytest

from robodreamer_sim.compat import import_dm_control
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.tasks.catalog import composer_tasks, list_tasks

ARM = "manipulation_lift_brick"


def test_every_manipulation_task_of_the_package_has_a_name() -> None:
    import_dm_control()
    from dm_control import manipulation

    tasks = [name for name in list_tasks() if name.startswith("manipulation_")]
    known = manipulation.get_environments_by_tag("features")
    assert tasks
    assert {f"{name.removeprefix('manipulation_')}_features" for name in tasks} == {*known}
    assert composer_tasks().keys() <= list_tasks().keys()


def test_cameras_follow_the_model_that_every_episode_compiles_anew() -> None:
    env = make(ARM, EnvOptions(cameras=("wrist", "front_close"), image_size=(48, 48)))
    first, _ = env.reset(seed=0)
    model = env.mujoco_handles
    again, _ = env.reset(seed=0)
    assert model is not None
    assert env.mujoco_handles is not None
    assert env.mujoco_handles[0] is not model[0]
    for name in ("image/wrist", "image/front_close"):
        np.testing.assert_array_equal(first[name], again[name])
    for _ in range(8):
        again, *_ = env.step(np.ones(env.contract.action.size, np.float32))
    assert (first["image/wrist"] != again["image/wrist"]).mean() > 0.05
    mounts = {camera.signal: camera.mount for camera in env.contract.cameras}
    assert mounts == {"image/wrist": "jaco_arm/jaco_hand/hand", "image/front_close": ""}
    env.close()


def test_a_brick_is_measured_only_where_no_camera_sees_it() -> None:
    both, state = make(ARM), make(ARM, EnvOptions(observe="state"))
    brick = "duplo2x4_position"
    assert f"privileged/{brick}" in {s.name for s in both.contract.observations}
    observation, _ = state.reset(seed=1)
    assert state.mujoco_handles is not None
    model, data = state.mujoco_handles
    truth = data.joint("duplo2x4/").qpos[:2]
    np.testing.assert_allclose(observation[f"proprio/{brick}"][:2], truth, atol=1e-6)
    assert state.contract[f"proprio/{brick}"].unit == "m"
    assert model.nu == state.contract.action.size == len(state.contract.action.labels)
    both.close()
    state.close()


def test_where_to_go_is_a_goal() -> None:
    for task, name in {
        "manipulation_reach_site": "goal/position",
        "locomotion_cmu_humanoid_go_to_target": "goal/target",
    }.items():
        env = make(task, EnvOptions(observe="state"))
        assert name in {s.name for s in env.contract.inputs}
        env.close()


@pytest.mark.parametrize(
    "task",
    [
        "locomotion_cmu_humanoid_run_gaps",
        pytest.param("locomotion_rodent_two_touch", marks=pytest.mark.slow),
    ],
)
def test_a_seed_is_all_that_an_episode_depends_on(task: str) -> None:
    env = make(task, EnvOptions(observe="state"))
    np.random.set_state(np.random.RandomState(1).get_state())  # noqa: NPY002
    before: Any = np.random.get_state()  # noqa: NPY002  dm_control draws from it here and there
    one, _ = env.reset(seed=5)
    for left, right in zip(before, np.random.get_state(), strict=True):  # noqa: NPY002
        np.testing.assert_array_equal(left, right, err_msg="the generator of others is used")
    np.random.set_state(np.random.RandomState(2).get_state())  # noqa: NPY002
    other, _ = env.reset(seed=5)
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
    env.close()
