"""Saving under faults: full disks, sudden death and damage never cost more than the last save."""

import errno
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from robodreamer.runs.checkpoint import CheckpointError
from saved_runs import Run, all_files, assert_same, hidden, saved_run

KEEP = [1, pytest.param(2, marks=pytest.mark.slow)]  # nothing to fall back on is harder


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out waiting for the disk, which only a power failure could show."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


class FaultyDisk:
    """Counts operations on files, and lets those fail that it is told to."""

    OPERATIONS = ("fsync", "replace", "mkdir", "open", "unlink", "rmdir")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._fails = never
        for name in self.OPERATIONS:
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))

    def save(self, run: Run, fails: Callable[[int], bool]) -> str:
        """Save while those operations fail whose number `fails`; return what was said."""
        self.count, self._fails = 0, fails
        try:
            run.save()
        except CheckpointError as error:
            return str(error)
        finally:
            self._fails = never
        return ""

    def _watched(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self._fails(self.count):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return operation(*args, **kwargs)

        return watched


def never(number: int) -> bool:
    return False


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    return FaultyDisk(monkeypatch)


@pytest.mark.parametrize("keep", KEEP)
def test_a_fault_while_saving_leaves_a_checkpoint_that_loads(
    tmp_path: Path, disk: FaultyDisk, keep: int
) -> None:
    outcomes = set()
    for fault in count(1):
        folder = tmp_path / str(fault)
        run, before = saved_run(folder, keep)
        segments = set((folder / "replay").iterdir())
        run.advance(5)
        after = run.everything()
        message = disk.save(run, lambda number, fault=fault: number == fault)
        assert message == "" or "ten ([Errno 28] No space left on device); step-0000000" in message
        resumed = Run(folder, steps_per_env=8).resume()
        outcomes.add(resumed.step)
        assert_same(resumed, after if resumed.step == 15 else before)
        if resumed.step == 10:
            assert not hidden(folder)
            assert set((folder / "replay").iterdir()) == segments  # nothing half-written stays
        run.advance(2)
        run.save()  # the fault has passed: the same process goes on
        steps = [checkpoint.step for checkpoint in run.checkpoints.history()]
        assert steps == [resumed.step, 17][-keep:]
        assert_same(Run(folder, steps_per_env=8).resume(), run.everything())
        assert not hidden(folder)
        if disk.count < fault:
            break
    assert outcomes == {10, 15}


@pytest.mark.parametrize("keep", KEEP)
def test_death_while_saving_leaves_a_checkpoint_that_loads(
    tmp_path: Path, disk: FaultyDisk, keep: int
) -> None:
    outcomes = set()
    for fault in count(1):
        folder = tmp_path / str(fault)
        run, before = saved_run(folder, keep)
        run.advance(5)
        after = run.everything()
        disk.save(run, lambda number, fault=fault: number >= fault)  # nor can it tidy up
        resumed = Run(folder, keep, steps_per_env=8).resume()
        outcomes.add(resumed.step)
        assert_same(resumed, after if resumed.step == 15 else before)
        for checkpoint in resumed.checkpoints.history():
            Run(folder, steps_per_env=8).resume(checkpoint)  # none is half deleted
        resumed.advance(7)
        resumed.save()
        assert_same(Run(folder, steps_per_env=8).resume(), resumed.everything())
        assert not hidden(folder)
        assert len(resumed.checkpoints.history()) == keep
        if disk.count < fault:
            break
    assert outcomes == {10, 15}


def test_a_file_that_grows_too_large_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    run, before = saved_run(tmp_path, keep=2)
    run.advance()
    run.weight = torch.zeros(100_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # a real error of write()
    try:
        run.save(wait=False)
        with pytest.raises(CheckpointError, match=r"File too large.*step-000000010 stays the newe"):
            run.checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not hidden(tmp_path)
    assert_same(Run(tmp_path, steps_per_env=8).resume(), before)


def test_a_failed_save_is_reported_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    run.advance()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        run.save(wait=False)
        with pytest.raises(CheckpointError, match=r"No space left on device.*none before it"):
            run.save(wait=False)
    run.save()
    assert_same(Run(tmp_path).resume(), run.everything())


def test_a_resumed_run_keeps_all_checkpoints_until_it_has_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_run(tmp_path, keep=2)
    resumed = Run(tmp_path, steps_per_env=8).resume()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="step-000000010 stays the newest"):
        resumed.save()
    older, newer = resumed.checkpoints.history()
    for checkpoint in (older, newer):
        assert Run(tmp_path, steps_per_env=8).resume(checkpoint).step == checkpoint.step


def test_a_file_that_cannot_be_deleted_is_reported_and_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = saved_run(tmp_path, keep=1)
    run.advance(12)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", full)
        patch.setattr(os, "rmdir", full)
        run.save()
    assert "step-000000010 could not be deleted: [Errno 28] No space left" in caplog.text
    assert "segment-000000000-000000005.safetensors could not be deleted" in caplog.text
    assert_same(Run(tmp_path, steps_per_env=8).resume(), run.everything())
    run.save()
    assert not hidden(tmp_path)


def full(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_drafts_of_a_dead_run_are_ignored_and_then_deleted(tmp_path: Path) -> None:
    run = Run(tmp_path, steps_per_env=50)
    run.advance(5)
    run.save()
    expected = run.everything()
    run.advance(5)
    run.save()
    lost = run.checkpoints.latest()
    assert lost is not None
    lost.path.rename(lost.path.with_name(f".{lost.path.name}"))  # died before the commit
    (tmp_path / "replay" / "segment-000000005-000000008.safetensors").write_bytes(b"half")
    resumed = Run(tmp_path, steps_per_env=50).resume()
    assert_same(resumed, expected)
    resumed.advance(3)
    resumed.save()
    assert not hidden(tmp_path)
    assert sorted(path.name for path in (tmp_path / "replay").iterdir()) == [
        "segment-000000000-000000005.safetensors",
        "segment-000000005-000000008.safetensors",
    ]
    assert_same(Run(tmp_path, steps_per_env=50).resume(), resumed.everything())


@pytest.mark.parametrize("kind", ["state", "agent", "optimizer", "latents", "segment"])
def test_any_damage_is_noticed_and_its_file_named(tmp_path: Path, kind: str) -> None:
    saved_run(tmp_path, keep=1)
    (path,) = list(tmp_path.rglob(f"{kind}*"))[:1]
    original = path.read_bytes()
    damaged = [
        original[:i] + bytes([original[i] ^ 1]) + original[i + 1 :]
        for i in range(0, len(original), max(1, len(original) // 50))
    ]
    for content_now in [b"", original[:-2], original + b"x", *damaged]:
        path.write_bytes(content_now)
        before = all_files(tmp_path)
        with pytest.raises(CheckpointError, match=re.escape(path.name)):
            Run(tmp_path, steps_per_env=8).resume()
        assert all_files(tmp_path) == before
    path.unlink()
    with pytest.raises(CheckpointError, match=rf"{re.escape(path.name)} cannot be read: No such"):
        Run(tmp_path, steps_per_env=8).resume()
    path.write_bytes(original)
    Run(tmp_path, steps_per_env=8).resume()


ENDLESS_RUN = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from saved_runs import Run
run = Run(Path(sys.argv[1]), steps_per_env=8)
if run.checkpoints.latest():
    run.resume()
while True:
    run.advance(3)
    run.save(wait=False)
    print(run.step, flush=True)
"""


@pytest.mark.slow
def test_a_run_killed_at_any_moment_resumes_as_if_nothing_had_been(tmp_path: Path) -> None:
    paths = [str(Path(__file__).parents[2] / "stand_ins"), str(Path(__file__).parents[3])]
    reached = []
    for delay_s in (0.0, 0.011, 0.023, 0.037, 0.051):
        command = [sys.executable, "-c", ENDLESS_RUN, str(tmp_path), *paths]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(4):
                process.stdout.readline()
            time.sleep(delay_s)
            process.send_signal(signal.SIGKILL)
        resumed = Run(tmp_path, steps_per_env=8).resume()
        uninterrupted = Run(tmp_path / "other", steps_per_env=8)
        uninterrupted.advance(resumed.step)
        assert_same(resumed, uninterrupted.everything())
        reached.append(resumed.step)
    assert reached == sorted(set(reached))
