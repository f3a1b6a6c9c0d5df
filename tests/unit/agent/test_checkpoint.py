"""Checkpoints: a run goes on exactly where it was, and saving does not hold it up."""

import json
import os
import re
import shutil
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from replay_records import assert_equal
from robodreamer.runs.checkpoint import CheckpointError, Checkpoints
from robodreamer.runs.files import read_tensors
from saved_runs import Run, all_files, assert_same, saved_run


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out waiting for the disk, which only a power failure could show."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@given(
    num_envs=st.integers(1, 3),
    steps_per_env=st.integers(4, 15),
    stretches=st.lists(
        st.tuples(st.integers(0, 20), st.booleans(), st.booleans()), min_size=1, max_size=5
    ),
    after=st.integers(0, 20),
)
def test_a_resumed_run_goes_on_exactly_like_the_uninterrupted_one(
    tmp_path_factory: pytest.TempPathFactory,
    num_envs: int,
    steps_per_env: int,
    stretches: list[tuple[int, bool, bool]],
    after: int,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    new_process = partial(Run, folder, num_envs=num_envs, steps_per_env=steps_per_env)
    run = new_process()
    for num_steps, waits, is_interrupted in stretches:
        run.advance(num_steps)
        run.save(wait=waits)
        if is_interrupted:
            run.checkpoints.wait()
            run = new_process().resume()
    expected = run.advance(after)  # while the last checkpoint may still be being written
    run.checkpoints.wait()
    resumed = new_process().resume()
    for found, batch in zip(resumed.advance(after), expected, strict=True):
        assert_equal(found, batch)
    assert_same(resumed, run.everything())
    shutil.rmtree(folder)


def test_training_goes_on_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (go_on.wait(20), fsync(file)))
    run = Run(tmp_path)
    run.advance(9)
    expected = run.everything()
    run.save(wait=False)
    run.advance(30)  # goes round the ring more than twice
    assert run.checkpoints.latest() is None
    with pytest.raises(CheckpointError, match="still writing after 0 s; is the disk stuck"):
        run.checkpoints.wait(timeout_s=0.05)
    go_on.set()
    run.checkpoints.wait()
    assert_same(Run(tmp_path).resume(), expected)


def test_a_checkpoint_keeps_no_memory_once_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    kept = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (run.advance(1), kept.append(put_aside(run))))
    run.advance(5)
    run.save()
    assert max(kept) > 0
    monkeypatch.setattr(os, "fsync", fsync)
    run.advance(20)
    assert put_aside(run) == 0


def put_aside(run: Run) -> int:
    """Return how many overwritten values are kept for the checkpoint that is being written."""
    snapshot = run.replay._ring._snapshot
    assert snapshot is not None
    return sum(len(values) for values in snapshot._aside.values())


def test_two_checkpoints_are_never_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda file: go_on.wait(20))
    caplog.handler.addFilter(lambda record: go_on.set() is None)
    run = Run(tmp_path)
    run.advance()
    run.save(wait=False)
    assert run.checkpoints.latest() is None
    run.advance()
    run.save(wait=False)  # says that it waits, which lets the first one go on
    assert "waiting until the checkpoint before is on disk" in caplog.text
    assert run.checkpoints.history()[0].step == 3
    run.checkpoints.wait()
    assert [checkpoint.step for checkpoint in run.checkpoints.history()] == [3, 6]


def test_fields_are_appended_and_only_needed_segments_stay(tmp_path: Path) -> None:
    run = Run(tmp_path, steps_per_env=12)
    seen: dict[str, int] = {}
    for _ in range(8):
        run.advance(5)
        run.save()
        files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "replay").iterdir()}
        assert all(seen.get(name, time) == time for name, time in files.items())  # not rewritten
        seen |= files
        covered = sorted(tuple(map(int, re.findall(r"\d+", name))) for name in files)
        assert [stop for _, stop in covered[:-1]] == [start for start, _ in covered[1:]]
        oldest_needed = max(0, run.step - 5 - 12)  # by the older one of the two checkpoints
        assert covered[0][0] <= oldest_needed < covered[0][1]
        assert covered[-1][1] == run.step
        steps = [checkpoint.step for checkpoint in run.checkpoints.history()]
        assert steps == [step for step in (run.step - 5, run.step) if step]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-000000035",
        "step-000000040",
    ]


