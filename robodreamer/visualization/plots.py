"""Plots of learning curves: return and success by steps, updates and minutes, and every loss.

Colours can be told apart by everybody (Okabe and Ito, 2008); lines differ in style as well.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

from robodreamer.visualization.curves import (
    AXES,
    PUBLISHED,
    Axis,
    Curve,
    Group,
    has_published,
    read_groups,
    read_published,
)
from robodreamer.visualization.video import BLUE, DPI, GREEN, ORANGE, Pictures, rasterize, write_png
from robodreamer_deploy.utils.streams import Say

COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00", "#000000")
PUBLISHED_COLOR = "#666666"
AXIS_LABELS: Mapping[Axis, str] = {
    "steps": "environment steps", "updates": "updates", "minutes": "minutes of training",
}  # fmt: skip
PAGE_AXES: tuple[Axis, ...] = ("steps", "minutes")
"""Axes on the page of a run, whose updates are its steps in another unit."""
FIGURES = {"return": "Return per episode", "success": "Success"}
PANEL_IN = (4.5, 3.0)
"""Width and height of a panel of the learning curves, in inches."""
LOSS_COLUMNS = 4
NARROW = "-narrow"
"""Ends the names of files whose panels stand below each other, for a phone."""
LABEL_COLUMN = 34
"""Width of the names in the table of results, in characters."""
FAINT = 0.45
"""Opacity of training episodes."""
Published = Path | Literal["auto", "none"]
References = Mapping[str, Curve]


def prepare_plots(
    runs: Sequence[Path], published: Published, out: Path, say: Say, by: Sequence[Axis] = AXES
) -> Callable[[], None]:
    """Read runs and published curves; return what plots them into the folder `out`.

    Args:
        runs: Run folders.
        published: CSV of published curves; `auto` takes those that a checkout has of the task, as
            far as the runs reach.
        out: Folder of the pictures.
        say: Takes the results of every group, and the names of the files.
        by: Axes, one column of panels each.

    Raises:
        ValueError: A folder holds no run, or `published` has no curve of its task, or no axis is
            named.
    """
    if not by:
        raise ValueError(f"--by names no axis; there is {', '.join(AXES)}")
    groups = read_groups(runs)
    references = read_references(groups, published, say)

    def write() -> None:
        for line in describe_groups(groups):
            say(line)
        for path in write_plots(groups, references, out, by):
            say(f"wrote {path}")

    return write


def read_references(groups: Sequence[Group], published: Published, say: Say) -> dict[str, Curve]:
    """Return published curves of the runs' tasks by label; see `prepare_plots`."""
    references: dict[str, Curve] = {}
    if isinstance(published, Path):
        for group in groups:
            references |= read_published(published, group.config)
        return references
    for group in groups:
        if published == "none" or not has_published(PUBLISHED, group.config.task):
            continue
        end = max(g.end("steps") for g in groups if g.config.task == group.config.task)
        references |= {
            label: curve.until(end)
            for label, curve in read_published(PUBLISHED, group.config).items()
        }
    hidden = [label for label, curve in references.items() if len(curve.x) < 2]
    for label in hidden:
        del references[label]
        say(f"{label} begins beyond these runs")
    return references


def describe_groups(groups: Sequence[Group]) -> Iterator[str]:
    """Yield a table for 80 columns: how far every group has come, and its last results.

    After the sign stands the half width of the band, see `Group.curve`.
    """
    yield f"{'':<{LABEL_COLUMN}}{'steps':>10}{'minutes':>9}{'last return':>18}{'success':>9}"
    for group in groups:
        figures = [_last(group, figure) for figure in FIGURES]
        returned = f"{figures[0][0]:.1f} +- {figures[0][1]:.1f}" if figures[0] else "-"
        success = f"{figures[1][0]:.0%}" if figures[1] else "-"
        name = group.label if len(group.label) < LABEL_COLUMN else f"{group.label[:31]}.."
        end = f"{group.end('steps'):>10,.0f}{group.end('minutes'):>9.1f}"
        yield f"{name:<{LABEL_COLUMN}}{end}{returned:>18}{success:>9}"


