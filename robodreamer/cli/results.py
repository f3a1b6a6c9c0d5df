"""`robodreamer evaluate`, `dream`, `plot` and `report`: what a run or a policy is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robodreamer.cli.parsing import Folder, Folders, Job, parse, say


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    """Measure return and success of a run, or of an exported policy, on fixed episodes."""

    folder: Folder
    """Run folder, or policy folder."""
    episodes: int = 50
    """Episodes per draw; the same number always means the same episodes."""
    draw: Literal["mode", "sample", "both"] = "both"
    """Take the most likely latents and action, draw them at random, or try one after the other."""
    checkpoint: str | None = None
    """Checkpoint of a run, such as step-000012000; newest, the default; or best, the one that
    evaluated best during training."""
    blank: tuple[str, ...] = ()
    """Cameras that show black, to see how much the policy depends on them."""
    randomize: str | None = None
    """Randomise the task otherwise than in training: none, mild, strong, or a JSON file."""
    json: Path | None = None
    """File to write all figures to."""


def evaluate(words: Sequence[str]) -> Job:
    """Build an evaluation."""
    arguments = parse(EvaluateArguments, "evaluate", words)
    from robodreamer.evaluation.report import make_evaluation_job
    from robodreamer_deploy.policy.manifest import ACTION_SELECTIONS
    from robodreamer_sim.randomization import read_word

    return make_evaluation_job(
        arguments.folder,
        episodes=arguments.episodes,
        draws=ACTION_SELECTIONS if arguments.draw == "both" else (arguments.draw,),
        say=say,
        checkpoint=arguments.checkpoint,
        blank=arguments.blank,
        json_file=arguments.json,
        randomize=read_word(arguments.randomize) if arguments.randomize else None,
    )


@dataclass(frozen=True, kw_only=True)
class DreamArguments:
    """Film episodes, and what the model imagines of the first; into RUN/videos."""

    run: Folder
    """Run folder."""
    checkpoint: str | None = None
    """Checkpoint, such as step-000012000; newest, the default; or best, the one that evaluated best
    during training."""
    episodes: int = 1
    """Evaluation episodes to film, one after the other."""
    context: int = 5
    """Steps that the model watches before it imagines the others."""


def dream(words: Sequence[str]) -> Job:
    """Build what films a run."""
    arguments = parse(DreamArguments, "dream", words)
    for name in ("episodes", "context"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} is at least 1")
    from robodreamer.visualization.run_videos import prepare_films

    return prepare_films(
        arguments.run, arguments.checkpoint, arguments.episodes, arguments.context, say
    )


@dataclass(frozen=True, kw_only=True)
class PlotArguments:
    """Plot return, success and losses of runs over steps and minutes.

    Runs that differ in nothing but the seed become one line with a band.
    """

    runs: Folders = ()
    """Run folders."""
    published: Path | None = None
    """CSV of published curves (suite, task, env_step, mean, std, n_seeds) to lay underneath, such
    as docs/data/dreamerv3_dmc_curves.csv."""
    out: Path | None = None
    """Folder for the pictures; plots in the first run folder by default."""


def plot(words: Sequence[str]) -> Job:
    """Build what plots runs."""
    arguments = parse(PlotArguments, "plot", words)
    if not arguments.runs:
        raise ValueError("name at least one run folder, such as runs/fetch_reach")
    from robodreamer.visualization.plots import prepare_plots

    out = arguments.out or arguments.runs[0] / "plots"
    return prepare_plots(arguments.runs, arguments.published, out, say)


@dataclass(frozen=True, kw_only=True)
class ReportArguments:
    """Write one HTML page about a run: how it learned, what it dreams, what it achieves."""

    run: Folder
    """Run folder."""
    policy: Path | None = None
    """Policy folder that was exported from it."""
    drive: tuple[Path, ...] = ()
    """Reports that `robodreamer-deploy --report` wrote."""
    evaluation: tuple[Path, ...] = ()
    """Files that `robodreamer evaluate --json` wrote."""
    note: str = ""
    """Warning to put beside the results."""
    out: Path | None = None
    """The page; report.html in the run folder by default."""


def report(words: Sequence[str]) -> Job:
    """Build what writes the page."""
    arguments = parse(ReportArguments, "report", words)
    from robodreamer.visualization.report import prepare_report

    return prepare_report(
        arguments.run,
        policy=arguments.policy,
        drives=arguments.drive,
        evaluations=arguments.evaluation,
        note=arguments.note,
        out=arguments.out,
        say=say,
    )
