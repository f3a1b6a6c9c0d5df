"""Best checkpoint: its ranking, the states that are kept, and the effect of a resume."""

import errno
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from replay_records import make_replay
from robodreamer.runs.best_checkpoint import BestStates, Evaluated
from robodreamer.runs.checkpoint import Checkpoints


def weights(step: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((3,), float(step))}


def offer(states: BestStates, step: int, score: float, success: float | None = None) -> bool:
    return states.offer(Evaluated(step, score, success), weights(step))


def steps(states: BestStates) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in states.folder.iterdir())


def best_step(states: BestStates) -> int:
    best = states.best()
    assert best is not None
    assert torch.equal(states.load(best)["weight"], weights(best.step)["weight"])
    return best.step


def test_success_decides_the_return_breaks_ties_and_the_newer_of_equals_counts(
    tmp_path: Path,
) -> None:
    states = BestStates(tmp_path)
    assert states.best() is None
    assert offer(states, 10, -5.0, 0.2)
    assert not offer(states, 20, -1.0, 0.1), "a better return, but fewer successes"
    assert offer(states, 30, -9.0, 0.8)
    assert offer(states, 40, -9.0, 0.8)
    assert not offer(states, 50, -9.5, 0.8)
    assert not offer(states, 60, float("nan"), 1.0)
    assert best_step(states) == 40


def test_where_success_is_not_known_the_return_decides(tmp_path: Path) -> None:
    states = BestStates(tmp_path)
    assert offer(states, 10, 159.0)
    assert offer(states, 20, 500.0)
    assert not offer(states, 30, 159.0)
    assert str(states.best()) == "return 500.0 at step 20"


def test_reading_while_training_deletes_a_state_yields_all_of_it_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = BestStates(tmp_path)
    delete, read = shutil.rmtree, Path.read_text
    seen: list[int] = []

    def look_and_delete(path: Path, **settings: Any) -> None:
        if path.exists():
            (path / "agent.safetensors").unlink()  # what is deleted first
            seen.append(best_step(BestStates(tmp_path)))
        delete(path, **settings)

    monkeypatch.setattr(shutil, "rmtree", look_and_delete)
    for step in (10, 20, 30):
        assert offer(states, step, float(step))
    states.resume(25)
    assert seen == [30, 20]

    def delete_and_read(path: Path) -> str:
        if path.parent.name == "step-000000020":
            delete(path.parent)
        return read(path)

    monkeypatch.setattr(Path, "read_text", delete_and_read)
    assert states.best() is None


def test_a_resumed_run_goes_on_with_the_best_state_before_its_checkpoint(tmp_path: Path) -> None:
    states, checkpoints = BestStates(tmp_path), Checkpoints(tmp_path)
    replay = make_replay(num_envs=2, steps_per_env=8)
    offer(states, 10, 1.0)
    checkpoints.save(15, {}, {}, replay, wait=True)
    for step in (20, 30, 40):
        offer(states, step, float(step))
    assert steps(states) == [10, 30, 40], "the checkpoint goes back to the first"
    states.resume(15)
    assert best_step(states) == 10
    checkpoints.save(45, {}, {}, replay, wait=True)
    states.resume(0)  # a run that was killed before its first checkpoint begins again
    assert states.best() is None


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_evaluated_saved_and_resumed_the_best_is_that_of_the_line(
    seed: int, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    checkpoints = Checkpoints(tmp_path, keep=rng.choice((1, 2, 3)))
    replay = make_replay(num_envs=2, steps_per_env=8)
    states, line = BestStates(tmp_path), list[Evaluated]()
    for step in range(1, 41):
        action = rng.choice(("evaluate", "evaluate", "save", "resume"))
        if action == "evaluate":
            found = Evaluated(step, float(rng.randrange(5)), rng.choice((None, 0.5, 1.0)))
            states.offer(found, weights(step))
            line.append(found)
        elif action == "save":
            checkpoints.save(step, {}, {}, replay, wait=True)
        elif history := checkpoints.history():
            chosen = rng.choice(history)
            checkpoints = Checkpoints(tmp_path, keep=checkpoints.keep)
            checkpoints.restore_replay(checkpoints.load(chosen), replay)
            states = BestStates(tmp_path)
            states.resume(chosen.step)
            line = [state for state in line if state.step <= chosen.step]
            for newer in (found for found in history if found.step > chosen.step):
                shutil.rmtree(newer.path)  # as the first save after a resume does
        assert states.best() == max(line, key=lambda state: state.rank, default=None)


def test_a_failed_write_leaves_the_best_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    states = BestStates(tmp_path)
    offer(states, 10, 1.0)
    monkeypatch.setattr(os, "fsync", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        offer(states, 20, 2.0)
    assert [path.name for path in states.folder.iterdir()] == ["step-000000010"]
    assert best_step(states) == 10


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    states = BestStates(tmp_path)
    offer(states, 10, 1.0)
    best = states.best()
    assert best is not None
    path = states.path(best) / "agent.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="is damaged: its checksum differs"):
        states.load(best)
