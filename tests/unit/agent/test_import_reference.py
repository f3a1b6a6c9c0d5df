"""Imports of agents of the public code: accepted forms, and what is refused in which words."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from reference_checkpoints import DISCRETE, FOLDER, STEPS, golden_parameters, write_checkpoint
from robodreamer import import_reference
from robodreamer.cli.main import main
from robodreamer.reference.checkpoints import read_checkpoint
from robodreamer.runs.run_folder import load_run

TASK = "gym:golden_env:GoldenDiscrete-v0"
OTHER_TASK = "gym:golden_env:GoldenContinuous-v0"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return the log folder of the smaller golden agent."""
    return write_checkpoint(tmp_path / "log", DISCRETE, side=32)


def bias(log: Path, run: Path, *words: str) -> torch.Tensor:
    """Import a checkpoint by the command; return one of its parameters."""
    assert main(["import-reference", str(log), "--out", str(run), *words]) == 0
    return load_run(run).agent.actor_critic.critic.output.bias.detach()


def as_one_file(log: Path) -> Path:
    """Write the checkpoint as earlier releases did."""
    agent = pickle.loads((log / "ckpt" / FOLDER / "agent.pkl").read_bytes())  # noqa: S301
    shutil.rmtree(log / "ckpt")
    content = {"agent": agent, "step": STEPS, "_timestamp": 1.0}
    (log / "checkpoint.ckpt").write_bytes(pickle.dumps(content))
    return log


def as_npz(log: Path) -> Path:
    np.savez(log / "params.npz", **golden_parameters(DISCRETE)[0])  # type: ignore[arg-type]
    return log / "params.npz"


def as_safetensors(log: Path) -> Path:
    arrays = {name: np.ascontiguousarray(a) for name, a in golden_parameters(DISCRETE)[0].items()}
    safetensors.numpy.save_file(arrays, log / "params.safetensors")
    return log / "params.safetensors"


FORMS: dict[str, Callable[[Path], Path]] = {
    "log folder": lambda log: log,
    "folder of checkpoints": lambda log: log / "ckpt",
    "checkpoint": lambda log: log / "ckpt" / FOLDER,
    "file": lambda log: log / "ckpt" / FOLDER / "agent.pkl",
    "one file": as_one_file,
    "npz": as_npz,
    "safetensors": as_safetensors,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_checkpoint_is_read(form: str, log: Path) -> None:
    arrays, config = golden_parameters(DISCRETE)
    found = read_checkpoint(FORMS[form](log))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.parameters[name], array)
    assert found.settings is not None
    assert found.settings["agent"] == config  # numbers without a point, such as 4e-05, too
    assert found.steps == (STEPS if form not in ("npz", "safetensors") else None)


