"""Random policy: the score that needs no learning.

Shapes: N environments, A action.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robodreamer.evaluation.evaluate import EVALUATION_SEED, MAX_ENVS, evaluate
from robodreamer.evaluation.scores import Score, score_of_summary
from robodreamer.runs.files import write_json_atomic
from robodreamer_deploy.contract import ActionSpec, Array, Contract
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.vector_env import VectorEnv

RANDOM_STEPS = 2500
"""Approximate number of steps that are spent on the random policy; 50 episodes at most."""


class RandomPolicy:
    """Policy whose actions are uniform and independent of the observation."""

    def __init__(self, action: ActionSpec, seed: int) -> None:
        self.action = action
        self._generator = np.random.default_rng(seed)

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """Return actions (N, A)."""
        del observation
        count, size = len(is_first), self.action.size
        if self.action.kind == "discrete":
            return np.eye(size, dtype=np.float32)[self._generator.integers(0, size, count)]
        return self._generator.uniform(-1, 1, (count, size)).astype(np.float32)


def random_score(contract: Contract, path: Path) -> Score:
    """Return a random policy's score in evaluation episodes, measured once and kept in `path`."""
    if not path.is_file():
        length = contract.max_episode_steps or RANDOM_STEPS
        per_env = max(1, min(10, RANDOM_STEPS // (MAX_ENVS * length)))
        with _make_envs(contract) as envs:
            policy = RandomPolicy(contract.action, EVALUATION_SEED)
            summary = evaluate(policy, envs, per_env * envs.num_envs).summary()
        write_json_atomic(path, summary)
    return score_of_summary(json.loads(path.read_text()))


def _make_envs(contract: Contract) -> VectorEnv:
    """Make the evaluation environments without cameras where the task allows; same episodes."""
    options = EnvOptions.from_dict(contract.options)
    without = EnvOptions(observe="proprio", action_repeat=options.action_repeat)

    def make(chosen: EnvOptions) -> VectorEnv:
        return VectorEnv(
            contract.task, chosen, num_envs=MAX_ENVS, num_workers=0, seed=EVALUATION_SEED
        )

    try:
        return make(without)
    except ValueError:  # the task has no observation but pictures
        return make(options)
