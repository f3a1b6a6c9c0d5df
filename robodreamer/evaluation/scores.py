"""Scores of policies, read from the JSON files of `evaluate` and of `robodreamer-deploy`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from robodreamer_deploy.contract import Contract
from robodreamer_sim.randomization import describe


class Score(NamedTuple):
    """Mean result of some episodes."""

    episodes: int
    episode_return: float
    success: float | None
    """Share of episodes; None if the task does not know success."""
    success_low: float | None
    success_high: float | None
    """Ends of the 95 % interval."""

    @property
    def interval(self) -> str:
        """Text of the interval; empty where it is unknown."""
        if self.success_low is None or self.success_high is None:
            return ""
        return f"{self.success_low:.0%} to {self.success_high:.0%}"

    def row(self, name: str) -> list[str]:
        """Return the cells of a table row: name, success, interval, return, episodes."""
        success = "-" if self.success is None else f"{self.success:.0%}"
        mean = f"{self.episode_return:.1f}"
        return [name, success, self.interval or "-", mean, str(self.episodes)]


def score_of_summary(summary: Mapping[str, Any]) -> Score:
    """Return the score in an `Evaluation.summary`."""
    return Score(
        int(summary["episodes"]),
        summary["return"],
        summary.get("success"),
        summary.get("success_low"),
        summary.get("success_high"),
    )


def read_evaluation(path: Path, contract: Contract) -> dict[str, Score]:
    """Return the scores in a file of `robodreamer evaluate --json`, by a text for the page.

    Raises:
        ValueError: The file has other contents, or is about another task.
    """
    data = read_result(path, contract, "draws", "robodreamer evaluate --json")
    where = "ONNX" if "onnxruntime" in data["policy"] else "torch"
    cameras = [name.partition("/")[2] for name in data["blank"]]
    changed = f", camera {' and '.join(cameras)} black" if cameras else ""
    if randomize := data.get("randomize"):
        changed += f", randomised: {describe(randomize)}"
    return {
        f"after training, {where}, {draw}{changed}": score_of_summary(summary)
        for draw, summary in data["draws"].items()
    }


def read_result(path: Path, contract: Contract, key: str, writer: str) -> dict[str, Any]:
    """Return the JSON object in a file, which holds `key` and is about the contract's task.

    Raises:
        ValueError: It does not, or is not; the message names the file and `writer`.
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


def score_of_drive(figures: Mapping[str, Any]) -> Score | None:
    """Return the score in a report of `robodreamer-deploy`; None if no episode was completed."""
    if not figures["num_episodes"]:
        return None
    low, high = figures["success_interval_95"] or (None, None)
    return Score(
        figures["num_episodes"], figures["return_mean"], figures["success_rate"], low, high
    )
