"""A run that is killed and resumed ends exactly as one that was never interrupted."""

import json
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from train_runs import (
    QUICK,
    STEPS,
    differences,
    family_of,
    launch,
    metrics_of,
    num_lines,
    require_gone,
    result_of,
    resume,
    train,
    wait_until,
)

from robodreamer.runs.best_checkpoint import BestStates
from robodreamer.runs.checkpoint import Checkpoints

MAX_LINES = STEPS // 20 + 3
EVALUATED = (
    "--threads=0", "--evaluate-minutes=1", "--evaluate-steps=50", "--evaluate-episodes=1",
)  # fmt: skip
KILLED_RUNS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))]


def start(run: Path, *words: str) -> Popen[bytes]:
    """Begin a quick run, or resume what a kill has left of one."""
    if (run / "config.json").exists():
        return launch(f"--run={run}", "--resume")
    return launch("fetch_reach", f"--run={run}", *QUICK, *words)


def kill(process: Popen[bytes]) -> None:
    """Kill a run without warning, and see that nothing of it is left."""
    family = family_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    require_gone(family)


def is_writing_checkpoint(run: Path) -> bool:
    """Whether a checkpoint is half written now."""
    return any((run / "checkpoints").glob(".step-*"))


def random_moment(run: Path, rng: random.Random) -> Callable[[], bool]:
    """Return a condition that becomes true somewhere in a run: in a step, or while it saves."""
    lines = rng.randrange(-1, MAX_LINES)
    if rng.random() < 0.5:
        return lambda: num_lines(run) >= lines
    return lambda: num_lines(run) >= lines and is_writing_checkpoint(run)


def kill_and_resume(run: Path, seed: int, *words: str) -> None:
    """Let a quick run end that was killed once or twice before."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 2))):
        process = start(run, *words)
        moment = random_moment(run, rng)
        if wait_until(moment, process):
            time.sleep(rng.uniform(0, 0.02))
        kill(process)
    if (run / "config.json").exists():
        assert resume(run) in {0, 2}  # 2: killed after its last checkpoint, nothing left to do
    else:
        assert train(run, *words) == 0


@pytest.mark.parametrize("seed", KILLED_RUNS)
def test_a_killed_and_resumed_run_ends_as_the_uninterrupted_one(
    seed: int, quick_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    kill_and_resume(run, seed)
    assert differences(result_of(run), result_of(quick_run)) == []
    assert metrics_of(run) == metrics_of(quick_run)


@pytest.fixture(scope="module")
def evaluated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished quick run that evaluates, with as many threads as torch likes; only to be read."""
    run = tmp_path_factory.mktemp("evaluated") / "run"
    assert train(run, *EVALUATED) == 0
    return run


