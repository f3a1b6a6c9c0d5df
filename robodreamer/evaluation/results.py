"""The `evaluate` command's work: fixed episodes, with either draw, as a table and as JSON."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from robodreamer.evaluation.evaluate import (
    EVALUATION_SEED,
    Evaluation,
    evaluate,
    make_evaluation_envs,
)
from robodreamer.evaluation.policies import Blindfolded, Candidate, camera_signals, load_candidate
from robodreamer.models.bin_range import describe_range
from robodreamer.runs.files import write_json_atomic
from robodreamer_deploy.policy.manifest import Draw
from robodreamer_sim.randomization import describe
from robodreamer_sim.vector.vector_env import TIMEOUT_S, VectorEnv

Say = Callable[[str], None]
HEADER = f"{'draw':<8}{'return':<30}{'success':<22}{'steps':>7}"


def prepare_evaluation(
    folder: Path,
    *,
    episodes: int,
    draws: Sequence[Draw],
    say: Say,
    checkpoint: str | None = None,
    blank: Sequence[str] = (),
    json_file: Path | None = None,
    randomize: str | None = None,
) -> Callable[[], None]:
    """Load a run or a policy and its task; return what evaluates it and says the results.

    Raises:
        ValueError: Something of it cannot be used; the message says what there is.
    """
    if episodes < 1:
        raise ValueError(f"{episodes} episodes tell nothing; --episodes is at least 1")
    if json_file and not json_file.parent.is_dir():
        raise ValueError(f"there is no folder {json_file.parent} for {json_file.name}")
    candidate = load_candidate(folder, checkpoint)
    black = camera_signals(candidate.contract, blank)
    timeout_s = candidate.config.env_timeout_s if candidate.config else TIMEOUT_S
    envs = make_evaluation_envs(
        candidate.contract, episodes, randomize=randomize, timeout_s=timeout_s
    )

    def job() -> None:
        with envs:
            shown = f", black: {', '.join(black)}" if black else ""
            shown += f", randomised: {describe(randomize)}" if randomize else ""
            say(f"{candidate.title}; {candidate.contract.task}, {episodes} fixed episodes{shown}")
            say(HEADER)
            results: dict[Draw, Evaluation] = {}
            for draw, result in assess(candidate, envs, episodes, draws, black):
                say(format_row(draw, result))
                results[draw] = result
            if warning := _warn_of_bins(candidate, results):
                say(f"warning: {warning}")
            if json_file:
                write_json_atomic(json_file, as_json(candidate, results, black, randomize))

    return job


def assess(
    candidate: Candidate,
    envs: VectorEnv,
    episodes: int,
    draws: Sequence[Draw],
    black: Sequence[str] = (),
) -> Iterator[tuple[Draw, Evaluation]]:
    """Yield every draw and what it achieves, on the same episodes; `black` signals are blanked."""
    for draw in draws:
        policy = candidate.make_policy(envs.num_envs, draw)
        if black:
            policy = Blindfolded(policy, black)
        yield draw, evaluate(policy, envs, episodes)


def _warn_of_bins(candidate: Candidate, results: Mapping[Draw, Evaluation]) -> str | None:
    """Return a warning if the agent's heads cannot represent a reward of these episodes."""
    if candidate.config is None:
        return None
    largest = max(float(result.largest_rewards.max()) for result in results.values())
    return describe_range(candidate.config, largest, 0.0)


def format_row(draw: Draw, evaluation: Evaluation) -> str:
    """Return a line that stands under `HEADER`, with 95 % intervals in brackets."""
    s = evaluation.summary()
    returns = f"{s['return']:.2f} [{s['return_low']:.2f}, {s['return_high']:.2f}]"
    success = "not known"
    if "success" in s:
        success = f"{s['success']:.0%} [{s['success_low']:.0%}, {s['success_high']:.0%}]"
    return f"{draw:<8}{returns:<30}{success:<22}{s['length']:>7.1f}"


def as_json(
    candidate: Candidate,
    results: Mapping[Draw, Evaluation],
    black: Sequence[str],
    randomize: str | None = None,
) -> dict[str, Any]:
    """Return what was evaluated, how, and every episode's figures, as JSON values."""
    return {
        "policy": candidate.title,
        "runtime": candidate.runtime,
        "task": candidate.contract.task,
        "seed": EVALUATION_SEED,
        "blank": list(black),
        "randomize": randomize,
        "draws": {draw: {**e.summary(), **_episodes(e)} for draw, e in results.items()},
    }


def _episodes(evaluation: Evaluation) -> dict[str, list[float] | None]:
    """Return every episode's figures, by name; None for what the task does not know."""
    columns = evaluation._asdict().items()
    return {name: None if value is None else value.tolist() for name, value in columns}
