"""Report of an evaluation: fixed episodes with either draw, as a table and as JSON."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from robodreamer.evaluation.evaluate import (
    EVALUATION_SEED,
    Evaluation,
    evaluate,
    make_evaluation_envs,
)
from robodreamer.evaluation.policies import BlankedCameras
from robodreamer.evaluation.targets import EvaluationTarget, camera_signals, load_target
from robodreamer.models.bin_range import describe_range
from robodreamer.runs.files import write_json_atomic
from robodreamer_deploy.policy.manifest import ActionSelection
from robodreamer_deploy.utils.streams import Say
from robodreamer_sim.randomization import describe
from robodreamer_sim.vector.vector_env import TIMEOUT_S, VectorEnv

HEADER = f"{'draw':<8}{'return':<30}{'success':<22}{'steps':>7}"


def make_evaluation_job(
    folder: Path,
    *,
    episodes: int,
    draws: Sequence[ActionSelection],
    say: Say,
    checkpoint: str | None = None,
    blank: Sequence[str] = (),
    json_file: Path | None = None,
    randomize: str | None = None,
) -> Callable[[], dict[ActionSelection, Evaluation]]:
    """Load a run or a policy and its task; return the job that evaluates it and prints results.

    Raises:
        ValueError: The folder, the task, a camera or a setting cannot be used; the message lists
            the alternatives.
    """
    if episodes < 1:
        raise ValueError(f"--episodes is at least 1, got {episodes}")
    if json_file and not json_file.parent.is_dir():
        raise ValueError(f"there is no folder {json_file.parent} for {json_file.name}")
    target = load_target(folder, checkpoint)
    black = camera_signals(target.contract, blank)
    timeout_s = target.config.env_timeout_s if target.config else TIMEOUT_S
    envs = make_evaluation_envs(target.contract, episodes, randomize=randomize, timeout_s=timeout_s)

    def job() -> dict[ActionSelection, Evaluation]:
        with envs:
            shown = f", black: {', '.join(black)}" if black else ""
            shown += f", randomised: {describe(randomize)}" if randomize else ""
            say(f"{target.title}; {target.contract.task}, {episodes} fixed episodes{shown}")
            say(HEADER)
            results: dict[ActionSelection, Evaluation] = {}
            for draw, result in evaluate_target(target, envs, episodes, draws, black):
                say(format_row(draw, result))
                results[draw] = result
            if warning := _warn_of_bins(target, results):
                say(f"warning: {warning}")
            if json_file:
                write_json_atomic(json_file, as_json(target, results, black, randomize))
            return results

    return job


def evaluate_target(
    target: EvaluationTarget,
    envs: VectorEnv,
    episodes: int,
    draws: Sequence[ActionSelection],
    black: Sequence[str] = (),
) -> Iterator[tuple[ActionSelection, Evaluation]]:
    """Yield every draw and its evaluation on the same episodes; `black` signals are blanked."""
    for draw in draws:
        policy = target.make_policy(envs.num_envs, draw)
        if black:
            policy = BlankedCameras(policy, black)
        yield draw, evaluate(policy, envs, episodes)


def _warn_of_bins(
    target: EvaluationTarget, results: Mapping[ActionSelection, Evaluation]
) -> str | None:
    """Return a warning if a reward lies beyond the bins of the agent's heads."""
    if target.config is None:
        return None
    largest = max(float(result.largest_rewards.max()) for result in results.values())
    return describe_range(target.config, largest, 0.0)


def format_row(draw: ActionSelection, evaluation: Evaluation) -> str:
    """Return a table row under `HEADER`, with 95 % intervals in brackets."""
    s = evaluation.summary()
    returns = f"{s['return']:.2f} [{s['return_low']:.2f}, {s['return_high']:.2f}]"
    success = "not known"
    if "success" in s:
        success = f"{s['success']:.0%} [{s['success_low']:.0%}, {s['success_high']:.0%}]"
    return f"{draw:<8}{returns:<30}{success:<22}{s['length']:>7.1f}"


def as_json(
    target: EvaluationTarget,
    results: Mapping[ActionSelection, Evaluation],
    black: Sequence[str],
    randomize: str | None = None,
) -> dict[str, Any]:
    """Return the target, the settings and every episode's figures as JSON values."""
    return {
        "policy": target.title,
        "runtime": target.runtime,
        "task": target.contract.task,
        "seed": EVALUATION_SEED,
        "blank": list(black),
        "randomize": randomize,
        "draws": {draw: {**e.summary(), **_episodes(e)} for draw, e in results.items()},
    }


def _episodes(evaluation: Evaluation) -> dict[str, list[float] | None]:
    """Return every episode's figures by name; None for figures that the task does not report."""
    columns = evaluation._asdict().items()
    return {name: None if value is None else value.tolist() for name, value in columns}
