"""Metrics: one JSON line and one TensorBoard entry per report.

Plots and reports are made from `metrics.jsonl`; every line has `step` and `minutes`. A resumed run
drops the lines after its checkpoint.
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
    """Writer of one run folder's metrics."""

    def __init__(self, run: Path, resumed_step: int | None = None) -> None:
        self.path = run / "metrics.jsonl"
        if resumed_step is not None and self.path.exists():
            kept = [line for line in read_metrics(run) if line["step"] <= resumed_step]
            write_atomic(self.path, "".join(map(_as_line, kept)).encode())
        purge_step = None if resumed_step is None else resumed_step + 1  # the first one to drop
        self._board = SummaryWriter(run, purge_step=purge_step)

    def write(self, step: int, minutes: float, values: Mapping[str, float]) -> None:
        """Write one report; `minutes` is training time, that of earlier processes included."""
        line = {"step": step, "minutes": round(minutes, 4), **values}
        try:
            with self.path.open("a") as file:
                file.write(_as_line(line))
        except OSError as error:  # the error of a full disk names no file
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def write_pictures(self, step: int, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        """Write pictures (H, W, 3) for TensorBoard."""
        for name, picture in pictures.items():
            self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close TensorBoard's file."""
        self._board.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return all complete lines of a run's metrics, without a last line that a crash cut.

    Figures that were not finite are NaN.
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
    """Return figures as a line of JSON with null for NaN and infinity, which JSON lacks."""
    plain = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }
    return json.dumps(plain, allow_nan=False) + "\n"


class Means:
    """Running means of named scalars, summed on their device so that no update waits for a copy."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one set of values."""
        for name, value in values.items():
            total = self._sums.get(name)
            self._sums[name] = value.double() if total is None else total + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def pop(self) -> dict[str, float]:
        """Return the means since the last call."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means
