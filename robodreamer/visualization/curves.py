"""Learning curves as data: read from runs, averaged over seeds, and as published.

Runs that differ in nothing but the seed (and in what does not change a run, such as threads) are
seeds of one group.
"""

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from robodreamer.config import TrainConfig
from robodreamer.runs.metrics import read_metrics
from robodreamer.runs.run_folder import read_run
from robodreamer_deploy.contract import Array

Axis = Literal["steps", "updates", "minutes"]
"""Measure of a run's course: simulator steps, updates of the networks, minutes of training."""
AXES: tuple[Axis, ...] = get_args(Axis)
PUBLISHED = Path(__file__).parents[2] / "docs" / "data" / "dreamerv3_dmc_curves.csv"
"""Scores of the DreamerV3 authors on dm_control; a checkout has them, an installed wheel lacks
them."""
SEED_WORD = re.compile(r"[-_. ]+(s|seed)?[-_. ]*$")
"""End of what the names of seeds have in common, such as the `-s` of reach-s0 and reach-s1."""
Line = Mapping[str, Any]


class Curve(NamedTuple):
    """A figure over an axis, with a band around it; all (n,)."""

    x: Array
    mean: Array
    low: Array
    high: Array

    def until(self, end: float) -> "Curve":
        """Return the part up to `end`."""
        return Curve(*(values[self.x <= end] for values in self))


class Group(NamedTuple):
    """Runs of one kind, one per seed."""

    label: str
    config: TrainConfig
    metrics: list[list[dict[str, Any]]]
    """The lines of each run."""

    @property
    def names(self) -> set[str]:
        """Names of all figures that any of the runs reported."""
        return {name for lines in self.metrics for line in lines for name in line}

    def curve(self, name: str, axis: Axis) -> Curve | None:
        """Return a figure's curve, or None where it was never reported.

        Steps are those of the simulator, action repeat included. Evaluations report no updates:
        theirs are interpolated. The band of one run is the interval that was reported with the
        figure, if any; of several runs it is one standard deviation to either side.
        """
        runs = []
        for lines in self.metrics:
            told = [line for line in lines if name in line]
            if told and (x := self._along(axis, lines, told)) is not None:
                runs.append((x, told))
        if len(runs) == 1:
            x, told = runs[0]
            return Curve(x, *(_column(told, name + end, name) for end in ("", "_low", "_high")))
        return average([(x, _column(told, name)) for x, told in runs]) if runs else None

    def end(self, axis: Axis) -> float:
        """Return how far the longest run has come; 0 before its first report."""
        ends = [self._along(axis, lines, lines) for lines in self.metrics if lines]
        return max((float(x[-1]) for x in ends if x is not None), default=0.0)

    def _along(self, axis: Axis, lines: Sequence[Line], told: Sequence[Line]) -> Array | None:
        """Return where on an axis some lines of a run lie; None if nothing was learnt yet."""
        steps = _column(told, "step")
        if axis == "steps":
            return self.config.data.action_repeat * steps
        if axis == "minutes":
            return _column(told, "minutes")
        known = [line for line in lines if "updates" in line]
        return (
            np.interp(steps, _column(known, "step"), _column(known, "updates")) if known else None
        )


def read_groups(folders: Sequence[Path]) -> list[Group]:
    """Read runs and put seeds of the same settings together, in the order given.

    Raises:
        ValueError: A folder holds no run, or one that has reported nothing yet.
    """
    kinds: dict[str, list[Path]] = {}
    configs: dict[Path, TrainConfig] = {}
    for folder in folders:
        configs[folder], _, provenance = read_run(folder)
        if not (folder / "metrics.jsonl").is_file():
            raise ValueError(f"{folder} has reported nothing yet: metrics.jsonl is missing")
        kind = f"{_kind(configs[folder])} {provenance.get('camera_from')}"
        kinds.setdefault(kind, []).append(folder)
    return [
        Group(_label(members), configs[members[0]], [read_metrics(member) for member in members])
        for members in kinds.values()
    ]


def read_published(path: Path, config: TrainConfig) -> dict[str, Curve]:
    """Return the curves of a run's task in a CSV of published scores, by label.

    The columns are suite, task, env_step, mean, std, n_seeds. Where suites are named after what is
    observed (vision, proprio), only those like the run are taken.

    Raises:
        ValueError: There is no such file, columns are missing, or the task is; names the tasks
            that there are.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file of published curves; --published auto finds our own")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns = {"suite", "task", "env_step", "mean", "std", "n_seeds"}
        if missing := columns - set(reader.fieldnames or ()):
            raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        rows = list(reader)
    found = [row for row in rows if row["task"] == config.task]
    if not found:
        tasks = ", ".join(sorted({row["task"] for row in rows}))
        raise ValueError(f"{path} has no curve of {config.task}; it has {tasks}")
    word = "vision" if config.observe in {"camera", "both"} else "proprio"
    alike = [row for row in found if word in row["suite"]] or found
    return {
        f"published, {suite} ({seeds} seeds)": _published_curve(
            row for row in alike if row["suite"] == suite
        )
        for suite, seeds in {row["suite"]: row["n_seeds"] for row in alike}.items()
    }


def has_published(path: Path, task: str) -> bool:
    """Return whether a file of published scores exists and has a task."""
    if not path.is_file():
        return False
    with path.open(newline="") as file:
        return any(row.get("task") == task for row in csv.DictReader(file))


def average(curves: Sequence[tuple[Array, Array]]) -> Curve:
    """Average curves (x, y) where all of them exist, by linear interpolation.

    The band is one standard deviation (of the sample) to either side.
    """
    start, end = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    every_x = np.unique(np.concatenate([x for x, _ in curves]))
    grid = every_x[(every_x >= start) & (every_x <= end)]
    values = np.stack([np.interp(grid, x, y) for x, y in curves])
    mean = values.mean(0)
    spread = values.std(0, ddof=1) if len(curves) > 1 else np.zeros_like(mean)
    return Curve(grid, mean, mean - spread, mean + spread)


def _column(lines: Iterable[Line], name: str, otherwise: str = "") -> Array:
    """Return one figure of every line, or another one where a line lacks it."""
    return np.array([line.get(name, line.get(otherwise, np.nan)) for line in lines])


def _published_curve(rows: Iterable[Mapping[str, str]]) -> Curve:
    values = np.array([[float(row[k]) for k in ("env_step", "mean", "std")] for row in rows])
    x, mean, std = values[values[:, 0].argsort()].T
    return Curve(x, mean, mean - std, mean + std)


def _kind(config: TrainConfig) -> str:
    """Return the same text for runs that are seeds of each other."""
    c = config
    return repr((c.task, c.observe, c.cameras, c.network, c.algorithm, c.data, c.precision))


def _label(folders: Sequence[Path]) -> str:
    """Return what the names of the folders have in common, and how many they are."""
    if len(folders) == 1:
        return folders[0].resolve().name
    names = [folder.resolve().name for folder in folders]
    shared = os.path.commonprefix(names)  # noqa: RUF071  letters, not folders
    if any(name[len(shared) :][:1].isdigit() for name in names):
        shared = shared.rstrip("0123456789")  # the tens of seeds 10, 11, 12
    shared = SEED_WORD.sub("", shared)
    return f"{shared or names[0]} ({len(folders)} seeds)"
