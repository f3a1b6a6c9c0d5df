"""`robodreamer dream`, `inspect`, `plot` and `report`: films, figures, curves, a page of runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robodreamer.cli.parsing import Folder, Folders, Job, parse, say

View = Literal["open-loop", "reconstruction", "fantasy", "futures", "interpolation", "errors"]
"""`robodreamer.visualization.views.View`, whose import would make help wait for torch."""

Axis = Literal["steps", "updates", "minutes"]
"""`robodreamer.visualization.curves.Axis`, likewise."""


@dataclass(frozen=True, kw_only=True)
class DreamArguments:
    """Film episodes, and what the model makes of the first; into RUN/videos.

    A run without cameras is filmed as lines of its signals.
    """

    run: Folder
    """Run folder."""
    what: tuple[View, ...] = ("open-loop",)
    """What to show, one or more: `open-loop`, the model watches and then imagines what the actions
    taken lead to; `reconstruction`, it watches every step; `fantasy`, its actor goes on in the
    model alone; `futures`, several such courses drawn at random; `interpolation`, decoded between
    two real states; `errors`, of predictions by their horizon, over many starts."""
    checkpoint: str | None = None
    """Checkpoint, such as step-000012000, or best, the one that evaluated best during training; by
    default the newest."""
    episodes: int = 1
    """Evaluation episodes to film, one after the other; `errors` are measured in all of them."""
    context: int = 5
    """Steps that the model watches before it imagines the others."""
    horizon: int = 95
    """Steps that it imagines at most."""
    futures: int = 8
    """Number of `futures`."""
    draw: Literal["mode", "sample"] = "mode"
    """`mode` acts without randomness, `sample` draws actions, which moves more."""
    strip: Path | None = None
    """Animated WebP to write: all episodes side by side, each above the dream of it."""


def dream(words: Sequence[str]) -> Job:
    """Prepare the films of a run."""
    arguments = parse(DreamArguments, "dream", words)
    from robodreamer import api

    return api.dream.prepare(
        arguments.run,
        what=arguments.what,
        episodes=arguments.episodes,
        context=arguments.context,
        horizon=arguments.horizon,
        futures=arguments.futures,
        checkpoint=arguments.checkpoint,
        draw=arguments.draw,
        strip=arguments.strip,
        log=say,
    )


@dataclass(frozen=True, kw_only=True)
class InspectArguments:
    """Measure an agent from inside, on new episodes; plots and figures go into RUN/plots.

    Sizes of its modules, how much its latents tell, KL, return range and gradient norms, and how
    well it predicts rewards and returns.
    """

    run: Folder
    """Run folder."""
    episodes: int = 5
    """Evaluation episodes to record."""
    checkpoint: str | None = None
    """Checkpoint, such as step-000012000, or best, the one that evaluated best during training; by
    default the newest."""
    draw: Literal["mode", "sample"] = "sample"
    """`sample` draws latents and actions, as in training, where the critic learned; `mode` takes
    the most likely ones."""
    json: Path | None = None
    """File to write all figures to."""


def inspect(words: Sequence[str]) -> Job:
    """Prepare an inspection."""
    arguments = parse(InspectArguments, "inspect", words)
    from robodreamer import api

    return api.inspect.prepare(
        arguments.run,
        episodes=arguments.episodes,
        checkpoint=arguments.checkpoint,
        draw=arguments.draw,
        json_file=arguments.json,
        log=say,
    )


@dataclass(frozen=True, kw_only=True)
class PlotArguments:
    """Plot return, success and losses of runs by steps, updates and minutes.

    Runs that differ in nothing but the seed become one line with a band.
    """

    runs: Folders = ()
    """Run folders."""
    by: tuple[Axis, ...] = ("steps", "updates", "minutes")
    """Axes, one or more, each a column of plots: simulator steps, updates of the networks, minutes
    of training. Losses are drawn over the first."""
    published: Literal["auto", "none"] | Path = "auto"
    """Published curves to lay underneath: a CSV (suite, task, env_step, mean, std, n_seeds); `auto`
    takes those of docs/data where the task is one of dm_control, as far as the runs reach."""
    out: Path | None = None
    """Folder for the pictures; plots in the first run folder by default."""


def plot(words: Sequence[str]) -> Job:
    """Prepare the plots of runs."""
    arguments = parse(PlotArguments, "plot", words)
    if not arguments.runs:
        raise ValueError("name at least one run folder, such as runs/fetch_reach")
    from robodreamer.visualization.plots import prepare_plots

    out = arguments.out or arguments.runs[0] / "plots"
    return prepare_plots(arguments.runs, arguments.published, out, say, arguments.by)


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
    """Prepare the page."""
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