def test_another_format_is_refused(tmp_path: Path) -> None:
    saved_run(tmp_path, keep=1)
    path = tmp_path / "checkpoints" / "step-000000010" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(CheckpointError, match=r"state.json has format 2, this release reads for"):
        Run(tmp_path).resume()


def test_a_replay_of_other_settings_is_refused(tmp_path: Path) -> None:
    saved_run(tmp_path, keep=1)
    with pytest.raises(CheckpointError, match="saved with steps_per_env 8, this run has 9"):
        Run(tmp_path, steps_per_env=9).resume()
    with pytest.raises(CheckpointError, match="saved with num_envs 2, this run has 4"):
        Run(tmp_path, num_envs=4, steps_per_env=8).resume()


def test_a_run_is_not_overwritten_by_another_one(tmp_path: Path) -> None:
    saved_run(tmp_path, keep=2)
    before = all_files(tmp_path)
    other = Run(tmp_path)
    other.advance(20)
    with pytest.raises(CheckpointError, match="step-000000010 already exists; resume from it"):
        other.save()
    assert all_files(tmp_path) == before


def test_weights_can_be_read_without_a_replay(tmp_path: Path) -> None:
    run, _ = saved_run(tmp_path, keep=2)
    reader = Checkpoints(tmp_path)
    latest = reader.latest()
    assert latest is not None
    _, tensors, _ = loaded = reader.load(latest)
    state = loaded.state
    assert (latest.step, state) == (10, {"step": 10})
    assert torch.equal(tensors["agent"]["weight"], run.weight)
    assert torch.equal(read_tensors(latest.path / "agent.safetensors")["weight"], run.weight)
    run.advance(5)
    with pytest.raises(CheckpointError, match="already exists"):  # it does not go on from there
        reader.save(15, tensors, state, run.replay)


def test_the_last_of_several_checkpoints_of_a_step_is_the_newest(tmp_path: Path) -> None:
    run = Run(tmp_path, keep=12)
    run.advance(5)
    for number in range(12):
        run.weight = torch.full((3,), float(number))
        run.save()
    names = [checkpoint.path.name for checkpoint in run.checkpoints.history()]
    assert names == ["step-000000005", *(f"step-000000005.{i}" for i in range(1, 12))]
    assert Run(tmp_path).resume().weight.tolist() == [11.0] * 3


def test_a_run_that_goes_on_from_an_older_checkpoint_drops_the_newer_one(tmp_path: Path) -> None:
    run, _ = saved_run(tmp_path, keep=2)
    older, newer = run.checkpoints.history()
    other = Run(tmp_path, steps_per_env=8).resume(older)
    assert run.checkpoints.latest() == newer  # reading changes nothing
    other.advance(2)
    other.save()
    assert [checkpoint.step for checkpoint in other.checkpoints.history()] == [5, 7]
    assert_same(Run(tmp_path, steps_per_env=8).resume(), other.everything())


def test_state_that_json_cannot_hold_is_refused_at_once(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(ValueError, match="JSON compliant"):
        run.checkpoints.save(0, {}, {"best": float("nan")}, run.replay)
    assert run.checkpoints.latest() is None


def test_state_is_frozen_at_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (go_on.wait(20), fsync(file)))
    run = Run(tmp_path)
    run.advance()
    state, weight = {"seen": [1]}, torch.ones(2)
    run.checkpoints.save(0, {"agent": {"weight": weight}}, state, run.replay)
    state["seen"].append(2)
    weight.zero_()
    go_on.set()
    run.checkpoints.wait()
    latest = run.checkpoints.latest()
    assert latest is not None
    loaded = run.checkpoints.load(latest)
    assert loaded.state == {"seen": [1]}
    assert loaded.tensors["agent"]["weight"].tolist() == [1.0, 1.0]
