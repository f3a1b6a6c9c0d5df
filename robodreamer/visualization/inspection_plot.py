"""Plots of an inspection, wide and for a phone."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from robodreamer.evaluation.calibration import BAND, Calibration
from robodreamer.visualization.inspection import Inspection
from robodreamer.visualization.plots import COLORS, PANEL_IN
from robodreamer.visualization.video import BLUE, DPI, ORANGE, Pictures, rasterize
from robodreamer_deploy.contract import Array

COLUMNS = 3
GREY = "#777777"
MOST_BARS = 64
"""Bars in a panel; more could not be told apart."""
GAP_IN = 0.1
"""Inches around each panel, above and below."""
LEGEND_ROOM = 0.28
"""Height above the lines for two rows of a legend, in heights of the lines."""
Draw = Callable[[Any], None]


def plot_inspection(found: Inspection, *, is_narrow: bool = False) -> Pictures:
    """Draw latents, KL, calibrations and gradient norms; a narrow picture has one column."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    drawn = _panels(found)
    columns = 1 if is_narrow else COLUMNS
    rows = math.ceil(len(drawn) / columns)
    size = (PANEL_IN[0] * columns, PANEL_IN[1] * rows)
    layout = ConstrainedLayoutEngine(h_pad=GAP_IN)  # a title stays clear of the labels above it
    chart: Any = Figure(size, dpi=DPI, layout=layout)
    panels = chart.subplots(rows, columns, squeeze=False).ravel()
    for panel, draw in zip(panels, drawn, strict=False):
        draw(panel)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    for empty in panels[len(drawn) :]:
        empty.set_axis_off()
    return rasterize(chart)


def _panels(found: Inspection) -> Sequence[Draw]:
    """Return what draws each panel, for all that there is to show."""
    drawn: list[Draw] = [lambda panel: _draw_information(panel, found)]
    shares = found.latents.class_shares
    if shares is not None:
        drawn.append(lambda panel: _draw_classes(panel, _order(found), shares))
    drawn.append(lambda panel: _draw_kl(panel, found.kl_by_time))
    drawn.append(lambda panel: _draw_calibration(panel, "Reward", "received", found.reward))
    if (value := found.value) is not None:
        drawn.append(lambda panel: _draw_calibration(panel, "Value", "return that followed", value))
    if found.gradients:
        drawn.append(lambda panel: _draw_gradients(panel, found))
    return drawn


def _order(found: Inspection) -> Array:
    """Return the variables by what they tell, the most telling first."""
    return np.argsort(-found.latents.information, kind="stable")[:MOST_BARS]


def _draw_information(panel: Any, found: Inspection) -> None:
    latents, order = found.latents, _order(found)
    places = np.arange(len(order))
    panel.bar(
        places, latents.information[order], width=0.8, color=BLUE, label="told about the step"
    )
    panel.plot(
        places, latents.kl[order], color=ORANGE, marker="o", markersize=3, linewidth=0,
        label="KL: news to the prior",
    )  # fmt: skip
    _name(panel, "Latent variables, most telling first", "variable", "nats")
    _count(panel.xaxis)
    _legend(panel)


def _draw_classes(panel: Any, order: Array, shares: Array) -> None:
    """Draw the share of every class of every variable, the most frequent at the bottom."""
    table = -np.sort(-shares[order], axis=1).T
    image = panel.imshow(
        table, origin="lower", aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0,
        interpolation="nearest",
    )  # fmt: skip
    bar = panel.figure.colorbar(image, ax=panel)
    bar.set_label("share of the steps", size=8)
    bar.ax.tick_params(labelsize=8)
    _name(panel, "Classes of each variable", "variable, in the same order", "class, by its share")
    _count(panel.xaxis, panel.yaxis)


def _draw_kl(panel: Any, episodes: Sequence[Array]) -> None:
    """Draw every episode's KL faintly, and the mean of those that last as long."""
    longest = max(map(len, episodes))
    table = np.full((len(episodes), longest), np.nan)
    for row, values in zip(table, episodes, strict=True):
        row[: len(values)] = values
        panel.plot(values, color=BLUE, alpha=0.25, linewidth=0.8)
    panel.plot(np.nanmean(table, axis=0), color=BLUE, linewidth=1.6, label="mean")
    panel.set_ylim(bottom=0.0)
    panel.set_xlim(0, max(1, longest - 1))
    _name(panel, "KL of posterior from prior", "step of the episode", "nats")
    _legend(panel)


def _draw_calibration(panel: Any, title: str, observed: str, found: Calibration) -> None:
    bins = found.bins()
    panel.fill_between(bins.predicted, bins.low, bins.high, color=BLUE, alpha=0.15, linewidth=0)
    panel.plot(
        bins.predicted, bins.observed, color=BLUE, marker="o", markersize=4, linewidth=1.4,
        label=f"mean, and {BAND[1] - BAND[0]:.0%} of the steps",
    )  # fmt: skip
    ends = np.array([bins.predicted.min(), bins.predicted.max()])
    panel.plot(ends, ends, color=GREY, linestyle="dashed", linewidth=1.0, label="if it were right")
    panel.locator_params(axis="x", nbins=5)
    _name(panel, title, "predicted", observed)
    _legend(panel)


def _draw_gradients(panel: Any, found: Inspection) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    for color, (name, gradients) in zip(COLORS, found.gradients.items(), strict=False):
        panel.plot(gradients.steps, gradients.norms, color=color, linewidth=1.4, label=name)
    panel.set_yscale("log")
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    _name(panel, "Gradient norm before clipping", "environment steps", "")
    _legend(panel, columns=2)


def _name(panel: Any, title: str, x: str, y: str) -> None:
    panel.set_title(title, size=10)
    panel.set_xlabel(x, size=9)
    panel.set_ylabel(y, size=9)


def _count(*axes: Any) -> None:
    """Let axes that count things have whole numbers."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        axis.set_major_locator(MaxNLocator(6, integer=True))


def _legend(panel: Any, columns: int = 1) -> None:
    """Put the legend into room that is made above the lines, where it hides none of them."""
    low, high = panel.get_ylim()
    above = 1 + LEGEND_ROOM
    if panel.get_yscale() == "log":
        panel.set_ylim(low, low * (high / low) ** above)
    else:
        panel.set_ylim(low, low + (high - low) * above)
    panel.legend(fontsize=8, frameon=False, loc="upper left", borderaxespad=0.1, ncols=columns)