def test_signals_with_another_name_are_mapped_by_key(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = f"{TASK}?prefix=my_"
    words = ["import-reference", str(log), "--out", str(tmp_path / "run"), "--task", task]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "missing: dec/vec/my_state/pred/bias, dec/vec/my_state/pred/kernel" in error
    assert "unknown: dec/vec/state/pred/bias, dec/vec/state/pred/kernel" in error
    found = bias(log, tmp_path / "run", "--task", task, "--key", "proprio/my_state=state")
    expected = golden_parameters(DISCRETE)[0]["val/head/logits/bias"]
    np.testing.assert_array_equal(found.numpy(), expected)
    assert "12,345 steps" in capsys.readouterr().out


def test_a_task_of_dm_control_and_its_pictures_come_from_the_settings(tmp_path: Path) -> None:
    log = write_checkpoint(tmp_path / "log", DISCRETE, task="dmc_cartpole_swingup", side=32)
    with pytest.raises(ValueError, match="do not fit the agent") as refusal:
        read_and_fit(log, tmp_path / "run")
    message = str(refusal.value)
    assert "missing: dec/vec/position/pred/bias" in message  # of that task, with all signals
    assert "pol/head/action/logits/bias" in message  # and continuous actions
    assert "enc/cnn0" not in message  # the pictures fit


def read_and_fit(log: Path, out: Path, **words: Any) -> None:
    import_reference.prepare(log, out, log=lambda _: None, **words)


def without(name: str) -> Callable[[Path], None]:
    def remove(log: Path) -> None:
        (log / name).unlink()

    return remove


def with_parameter(name: str, value: Any) -> Callable[[Path], None]:
    def change(log: Path) -> None:
        path = log / "ckpt" / FOLDER / "agent.pkl"
        agent = pickle.loads(path.read_bytes())  # noqa: S301
        agent["params"][name] = value
        path.write_bytes(pickle.dumps(agent))

    return change


def with_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(log: Path) -> None:
        path = log / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


NAN = np.full(255, np.nan, np.float32)
REFUSED: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "no settings": (without("config.yaml"), ["--task", TASK], "name them with --size (debug, "),
    "other size": (
        without("config.yaml"), ["--task", TASK, "--size", "1m"],
        "dec/mlp/linear1/bias (16,) instead of (64,)",
    ),
    "no such size": (
        without("config.yaml"), ["--task", TASK, "--size", "2m"], "unknown size '2m'; there is "
    ),
    "no task": (lambda _: None, [], "config.yaml has 'gym_golden', which has no counterpart"),
    "other task": (lambda _: None, ["--task", OTHER_TASK], "pol/head/action/mean/bias"),
    "no such task": (lambda _: None, ["--task", "fetch_reech"], "the closest are fetch_reach"),
    "not complete": (without(f"ckpt/{FOLDER}/done"), ["--task", TASK], "done is missing"),
    "no such folder": (
        with_text("ckpt/latest", FOLDER, "gone"), ["--task", TASK], "names 'gone', and there"
    ),
    "no agent": (without(f"ckpt/{FOLDER}/agent.pkl"), ["--task", TASK], "there is no agent.pkl, "),
    "not finite": (
        with_parameter("val/head/logits/bias", NAN), ["--task", TASK],
        "NaN or infinity in what becomes actor_critic.critic.output.bias",
    ),
    "other release": (
        with_text("config.yaml", "act: silu", "act: gelu"), ["--task", TASK],
        "enc.simple.act is 'gelu', only 'silu' is possible",
    ),
    "broken settings": (
        with_text("config.yaml", "agent:", "agent: ["), ["--task", TASK], "config.yaml cannot be "
    ),
    "other program": (
        with_text("config.yaml", "agent:", "learner:"), ["--task", TASK], "has no section agent"
    ),
    "not square": (
        with_text("config.yaml", "- 32\n    - 32", "- 32\n    - 48"), ["--task", TASK],
        "--cameras NAME:32x48",
    ),
    "key without a name": (lambda _: None, ["--task", TASK, "--key", "a"], "takes OURS=THEIRS"),
    "key of no signal": (
        lambda _: None, ["--task", TASK, "--key", "proprio/stat=x"], "there is proprio/state, "
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_imported_is_refused_and_nothing_is_written(
    name: str, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words, expected = REFUSED[name]
    change(log)
    out = log.parent / "run"
    assert main(["import-reference", str(log), "--out", str(out), *words]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert len(error.splitlines()) == 1
    assert not out.exists()
    assert list(log.parent.glob(".*")) == []


def test_a_hostile_checkpoint_does_not_run_and_leaves_no_run(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "it_ran"
    hostile = f"cposix\nsystem\n(Vtouch {trace}\ntR.".encode()
    (log / "ckpt" / FOLDER / "agent.pkl").write_bytes(hostile)
    words = ["import-reference", str(log), "--out", str(tmp_path / "run"), "--task", TASK]
    assert main(words) == 2
    assert "is refused: it names posix.system" in capsys.readouterr().err
    assert not trace.exists()
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_replaced(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (log.parent / "run").mkdir()
    (log.parent / "run" / "config.json").write_text("{}")
    assert main(["import-reference", str(log), "--out", str(log.parent / "run")]) == 2
    assert "holds a run already" in capsys.readouterr().err
