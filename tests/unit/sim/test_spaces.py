"""Gymnasium's spaces become signals and actions, whatever their kind and type."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import toy_env
from robodreamer_deploy.contract import Signal
from robodreamer_sim.cameras.images import resize
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.tasks.gymnasium.spaces import action_spec, actuator_limits, leaves, to_action

EVERYTHING = "gym:toy_env:ToyEverything-v0"
SIGNALS = {
    "image/eye": ((64, 64, 3), "uint8", 0),
    "proprio/depth": ((6,), "float32", 0),
    "proprio/height": ((), "float32", 0),
    "proprio/gear": ((), "int32", 3),
    "proprio/switches": ((2,), "int32", 5),
    "proprio/lamps": ((2,), "float32", 0),
    "goal/desired_goal_bottom_burner": ((1,), "float32", 0),
    "privileged/achieved_goal_bottom_burner": ((1,), "float32", 0),
}


def test_every_kind_of_space_becomes_a_signal() -> None:
    env = make(EVERYTHING)
    observation, _ = env.reset(seed=0)
    env.contract.check(observation)
    signals = {s.name: (s.shape, s.dtype, s.num_classes) for s in env.contract.observations}
    assert signals == SIGNALS
    raw = env.unwrapped._raw  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_array_equal(observation["image/eye"], resize(raw["eye"], 64, 64))
    np.testing.assert_array_equal(observation["proprio/depth"], raw["depth"].ravel())
    assert observation["proprio/gear"] == raw["gear"] + 1
    np.testing.assert_array_equal(observation["proprio/switches"], raw["switches"])
    burner = raw["desired_goal"]["bottom burner"].astype(np.float32)
    np.testing.assert_array_equal(observation["goal/desired_goal_bottom_burner"], burner)
    env.close()


@pytest.mark.parametrize(
    ("observe", "missing"), [("camera", "proprio/"), ("proprio", "image/"), ("state", "image/")]
)
def test_what_is_not_wanted_is_left_out(observe: Any, missing: str) -> None:
    env = make(EVERYTHING, EnvOptions(observe=observe))
    kept = {signal.name for signal in env.contract.observations}
    assert kept == {name for name in SIGNALS if not name.startswith(missing)}
    env.close()


def test_a_one_hot_action_becomes_the_choice_and_starts_where_the_space_does() -> None:
    env = make(EVERYTHING)
    env.reset(seed=0)
    assert (env.contract.action.kind, env.contract.action.size) == ("discrete", 3)
    rewards = [env.step(np.eye(3, dtype=np.float32)[i])[1] for i in range(3)]
    assert rewards == [5.0, 6.0, 7.0]  # the toy rewards the number of the choice
    assert env.step(np.eye(3, dtype=np.float32)[0])[4]["success"] is True
    env.close()


def test_a_picture_can_be_had_from_render() -> None:
    env = make("gym:toy_env:Toy-v0", EnvOptions(image_size=(5, 5)))
    observation, _ = env.reset(seed=0)
    assert (observation["image/camera"] == 0).all()
    observation, *_ = env.step(np.zeros(1, np.float32))
    assert (observation["image/camera"] == 40).all()
    assert env.render_camera(height=7, width=9).shape == (7, 9, 3)
    assert env.contract.control_dt_s == 1 / 20
    env.close()


def test_a_single_limit_is_kept() -> None:
    low, high = actuator_limits(np.array([0.0, -np.inf, -1e10]), np.array([np.inf, 5.0, 1e3]))
    assert (low, high) == ((0.0, 3.0, 998.0), (2.0, 5.0, 1e3))


@pytest.mark.parametrize(
    ("shape", "dtype", "high", "picture"),
    [
        ((84, 80, 1), np.uint8, 255, (84, 80, 1)),
        ((84, 80, 3), np.uint8, 255, (84, 80, 3)),
        ((84, 80, 4), np.uint8, 255, (84, 80, 4)),
        ((84, 80, 2), np.uint8, 255, (84, 80, 2)),
        ((84, 80, 9), np.uint8, 255, (84, 80, 9)),
        ((84, 80), np.uint8, 255, (84, 80, 1)),
        ((3, 84, 80), np.uint8, 255, (84, 80, 3)),
        ((4, 84, 80), np.uint8, 255, (84, 80, 4)),
        ((4, 84, 80, 3), np.uint8, 255, (84, 80, 12)),
        ((84, 80, 3), np.float32, 1, (84, 80, 3)),
        ((84, 80, 3), np.float64, 255, (84, 80, 3)),
    ],
)
def test_pictures_of_any_channels_order_and_type_are_pictures(
    shape: tuple[int, ...], dtype: Any, high: int, picture: tuple[int, ...]
) -> None:
    (leaf,) = leaves(spaces.Box(0, high, shape, dtype))
    assert leaf.signal == Signal(name="image/camera", shape=picture, dtype="uint8")
    count = int(np.prod(shape))
    pixels = (np.arange(count) % 256 * (high / 255)).reshape(shape).astype(dtype)
    seen = leaf.read(pixels)
    assert (seen.shape, seen.dtype) == (picture, np.uint8)
    # The last pixel of the source is the last one of the picture, in every channel order.
    assert seen[-1, -1, -1] == (count - 1) % 256
    first, *_ = [axis for axis, size in enumerate(shape) if size == 84]
    rows = np.moveaxis(pixels, first, 0)[1].ravel()
    assert sorted(seen[1].ravel()) == sorted(np.rint(rows * (255 / high)).astype(np.uint8))


@pytest.mark.parametrize("shape", [(84, 84, 84), (84, 84, 40)])
def test_bytes_that_are_no_picture_are_refused(shape: tuple[int, ...]) -> None:
    space = spaces.Dict({"eye": spaces.Box(0, 255, shape, np.uint8)})
    with pytest.raises(ValueError, match=r"eye holds bytes \(.*, which is no picture .* wrapper"):
        list(leaves(space))


def test_a_small_grid_of_bytes_is_a_vector() -> None:
    (leaf,) = leaves(spaces.Box(0, 5, (3, 4, 2), np.uint8))
    assert (leaf.signal.name, leaf.signal.shape) == ("proprio/observation", (24,))


def test_limits_of_any_size_map_to_the_unit_interval() -> None:
    low, high = actuator_limits(np.array([-2.0, -np.inf, -1e10]), np.array([4.0, np.inf, 1e10]))
    assert (low, high) == ((-2.0, -1.0, -1.0), (4.0, 1.0, 1.0))
    space = spaces.Box(np.array([[-2.0, 0.0]]), np.array([[4.0, 1.0]]), dtype=np.float64)
    spec = action_spec(space)
    assert (spec.size, spec.low, spec.high) == (2, (-2.0, 0.0), (4.0, 1.0))
    action = to_action(space, spec.to_actuators(np.array([1.0, -1.0], np.float32)))
    np.testing.assert_array_equal(action, [[4.0, 0.0]])
    integers = spaces.Box(0, 3, (1,), np.int64)
    assert to_action(integers, np.array([1.6])).tolist() == [2]
    assert integers.contains(to_action(integers, np.array([1.6])))


@pytest.mark.parametrize("space", [spaces.Text(4), spaces.Sequence(spaces.Discrete(2))])
def test_a_space_without_fixed_size_is_refused_by_name(space: Any) -> None:
    with pytest.raises(ValueError, match=f"eye.word is a {type(space).__name__} space; only Box"):
        list(leaves(spaces.Dict({"eye": spaces.Dict({"word": space})})))
    with pytest.raises(ValueError, match=f"actions are a {type(space).__name__} space"):
        action_spec(space)


@pytest.mark.parametrize(
    ("task", "observe", "words"),
    [
        ("gym:ToyTerminates-v1", "proprio", "ToyTerminates"),
        ("gym:HalfCheeta-v5", "proprio", "closest ids are HalfCheetah-v5"),
        ("gym:no_such_module:X-v0", "proprio", "no_such_module"),
        ("gym:HalfCheetah-v5", "nothing", "observe is one of camera, proprio, both, state"),
        ("gym:Taxi-v3", "goals", "observe is one of"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(
    task: str, observe: Any, words: str
) -> None:
    assert toy_env.EPISODE_STEPS
    with pytest.raises(ValueError, match=words):
        make(task, EnvOptions(observe=observe))


def test_an_environment_that_cannot_be_drawn_is_refused_when_a_camera_is_wanted() -> None:
    assert isinstance(toy_env.Everything.metadata, dict)
    with pytest.raises(ValueError, match="has no rgb_array rendering"):
        make("gym:toy_env:ToyBlind-v0", EnvOptions(observe="both"))
    env = make("gym:toy_env:ToyBlind-v0", EnvOptions(observe="proprio"))
    with pytest.raises(ValueError, match="cannot be drawn"):
        env.render_camera()
    env.close()


def test_a_task_of_pictures_only_is_refused_without_a_camera() -> None:
    with pytest.raises(ValueError, match="yields pictures only; observe='proprio' leaves none"):
        make("gym:toy_env:ToyEye-v0", EnvOptions(observe="proprio"))
    env = make("gym:toy_env:ToyEye-v0", EnvOptions(observe="both"))
    observation, _ = env.reset(seed=0)
    assert observation["image/camera"].shape == (64, 64, 3)
    assert env.render_camera(height=4, width=4).shape == (4, 4, 3)
    env.close()
