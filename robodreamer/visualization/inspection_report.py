"""`robodreamer inspect`: episodes of a run, the table of its figures, and the files about them.

RUN/plots/inspection.png, inspection-narrow.png    plots, the narrow ones for a phone
RUN/plots/inspection.json                          all figures, which the page of the run shows
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import robodreamer_sim
from robodreamer.evaluation.calibration import Calibration
from robodreamer.evaluation.evaluate import require_unchanged
from robodreamer.evaluation.latent_usage import LEAST_INFORMATION, LatentUsage
from robodreamer.evaluation.targets import load_finite_run
from robodreamer.runs.files import write_json_atomic
from robodreamer.runs.metrics import read_metrics
from robodreamer.runs.run_folder import LoadedRun
from robodreamer.utils.formatting import plural
from robodreamer.visualization.episodes import film_episode
from robodreamer.visualization.inspection import Inspection, inspect_agent
from robodreamer.visualization.inspection_plot import plot_inspection
from robodreamer.visualization.plots import NARROW
from robodreamer.visualization.video import write_png
from robodreamer.visualization.views import make_sampler
from robodreamer_deploy.utils.streams import Say
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions

NAME = "inspection"
NAME_COLUMN = 18
"""Width of the names in the table, in characters; texts beside them have 62 at most."""


def prepare_inspection(
    run: Path,
    checkpoint: str | None,
    *,
    episodes: int,
    is_sampling: bool,
    json_file: Path | None,
    say: Say,
) -> Callable[[], Inspection]:
    """Load a run and make its task; return what inspects it.

    Args:
        run: Its folder.
        checkpoint: Name of a checkpoint; the newest if None.
        episodes: Evaluation episodes to record.
        is_sampling: Draw actions and latents, as in training; else the likeliest ones.
        json_file: File to write all figures to, besides the one in RUN/plots.
        say: Takes the table, line by line.

    Raises:
        ValueError: No such run or checkpoint, no episodes, no folder for the file, or the task is
            gone or another one.
    """
    if episodes < 1:
        raise ValueError(f"--episodes is at least 1, got {episodes}")
    if json_file and not json_file.parent.is_dir():
        raise ValueError(f"there is no folder {json_file.parent} for {json_file.name}")
    loaded = load_finite_run(run, checkpoint)
    env = robodreamer_sim.make(loaded.contract.task, EnvOptions.from_dict(loaded.contract.options))
    require_unchanged(loaded.contract, env.contract)

    def work() -> Inspection:
        say(f"{loaded.checkpoint.path}: {plural(episodes, 'episode')} of {loaded.contract.task}")
        found = _inspect(run, loaded, env, episodes, is_sampling=is_sampling)
        for line in describe(found):
            say(line)
        for path in _write(run, loaded.checkpoint.step, found, json_file):
            say(f"wrote {path}")
        return found

    return work


def describe(found: Inspection) -> Iterator[str]:
    """Yield the figures as a table for 80 columns."""
    yield f"{'module':<{NAME_COLUMN}}{'size':<34}{'parameters':>16}{'share':>12}"
    total = sum(module.parameters for module in found.modules)
    for module in found.modules:
        share = f"{module.parameters / total:.1%}"
        yield f"{module.name:<{NAME_COLUMN}}{module.size:<34}{module.parameters:>16,}{share:>12}"
    yield f"{'together':<{NAME_COLUMN + 34}}{total:>16,}"
    yield ""
    for name, text in figures(found):
        yield f"{name:<{NAME_COLUMN}}{text}"


def figures(found: Inspection) -> Iterator[tuple[str, str]]:
    """Yield names and texts of all figures but the modules'."""
    yield "recorded", f"{plural(found.num_steps, 'step')}, {plural(found.num_episodes, 'episode')}"
    yield from _latent_figures(found.latents)
    low, middle, high = np.quantile(found.latents.kl_steps, (0.1, 0.5, 0.9))
    yield "KL per step", f"median {middle:.2f} nats; 80 % lie from {low:.2f} to {high:.2f}"
    yield "reward", _calibration(found.reward)
    if found.value is not None:
        yield "value", _calibration(found.value)
        own = f"{found.bootstrapped:.0%} of the returns is its own value"
        yield "", f"{own} where an episode was cut"
    yield "return range", _describe_range(found.return_range)
    for name, gradients in found.gradients.items():
        norms = gradients.norms
        text = f"newest {norms[-1]:.3g}, median {np.median(norms):.3g}, most {norms.max():.3g}"
        yield "gradient norm", f"{name}: {text}"


