"""gymnasium-robotics' hands, kitchen and mazes: signals, actions, success, and what is drawn."""

import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from robodreamer_sim.compat import import_gymnasium_robotics
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.physics.actuators import meanings
from robodreamer_sim.registry import make
from robodreamer_sim.tasks.catalog import list_tasks, robotics_tasks
from robodreamer_sim.tasks.gymnasium_robotics.base import RoboticsTask
from robodreamer_sim.tasks.gymnasium_robotics.vector_layout import plain

Array = NDArray[Any]
ONE_PER_FAMILY = (
    "hand_reach",
    "hand_manipulate_egg_touch",
    "adroit_relocate",
    "franka_kitchen",
    "point_maze_umaze",
    "ant_maze_umaze",
)
FAMILIES = r"(Hand|AdroitHand|FrankaKitchen|PointMaze|AntMaze)"
# Of the same task the package also has a second name, older versions and an older physics engine.
OTHER = re.compile(rf"(?!{FAMILIES}).*|.*(Full|-v0|.*PointMaze.*-v[12]|AntMaze.*-v[1-4]).*")


def robotics(task: str, **settings: Any) -> RoboticsTask:
    env = make(task, EnvOptions(**settings))
    assert isinstance(env, RoboticsTask)
    return env


def act(env: TaskEnv, steps: int = 5, seed: int = 0) -> tuple[dict[str, Array], Array]:
    """Take random steps from a fresh episode; return the last observation and action."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    action = np.zeros(env.contract.action.size, np.float32)
    for _ in range(steps):
        action = rng.uniform(-1, 1, env.contract.action.size).astype(np.float32)
        observation, *_ = env.step(action)
    return observation, action


def test_everything_that_the_package_registers_has_a_name() -> None:
    import_gymnasium_robotics()
    registered = {name for name in gymnasium.registry if not OTHER.fullmatch(name)}
    named = {named.gymnasium_id for named in robotics_tasks().values()}
    assert named == registered
    assert robotics_tasks().keys() < list_tasks().keys()


@pytest.mark.parametrize("task", ONE_PER_FAMILY)
def test_joints_are_those_of_the_labels_in_si_units(task: str) -> None:
    env = robotics(task, observe="state")
    observation, _ = act(env)
    model, data = env.mujoco_handles
    joints = {plain(model.joint(i).name): model.joint(i).name for i in range(model.njnt)}
    noise = 0.002 if task == "franka_kitchen" else 1e-5
    compared = 0
    for signal in env.contract.observations:
        kind = signal.name.rpartition("_")[2]
        if signal.frame == "joint" and signal.family == "proprio":
            for value, label in zip(observation[signal.name], signal.labels, strict=True):
                joint = data.joint(joints[label])
                truth = joint.qvel if kind == "velocity" else joint.qpos
                assert value == pytest.approx(truth[0], abs=noise), (signal.name, label)
                compared += 1
    assert compared >= 8 or task == "point_maze_umaze"
    env.close()


@pytest.mark.parametrize(
    ("task", "signal", "site"),
    [
        ("adroit_door", "palm_position", "S_grasp"),
        ("adroit_door", "handle_position", "S_handle"),
        ("adroit_hammer", "palm_position", "S_grasp"),
        ("adroit_hammer", "nail_position", "S_target"),
        ("adroit_pen", "object_position", "Object"),
        ("hand_manipulate_block", "object_position", "object"),
        ("franka_kitchen", "kettle_position", "kettle"),
        ("point_maze_umaze", "position", "particle"),
        ("ant_maze_umaze", "position", "torso"),
    ],
)
def test_places_are_those_of_the_model(task: str, signal: str, site: str) -> None:
    env = robotics(task, observe="state")
    observation, _ = act(env, steps=3)
    model, data = env.mujoco_handles
    places = {model.site(i).name: data.site_xpos[i] for i in range(model.nsite)}
    places |= {model.body(i).name: data.xpos[i] for i in range(model.nbody)}
    value = observation[f"proprio/{signal}"]
    np.testing.assert_allclose(value, places[site][: len(value)], atol=0.02)
    env.close()


@pytest.mark.parametrize("task", ["hand_reach", "adroit_hammer"])
def test_the_contract_maps_actions_to_the_servos_themselves(task: str) -> None:
    env = robotics(task, observe="state")
    _, action = act(env)
    model, data = env.mujoco_handles
    told = zip(meanings(model), env.contract.action.to_actuators(action), strict=True)
    controls = [meaning.to_control(value) for meaning, value in told]
    np.testing.assert_allclose(data.ctrl, controls, atol=1e-6)
    names = [plain(model.actuator(i).name) for i in range(model.nu)]
    assert list(env.contract.action.labels) == names
    env.close()


def test_an_object_is_measured_only_where_no_camera_sees_it() -> None:
    for task, known in {
        "hand_manipulate_egg_touch": "object_position",
        "adroit_door": "door_angle",
        "franka_kitchen_kettle": "kettle_position",
    }.items():
        both, state = robotics(task), robotics(task, observe="state")
        assert f"privileged/{known}" in {s.name for s in both.contract.observations}
        assert f"proprio/{known}" in {s.name for s in state.contract.observations}
        assert f"proprio/{known}" not in {s.name for s in both.contract.observations}
        both.close()
        state.close()


def test_a_position_that_does_not_matter_is_no_goal() -> None:
    env = robotics("hand_manipulate_block_rotate_z", observe="state")
    assert [s.name for s in env.contract.observations if s.family == "goal"] == [
        "goal/object_rotation"
    ]
    observation, _ = env.reset(seed=0)
    achieved = observation["privileged/achieved_goal"]
    np.testing.assert_array_equal(achieved, observation["proprio/object_rotation"])
    env.close()


@pytest.mark.parametrize(
    "task", ["hand_reach", "hand_manipulate_pen", "hand_manipulate_block_rotate_z"]
)
def test_goals_are_drawn_where_the_package_draws_them(task: str) -> None:
    env = robotics(task, observe="state")
    act(env)
    model, data = env.mujoco_handles
    shown = [i for i in range(model.nsite) if re.match("target|finger", model.site(i).name)]
    (target,) = np.nonzero(model.geom_bodyid == model.body("target").id) if "man" in task else ([],)
    env._physics._render_callback()
    package = data.geom_xpos[target], data.geom_xmat[target], data.site_xpos[shown]
    act(env)
    with env._markers_placed():
        np.testing.assert_allclose(data.geom_xpos[target], package[0], atol=1e-6)
        np.testing.assert_allclose(data.geom_xmat[target], package[1], atol=1e-6)
        np.testing.assert_allclose(data.site_xpos[shown], package[2], atol=1e-6)
    env.close()


@pytest.mark.parametrize("task", ["hand_reach", "adroit_pen", "point_maze_umaze"])
def test_sparse_and_dense_differ_in_the_reward_only(task: str) -> None:
    dense, sparse = robotics(task, observe="state"), robotics(f"{task}_sparse", observe="state")
    one, other = act(dense)[0], act(sparse)[0]
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
    action = np.zeros(dense.contract.action.size, np.float32)
    assert dense.step(action)[1] != sparse.step(action)[1]
    dense.close()
    sparse.close()


def test_doing_all_that_is_asked_for_in_the_kitchen_succeeds_and_ends() -> None:
    for task, is_all in {"franka_kitchen_microwave": True, "franka_kitchen": False}.items():
        env = robotics(task, observe="state")
        env.reset(seed=0)
        env.mujoco_handles[1].joint("microwave").qpos[:] = -0.75
        observation, reward, is_terminated, _, info = env.step(np.zeros(9, np.float32))
        assert reward == 1.0
        assert info["success"] is is_terminated is is_all
        finished = dict(
            zip(
                env.contract["privileged/finished"].labels,
                observation["privileged/finished"],
                strict=True,
            )
        )
        assert {name for name, value in finished.items() if value} == {"microwave"}
        if not is_all:
            assert env.step(np.zeros(9, np.float32))[1] == 0.0, "it is earned once"
        env.close()


def test_a_ball_at_the_goal_succeeds_and_the_episode_goes_on() -> None:
    env = robotics("point_maze_umaze", observe="state")
    observation, _ = env.reset(seed=0)
    assert not env.step(np.zeros(2, np.float32))[4]["success"]
    env.mujoco_handles[1].qpos[:2] = observation["goal/position"]
    _, reward, is_terminated, is_truncated, info = env.step(np.zeros(2, np.float32))
    assert info["success"]
    assert not is_terminated
    assert not is_truncated
    assert reward > 0.9
    env.close()


def test_no_file_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    robotics("ant_maze_umaze", observe="state").close()
    assert not list(tmp_path.iterdir())


def test_only_the_reference_look_draws_pressure_sensors() -> None:
    for quality, is_drawn in {"fast": False, "reference": True}.items():
        env = robotics("hand_manipulate_block_touch", render_quality=quality)
        model, _ = env.mujoco_handles
        groups = {model.site(i).group[0] for i in range(model.nsite) if ":T_" in model.site(i).name}
        assert bool(max(groups) < 3) is is_drawn
        env.close()


def test_the_wrist_camera_moves_with_the_hand() -> None:
    env = robotics("adroit_relocate", cameras=("scene", "wrist"))
    mounts = {camera.signal: camera.mount for camera in env.contract.cameras}
    assert mounts == {"image/scene": "", "image/wrist": "palm"}
    env.close()
