"""Metrics: every report is one line, and a resumed run has each line once."""

import errno
import math
import os
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robodreamer.runs import files
from robodreamer.runs.metrics import Means, MetricsWriter, read_metrics

STEPS = (10, 20, 30)


def write(run: Path, steps: tuple[int, ...] = STEPS, resumed_step: int | None = None) -> None:
    writer = MetricsWriter(run, resumed_step)
    for step in steps:
        writer.write(step, step / 60, {"loss": step / 3})
    writer.close()


def test_written_metrics_are_read_to_the_bit(tmp_path: Path) -> None:
    write(tmp_path)
    assert [line["loss"] for line in read_metrics(tmp_path)] == [step / 3 for step in STEPS]
    assert [line["step"] for line in read_metrics(tmp_path)] == list(STEPS)


def test_tensorboard_shows_the_same(tmp_path: Path) -> None:
    write(tmp_path)
    board = EventAccumulator(str(tmp_path)).Reload()
    shown = {event.step: event.value for event in board.Scalars("loss")}
    assert shown == {step: pytest.approx(step / 3) for step in STEPS}


def test_a_resumed_run_drops_the_metrics_after_its_checkpoint(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, (25, 30), resumed_step=20)
    assert [line["step"] for line in read_metrics(tmp_path)] == [10, 20, 25, 30]
    board = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in board.Scalars("loss")] == [10, 20, 25, 30]


def test_a_figure_that_is_not_finite_is_null_in_the_file_and_nan_when_read(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path)
    writer.write(10, 0.5, {"loss": math.nan, "norm": math.inf, "value": 1.5})
    writer.close()
    MetricsWriter(tmp_path, resumed_step=10).close()  # copies the line
    (text,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert text == '{"step": 10, "minutes": 0.5, "loss": null, "norm": null, "value": 1.5}'
    (line,) = read_metrics(tmp_path)
    assert math.isnan(line["loss"])
    assert math.isnan(line["norm"])
    assert (line["step"], line["value"]) == (10, 1.5)


def test_a_line_that_a_crash_has_cut_is_dropped(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    assert [line["step"] for line in read_metrics(tmp_path)] == [10, 20]
    write(tmp_path, (30,), resumed_step=20)
    assert path.read_text().count("\n") == len(read_metrics(tmp_path)) == 3


def test_a_full_disk_costs_no_old_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, resumed_step=20)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    writer = MetricsWriter(tmp_path)
    with pytest.raises(OSError, match=r"No space left on device: '.*metrics\.jsonl'"):
        writer.write(1, 0.0, {"loss": 1.0})
    writer.close()


def test_means_cover_the_values_since_the_last_call() -> None:
    means = Means()
    means.add({"loss": torch.tensor(1.0), "norm": torch.tensor(5)})
    means.add({"loss": torch.tensor(4.0)})
    assert means.pop() == {"loss": 2.5, "norm": 5.0}
    assert means.pop() == {}
    means.add({"loss": torch.tensor(3.0)})
    assert means.pop() == {"loss": 3.0}


def test_the_mean_of_many_values_keeps_their_precision() -> None:
    means = Means()
    for _ in range(10_000):
        means.add({"loss": torch.tensor(0.1)})
    assert means.pop()["loss"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)
