"""Panels: small plots of lines over a shared axis, as one still or growing through a film.

Shapes: T points of a line, H height, W width; pictures are uint8 red-green-blue.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from robodreamer.visualization.video import DPI, Pictures, rasterize
from robodreamer_deploy.contract import Array

DASHED = (0, (3, 1.5))
TEXT = 8
"""Points of most letters; 11 pixels at `DPI`."""
STILL_IN = (4.4, 2.5)
"""Width and height of a panel of a still, in inches."""
GROWING_WIDTH, GROWING_HEIGHT_IN = 260, 1.75
"""Narrowest panel in a film, in pixels, and its height in inches."""
LEGEND_LETTERS, LEGEND_SHARE = 38, 0.19
"""Letters in a row of a panel's legend, and the share of the panel that a row takes on top."""
CURSOR = (90, 90, 90)
MARGIN = 6
"""Pixels around a panel's axes that a marker at their end may cover."""


class Line(NamedTuple):
    """A line; it may end before its panel does."""

    y: Array
    """(T,)."""
    color: str
    label: str = ""
    """Name in the legend; a line without one is not in it."""
    style: Any = "solid"
    width: float = 1.4
    alpha: float = 1.0
    marker: str = ""


class Band(NamedTuple):
    """A filled range."""

    low: Array
    """(T,)."""
    high: Array
    """(T,)."""
    color: str
    alpha: float


class Panel(NamedTuple):
    """One plot."""

    title: str
    unit: str
    x: Array
    """(T,), ascending."""
    lines: Sequence[Line]
    bands: Sequence[Band] = ()
    watched: float = 0.0
    """End of the part of the axis that is grey, because the model observes it."""


def draw_panels(
    panels: Sequence[Panel],
    columns: int,
    panel_in: tuple[float, float] = STILL_IN,
    *,
    title: str = "",
    key: Sequence[Line] = (),
    xlabel: str = "time (s)",
) -> Any:
    """Return a matplotlib figure of all panels; `key` explains styles of lines below them."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    height = panel_in[1] * rows + 0.3 * bool(key) + 0.4 * bool(title)
    figure = Figure((panel_in[0] * columns, height), dpi=DPI, layout="constrained")
    if title:
        letters = 11 * panel_in[0] * columns  # that fit at 10 points
        figure.suptitle(title, size=min(10.0, 10.0 * letters / len(title)))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, panel in enumerate(panels):
        _draw_panel(axes[number], panel)
        if number >= len(panels) - columns:
            axes[number].set_xlabel(xlabel, size=TEXT)
    for empty in axes[len(panels) :]:
        empty.set_axis_off()
    if key:
        handles = [
            Line2D([], [], color=line.color, linestyle=line.style, linewidth=line.width,
                   alpha=line.alpha, marker=line.marker, label=line.label)
            for line in key
        ]  # fmt: skip
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(key), fontsize=TEXT,
            frameon=False,
        )  # fmt: skip
    return figure


def plot_panels(panels: Sequence[Panel], columns: int, **words: Any) -> Pictures:
    """Draw panels as a still; `words` are those of `draw_panels`."""
    return rasterize(draw_panels(panels, columns, **words))


class GrowingPlot:
    """Panels below the pictures of a film, whose lines are drawn up to the present.

    They are rasterized twice, with lines and without. A frame takes what lies left of the present
    from the first and the rest from the second, which is much faster than drawing every frame.

    Args:
        panels: At least one.
        width: Of the film, in pixels.
        key: Lines that explain styles.
        xlabel: Name and unit of the axis.
    """

    def __init__(
        self,
        panels: Sequence[Panel],
        width: int,
        key: Sequence[Line] = (),
        xlabel: str = "time (s)",
    ) -> None:
        columns = min(len(panels), max(1, width // GROWING_WIDTH))
        panel_in = (width / columns / DPI, GROWING_HEIGHT_IN)
        figure = draw_panels(panels, columns, panel_in, key=key, xlabel=xlabel)
        self.full = rasterize(figure)
        # As they are: without its lines, a plot would be laid out again, and not the same.
        figure.set_layout_engine("none")
        self._axes = figure.axes[: len(panels)]
        for axes in self._axes:
            for artist in [*axes.lines, *axes.collections]:
                artist.set_visible(False)
        self._empty = rasterize(figure)

    def at(self, x: float) -> Pictures:
        """Return the picture (H, W, 3) whose lines end at `x`, where a thin upright line stands."""
        picture = self._empty.copy()
        height, width, _ = picture.shape
        for axes in self._axes:
            column = int(axes.transData.transform((x, 0.0))[0])
            column = min(max(column, 0), width - 2)
            left, right = math.floor(axes.bbox.x0), math.ceil(axes.bbox.x1)
            top, bottom = height - math.ceil(axes.bbox.y1), height - math.floor(axes.bbox.y0)
            end = right + MARGIN if column >= right - 1 else column + 1
            area = slice(max(0, top - MARGIN), bottom + MARGIN), slice(max(0, left - MARGIN), end)
            picture[area] = self.full[area]
            picture[top:bottom, column] = CURSOR
        return picture


def stack_pictures(pictures: Sequence[Pictures]) -> Pictures:
    """Put pictures below each other, the narrow ones padded with white to their right."""
    width = max(picture.shape[1] for picture in pictures)
    padded = [
        np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures
    ]
    return np.concatenate(padded)


def _draw_panel(axes: Any, panel: Panel) -> None:
    if panel.watched:
        axes.axvspan(panel.x[0], panel.watched, color="0.9", linewidth=0)
    for band in panel.bands:
        axes.fill_between(
            panel.x, band.low, band.high, color=band.color, alpha=band.alpha, linewidth=0
        )
    for line in panel.lines:
        axes.plot(
            panel.x[: len(line.y)], line.y, color=line.color, label=line.label or "_",
            linestyle=line.style, linewidth=line.width, alpha=line.alpha, marker=line.marker,
            markersize=5, clip_on=not line.marker,
        )  # fmt: skip
    axes.set_title(panel.title, size=TEXT + 1)
    axes.set_ylabel(panel.unit, size=TEXT)
    axes.tick_params(labelsize=TEXT)
    axes.set_xlim(panel.x[0], max(panel.x[-1], np.nextafter(panel.x[0], np.inf)))
    axes.spines[["top", "right"]].set_visible(False)
    _draw_legend(axes, [line.label for line in panel.lines if line.label])


def _draw_legend(axes: Any, labels: Sequence[str]) -> None:
    """Put the legend into room that is made above the lines, where it hides none of them."""
    if len(labels) < 2:
        return
    columns = max(1, min(len(labels), LEGEND_LETTERS // (max(map(len, labels)) + 5)))
    share = min(0.6, LEGEND_SHARE * math.ceil(len(labels) / columns))
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + (high - low) * share / (1 - share))
    axes.legend(
        fontsize=TEXT - 1, frameon=False, ncols=columns, loc="upper left", borderaxespad=0.4,
        handlelength=1.2, columnspacing=0.9, labelspacing=0.25, borderpad=0.1,
    )  # fmt: skip
