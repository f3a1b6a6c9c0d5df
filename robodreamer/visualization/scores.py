"""Scores: what policies achieved, read from the files that commands left, in one form.

Shapes: N environments, A action.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robodreamer.evaluation.evaluate import EVALUATION_SEED, MAX_ENVS, evaluate
from robodreamer.runs.files import write_json_atomic
from robodreamer_deploy.contract import ActionSpec, Array, Contract
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.randomization import describe
from robodreamer_sim.vector.vector_env import VectorEnv

RANDOM_STEPS = 2500
"""The random policy gets as many episodes as fit in about so many steps, 50 at most."""


class Score(NamedTuple):
    """Result of some episodes."""

    episodes: int
    episode_return: float
    success: float | None
    """Share of episodes; None if the task does not know success."""
    success_low: float | None
    success_high: float | None
    """95 % interval."""

    @property
    def interval(self) -> str:
        """The interval in words; empty where it is unknown."""
        if self.success_low is None or self.success_high is None:
            return ""
        return f"{self.success_low:.0%} to {self.success_high:.0%}"

    def row(self, name: str) -> list[str]:
        """Return the cells of a table row: name, success, interval, return, episodes."""
        success = "-" if self.success is None else f"{self.success:.0%}"
        mean = f"{self.episode_return:.1f}"
        return [name, success, self.interval or "-", mean, str(self.episodes)]


ROW_HEADER = ("policy", "success", "95 % interval", "return", "episodes")


class RandomPolicy:
    """Draws every action uniformly: what can be had without learning."""

    def __init__(self, action: ActionSpec, seed: int) -> None:
        self.action = action
        self._generator = np.random.default_rng(seed)

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """Return actions (N, A); `observation` is not looked at."""
        del observation
        count, size = len(is_first), self.action.size
        if self.action.kind == "discrete":
            return np.eye(size, dtype=np.float32)[self._generator.integers(0, size, count)]
        return self._generator.uniform(-1, 1, (count, size)).astype(np.float32)


def random_score(contract: Contract, path: Path) -> Score:
    """Return what a random policy achieves in evaluation episodes; kept in `path` once measured."""
    if not path.is_file():
        length = contract.max_episode_steps or RANDOM_STEPS
        per_env = max(1, min(10, RANDOM_STEPS // (MAX_ENVS * length)))
        with _blind_envs(contract) as envs:
            policy = RandomPolicy(contract.action, EVALUATION_SEED)
            summary = evaluate(policy, envs, per_env * envs.num_envs).summary()
        write_json_atomic(path, summary)
    return evaluated(json.loads(path.read_text()))


def evaluated(summary: Mapping[str, Any]) -> Score:
    """Return the score that `Evaluation.summary` tells; it has no success in a task without."""
    return Score(
        int(summary["episodes"]),
        summary["return"],
        summary.get("success"),
        summary.get("success_low"),
        summary.get("success_high"),
    )


def read_evaluation(path: Path, contract: Contract) -> dict[str, Score]:
    """Return the scores in a file that `robodreamer evaluate --json` wrote, by name.

    Raises:
        ValueError: The file is no such one, or about another task.
    """
    data = read_result(path, contract, "draws", "robodreamer evaluate --json")
    where = "ONNX" if "onnxruntime" in data["policy"] else "torch"
    cameras = [name.partition("/")[2] for name in data["blank"]]
    changed = f", camera {' and '.join(cameras)} black" if cameras else ""
    if randomize := data.get("randomize"):
        changed += f", randomised: {describe(randomize)}"
    return {
        f"after training, {where}, {draw}{changed}": evaluated(summary)
        for draw, summary in data["draws"].items()
    }


def read_result(path: Path, contract: Contract, key: str, writer: str) -> dict[str, Any]:
    """Return the JSON object in a file, which has to hold `key` and be about the contract's task.

    Raises:
        ValueError: It is not; the message names the file and who writes such ones.
    """
    try:
        data = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict) or key not in data:
        raise ValueError(f"{path} is not what {writer} writes: {key} is missing")
    if data["task"] != contract.task:
        raise ValueError(f"{path} is about {data['task']}, the run about {contract.task}")
    return data


def driven(figures: Mapping[str, Any]) -> Score | None:
    """Return the score in a report of `robodreamer-deploy`; None if no episode was completed."""
    if not figures["num_episodes"]:
        return None
    low, high = figures["success_interval_95"] or (None, None)
    return Score(
        figures["num_episodes"], figures["return_mean"], figures["success_rate"], low, high
    )


def _blind_envs(contract: Contract) -> VectorEnv:
    """Start the evaluation environments without cameras where the task allows; same episodes."""
    options = EnvOptions.from_dict(contract.options)
    without = EnvOptions(observe="proprio", action_repeat=options.action_repeat)

    def start(chosen: EnvOptions) -> VectorEnv:
        return VectorEnv(
            contract.task, chosen, num_envs=MAX_ENVS, num_workers=0, seed=EVALUATION_SEED
        )

    try:
        return start(without)
    except ValueError:  # the task shows nothing but pictures
        return start(options)
