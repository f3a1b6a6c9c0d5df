"""The benchmarks: they start, they measure what a user gets, and they say where figures are from.

Nothing here looks at how long anything took.
"""

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from robodreamer.cli.train import parse_train
from robodreamer.training.builder import env_options
from robodreamer_sim import make

FOLDER = Path(__file__).parents[3] / "benchmarks"
BENCHMARKS = sorted(path.name for path in FOLDER.glob("[!_]*.py"))


@pytest.fixture(autouse=True)
def _as_scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let benchmarks find their own modules, and torch be as before."""
    monkeypatch.syspath_prepend(str(FOLDER))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(monkeypatch: pytest.MonkeyPatch, name: str, *words: str) -> None:
    """Run a benchmark as the command line does, in this process, which has torch loaded."""
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(FOLDER / name), run_name="__main__")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_helps(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, name, "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"python benchmarks/{name}" in text
    assert "--json" in text


def test_the_update_benchmark_says_whom_it_compares_with_and_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "update.py", "--help")
    text = capsys.readouterr().out
    assert "pip install torchrl==0.14.1" in text
    assert "git clone https://github.com/NM512/r2dreamer" in text


def test_an_update_is_measured_and_the_figures_say_where_they_are_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "update.json"
    words = ("debug", "--rounds=1", "--threads=1", "--device=cpu", f"--json={file}")
    run(monkeypatch, "update.py", *words)
    data, said = json.loads(file.read_text()), capsys.readouterr().out
    assert re.fullmatch(r"([0-9a-f]{40}(-dirty)?|unknown)", data["commit"])
    assert data["packages"]["torch"] == torch.__version__
    assert data["commit"] in said
    assert f"torch {torch.__version__}" in said
    figures = data["workloads"]["debug"]
    assert figures["contenders"]["robodreamer"]["wall_ms"] > 0
    parts = figures["parts_cpu_ms"]  # of the processor on a CPU, and called so
    assert all(milliseconds > 0 for milliseconds in parts.values())
    assert re.search(r"^cpu ms +\d", said, re.MULTILINE)


@pytest.mark.slow
def test_the_simulation_benchmark_measures_every_contender_of_a_row_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "simulation.json"
    words = ("--rows", "shards", "--seconds=0.1", "--rounds=2", f"--json={file}")
    run(monkeypatch, "simulation.py", *words)
    data, said = json.loads(file.read_text()), capsys.readouterr().out
    assert data["packages"]["mujoco"] in said
    one, two = data["rows"]["shards"]["1 shard"], data["rows"]["shards"]["robodreamer"]
    assert len(one["rounds"]) == len(two["rounds"]) == 2
    ratios = [mine / theirs for mine, theirs in zip(two["rounds"], one["rounds"], strict=True)]
    assert one["ratio"] == pytest.approx(sum(ratios) / 2)
    assert one["is_met"] == (one["ratio"] >= one["floor"])
    assert re.search(r"^1 shard .* 1\.6 +1\.9 +(met|missed) ", said, re.MULTILINE)


@pytest.mark.slow
def test_the_onboard_benchmark_measures_steps_and_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "onboard.json"
    words = ("--sizes", "debug", "--rounds=3", "--repeats=1", "--rate=1000", f"--json={file}")
    run(monkeypatch, "onboard_step.py", *words)
    figures = json.loads(file.read_text())["onboard"]["debug"]
    for pace in ("paced", "flat out"):
        assert figures[pace]["torch"]["ratio"] == 1.0
        assert len(figures[pace]) == 5
    assert 0 < figures["start"]["start_s"] < 60
    assert 10 < figures["start"]["memory_mb"] < 500
    assert "sense to act, paced: split" in capsys.readouterr().out


def test_the_workload_cpu_is_what_a_user_without_a_gpu_gets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from _workloads import make_workload  # pyright: ignore[reportMissingImports]

    workload = make_workload("cpu")
    monkeypatch.setattr(Path, "exists", lambda path: False)  # no /dev/nvidiactl
    default = parse_train(["fetch_reach"])
    for name in ("network", "algorithm", "data", "task", "observe"):
        assert getattr(workload.config, name) == getattr(default, name), name
    env = make("fetch_reach", env_options(default))
    env.close()
    assert workload.contract == env.contract
    assert any(signal.low for signal in workload.contract.inputs)


@pytest.mark.parametrize("name", ["debug", "1m"])
def test_a_peers_partner_does_all_that_the_peer_does(name: str) -> None:
    from _workloads import make_workload  # pyright: ignore[reportMissingImports]

    workload = make_workload(name)
    like = workload.like_peers("max")
    assert like.protocol.decode_fraction == 1.0
    assert like.algorithm.imagination_last == 0
    assert (like == workload) == (name == "1m"), "the reference's own settings are the peers' too"
