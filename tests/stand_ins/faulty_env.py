"""Gymnasium environments of which the second one of a process fails at its twelfth step.

Workers import this module by name (`gym:faulty_env:Nan-v0`), so it registers its ids when imported.
"""

import itertools
import os
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

FAULTS = {
    "Nan": "proprio/steps: element 1 is nan",
    "Shape": "proprio/steps: shape (3,), expected (2,)",
    "Reward": "reward is inf",
    "Raises": "OverflowError: the motor is hot",
    "Dies": "the worker of environments 0 to 1 died with exit code 7",
}
"""What goes wrong, and how it is reported."""
FINE = "gym:faulty_env:Fine-v0"
FAULTY_ENVIRONMENT = 1
FAULTY_STEP = 12
EPISODE_STEPS = 8


class Faulty(gymnasium.Env[Any, Any]):
    """Observes the number of its steps; episodes last eight."""

    numbers: Iterator[int] = itertools.count()

    def __init__(self, fault: str = "", **_: Any) -> None:
        self.observation_space = spaces.Dict(
            {"steps": spaces.Box(0, 100, (2,), np.float32), "goal": spaces.Box(0, 1, (1,))}
        )
        self.action_space = spaces.Box(-1, 1, (1,))
        is_faulty = fault in FAULTS and next(self.numbers) == FAULTY_ENVIRONMENT
        self._fault = fault if is_faulty else ""
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        is_over = self._steps % EPISODE_STEPS == 0
        if self._steps != FAULTY_STEP or not self._fault:
            return self._observation(), 1.0, False, is_over, {}
        if self._fault == "Raises":
            raise OverflowError("the motor is hot")
        if self._fault == "Dies":
            os._exit(7)
        observation = self._observation()
        if self._fault == "Nan":
            observation["steps"][1] = np.nan
        if self._fault == "Shape":
            observation["steps"] = np.zeros(3, np.float32)
        reward = np.inf if self._fault == "Reward" else 1.0
        return observation, reward, False, is_over, {}

    def _observation(self) -> dict[str, Any]:
        return {"steps": np.full(2, self._steps, np.float32), "goal": np.zeros(1, np.float32)}


for fault in (*FAULTS, "Fine"):
    gymnasium.register(f"{fault}-v0", entry_point=Faulty, kwargs={"fault": fault})
