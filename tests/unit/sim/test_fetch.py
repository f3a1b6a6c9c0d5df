"""The Fetch tasks: signals in SI units, what is privileged, and a goal that can be seen."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.tasks.gymnasium_robotics.fetch import FetchTask

Array = NDArray[Any]
KINDS = ("reach", "push", "slide", "pick_and_place")


def fetch(task: str, **settings: Any) -> FetchTask:
    env = make(task, EnvOptions(**settings))
    assert isinstance(env, FetchTask)
    return env


@pytest.mark.parametrize("kind", KINDS)
def test_the_signals_are_the_simulators_quantities_in_si_units(kind: str) -> None:
    env = fetch(f"fetch_{kind}", observe="state")
    observation, _ = env.reset(seed=0)
    for _ in range(4):
        observation, *_ = env.step(np.array([0.4, -0.3, -0.2, 0.5], np.float32))
    physics: Any = env._physics
    model, data, utils = physics.model, physics.data, physics._utils
    gripper = utils.get_site_xvelp(model, data, "robot0:grip")
    expected = {
        "proprio/gripper_position": data.site("robot0:grip").xpos,
        "proprio/gripper_velocity": gripper,
        "proprio/finger_position": [
            data.joint(f"robot0:{side}_gripper_finger_joint").qpos[0] for side in "rl"
        ],
        "proprio/finger_velocity": [
            data.joint(f"robot0:{side}_gripper_finger_joint").qvel[0] for side in "rl"
        ],
        "goal/position": physics.goal,
    }
    if kind != "reach":
        block = data.site("object0").xpos
        expected |= {
            "proprio/object_position": block,
            "proprio/object_offset": block - data.site("robot0:grip").xpos,
            "proprio/object_velocity": utils.get_site_xvelp(model, data, "object0") - gripper,
            "proprio/object_angular_velocity": utils.get_site_xvelr(model, data, "object0"),
            "privileged/achieved_goal": block,
        }
    for name, value in expected.items():
        np.testing.assert_allclose(observation[name], value, atol=1e-6, err_msg=name)
        assert env.contract[name].unit.endswith("/s") == name.endswith("velocity")
    assert np.linalg.norm(observation["proprio/gripper_velocity"]) > 0.05, "m/s, not m per step"
    env.close()


def names(task: str, observe: Any) -> set[str]:
    env = fetch(task, observe=observe)
    result = {signal.name for signal in env.contract.observations}
    env.close()
    return result


def test_an_object_is_measured_only_where_no_camera_sees_it() -> None:
    both, state = names("fetch_push", "both"), names("fetch_push", "state")
    pose = {"object_position", "object_offset", "object_rotation", "object_velocity"}
    assert {f"privileged/{name}" for name in pose} <= both
    assert {f"proprio/{name}" for name in pose} <= state
    assert not {name for name in both if name.startswith("proprio/object")}
    assert state == names("fetch_push", "proprio")
    camera = names("fetch_push", "camera")
    assert not {name for name in camera if name.startswith("proprio/")}
    assert {"image/scene", "goal/position", "privileged/object_position"} <= camera


def test_the_visual_task_hides_its_goal_from_the_policy() -> None:
    env = fetch("fetch_reach_visual")
    inputs = {signal.name for signal in env.contract.inputs}
    assert "image/scene" in inputs
    assert not {name for name in inputs if name.startswith("goal/")}
    observation, _ = env.reset(seed=0)
    assert "privileged/goal_position" in observation
    env.close()
    with pytest.raises(ValueError, match="shows its goal in the picture only and observe='state'"):
        make("fetch_reach_visual", EnvOptions(observe="state"))


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_and_dense_differ_in_the_reward_only(kind: str) -> None:
    sparse = fetch(f"fetch_{kind}_sparse", observe="state")
    dense = fetch(f"fetch_{kind}", observe="state")
    sparse.reset(seed=3)
    dense.reset(seed=3)
    for _ in range(3):
        action = np.array([0.2, 0.1, 0.3, 0.0], np.float32)
        one, other = sparse.step(action), dense.step(action)
        np.testing.assert_array_equal(
            one[0]["privileged/achieved_goal"], other[0]["privileged/achieved_goal"]
        )
        distance = np.linalg.norm(other[0]["privileged/achieved_goal"] - other[0]["goal/position"])
        assert other[1] == pytest.approx(-distance, abs=1e-6)
        assert one[1] == (0.0 if distance < 0.05 else -1.0)
        assert one[4]["success"] is bool(distance < 0.05)
    sparse.close()
    dense.close()


def test_steering_to_the_goal_succeeds() -> None:
    env = fetch("fetch_reach_sparse", observe="state")
    observation, _ = env.reset(seed=1)
    successes, rewards = [], []
    is_truncated = False
    for _ in range(50):
        error = observation["goal/position"] - observation["proprio/gripper_position"]
        action = np.concatenate([10.0 * error, [0.0]]).astype(np.float32)
        observation, reward, is_terminated, is_truncated, info = env.step(action)
        assert not is_terminated
        successes.append(info["success"])
        rewards.append(reward)
    assert is_truncated
    assert successes[-1]
    assert not successes[0]
    assert [reward == 0.0 for reward in rewards] == successes
    env.close()


def red_pixels(picture: Array) -> int:
    red, green, blue = (picture[..., i].astype(int) for i in range(3))
    return int(((red > 100) & (green < 70) & (blue < 70)).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_the_goal_is_seen_wherever_it_may_lie(kind: str) -> None:
    env = fetch(f"fetch_{kind}")
    env.reset(seed=0)
    physics: Any = env._physics
    seen = []
    # The lowest tenth of reach's goals is sunk in the table, where nobody sees them.
    heights = {"reach": (-0.7, 0, 1), "pick_and_place": (0, 1, 3)}.get(kind, (0,))
    for x, y, z in itertools.product((-1, 0, 1), (-1, 0, 1), heights):
        offset = physics.target_range * np.array([x, y, z]) + physics.target_offset
        physics.goal = physics.initial_gripper_xpos + offset
        if kind != "reach":
            physics.goal[2] = physics.height_offset + 0.15 * z
        seen.append(red_pixels(env.render_camera("scene", 64, 64)))
    assert np.median(seen) >= (4 if kind == "slide" else 7)
    assert np.mean([pixels >= 3 for pixels in seen]) >= 0.75, "the rest is behind the arm"
    env.close()


def test_the_picture_follows_goal_and_gripper() -> None:
    env = fetch("fetch_reach", image_size=(48, 48))
    before, _ = env.reset(seed=0)
    after = before
    for _ in range(5):
        after, *_ = env.step(np.array([0.0, 1.0, 0.0, 0.0], np.float32))
    assert (before["image/scene"] != after["image/scene"]).mean() > 0.02
    env._physics.goal = env._physics.goal + 0.1
    assert (env.render_camera("scene", 48, 48) != after["image/scene"]).any()
    env.close()


@pytest.mark.parametrize(("quality", "is_drawn"), [("fast", False), ("reference", True)])
def test_only_the_reference_look_draws_what_pulls_the_gripper(quality: str, is_drawn: bool) -> None:
    env = fetch("fetch_reach", render_quality=quality)
    env.reset(seed=0)
    model, data = env.mujoco_handles
    before = env.render_camera("scene", 96, 96)
    (geoms,) = np.nonzero(model.geom_bodyid == model.body("robot0:mocap").id)
    data.geom_xpos[geoms] += (0.0, 0.05, -0.1)
    assert (env.render_camera("scene", 96, 96) != before).any() == is_drawn
    env.close()


def test_cameras_are_chosen_by_name() -> None:
    env = fetch("fetch_reach", cameras=("wrist", "scene"), image_size=(20, 30))
    observation, _ = env.reset(seed=0)
    images = [name for name in observation if name.startswith("image/")]
    assert images == ["image/wrist", "image/scene"]
    assert observation["image/wrist"].shape == (20, 30, 3)
    mounts = {camera.signal: camera.mount for camera in env.contract.cameras}
    assert mounts == {"image/wrist": "robot0:gripper_link", "image/scene": ""}
    env.close()
    with pytest.raises(ValueError, match="fetch_reach has no camera 'scenery'; it has scene, "):
        make("fetch_reach", EnvOptions(cameras=("scenery",)))


def test_what_an_action_displaces_the_gripper_by_counts_every_time_that_it_is_repeated() -> None:
    moved: list[float] = []
    for repeat in (1, 3):
        env = fetch("fetch_reach", observe="proprio", action_repeat=repeat)
        high = env.contract.action.high
        assert high == pytest.approx((0.05 * repeat, 0.05 * repeat, 0.05 * repeat, 0.0))
        env.reset(seed=0)
        _, data = env.mujoco_handles
        start = float(data.site("robot0:grip").xpos[1])
        env.step(np.array([0, 1, 0, 0], np.float32))
        moved.append((float(data.site("robot0:grip").xpos[1]) - start) / high[1])
    assert moved[1] == pytest.approx(moved[0], rel=0.1), "of what the contract tells"
