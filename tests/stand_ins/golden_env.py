"""Environments with the signals and actions of the golden agents 09a and 09b.

Tests import this module by name (`gym:golden_env:GoldenContinuous-v0?prefix=my_`).
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

EPISODE_STEPS = 4


class Golden(gymnasium.Env[Any, Any]):
    """Random pictures and vectors, whose names may begin with a prefix; the reward is 1."""

    def __init__(
        self, side: int, vectors: dict[str, int], actions: spaces.Space[Any], prefix: str = ""
    ) -> None:
        pictures = {"image": spaces.Box(0, 255, (side, side, 3), np.uint8)}
        others = {
            f"{prefix}{name}": spaces.Box(-np.inf, np.inf, (size,), np.float32)
            for name, size in vectors.items()
        }
        self.observation_space = spaces.Dict({**pictures, **others})
        self.action_space = actions

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        del action
        return self.observation_space.sample(), 1.0, False, False, {}


gymnasium.register(
    "GoldenContinuous-v0",
    "golden_env:Golden",
    max_episode_steps=EPISODE_STEPS,
    kwargs={
        "side": 64,
        "vectors": {"joint_pos": 5, "joint_vel": 4},
        "actions": spaces.Box(-1.0, 1.0, (3,), np.float32),
    },
)
gymnasium.register(
    "GoldenDiscrete-v0",
    "golden_env:Golden",
    max_episode_steps=EPISODE_STEPS,
    kwargs={"side": 32, "vectors": {"state": 6}, "actions": spaces.Discrete(5)},
)
