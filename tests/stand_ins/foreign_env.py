"""Environments as other people write them: odd pictures, arguments, functions, rewards, crashes.

Tests name what is here as tasks (`foreign_env:Tall`), and workers import it by that name.
"""

import pathlib
import tempfile
from types import SimpleNamespace
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

TOY = "toy_env:ToyEndless-v0"


class Base(gymnasium.Env[Any, Any]):
    """Three numbers, two motors, twelve steps; no pictures, no control period."""

    observation_space: Any = spaces.Box(-1, 1, (3,), np.float32)
    action_space: Any = spaces.Box(-1, 1, (2,), np.float32)
    length = 12

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.observe(), self.reward(action), False, self.steps >= self.length, {}

    def observe(self) -> Any:
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()

    def reward(self, action: Any) -> Any:
        return -float(np.square(action).sum())


class Tall(Base):
    """A picture of a size that no encoder here takes."""

    observation_space = spaces.Box(0, 255, (210, 160, 3), np.uint8)

    def observe(self) -> Any:
        picture = np.zeros((210, 160, 3), np.uint8)
        picture[:105, :, 0], picture[105:, :, 1] = 200, 100
        return picture


class TwoCameras(Base):
    """A camera of colours, one with depth, and joints."""

    observation_space = spaces.Dict(
        {
            "front": spaces.Box(0, 255, (48, 60, 3), np.uint8),
            "wrist": spaces.Box(0, 255, (30, 20, 4), np.uint8),
            "joints": spaces.Box(-1, 1, (2,), np.float32),
        }
    )


class Grey(Base):
    observation_space = spaces.Box(0, 255, (60, 80), np.uint8)


class Goals(Base):
    """Pictures that say what is reached, at two depths."""

    observation_space = spaces.Dict(
        {
            "observation": spaces.Box(-1, 1, (3,), np.float32),
            "desired_goal": spaces.Box(0, 255, (64, 64, 3), np.uint8),
            "achieved_goal": spaces.Box(0, 255, (64, 64, 3), np.uint8),
            "more": spaces.Dict(
                {
                    "achieved_goal": spaces.Dict({"eye": spaces.Box(0, 255, (16, 16), np.uint8)}),
                    "camera": spaces.Box(0, 255, (16, 16, 3), np.uint8),
                }
            ),
        }
    )


