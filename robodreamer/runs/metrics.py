"""Metrics: one JSON line and one TensorBoard entry per report.

`metrics.jsonl` is the record that plots and reports are made from; every line has `step` and
`minutes`. A resumed run drops the lines that the checkpoint does not know of.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from robodreamer_deploy.utils.atomic_write import write_atomic


class MetricsWriter:
    """Appends to the metrics of one run folder."""

    def __init__(self, run: Path, resumed_step: int | None = None) -> None:
        self.path = run / "metrics.jsonl"
        if resumed_step is not None and self.path.exists():
            kept = [line for line in read_metrics(run) if line["step"] <= resumed_step]
            write_atomic(self.path, "".join(map(_as_line, kept)).encode())
        purge_step = None if resumed_step is None else resumed_step + 1  # the first that goes
        self._board = SummaryWriter(run, purge_step=purge_step)

    def write(self, step: int, minutes: float, values: Mapping[str, float]) -> None:
        """Write one report; `minutes` counts training time, resumed time included."""
        line = {"step": step, "minutes": round(minutes, 4), **values}
        try:
            with self.path.open("a") as file:
                file.write(_as_line(line))
        except OSError as error:  # a full disk does not say which file it means
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def write_pictures(self, step: int, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        """Show pictures (H, W, 3) in TensorBoard."""
        for name, picture in pictures.items():
            self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush everything."""
        self._board.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return all complete lines of a run's metrics; a last line cut by a crash is left out.

    A figure that was not finite is NaN.
    """
    lines = []
    for text in (run / "metrics.jsonl").read_text().splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            break
        lines.append({name: math.nan if value is None else value for name, value in line.items()})
    return lines


def _as_line(figures: Mapping[str, Any]) -> str:
    """Return figures as a line of JSON, which has no NaN and no infinity; they become null."""
    plain = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }
    return json.dumps(plain, allow_nan=False) + "\n"


class Means:
    """Collects named scalars on whatever device they are and averages them when asked."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take in one set of values."""
        for name, value in values.items():
            total = self._sums.get(name)
            self._sums[name] = value.double() if total is None else total + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def pop(self) -> dict[str, float]:
        """Return the means since the last call."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means
