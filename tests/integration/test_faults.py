"""What goes wrong around training stops it in words and leaves the last checkpoint intact."""

import errno
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train_runs import (
    QUICK,
    ROOT,
    STEPS,
    launch,
    make_run_replay,
    metrics_of,
    result_of,
    resume,
    train,
)

import robodreamer.training.reporter
from faulty_env import FAULTS, FAULTY_ENVIRONMENT, FAULTY_STEP, FINE, Faulty
from robodreamer.runs.checkpoint import CheckpointError, Checkpoints
from robodreamer.training.reporter import Reporter
from robodreamer_sim.errors import EnvironmentFault, GraphicsError
from robodreamer_sim.vector.vector_env import VectorEnv

BLIND = (
    "--observe=proprio", "--data.action-repeat=1", "--checkpoint-steps=10", "--log-steps=10",
)  # fmt: skip
FAULTY_AFTER = 2 * (FAULTY_STEP - 2 + 4)
"""Records of both environments: starts of four episodes, and the steps before the faulty one but
the one that was taken to see whether `info` tells success."""


def last_words(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command said in the end."""
    return capsys.readouterr().err.rpartition("robodreamer: ")[2]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_an_environment_stops_the_run_and_is_kept(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(run, *BLIND, task=f"gym:faulty_env:{fault}-v0") == 2
    words = last_words(capsys)
    saved = Path(words.rpartition("see ")[2].strip())
    assert FAULTS[fault] in words
    assert words.startswith(f"after {FAULTY_AFTER} steps, ")
    assert saved.parent == run / "faults"
    transition = np.load(saved)
    if fault == "Dies":
        assert "environments 0 to 1" in words
        assert transition["before.action"].shape == (2, 1)
    else:
        assert f"environment {FAULTY_ENVIRONMENT}, " in words
        assert transition["before.action"].shape == (1,)
        assert transition["before.proprio.steps"].tolist() == [FAULTY_STEP - 1] * 2
    if fault in {"Nan", "Shape"}:
        assert "proprio/steps" in words
        after = transition["after.proprio.steps"]
        assert after.shape == (3,) or np.isnan(after[1])
    assert f"what was learnt until then is in {run / 'checkpoints'}" in words
    assert result_of(run)["step"] == FAULTY_AFTER
    assert metrics_of(run)[-1]["step"] == FAULTY_AFTER


def test_a_run_goes_on_after_a_fault_without_the_episodes_that_broke_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(Faulty, "numbers", itertools.count())
    words = "--num-workers=0", "--data.replay-capacity=400"
    assert train(run, *BLIND, *words, task="gym:faulty_env:Nan-v0") == 2
    newest = Checkpoints(run).latest()
    assert newest is not None
    begun = Checkpoints(run).load(newest).state["first_episodes"]
    assert resume(run, "--num-workers=0") == 0
    assert result_of(run)["step"] >= STEPS
    after = make_run_replay(run)
    newest = Checkpoints(run).latest()
    assert newest is not None
    Checkpoints(run).restore_replay(Checkpoints(run).load(newest), after)
    (block,) = after.snapshot()[0].blocks(["is_first", "is_last"], FAULTY_AFTER // 2 - 1)
    is_first, is_last = (block.values[name].unflatten(0, (-1, 2)) for name in block.values)
    assert not is_last[0].any(), "the last record before the fault ends nothing"
    assert is_first[1].all(), "and the next one begins episodes"
    assert min(begun) >= 4  # of three whole ones, and of the one that broke off


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "the disk of films"), GraphicsError("GL")])
def test_what_fails_beside_the_learner_loses_nothing_that_was_learnt(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise failure

    run = tmp_path / "run"
    monkeypatch.setattr(Reporter, "evaluate", fail)
    words = (
        "--num-workers=0",
        "--evaluate-minutes=1",
        "--evaluate-steps=30",
        "--checkpoint-steps=99",
    )
    assert train(run, *BLIND, *words, "--num-workers=0", task=FINE) == 2
    said = capsys.readouterr().err
    assert str(failure) in said
    assert "what was learnt until then is in" in said
    assert result_of(run)["step"] == 30


def test_a_fault_of_an_evaluation_is_kept_as_that_of_its_own_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits: list[float] = []

    def fail(_: object, envs: VectorEnv, __: int) -> None:
        waits.append(envs._timeout_s)
        fields: dict[str, Any] = {
            "action": np.ones(1),
            "observation": {"proprio/steps": np.ones(2)},
        }
        raise EnvironmentFault("environment 4: it broke", environment=4, **fields)  # one of five

    monkeypatch.setattr(robodreamer.training.reporter, "evaluate", fail)
    run = tmp_path / "run"
    words = (
        "--num-workers=0",
        "--evaluate-minutes=1",
        "--evaluate-steps=30",
        "--checkpoint-steps=99",
    )
    assert train(run, *BLIND, *words, "--env-timeout-s=77", task=FINE) == 2
    said = last_words(capsys)
    assert "after 30 steps, in an evaluation, environment 4: it broke; what was learnt" in said
    saved = np.load(run / "faults" / "step-000000030-evaluation-env-4.npz")
    assert sorted(saved) == ["after.proprio.steps", "before.action"]
    assert result_of(run)["step"] == 30
    assert waits == [77.0]


def test_what_was_learnt_and_cannot_be_saved_is_told_with_the_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CheckpointError("the disk is full")

    monkeypatch.setattr(Faulty, "numbers", itertools.count())
    monkeypatch.setattr(Checkpoints, "save", fail)
    words = "--num-workers=0", "--checkpoint-steps=1000"
    assert train(tmp_path / "run", *BLIND, *words, task="gym:faulty_env:Nan-v0") == 2
    said = last_words(capsys)
    assert FAULTS["Nan"] in said
    assert "could not be saved: the disk is full" in said


def test_training_goes_on_past_faults_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(Faulty, "numbers", itertools.count())  # other tests count in this process
    words = "--on-crash=restart", "--num-workers=0", "--steps=60"
    assert train(run, *BLIND, *words, task="gym:faulty_env:Nan-v0") == 0
    said = capsys.readouterr().err
    assert said.count("warning: a simulator was restarted, its episodes broke off") == 1
    assert FAULTS["Nan"] in said
    assert metrics_of(run)[-1]["dropped_episodes"] == 2
    assert result_of(run)["step"] >= 60


def test_a_fault_that_cannot_be_saved_is_told_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", fill_disk)
    assert train(tmp_path / "run", *BLIND, "--num-workers=0", task="gym:faulty_env:Nan-v0") == 2
    words = last_words(capsys)
    assert FAULTS["Nan"] in words
    assert "could not be saved: [Errno 28] No space left on device" in words


def test_training_that_diverges_stops_and_leaves_finite_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = "--algorithm.optimizer.learning-rate=1e30", "--num-workers=0"
    assert train(run, *BLIND, *words, task=FINE) == 2
    assert "training diverged: " in last_words(capsys)
    tensors = [v for k, v in result_of(run).items() if k.startswith("agent/")]
    assert all(value.isfinite().all() for value in tensors)


def test_a_full_disk_stops_training_and_the_older_checkpoint_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    sync = os.fsync

    def fill_disk(descriptor: int) -> None:
        names = [path.name for path in run.glob("checkpoints/*")]
        if len(names) == 3 and min(names).startswith("."):  # the third is being written
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fill_disk)
    words = "--num-workers=0", "--checkpoint-steps=20", "--log-steps=2"
    assert train(run, *BLIND, *words, task=FINE) == 2
    words = last_words(capsys)
    assert "No space left on device" in words
    assert metrics_of(run)[-1]["step"] < 80, "it went on until the next checkpoint"
    newest = max(path.name for path in run.glob("checkpoints/step-*"))
    assert f"{newest} stays the newest" in words
    monkeypatch.undo()
    assert f"step-{result_of(run)['step']:09d}" == newest
    assert not list(run.glob("checkpoints/.step-*"))


@pytest.mark.slow
def test_a_disk_that_is_really_full_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    inside = f"""
        mount -t tmpfs -o size=1500k tmpfs {disk} || exit 99
        {sys.executable} -m robodreamer train fetch_reach --run={disk}/run {" ".join(QUICK)} \
            --steps=100000
        echo status $?
        cp -r {disk}/run {copy}
    """
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "sim", "deploy"))
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip(f"cannot make a small disk here: {done.stderr}")
    assert "status 2" in done.stdout, done.stderr
    *_, words = done.stderr.splitlines()
    assert words.startswith("robodreamer: ")
    assert "No space left on device" in words
    assert result_of(copy)["step"] > 0


NO_GRAPHICS = {
    "no driver": {"__EGL_VENDOR_LIBRARY_DIRS": "/nonexistent", "MUJOCO_GL": ""},
    "no library": {"LD_LIBRARY_PATH": "{folder}", "MUJOCO_GL": ""},
    "no library for the back end": {"LD_LIBRARY_PATH": "{folder}", "MUJOCO_GL": "osmesa"},
    "no display": {"DISPLAY": "", "MUJOCO_GL": "glfw"},
    "no such back end": {"MUJOCO_GL": "crayons"},
}


@pytest.mark.parametrize(
    "kind",
    ["no driver", *(pytest.param(k, marks=pytest.mark.slow) for k in list(NO_GRAPHICS)[1:])],
)
def test_without_graphics_one_line_says_what_to_do(kind: str, tmp_path: Path) -> None:
    for name in ("libEGL.so", "libEGL.so.0", "libEGL.so.1", "libOSMesa.so", "libOSMesa.so.8"):
        (tmp_path / name).write_text("not a library")
    environment = {k: v.format(folder=tmp_path) for k, v in NO_GRAPHICS[kind].items()}
    with (tmp_path / "log").open("wb") as log:
        run = launch(
            "fetch_reach", f"--run={tmp_path}/run", *QUICK, output=log, environment=environment
        )
        assert run.wait() == 2
    assert not (tmp_path / "run").exists(), "the same command could not be repeated"
    *_, words = (tmp_path / "log").read_text().splitlines()
    assert words.startswith("robodreamer: ")
    assert "apt-get install" in words or "unset MUJOCO_GL" in words


@pytest.mark.slow
@pytest.mark.parametrize("module", ["robodreamer robot", "robodreamer_sim.robots.virtual_hardware"])
def test_a_simulated_robot_without_graphics_says_what_to_do(module: str) -> None:
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "sim", "deploy"))
    done = subprocess.run(
        [sys.executable, "-m", *module.split(), "arm_reach", "--listen", "tcp://127.0.0.1:1"],
        env=os.environ | {"PYTHONPATH": path, "MUJOCO_GL": "crayons"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "unset MUJOCO_GL" in done.stderr.splitlines()[-1]
