"""A point on a line that has to go where a goal is, and stay: the smallest goal-reaching task."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

EPISODE_STEPS = 20
STRIDE = 0.2
"""How far the point moves with action 1."""


class Point(gymnasium.Env[Any, Any]):
    """Observes where the point and the goal are, in [-1, 1]; the reward is minus their distance."""

    def __init__(self, **_: Any) -> None:
        place = spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = spaces.Dict({"position": place, "goal": place})
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self._position = self._goal = np.zeros(1)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw both places."""
        super().reset(seed=seed, options=options)
        self._position, self._goal = self.np_random.uniform(-1, 1, (2, 1))
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Move the point."""
        self._position = np.clip(self._position + STRIDE * action, -1, 1)
        self._steps += 1
        reward = -abs(self._position - self._goal).item()
        return self._observe(), reward, False, self._steps == EPISODE_STEPS, {}

    def _observe(self) -> dict[str, Any]:
        return {
            "position": self._position.astype(np.float32),
            "goal": self._goal.astype(np.float32),
        }


gymnasium.register("Point-v0", Point)
