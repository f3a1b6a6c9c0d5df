"""Findings: everything that is known about a run, read from the files that commands have left."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robodreamer.config import TrainConfig
from robodreamer.models.bin_range import describe_figures
from robodreamer.runs.checkpoint import Checkpoints
from robodreamer.runs.metrics import read_metrics
from robodreamer.runs.run_folder import read_run
from robodreamer.utils.processor import describe_lines
from robodreamer.visualization.curves import read_groups
from robodreamer.visualization.plots import write_plots
from robodreamer.visualization.scores import (
    Score,
    driven,
    random_score,
    read_evaluation,
    read_result,
)
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.manifest import Manifest

RANDOM = "before training: random actions"
ONBOARD = "after training, ONNX, onboard loop, "  # and how it draws


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a report is made from."""

    run: Path
    config: TrainConfig
    contract: Contract
    provenance: Mapping[str, Any]
    """Commit, machine and versions, as training began."""
    last: Mapping[str, Any]
    """Newest value of every figure that training reported."""
    warnings: Sequence[str]
    """What the figures of training give cause to say beside the results."""
    plots: Sequence[Path]
    films: Mapping[str, Path]
    """The newest of every kind, such as `dream.mp4`."""
    scores: Mapping[str, Score]
    """By name, in the order to be shown; `RANDOM` first."""
    drives: Sequence[Mapping[str, Any]]
    """What `robodreamer-deploy --report` wrote."""
    policy: Path | None
    manifest: Manifest | None
    """Of `policy`."""

    @property
    def onboard_score(self) -> Score | None:
        """What the policy achieved in the onboard loop."""
        found = (score for name, score in self.scores.items() if name.startswith(ONBOARD))
        return next(found, None)

    @property
    def has_success(self) -> bool:
        """Whether any episode ever succeeded, in a task that knows success."""
        if not self.contract.knows_success:
            return False
        told = [self.last.get("episode/success"), self.last.get("evaluation/success")]
        return any(told) or any(score.success for score in self.scores.values())


def prepare_findings(
    run: Path,
    policy: Path | None,
    drives: Sequence[Path],
    evaluations: Sequence[Path],
    note: str = "",
) -> Callable[[], Findings]:
    """Check all files; return what gathers from them, plots, and tries a random policy.

    Raises:
        ValueError: The folder holds no trained run, or a file is not what it should be.
    """
    config, contract, provenance = read_run(run)
    if Checkpoints(run).latest() is None:
        raise ValueError(f"{run} has no checkpoint yet, so there is nothing to report")
    figures = [
        read_result(path, contract, "sense_to_act_ms", "robodreamer-deploy --report")
        for path in drives
    ]
    scores: dict[str, Score] = {}
    for path in evaluations:
        scores |= read_evaluation(path, contract)
    done = [(score, drive["draw"]) for drive in figures if (score := driven(drive)) is not None]
    if done:
        score, draw = max(done, key=lambda pair: pair[0].episodes)
        scores[ONBOARD + draw] = score
    manifest = load_bundle(policy).manifest if policy else None

    def gather() -> Findings:
        lines = read_metrics(run)
        last = {name: value for line in lines for name, value in line.items()}
        found = [note, describe_figures(config, last), describe_lines(lines)]
        return Findings(
            run=run,
            config=config,
            contract=contract,
            provenance=provenance,
            last=last,
            warnings=[text for text in found if text],
            plots=write_plots(read_groups([run]), {}, run / "plots"),
            films=newest_films(run),
            scores={RANDOM: random_score(contract, run / "random.json"), **scores},
            drives=figures,
            policy=policy,
            manifest=manifest,
        )

    return gather


def newest_films(run: Path) -> dict[str, Path]:
    """Return the newest film or still of every kind in a run, by the end of its name."""
    found = sorted((run / "videos").glob("step-*-*.*"))
    return {path.name.split("-", 2)[2]: path for path in found}