@pytest.mark.slow
@pytest.mark.parametrize("seed", [10, 11])
def test_a_killed_run_that_evaluates_with_all_threads_ends_as_the_uninterrupted_one(
    seed: int, evaluated_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    kill_and_resume(run, seed, *EVALUATED)
    assert differences(result_of(run), result_of(evaluated_run)) == []
    assert evaluations(run) == evaluations(evaluated_run) != []
    assert best_of(run) == best_of(evaluated_run) != {}


def best_of(run: Path) -> dict[str, bytes]:
    """Return the best state that a run keeps."""
    states = BestStates(run)
    best = states.best()
    folder = states.path(best) if best else run / "none"
    return {path.name: path.read_bytes() for path in folder.glob("*")}


def evaluations(run: Path) -> list[dict[str, Any]]:
    """Return what evaluations during training said; the one after it follows no checkpoint."""
    return [m for m in metrics_of(run) if "evaluation/return" in m and m["step"] <= STEPS]


@pytest.mark.slow
def test_a_resumed_run_loses_the_same_frames(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    assert train(run, "--algorithm.camera-dropout=0.3", "--num-workers=0") == 0
    shutil.copytree(run, other)
    newest = Checkpoints(other).latest()
    assert newest is not None
    shutil.rmtree(newest.path)
    assert resume(other, "--num-workers=0") == 0
    assert differences(result_of(other), result_of(run)) == []
    assert metrics_of(other) == metrics_of(run)


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(quick_run: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", "--num-workers=2") == 0
    result = result_of(tmp_path / "run")
    assert differences(result, result_of(quick_run)) == []
    assert metrics_of(tmp_path / "run") == metrics_of(quick_run)


def test_a_deterministic_run_resumed_with_other_threads_or_packages_warns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    quick = "--observe=proprio", "--num-workers=0", "--steps=20"
    assert train(run, *quick) == 0
    assert resume(run, "--num-workers=0", "--steps=30") == 0
    assert "to the bit" not in capsys.readouterr().err
    record = json.loads((run / "config.json").read_text())
    record["packages"]["torch"] = "1.0"
    (run / "config.json").write_text(json.dumps(record))
    assert resume(run, "--num-workers=0", "--steps=40", "--threads=2") == 0
    said = capsys.readouterr().err
    assert "warning: from here on the run is not repeated to the bit" in said
    assert "threads 1, now 2" in said
    assert "torch 1.0, now " in said
    assert said.count("now ") == 2


def test_the_result_holds_all_that_training_depends_on(quick_run: Path) -> None:
    result = result_of(quick_run)
    names = " ".join(result)
    for part in ("actor", "slow_critic", "return", "optimizer/", "random/", "/deter", "/stoch"):
        assert part in names, part
    assert {"stop", "served", "rng"} <= result["replay"].keys()
    assert {"updates", "first_episodes"} <= result["state"].keys()
    assert len(result["state"]["episodes"]) >= 6
    assert result["replay"]["stop"] > 40  # more than the replay holds


def test_another_seed_is_another_run(quick_run: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", "--steps=40", "--seed=1", "--num-workers=0") == 0
    ours, theirs = metrics_of(tmp_path / "run")[1], metrics_of(quick_run)[1]
    assert ours["step"] == theirs["step"]
    assert ours["loss/total"] != theirs["loss/total"]


def test_a_run_killed_before_its_first_checkpoint_begins_again(
    quick_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "contract.json"):
        (run / name).write_bytes((quick_run / name).read_bytes())
    first, *_ = (quick_run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(f"{first}\n{first[:40]}")
    assert resume(run, "--num-workers=0") == 0
    assert metrics_of(run) == metrics_of(quick_run)
    assert differences(result_of(run), result_of(quick_run)) == []


def test_a_finished_run_is_not_prolonged_by_accident(
    quick_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = result_of(quick_run)
    assert resume(quick_run) == 2
    assert "is finished" in capsys.readouterr().err
    assert differences(result_of(quick_run), before) == []


def test_resuming_reads_the_settings_and_every_file_of_the_checkpoint_once(
    quick_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = Checkpoints(quick_run).latest()
    assert newest is not None
    folder, opened = newest.path, Counter[str]()
    read_bytes, read_text = Path.read_bytes, Path.read_text

    def count_bytes(path: Path) -> bytes:
        opened[path.name] += path.parent == folder
        return read_bytes(path)

    def count_text(path: Path, *arguments: Any) -> str:
        opened[path.name] += path.parent == quick_run
        return read_text(path, *arguments)

    files = {path.name for path in folder.iterdir()} | {"config.json", "contract.json"}
    assert {"agent.safetensors", "optimizer.safetensors", "random.safetensors"} <= files
    monkeypatch.setattr(Path, "read_bytes", count_bytes)
    monkeypatch.setattr(Path, "read_text", count_text)
    assert resume(quick_run) == 2, "it is finished, which shows when all has been restored"
    assert {name: opened[name] for name in files} == dict.fromkeys(files, 1)


def test_more_steps_prolong_a_finished_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(run, "--steps=40", "--num-workers=0") == 0
    assert resume(run, "--steps=60", "--num-workers=0") == 0
    steps = [line["step"] for line in metrics_of(run)]
    assert steps == [20, 40, 44, 60, 64]
    assert result_of(run)["step"] == 64


FAMILY = {
    "dreamer_v1": ("--preset=dreamer_v1", "--algorithm.optimizer.learning-rate=1e-3"),
    "dreamer_v2": ("--preset=dreamer_v2", "--algorithm.slow-critic-every=3"),
    "gumbel": ("--algorithm.latent=gumbel", "--algorithm.temperature-updates=20"),
    "surprise": ("--algorithm.intrinsic.kind=surprise", "--algorithm.intrinsic.scale=0.1"),
    "disagreement": (
        "--preset=dreamer_v2", "--algorithm.intrinsic.kind=disagreement",
        "--algorithm.intrinsic.scale=0.1", "--algorithm.intrinsic.members=2",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "member", ["dreamer_v1", *(pytest.param(n, marks=pytest.mark.slow) for n in [*FAMILY][1:])]
)
def test_every_member_of_the_family_resumes_exactly(member: str, tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    words = ("--observe=proprio", "--num-workers=0", *FAMILY[member])
    assert train(run, *words) == 0
    shutil.copytree(run, other)
    newest = Checkpoints(other).latest()
    assert newest is not None
    shutil.rmtree(newest.path)
    assert resume(other, "--num-workers=0") == 0
    assert differences(result_of(other), result_of(run)) == []
    assert metrics_of(other) == metrics_of(run)
