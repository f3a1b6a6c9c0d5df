"""Adapter of vector environments to Gymnasium's interface.

    environments = GymnasiumVectorEnv(VectorEnv("fetch_reach", num_envs=8, num_workers=2, seed=0))
    observation, info = environments.reset()

After the end of an episode the next `step` begins another, and ignores that environment's action
(`AutoresetMode.NEXT_STEP`). Every array that is returned is the caller's own.

N environments, A action size.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array
from robodreamer_sim.env import action_space, observation_space
from robodreamer_sim.vector.vector_env import VectorEnv

Observation = dict[str, Array]


class GymnasiumVectorEnv(gymnasium.vector.VectorEnv[Observation, Array, Array]):
    """Gymnasium vector environment that owns a `VectorEnv`; `info["success"]` (N,) is current."""

    def __init__(self, environments: VectorEnv) -> None:
        if environments.on_crash == "restart":
            raise ValueError(
                "Gymnasium has no word for an episode that breaks off without an end, as one does "
                'that a restart drops; make the VectorEnv with on_crash="stop"'
            )
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}
        self.num_envs = environments.num_envs
        self.single_observation_space = observation_space(environments.contract)
        self.single_action_space = action_space(environments.contract)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._environments = environments
        self._has_begun = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in every environment.

        Args:
            seed: Of all environments, each of which makes its own of it; begins with their first
                episodes. None goes on with their next ones, at first with those of the `VectorEnv`.
            options: Not used.
        """
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._environments.start(seed=seed, first_episodes=[0] * self.num_envs)
        elif self._has_begun:
            self._environments.start(first_episodes=(self._environments.episodes + 1).tolist())
        else:
            self._environments.start()
        self._has_begun = True
        observation, record = self._receive()
        return observation, self._info(record)

    def step(
        self, actions: Array
    ) -> tuple[Observation, NDArray[np.float64], Array, Array, dict[str, Any]]:
        """Take actions (N, A); return observations, rewards, terminations, truncations, info.

        Raises:
            ValueError: The actions have another shape or are not finite.
            EnvironmentFault: An environment or its worker failed; all are closed.
        """
        self._environments.send(np.asarray(actions, np.float32))
        observation, record = self._receive()
        is_terminal = record["is_terminal"].copy()
        is_truncated = record["is_last"] & ~is_terminal
        reward = record["reward"].astype(np.float64)
        return observation, reward, is_terminal, is_truncated, self._info(record)

    def close_extras(self, **_: Any) -> None:
        """End the workers."""
        self._environments.close()

    def _receive(self) -> tuple[Observation, dict[str, Array]]:
        """Return copies of the signals, and the whole record."""
        record = self._environments.recv()
        signals = self._environments.contract.observations
        return {signal.name: record[signal.name].copy() for signal in signals}, record

    def _info(self, record: dict[str, Array]) -> dict[str, Any]:
        """Return infos in Gymnasium's form, each with a mask of the environments that have it."""
        return {"success": record["success"].copy(), "_success": np.ones(self.num_envs, np.bool_)}