def as_json(step: int, found: Inspection) -> dict[str, Any]:
    """Return all figures as JSON values."""
    latents = found.latents
    arrays = ("posterior_entropy", "prior_entropy", "kl", "information")
    dead = latents.dead_classes
    return {
        "step": step,
        "episodes": found.num_episodes,
        "steps": found.num_steps,
        "modules": [module._asdict() for module in found.modules],
        "latents": {
            "family": latents.family,
            "shape": list(latents.shape),
            **{name: getattr(latents, name).tolist() for name in arrays},
            "collapsed": latents.collapsed.tolist(),
            "dead_classes": None if dead is None else dead.sum(-1).tolist(),
        },
        "kl_per_step": [values.tolist() for values in found.kl_by_time],
        "reward": _calibration_json(found.reward),
        "value": None if found.value is None else _calibration_json(found.value),
        "value_bootstrapped": found.bootstrapped,
        "return_range": found.return_range,
        "gradient_norms": {
            name: {"steps": g.steps.tolist(), "norms": _finite(g.norms)}
            for name, g in found.gradients.items()
        },
        "figures": list(figures(found)),
    }


def read_inspection(run: Path) -> dict[str, Any] | None:
    """Return the figures of a run's newest inspection, as `as_json` made them; None without one."""
    path = run / "plots" / f"{NAME}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def inspection_plots(run: Path) -> list[Path]:
    """Return the files of a run's plots of an inspection, those that there are."""
    names = (f"{NAME}.png", f"{NAME}{NARROW}.png")
    return [path for name in names if (path := run / "plots" / name).is_file()]


def _inspect(
    run: Path, loaded: LoadedRun, env: TaskEnv, count: int, *, is_sampling: bool
) -> Inspection:
    """Record the episodes and inspect the agent on them.

    Raises:
        GraphicsError: The cameras that the agent needs cannot be drawn on this machine.
    """
    sampler = make_sampler(loaded.config.seed, is_sampling=is_sampling)
    try:
        episodes = [film_episode(loaded.agent, env, n, sampler=sampler) for n in range(count)]
    finally:
        env.close()
    lines = read_metrics(run) if (run / "metrics.jsonl").is_file() else []
    return inspect_agent(loaded.agent, episodes, sampler, lines)


def _write(run: Path, step: int, found: Inspection, json_file: Path | None) -> list[Path]:
    folder = run / "plots"
    folder.mkdir(exist_ok=True)
    written = [folder / f"{NAME}.png", folder / f"{NAME}{NARROW}.png"]
    for path, is_narrow in zip(written, (False, True), strict=True):
        write_png(path, plot_inspection(found, is_narrow=is_narrow))
    data = as_json(step, found)
    for path in (folder / f"{NAME}.json", json_file):
        if path:
            write_json_atomic(path, data)
            written.append(path)
    return written


def _latent_figures(latents: LatentUsage) -> Iterator[tuple[str, str]]:
    variables, classes = latents.shape
    information, dead = latents.information, latents.dead_classes
    kind = "normal variables" if dead is None else f"variables of {classes} classes"
    yield "latents", f"{variables} {kind}"
    least, middle, most = np.quantile(information, (0.0, 0.5, 1.0))
    each = f"a variable {middle:.2f}, from {least:.2f} to {most:.2f}"
    yield "they tell", f"{information.sum():.1f} nats about a step; {each}"
    entropies = f"posterior {latents.posterior_entropy.sum():.1f} nats"
    yield "entropy", f"{entropies}, prior {latents.prior_entropy.sum():.1f}"
    collapsed = int(latents.collapsed.sum())
    yield "collapsed", f"{collapsed} of {variables} tell less than {LEAST_INFORMATION} nats"
    if dead is not None:
        yield "dead classes", f"{int(dead.sum()):,} of {dead.size:,} hardly occur"


def _calibration(found: Calibration) -> str:
    fit = found.correlation
    known = "no correlation" if fit is None else f"correlation {fit:.2f}"
    return f"bias {found.bias:+.3g}, mean error {found.error:.3g}, {known}"


def _describe_range(found: tuple[float, float] | None) -> str:
    if found is None:
        return "none: this algorithm does not divide its returns"
    return f"{found[0]:.3g} to {found[1]:.3g} (running percentiles of imagined returns)"


def _calibration_json(found: Calibration) -> dict[str, Any]:
    bins = {name: values.tolist() for name, values in found.bins()._asdict().items()}
    figures = {"bias": found.bias, "error": found.error, "correlation": found.correlation}
    return {"count": len(found.predicted), **figures, "bins": bins}


def _finite(values: np.ndarray) -> list[float | None]:
    """Return numbers with None for NaN and infinity, which JSON lacks."""
    return [float(value) if np.isfinite(value) else None for value in values]