class Wrapped(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper, whose `metadata` is a property of the class."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(gymnasium.make(TOY, render_mode=render_mode))


class WrappedWithoutPictures(gymnasium.Wrapper[Any, Any, Any, Any]):
    def __init__(self) -> None:
        super().__init__(gymnasium.make(TOY))


class WrappedHandsOn(gymnasium.Wrapper[Any, Any, Any, Any]):
    def __init__(self, **settings: Any) -> None:
        super().__init__(gymnasium.make(TOY, **settings))


class WrappedRefuses(gymnasium.Wrapper[Any, Any, Any, Any]):
    """It hands on what it is given to a class that has no `render_mode`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(NeedsName("x", **settings))


class PromisesPictures(Base):
    """It says that it can be drawn, and hands on the word to one that does not know it."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  Gymnasium's way

    def __init__(self, **settings: Any) -> None:
        self._prepare(**settings)

    def _prepare(self, size: int = 3) -> None:
        self.size = size


def make_one() -> Any:
    return gymnasium.make(TOY, render_mode="rgb_array")


def make_with_mode(render_mode: str | None = None, *, terminates: bool = False) -> Any:
    return gymnasium.make(TOY, render_mode=render_mode, terminates=terminates)


def make_by_keywords(**settings: Any) -> Any:
    return gymnasium.make(TOY, **settings)


def make_nothing() -> Any:
    return SimpleNamespace()


def make_key_error() -> Any:
    raise KeyError("left_arm")


def make_exit() -> Any:
    raise SystemExit(3)


def make_numpy_error() -> Any:
    return np.zeros(12).__iadd__(np.zeros(11))


class OldReset(Base):
    def reset(self, **_: Any) -> Any:
        return np.zeros(3, np.float32)


class OldStep(Base):
    def step(self, action: Any) -> Any:
        return self.observe(), 0.0, False, {}


class NeedsName(Base):
    def __init__(self, env_name: str, sizes: Any = None) -> None:
        self.env_name, self.sizes = env_name, sizes


gymnasium.register("NeedsName-v0", entry_point=NeedsName)  # pyright: ignore[reportArgumentType]


class Rewards(Base):
    """Any reward: a type of number, an array, nothing."""

    KINDS: dict[str, Any] = {  # noqa: RUF012
        "int": 2,
        "float32": np.float32(2),
        "int64": np.int64(2),
        "array": np.array([2.0]),
        "scalar array": np.array(2.0),
        "bool": True,
        "nan": np.nan,
        "infinite": np.inf,
        "none": None,
        "several": np.array([1.0, 2.0]),
        "word": "good",
    }

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def reward(self, action: Any) -> Any:
        return self.KINDS[self.kind]


class FloatPicture(Base):
    """A picture of floats, one of which is another number."""

    observation_space = spaces.Box(0, 1, (32, 32, 3), np.float32)

    def __init__(self, value: float) -> None:
        self.value = value

    def observe(self) -> Any:
        picture = np.full((32, 32, 3), 0.5, np.float32)
        picture[4, 5, 0] = self.value
        return picture


class BreaksLater(Base):
    def step(self, action: Any) -> Any:
        if self.steps == 5:
            raise RuntimeError("lost contact")
        return super().step(action)


class Exits(Base):
    def step(self, action: Any) -> Any:
        if self.steps == 5:
            raise SystemExit(3)
        return super().step(action)


class NanAtReset(Base):
    def __init__(self) -> None:
        self.resets = 0

    def observe(self) -> Any:
        self.resets += self.steps == 0
        fill = np.nan if self.resets == 2 and not self.steps else 0.5  # the first is the trial's
        return np.full(3, fill, np.float32)


class Period(Base):
    """A control period as it is told: `dt`, a frame rate, both, neither."""

    def __init__(self, dt: Any = None, fps: Any = None, kind: str = "float") -> None:
        types: Any = {"float": float, "float32": np.float32, "int": int, "array": np.array}
        if dt is not None:
            self.dt = types[kind](dt)
        self.metadata = {} if fps is None else {"render_fps": fps}


class Unlimited(Base):
    """Motors with hardly any limit, one with none, and one with some."""

    action_space = spaces.Box(
        np.array([-1e7, -np.inf, -2.0]), np.array([1e7, np.inf, 2.0]), dtype=np.float64
    )


BALL = """<mujoco><option timestep="0.01"/><worldbody><body pos="0 0 .5">
<joint name="x" type="slide" axis="1 0 0"/><geom type="sphere" size=".1" mass="1"/></body>
</worldbody><actuator><motor joint="x" gear="1e13" ctrlrange="-1 1"/></actuator></mujoco>"""


class Blow(MujocoEnv):
    """A ball that full force throws out of what MuJoCo can compute."""

    metadata: Any = {  # noqa: RUF012
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": 50,
    }

    def __init__(self, **settings: Any) -> None:
        path = pathlib.Path(tempfile.mkdtemp()) / "model.xml"
        path.write_text(BALL)
        space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        super().__init__(str(path), 2, space, **settings)

    def reset_model(self) -> Any:
        self.set_state(np.array([1.0]), np.array([0.1]))
        return np.concatenate([self.data.qpos, self.data.qvel])

    def step(self, action: Any) -> Any:
        self.do_simulation(action if abs(action[0]) > 0.9 else 1e-13 * action, self.frame_skip)
        return np.concatenate([self.data.qpos, self.data.qvel]), 0.0, False, False, {}


def make_blow_wrapped() -> Any:
    return gymnasium.wrappers.ClipAction(Blow())


class Hidden(Base):
    """A simulation under names that Gymnasium does not know, made again with every episode."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def reset(self, **settings: Any) -> Any:
        model = mujoco.MjModel.from_xml_string(BALL)
        simulation = SimpleNamespace(model=model, state=[mujoco.MjData(model)])
        self.world = SimpleNamespace(sim=simulation)
        return super().reset(**settings)

    def step(self, action: Any) -> Any:
        simulation = self.world.sim
        simulation.state[0].ctrl[:] = action if abs(action[0]) > 0.9 else 1e-13 * action
        mujoco.mj_step(simulation.model, simulation.state[0], 2)
        return super().step(action)

    def observe(self) -> Any:
        data = self.world.sim.state[0]
        return np.concatenate([data.qpos, data.qvel])


class GoesBack(Hidden):
    """It puts its own simulation back within an episode, and says nothing."""

    def step(self, action: Any) -> Any:
        if self.steps == 2:
            mujoco.mj_resetData(self.world.sim.model, self.world.sim.state[0])
        return super().step(action)


class LooksAhead(Hidden):
    """It plans with a second simulation, which it begins again in every step."""

    def step(self, action: Any) -> Any:
        mujoco.mj_resetData(self.world.sim.model, self.plan)
        for _ in range(5 - self.steps % 3):
            mujoco.mj_step(self.world.sim.model, self.plan)
        return super().step(action)

    def reset(self, **settings: Any) -> Any:
        begun = super().reset(**settings)
        self.plan = mujoco.MjData(self.world.sim.model)
        return begun


class DivergesAtReset(Hidden):
    def reset(self, **settings: Any) -> Any:
        begun = super().reset(**settings)
        data = self.world.sim.state[0]
        data.qvel[:] = 1e12
        mujoco.mj_step(self.world.sim.model, data)
        return begun


class Differs(Base):
    """Another number of objects in every environment, counted in a file that its name gives."""

    def __init__(self, counter: str) -> None:
        with pathlib.Path(counter).open("a+") as file:
            file.seek(0)
            count = len(file.read())
            file.write("x")
        self.observation_space = spaces.Box(-1, 1, (3 + 1000 * (count % 2),), np.float32)


class DiffersLater(Differs):
    """It breaks in its first episode, but for the trial, and is then made otherwise."""

    resets = 0

    def reset(self, **settings: Any) -> Any:
        self.resets += 1
        return super().reset(**settings)

    def step(self, action: Any) -> Any:
        if self.resets == 2:
            raise RuntimeError("lost contact with the simulator")
        return super().step(action)
