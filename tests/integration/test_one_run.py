"""One run, one folder: whoever comes second is refused and changes nothing, whatever the timing."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
from test_refused import content
from train_runs import PATIENCE_S, QUICK, ROOT, launch, num_lines, result_of, train, wait_until

from faulty_env import FINE
from robodreamer.cli.main import main
from robodreamer.export import export
from robodreamer.export.folder import Origin
from robodreamer.runs.checkpoint import Checkpoints
from robodreamer.runs.files import FolderInUseError, locked
from robodreamer.runs.metrics import read_metrics
from robodreamer.runs.run_folder import read_run
from robodreamer.training import builder

BLIND = "--observe=proprio", "--data.action-repeat=1", "--num-workers=0"
FEW = (*QUICK, *BLIND, "--steps=40")
TIMELY = tuple(word for word in QUICK if not word.startswith(("--deterministic", "--steps")))
ENDLESS = (*TIMELY, *BLIND, "--steps=1000000")
REFUSED = "another process is at work in"


RACE = """
import json, os, sys
# Imported once, before any thread is started.
import robodreamer.cli.main, robodreamer.training.builder
racers = []
reading, writing = os.pipe()
for number, words in enumerate(json.loads(sys.argv[1])):
    racers.append(os.fork())
    if not racers[-1]:
        os.dup2(os.open(f"{sys.argv[2]}/{number}", os.O_CREAT | os.O_WRONLY), 2)
        os.close(writing)
        os.read(reading, 1)  # until all are there
        sys.exit(robodreamer.cli.main.main(words))
os.close(writing)
print([os.waitstatus_to_exitcode(os.waitpid(racer, 0)[1]) for racer in racers])
"""


def race(commands: Sequence[Sequence[str]], folder: Path) -> list[tuple[int, str]]:
    """Run commands at once in processes of their own; return exit codes and error outputs."""
    done = subprocess.run(
        [sys.executable, "-c", RACE, json.dumps(commands), folder],
        env=environment(), capture_output=True, text=True, check=True, timeout=PATIENCE_S,
    )  # fmt: skip
    statuses = json.loads(done.stdout.splitlines()[-1])
    return [(status, (folder / str(i)).read_text()) for i, status in enumerate(statuses)]


def environment() -> dict[str, str]:
    """Return the environment in which a process finds this source tree."""
    folders = (ROOT, ROOT / "sim", ROOT / "deploy", ROOT / "tests" / "stand_ins")
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}


def test_of_new_runs_that_race_for_one_folder_one_trains_and_it_is_the_one_on_record(
    tmp_path: Path,
) -> None:
    run = tmp_path / "runs" / "run"
    seeds = range(1, 4)
    commands = [["train", FINE, f"--run={run}", *FEW, f"--seed={seed}"] for seed in seeds]
    results = dict(zip(seeds, race(commands, tmp_path), strict=True))
    winners = [seed for seed, (status, _) in results.items() if status == 0]
    assert len(winners) == 1, results
    for seed, (status, words) in results.items():
        if seed not in winners:
            assert status == 2, words
            assert REFUSED in words or "holds a run already" in words
    assert read_run(run)[0].seed == winners[0]
    alone = tmp_path / "alone"
    assert train(alone, *BLIND, "--steps=40", f"--seed={winners[0]}", task=FINE) == 0
    assert [line["step"] for line in read_metrics(run)] == [
        line["step"] for line in read_metrics(alone)
    ]
    assert (run / "contract.json").read_bytes() == (alone / "contract.json").read_bytes()


def test_a_run_that_another_has_overtaken_while_it_was_built_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    before: dict[str, bytes] = {}
    make = builder.make_envs
    first = itertools.count()

    def interrupted(*arguments: object) -> object:
        if next(first) == 0:
            assert train(run, *BLIND, "--steps=40", "--seed=7", task=FINE) == 0
            before.update(content(run))
        return make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builder, "make_envs", interrupted)
    assert train(run, *BLIND, "--steps=40", "--seed=8", task=FINE) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert before
    assert content(run) == before


def test_a_new_run_is_locked_before_a_byte_of_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, present = builder.write_run, list[list[Path]]()

    def checked(folder: Path, *arguments: object) -> None:
        with pytest.raises(FolderInUseError), locked(folder):
            pass
        present.append([path for path in folder.iterdir() if path.stat().st_size])
        write(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builder, "write_run", checked)
    assert train(tmp_path / "run", *BLIND, "--steps=40", task=FINE) == 0
    assert present == [[]]


@contextmanager
def in_training(run: Path, *words: str) -> Iterator[Popen[bytes]]:
    """Keep a run going that saves nearly all the time, until the end of the block."""
    process = launch(FINE, f"--run={run}", *ENDLESS, *words)
    try:
        assert wait_until(lambda: len(Checkpoints(run).history()) >= 2, process)
        yield process
        assert process.poll() is None, "it did not survive the others"
    finally:
        process.kill()
        process.wait()


def settings(run: Path) -> dict[str, bytes]:
    """Return the files of a run that nobody may change once they are there."""
    return {name: (run / name).read_bytes() for name in ("config.json", "contract.json")}


def test_a_run_in_training_can_be_read_and_not_changed_by_another_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "demo"
    run = out / "run"
    exported: list[Origin] = []
    # The rest of an export takes long and never looks at the run again.
    monkeypatch.setattr(export, "export_policy", lambda *_, origin, **__: exported.append(origin))
    with in_training(run, "--checkpoint-minutes=0.0005", "--log-seconds=0.1"):
        before = settings(run)
        for words in (
            ["train", f"--run={run}", "--resume"],
            ["train", f"--run={run}", FINE, *FEW, "--seed=3"],
            ["demo", f"--out={out}", "--task=fetch_reach", "--fresh"],
        ):
            assert main(words) == 2
            said = capsys.readouterr().err
            assert REFUSED in said or (words[0] == "train" and "holds a run already" in said)
            assert "Traceback" not in said
        assert main(["evaluate", str(run), "--episodes=1", "--draw=mode"]) == 0
        assert main(["export", str(run), f"--out={tmp_path}/policy", "--episodes=0"]) == 0
        assert settings(run) == before
    assert [origin.run for origin in exported] == ["run"]
    assert result_of(run)["step"] > 0
    assert num_lines(run) > 0