def write_plots(
    groups: Sequence[Group], references: References, out: Path, by: Sequence[Axis] = PAGE_AXES
) -> list[Path]:
    """Write all plots for which there is something to show; return their files."""
    pictures = {
        "learning": plot_learning(groups, references, by),
        f"learning{NARROW}": plot_learning(groups, references, by, is_narrow=True),
        "losses": plot_losses(groups, by[0]),
        f"losses{NARROW}": plot_losses(groups, by[0], columns=LOSS_COLUMNS // 2),
    }
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, picture in pictures.items():
        if picture is not None:
            written.append(out / f"{name}.png")
            write_png(written[-1], picture)
    return written


def plot_learning(
    groups: Sequence[Group],
    references: References,
    by: Sequence[Axis] = PAGE_AXES,
    *,
    is_narrow: bool = False,
) -> Pictures | None:
    """Draw return and success over every axis; None if no episode has ended yet.

    Success is left out where there never was any: there are tasks without it. A narrow picture has
    one column: a phone shows it in full width, where letters of 8 points are still 8 pixels high.
    """
    from matplotlib.figure import Figure

    figures = [figure for figure in FIGURES if _has_values(groups, figure)]
    if not figures:
        return None
    columns = 1 if is_narrow else len(by)
    rows = len(figures) * len(by) // columns
    legend = list(_legend(groups, references if "steps" in by else {}))
    lines = math.ceil(len(legend) / columns)
    height = PANEL_IN[1] * rows + 0.4 + 0.17 * lines
    chart = Figure((PANEL_IN[0] * columns, height), dpi=DPI, layout="constrained")
    chart.suptitle(", ".join(dict.fromkeys(group.config.task for group in groups)), size=12)
    shared: dict[str, Any] = {} if is_narrow else {"sharex": "col", "sharey": "row"}
    panels = chart.subplots(rows, columns, squeeze=False, **shared).reshape(-1, len(by))
    for (figure, axis), panel in zip(product(figures, by), panels.flat, strict=True):
        _draw_figure(panel, groups, figure, axis)
        if figure == "return" and axis == "steps":
            for label, curve in references.items():
                _draw(panel, curve, PUBLISHED_COLOR, label, linestyle="dashed", zorder=1)
        _dress(panel, FIGURES[figure], axis)
        if figure == "success":
            panel.set_ylim(-0.03, 1.03)
            panel.yaxis.set_major_formatter("{x:.0%}")
        panel.set_xlabel(AXIS_LABELS[axis], size=9)
        if not is_narrow:
            panel.label_outer()
    chart.legend(
        handles=legend, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )
    return rasterize(chart)


def plot_losses(
    groups: Sequence[Group], axis: Axis = "steps", columns: int = LOSS_COLUMNS
) -> Pictures | None:
    """Draw every loss over an axis, `columns` panels in a row; None before the first update."""
    from matplotlib.figure import Figure

    names = sorted({n for group in groups for n in group.names if n.startswith("loss/")})
    if not names:
        return None
    columns = min(columns, len(names))
    rows = math.ceil(len(names) / columns)
    height = 1.9 * rows + 0.6 + 0.17 * (len(groups) > 1) * len(groups)
    chart = Figure((3.0 * columns, height), dpi=DPI, layout="constrained")
    chart.suptitle("Losses by name; total is their weighted sum", size=12)
    panels = chart.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for number, (panel, name) in enumerate(zip(panels, names, strict=False)):
        for group, color in zip(groups, _colors(groups), strict=True):
            if (curve := group.curve(name, axis)) is not None:
                _draw(panel, curve, color, group.label)
        _dress(panel, "", axis)
        panel.set_title(name.removeprefix("loss/"), size=9)
        if number >= len(names) - columns:  # the lowest of its column
            panel.set_xlabel(AXIS_LABELS[axis], size=9)
            panel.tick_params(labelbottom=True)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    if len(groups) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        chart.legend(handles, labels, loc="outside lower center", fontsize=8, frameon=False)
    return rasterize(chart)


def _draw_figure(panel: Any, groups: Sequence[Group], figure: str, axis: Axis) -> None:
    """Draw a figure of all groups: evaluation as a line with dots, training faintly behind it."""
    for group, color in zip(groups, _colors(groups), strict=True):
        if (training := group.curve(f"episode/{figure}", axis)) is not None:
            panel.plot(training.x, training.mean, color=color, alpha=FAINT, linewidth=1.0)
        if (evaluation := group.curve(f"evaluation/{figure}", axis)) is not None:
            _draw(panel, evaluation, color, "", marker="o", markersize=3)


def _legend(groups: Sequence[Group], references: References) -> Iterator[Any]:
    """Yield a line per group, then the styles, then the published curves."""
    from matplotlib.lines import Line2D

    if len(groups) > 1 or len(groups[0].metrics) > 1:
        for group, color in zip(groups, _colors(groups), strict=True):
            yield Line2D([], [], color=color, linewidth=3, label=group.label)
    color = PUBLISHED_COLOR if len(groups) > 1 else COLORS[0]
    bands = {"of the seeds" if len(group.metrics) > 1 else "" for group in groups}
    band = "95 % interval" if bands == {""} else "one standard deviation of the seeds"
    if len(bands) > 1:
        band += ", or 95 % interval"
    yield Line2D([], [], color=color, linewidth=1.6, marker="o", markersize=3,
                 label=f"evaluation; band: {band}")  # fmt: skip
    yield Line2D([], [], color=color, linewidth=1, alpha=FAINT, label="training episodes")
    for label in references:
        yield Line2D([], [], color=PUBLISHED_COLOR, linestyle="dashed", label=label)


def _last(group: Group, figure: str) -> tuple[float, float] | None:
    """Return the last evaluation's figure, or the training episodes', and half its band."""
    for kind in ("evaluation", "episode"):
        curve = group.curve(f"{kind}/{figure}", "steps")
        if curve is not None and len(curve.x):
            return float(curve.mean[-1]), float(curve.high[-1] - curve.low[-1]) / 2
    return None


def _draw(panel: Any, curve: Curve, color: str, label: str, **style: Any) -> None:
    panel.plot(curve.x, curve.mean, color=color, linewidth=1.6, label=label, **style)
    panel.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)


def _dress(panel: Any, ylabel: str, axis: Axis) -> None:
    """Set units and leave out what carries no information."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    panel.set_ylabel(ylabel, size=9)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    if axis != "minutes":
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))  # 20k rather than 20000
    panel.set_xlim(left=0)
    panel.tick_params(labelsize=8)
    panel.grid(color="0.92", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)


def _colors(groups: Sequence[Group]) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(len(groups))]


def _has_values(groups: Sequence[Group], figure: str) -> bool:
    """Return whether a figure was reported and success was ever more than 0."""
    keys = (f"episode/{figure}", f"evaluation/{figure}")
    values = [
        line[k] for g in groups for lines in g.metrics for line in lines for k in keys if k in line
    ]
    return bool(values) and (figure != "success" or any(values))
