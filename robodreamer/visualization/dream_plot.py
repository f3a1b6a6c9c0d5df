"""Line plots of what a model expected its vectors to be, against what they were."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodreamer.visualization.dream import Dream
from robodreamer.visualization.video import BLUE, DPI, GREEN, ORANGE, Pictures, rasterize
from robodreamer_deploy.contract import Contract, Signal

COLUMNS = 3
MOST_ELEMENTS = 6
"""Elements of a vector that are drawn; more could not be told apart."""
COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#000000", "#E69F00")  # Okabe and Ito, 2008


def plot_signals(dream: Dream, contract: Contract) -> Pictures | None:
    """Draw every vector over time, what happened solid, the model dashed; None without vectors."""
    from matplotlib.figure import Figure

    names = [name for name in dream.truth if name not in dream.cameras]
    if not names:
        return None
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure((4.4 * columns, 2.5 * rows + 0.5), dpi=DPI, layout="constrained")
    figure.suptitle(
        "What happened (solid) and what the model expected (dashed). "
        f"Grey: it watches {dream.context} steps, then it imagines.",
        size=10,
    )
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        _draw_signal(panel, dream, contract[name], contract.control_dt_s)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    return rasterize(figure)


def _draw_signal(panel: Any, dream: Dream, signal: Signal, control_dt_s: float) -> None:
    times = np.arange(dream.num_steps) * control_dt_s
    truth, model = (_columns(values[signal.name]) for values in (dream.truth, dream.model))
    shown = min(truth.shape[1], MOST_ELEMENTS)
    labels = signal.labels or tuple(str(i) for i in range(truth.shape[1]))
    for column, (label, color) in enumerate(zip(labels[:shown], COLORS, strict=False)):
        panel.plot(times, truth[:, column], color=color, linewidth=1.4, label=label)
        panel.plot(times, model[:, column], color=color, linewidth=1.4, linestyle=(0, (3, 1.5)))
    panel.axvspan(0, (dream.context - 0.5) * control_dt_s, color="0.9", linewidth=0)
    first = f", first {shown} of {truth.shape[1]}" if shown < truth.shape[1] else ""
    panel.set_title(f"{signal.name}{first}", size=9)
    panel.set_ylabel("class" if signal.num_classes else signal.unit, size=8)
    panel.set_xlabel("time (s)", size=8)
    panel.tick_params(labelsize=8)
    panel.margins(x=0)
    panel.spines[["top", "right"]].set_visible(False)
    if truth.shape[1] > 1:
        panel.legend(fontsize=7, frameon=False, ncols=3, loc="best")


def _columns(values: NDArray[Any]) -> NDArray[Any]:
    """Return (T, n)."""
    return values.reshape(len(values), -1)
