"""Plots of learning curves: return and success over steps and minutes, and every loss.

Colours can be told apart by everybody (Okabe and Ito, 2008); lines differ in style as well.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from robodreamer.visualization.curves import Axis, Curve, Group, read_groups, read_published
from robodreamer.visualization.video import BLUE, DPI, GREEN, ORANGE, Pictures, rasterize, write_png
from robodreamer_deploy.utils.streams import Say

COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00", "#000000")
PUBLISHED_COLOR = "#666666"
AXES: Mapping[Axis, str] = {"step": "environment steps", "minutes": "minutes of training"}
FIGURES = {"return": "Return per episode", "success": "Success"}
PANEL_IN = (4.5, 3.0)
"""Width and height of a panel of the learning curves, in inches."""
LOSS_COLUMNS = 4
NARROW = "-narrow"
"""Ends the names of files whose panels stand below each other, for a phone."""


def prepare_plots(
    runs: Sequence[Path], published: Path | None, out: Path, say: Say
) -> Callable[[], None]:
    """Read runs and published curves; return what plots them into the folder `out`.

    Raises:
        ValueError: A folder holds no run, or `published` has no curve of its task.
    """
    groups = read_groups(runs)
    references: dict[str, Curve] = {}
    if published is not None:
        for group in groups:
            references |= read_published(published, group.config)

    def write() -> None:
        for path in write_plots(groups, references, out):
            say(f"wrote {path}")

    return write


def write_plots(groups: Sequence[Group], references: Mapping[str, Curve], out: Path) -> list[Path]:
    """Write all plots for which there is something to show; return their files."""
    pictures = {
        "learning": plot_learning(groups, references),
        f"learning{NARROW}": plot_learning(groups, references, is_narrow=True),
        "losses": plot_losses(groups),
        f"losses{NARROW}": plot_losses(groups, columns=LOSS_COLUMNS // 2),
    }
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, picture in pictures.items():
        if picture is not None:
            written.append(out / f"{name}.png")
            write_png(written[-1], picture)
    return written


def plot_learning(
    groups: Sequence[Group], references: Mapping[str, Curve], *, is_narrow: bool = False
) -> Pictures | None:
    """Draw return and success over steps and minutes; None if no episode has ended yet.

    Success is left out where there never was any: there are tasks without it. A narrow picture has
    one column: a phone shows it in full width, where letters of 8 points are still 8 pixels high.
    """
    from matplotlib.figure import Figure

    figures = [figure for figure in FIGURES if _has_values(groups, figure)]
    if not figures:
        return None
    columns = 1 if is_narrow else len(AXES)
    rows = len(figures) * len(AXES) // columns
    chart = Figure((PANEL_IN[0] * columns, PANEL_IN[1] * rows + 0.7), dpi=DPI, layout="constrained")
    chart.suptitle(", ".join(dict.fromkeys(group.config.task for group in groups)), size=12)
    shared: dict[str, Any] = {} if is_narrow else {"sharex": "col", "sharey": "row"}
    panels = chart.subplots(rows, columns, squeeze=False, **shared).reshape(-1, len(AXES))
    for (figure, axis), panel in zip(product(figures, AXES), panels.flat, strict=True):
        _draw_figure(panel, groups, figure, axis)
        if figure == "return" and axis == "step":
            for label, curve in references.items():
                _draw(panel, curve, PUBLISHED_COLOR, label, linestyle="dashed")
        _dress(panel, FIGURES[figure], axis)
        if figure == "success":
            panel.set_ylim(-0.03, 1.03)
            panel.yaxis.set_major_formatter("{x:.0%}")
        panel.set_xlabel(AXES[axis], size=9)
        if not is_narrow:
            panel.label_outer()
    handles, labels = panels[0][0].get_legend_handles_labels()
    chart.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )
    return rasterize(chart)


def plot_losses(groups: Sequence[Group], columns: int = LOSS_COLUMNS) -> Pictures | None:
    """Draw every loss over steps, `columns` panels in a row; None before the first update."""
    from matplotlib.figure import Figure

    names = sorted({n for group in groups for n in group.names if n.startswith("loss/")})
    if not names:
        return None
    columns = min(columns, len(names))
    rows = math.ceil(len(names) / columns)
    chart = Figure((3.0 * columns, 1.9 * rows + 0.7), dpi=DPI, layout="constrained")
    chart.suptitle("Losses by name; total is their weighted sum", size=12)
    panels = chart.subplots(rows, columns, squeeze=False, sharex=True)
    for panel, name in zip(panels.ravel(), names, strict=False):
        for group, color in zip(groups, _colors(groups), strict=True):
            if (curve := group.curve(name, "step")) is not None:
                _draw(panel, curve, color, group.label)
        _dress(panel, "", "step")
        panel.set_title(name.removeprefix("loss/"), size=9)
    for panel in panels.ravel()[len(names) :]:
        panel.set_axis_off()
    chart.supxlabel(AXES["step"], size=9)
    if len(groups) > 1:
        handles, labels = panels[0][0].get_legend_handles_labels()
        chart.legend(handles, labels, loc="outside lower center", fontsize=8, frameon=False)
    return rasterize(chart)


def _draw_figure(panel: Any, groups: Sequence[Group], figure: str, axis: Axis) -> None:
    """Draw a figure of all groups: evaluation as a line with dots, training faintly behind it."""
    for group, color in zip(groups, _colors(groups), strict=True):
        name = f"{group.label}: " if len(groups) > 1 or len(group.metrics) > 1 else ""
        if (training := group.curve(f"episode/{figure}", axis)) is not None:
            panel.plot(training.x, training.mean, color=color, alpha=0.45, linewidth=1.0,
                       label=f"{name}training episodes")  # fmt: skip
        if (evaluation := group.curve(f"evaluation/{figure}", axis)) is not None:
            _draw(panel, evaluation, color, f"{name}evaluation", marker="o", markersize=3)


def _draw(panel: Any, curve: Curve, color: str, label: str, **style: Any) -> None:
    panel.plot(curve.x, curve.mean, color=color, linewidth=1.6, label=label, **style)
    panel.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)


def _dress(panel: Any, ylabel: str, axis: Axis) -> None:
    """Set units and leave out what carries no information."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    panel.set_ylabel(ylabel, size=9)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    if axis == "step":
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
