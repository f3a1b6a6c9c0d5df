"""Tiny Gymnasium environments that do on purpose what real ones do by mistake.

Workers import this module by name (`gym:toy_env:Toy-v0`), so it registers its ids when imported.
"""

import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

EPISODE_STEPS = 3
SPARED = 0.8
"""Number drawn at reset below which a `may` fault stays out."""


class Toy(gymnasium.Env[Any, Any]):
    """Observes (a number drawn at reset, the step); rewards the action; ends or is cut after 3."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012  Gymnasium's way

    def __init__(
        self, fault: str = "", *, terminates: bool = False, render_mode: str | None = None
    ):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Box(np.array([-2.0]), np.array([4.0]), dtype=np.float64)
        self.render_mode = render_mode
        self._fault, self._terminates = fault, terminates
        self._draw, self._step = 0.0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._draw, self._step = float(self.np_random.random()), 0
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        self._step += 1
        reward = float(action[0])
        if self._step == 2 and self._fault:
            reward = self._do_fault(reward)
        is_over = self._terminates and self._step == EPISODE_STEPS
        return self._observation(), reward, is_over, False, {"is_success": self._step == 2}

    def render(self) -> Any:
        return np.full((10, 20, 3), 40 * self._step, np.uint8)

    def _observation(self) -> Any:
        observation = np.array([self._draw, self._step])
        if self._fault == "nan" and self._step == 2 and self._draw > 0.5:
            observation[1] = np.nan
        if self._fault == "shape" and self._step == 2:
            return observation[:1]
        return observation

    def _do_fault(self, reward: float) -> float:
        if self._fault.startswith("may ") and self._draw < SPARED:
            return reward
        if self._fault in {"raises", "may raise"}:
            raise OverflowError("the toy broke")
        if self._fault in {"hangs", "may hang"}:
            print("hanging", flush=True)  # noqa: T201  for the test that waits for it
            time.sleep(3600)
        if self._fault in {"dies", "may die"}:
            os._exit(7)
        return float("inf") if self._fault == "reward" else reward


class Everything(gymnasium.Env[Any, Any]):
    """Every kind of space at once, and a discrete action."""

    def __init__(self) -> None:
        self.observation_space = spaces.Dict(
            {
                "eye": spaces.Box(0, 255, (4, 6, 3), np.uint8),
                "depth": spaces.Box(0, 1, (2, 3), np.float32),
                "height": spaces.Box(-1, 1, (), np.float64),
                "nothing": spaces.Box(-1, 1, (0,), np.float64),
                "gear": spaces.Discrete(3, start=-1),
                "switches": spaces.MultiDiscrete([2, 5]),
                "lamps": spaces.MultiBinary(2),
                "desired_goal": spaces.Dict({"bottom burner": spaces.Box(-1, 1, (1,), np.float64)}),
                "achieved_goal": spaces.Dict(
                    {"bottom burner": spaces.Box(-1, 1, (1,), np.float64)}
                ),
            }
        )
        self.action_space = spaces.Discrete(3, start=5)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.action_space.seed(seed)
        self.observation_space.seed(seed)
        self.observed: Any = self.observation_space.sample()
        return self.observed, {}

    def step(self, action: Any) -> Any:
        return self.observed, float(action), False, False, {"success": np.array([True, True])}


class Blind(Everything):
    """One number, and nothing that could be drawn."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.action_space = spaces.Discrete(2)


class Eye(Everything):
    """A picture, and nothing else."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
        self.action_space = spaces.Discrete(2)


for name, fault in {"": "", "Nan": "nan", "Shape": "shape", "Reward": "reward", "Raises": "raises",
                    "Hangs": "hangs", "Dies": "dies", "MayRaise": "may raise",
                    "MayDie": "may die", "MayHang": "may hang"}.items():  # fmt: skip
    gymnasium.register(
        f"Toy{name}-v0", "toy_env:Toy", max_episode_steps=EPISODE_STEPS, kwargs={"fault": fault}
    )
gymnasium.register("ToyTerminates-v0", "toy_env:Toy", kwargs={"terminates": True})
gymnasium.register(
    "ToyBoth-v0", "toy_env:Toy", max_episode_steps=EPISODE_STEPS, kwargs={"terminates": True}
)
gymnasium.register("ToyEndless-v0", "toy_env:Toy")
gymnasium.register("ToyEverything-v0", "toy_env:Everything")
gymnasium.register("ToyBlind-v0", "toy_env:Blind")
gymnasium.register("ToyEye-v0", "toy_env:Eye")
