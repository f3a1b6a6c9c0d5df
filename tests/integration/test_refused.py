"""A run folder that does not fit is refused in words, and not a byte of it changes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_runs import differences, result_of, resume, train

Damage = Callable[[Path], object]


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def newest(run: Path) -> Path:
    return max((run / "checkpoints").iterdir())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


DAMAGES: dict[str, tuple[Damage, str]] = {
    "no config": (lambda run: (run / "config.json").unlink(), "config.json is missing"),
    "no contract": (lambda run: (run / "contract.json").unlink(), "contract.json is missing"),
    "half a config": (lambda run: cut(run / "config.json"), "cannot be used: "),
    "half a contract": (lambda run: cut(run / "contract.json"), "cannot be used: "),
    "no run's config": (
        lambda run: (run / "config.json").write_text("[1]"), "config.json is not that of a run",
    ),
    "another run format": (
        lambda run: edit(run / "config.json", lambda data: data.update(run_version=0)),
        "it has run format 0, this release reads 3",
    ),
    "a setting of another version": (
        lambda run: edit(run / "config.json", lambda data: data["config"].update(colour="red")),
        "unknown ['colour']",
    ),
    "another task under the same name": (
        lambda run: edit(run / "contract.json", lambda data: data.update(control_dt_s=0.5)),
        "the task has changed since",
    ),
    "a task that is gone": (
        lambda run: edit(run / "config.json", lambda data: data["config"].update(task="reach")),
        "no task 'reach'",
    ),
    "half a checkpoint": (lambda run: cut(newest(run) / "agent.safetensors"), "is damaged: "),
    "a checkpoint without state": (
        lambda run: (newest(run) / "state.json").unlink(), "cannot be read: No such file",
    ),
    "no replay": (lambda run: shutil.rmtree(run / "replay"), "cannot be read: No such file"),
}  # fmt: skip


def content(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_is_not_resumed(
    name: str, quick_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, expected = DAMAGES[name]
    run = tmp_path / "run"
    shutil.copytree(quick_run, run)
    damage(run)
    before = content(run)
    assert resume(run, "--steps=1000", "--num-workers=0") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("robodreamer: ")
    assert expected in line
    assert content(run) == before


def test_a_run_goes_on_from_the_older_checkpoint_when_the_newest_is_deleted_as_told(
    quick_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(quick_run, run)
    cut(newest(run) / "agent.safetensors")
    assert resume(run, "--num-workers=0") == 2
    assert f"; delete {newest(run)} to go on from step-000000084" in capsys.readouterr().err
    shutil.rmtree(newest(run))
    assert resume(run, "--num-workers=0") == 0
    assert differences(result_of(run), result_of(quick_run)) == []


@pytest.mark.parametrize("name", ["whole", "no config"])
def test_a_new_run_overwrites_nothing(
    name: str, quick_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(quick_run, run)
    if name == "no config":
        (run / "config.json").unlink()
    before = content(run)
    assert train(run, "--num-workers=0") == 2
    assert "choose another --run" in capsys.readouterr().err
    assert content(run) == before


def test_a_folder_that_is_none_cannot_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resume(tmp_path / "nowhere") == 2
    assert "is not a run folder: config.json is missing" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
