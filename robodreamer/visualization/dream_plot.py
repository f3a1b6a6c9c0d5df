"""Panels of a model's vectors: what it expected against what was, in the signals' own units.

Elements of a vector differ in colour, what happened and what the model expected in style.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodreamer.visualization.dream import Dream
from robodreamer.visualization.futures import Futures
from robodreamer.visualization.horizon_errors import HorizonErrors, error_unit
from robodreamer.visualization.interpolation import Interpolation
from robodreamer.visualization.panels import DASHED, Band, Line, Panel, plot_panels
from robodreamer.visualization.video import BLUE, GREEN, ORANGE, Pictures
from robodreamer_deploy.contract import Array, Contract, Signal

COLUMNS = 3
MOST_ELEMENTS = 6
"""Elements of a vector that are drawn; more could not be told apart."""
COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#000000", "#E69F00")  # Okabe and Ito, 2008
GREY = "#777777"
FAINT = 0.35
"""Opacity of one future among many."""
DREAM_KEY = (
    Line(np.empty(0), GREY, "what happened"),
    Line(np.empty(0), GREY, "what the model expected", DASHED),
)
FUTURES_KEY = (
    Line(np.empty(0), GREY, "what happened", width=2.0),
    Line(np.empty(0), GREY, "imagined", DASHED),
)
INTERPOLATION_KEY = (
    Line(np.empty(0), GREY, "decoded between"),
    Line(np.empty(0), GREY, "what happened at the two moments", "none", marker="o"),
)
ERRORS_KEY = (
    Line(np.empty(0), ORANGE, "imagined: median, half and four fifths of the starts"),
    Line(np.empty(0), BLUE, "everything watched", DASHED),
    Line(np.empty(0), GREY, "standing still", "dotted"),
)
HORIZON = "time imagined ahead (s)"


def plot_signals(dream: Dream, contract: Contract) -> Pictures | None:
    """Draw every vector over time, what happened solid, the model dashed; None without vectors."""
    panels = signal_panels(dream, contract)
    if not panels:
        return None
    title = (
        "What happened (solid) and what the model expected (dashed). "
        f"Grey: it watches {dream.context} steps, then it imagines."
    )
    if dream.context == dream.num_steps:
        title = "What happened (solid) and what the model saw (dashed), watching every step."
    return plot_panels(panels, COLUMNS, title=title)


def signal_panels(dream: Dream, contract: Contract) -> list[Panel]:
    """Return a panel per vector, what happened solid, the model dashed."""
    times = np.arange(dream.num_steps) * contract.control_dt_s
    panels = []
    for name in _vectors(dream):
        signal = contract[name]
        lines = []
        for (label, color), truth, model in zip(
            _elements(signal),
            _columns(dream.truth[name]),
            _columns(dream.model[name]),
            strict=False,
        ):
            lines += [Line(truth, color, label), Line(model, color, style=DASHED)]
        # A reconstruction has no part to tell from the rest.
        watched = (dream.context - 0.5) * contract.control_dt_s
        is_open = dream.context < dream.num_steps
        panels.append(_panel(signal, times, lines, watched=watched if is_open else 0.0))
    return panels


def future_panels(futures: Futures, contract: Contract) -> list[Panel]:
    """Return a panel per vector, and one of the reward, with a bundle of lines per element."""
    times = np.arange(futures.num_steps) * contract.control_dt_s
    alpha = FAINT if len(futures.rewards) > 1 else 1.0
    panels = []
    for name in _vectors(futures):
        lines: list[Line] = []
        for number, (label, color) in enumerate(_elements(contract[name])):
            bundle = [list(_columns(future))[number] for future in futures.model[name]]
            truth = list(_columns(futures.truth[name]))[number]
            lines += _bundle(truth, bundle, color, label, alpha)
        panels.append(_panel(contract[name], times, lines))
    reward = _bundle(futures.true_rewards, futures.rewards, COLORS[0], "", alpha)
    return [*panels, Panel("reward", "", times, reward)]


def interpolation_panels(found: Interpolation, contract: Contract) -> list[Panel]:
    """Return a panel per vector over the share of the second state, the real values as dots."""
    panels = []
    for name in _vectors(found):
        lines = []
        for (label, color), model in zip(
            _elements(contract[name]), _columns(found.model[name]), strict=False
        ):
            lines.append(Line(model, color, label))
        panel = _panel(contract[name], found.shares, lines)
        ends = [
            Line(_at_ends(truth, len(found.shares)), color, style="none", marker="o")
            for color, truth in zip(COLORS, _columns(found.truth[name]), strict=False)
        ]
        panels.append(panel._replace(lines=[*lines, *ends]))
    return panels


def plot_errors(errors: HorizonErrors, contract: Contract) -> Pictures:
    """Draw the error of every signal over the horizon, with bands over starts."""
    times = np.arange(errors.horizon + 1) * contract.control_dt_s
    panels = []
    for name in errors.dream:
        p10, p25, p50, p75, p90 = errors.quantiles(name)
        lines = [
            Line(p50, ORANGE, width=1.8),
            Line(np.median(errors.reconstruction[name], axis=0), BLUE, style=DASHED),
            Line(np.median(errors.still[name], axis=0), GREY, style="dotted"),
        ]
        bands = Band(p10, p90, ORANGE, 0.15), Band(p25, p75, ORANGE, 0.25)
        panels.append(Panel(name, error_unit(contract[name]), times, lines, bands))
    title = f"Error of predictions by their horizon, over {errors.num_starts} starts"
    return plot_panels(panels, COLUMNS, title=title, key=ERRORS_KEY, xlabel=HORIZON)


def _bundle(
    truth: Array, futures: Sequence[Array] | Array, color: str, label: str, alpha: float
) -> list[Line]:
    """Return lines of all futures, and above them the course that was taken."""
    lines = [Line(y, color, style=DASHED, width=1.0, alpha=alpha) for y in futures]
    return [*lines, Line(truth, color, label, width=2.0)]


def _vectors(shown: Dream | Futures | Interpolation) -> list[str]:
    return [name for name in shown.truth if name not in shown.cameras]


def _panel(signal: Signal, x: Array, lines: Sequence[Line], watched: float = 0.0) -> Panel:
    count = signal.num_elements
    first = f", first {MOST_ELEMENTS} of {count}" if count > MOST_ELEMENTS else ""
    unit = "class" if signal.num_classes else signal.unit
    return Panel(f"{signal.name}{first}", unit, x, lines, watched=watched)


def _elements(signal: Signal) -> Iterator[tuple[str, str]]:
    """Yield label and colour of every element that is drawn; of a scalar the label is empty."""
    count = min(signal.num_elements, MOST_ELEMENTS)
    labels = (signal.labels or tuple(map(str, range(count)))) if signal.shape else ("",)
    yield from zip(labels, COLORS[:count], strict=False)


def _columns(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield every element (T,) of a vector (T, ...)."""
    yield from values.reshape(len(values), -1).T


def _at_ends(truth: Array, count: int) -> Array:
    """Return (count,) with the two values at its ends, and nothing between."""
    return np.array([truth[0], *[np.nan] * (count - 2), truth[1]])
