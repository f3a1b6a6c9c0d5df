"""Data of a run's HTML page, read from the files that other commands have written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robodreamer.config import TrainConfig
from robodreamer.evaluation.random_policy import random_score
from robodreamer.evaluation.scores import Score, read_evaluation, read_result, score_of_drive
from robodreamer.models.bin_range import describe_figures
from robodreamer.runs.checkpoint import Checkpoints
from robodreamer.runs.metrics import read_metrics
from robodreamer.runs.run_folder import read_run
from robodreamer.utils.processor import describe_lines
from robodreamer.visualization.curves import read_groups
from robodreamer.visualization.inspection_report import inspection_plots, read_inspection
from robodreamer.visualization.plots import write_plots
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.manifest import Manifest

RANDOM = "before training: random actions"
ONBOARD = "after training, ONNX, onboard loop, "  # followed by `mode` or `sample`


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Data of the page about one run."""

    run: Path
    config: TrainConfig
    contract: Contract
    provenance: Mapping[str, Any]
    """Commit, machine and versions at the beginning of training."""
    last: Mapping[str, Any]
    """Newest value of every figure that training reported."""
    warnings: Sequence[str]
    """Doubts about the results, to stand beside them."""
    plots: Sequence[Path]
    inspection: Mapping[str, Any] | None
    """Figures that `robodreamer inspect` left; None without them."""
    videos: Mapping[str, Path]
    """Newest video or still of each kind, by the end of its name, such as `dream.mp4`."""
    scores: Mapping[str, Score]
    """Scores by name, in the order of the page; `RANDOM` is the first."""
    drives: Sequence[Mapping[str, Any]]
    """Contents of the files of `robodreamer-deploy --report`."""
    policy: Path | None
    """Folder of the exported policy."""
    manifest: Manifest | None
    """Manifest of `policy`."""

    @property
    def onboard_score(self) -> Score | None:
        """Score of the policy in the onboard loop; None if it was not driven."""
        found = (score for name, score in self.scores.items() if name.startswith(ONBOARD))
        return next(found, None)

    @property
    def has_success(self) -> bool:
        """True if the task knows success and some episode succeeded."""
        if not self.contract.knows_success:
            return False
        reported = [self.last.get("episode/success"), self.last.get("evaluation/success")]
        return any(reported) or any(score.success for score in self.scores.values())


def prepare_report_data(
    run: Path,
    policy: Path | None,
    drives: Sequence[Path],
    evaluations: Sequence[Path],
    note: str = "",
) -> Callable[[], ReportData]:
    """Check all files; return the function that reads them, plots, and tries a random policy.

    Raises:
        ValueError: The folder holds no trained run, or a file has other contents than expected.
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
    done = [
        (score, drive["draw"]) for drive in figures if (score := score_of_drive(drive)) is not None
    ]
    if done:
        score, draw = max(done, key=lambda pair: pair[0].episodes)
        scores[ONBOARD + draw] = score
    manifest = load_bundle(policy).manifest if policy else None

    def gather() -> ReportData:
        lines = read_metrics(run)
        last = {name: value for line in lines for name, value in line.items()}
        found = [note, describe_figures(config, last), describe_lines(lines)]
        return ReportData(
            run=run,
            config=config,
            contract=contract,
            provenance=provenance,
            last=last,
            warnings=[text for text in found if text],
            plots=[
                *write_plots(read_groups([run]), {}, run / "plots"),
                *inspection_plots(run),
            ],
            inspection=read_inspection(run),
            videos=newest_videos(run),
            scores={RANDOM: random_score(contract, run / "random.json"), **scores},
            drives=figures,
            policy=policy,
            manifest=manifest,
        )

    return gather


def newest_videos(run: Path) -> dict[str, Path]:
    """Return the newest video or still of each kind in a run, by the end of its name."""
    found = sorted((run / "videos").glob("step-*-*.*"))
    return {path.name.split("-", 2)[2]: path for path in found}
