"""The demo: the right commands in the right order, nothing twice, and an honest stop.

Commands are stood in for, because the real ones take a quarter of an hour; tests/integration runs
those.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import demo_stand_in
from robodreamer.cli import demo as demo_module
from robodreamer.cli.demo import DemoArguments, demonstrate, execute
from robodreamer.cli.main import main, prepare
from robodreamer_deploy.cli.drive import parser

ROOT = Path(__file__).parents[3]
SOURCES = ":".join(str(ROOT / name) for name in ("", "sim", "deploy"))
COMMANDS = ["train", "evaluate", "evaluate", "export", "drive", "drive", "dream", "report"]


class Stage:
    """A folder in which demos are run, and what they called and said."""

    def __init__(self, folder: Path) -> None:
        self.out, self.log = folder / "demo", folder / "log.jsonl"
        self.said: list[str] = []

    def run(self, *, minutes: float = 15.0, fresh: bool = False) -> list[str]:
        """Run a demo; return the subcommands it called."""
        self.log.unlink(missing_ok=True)
        demonstrate(DemoArguments(minutes=minutes, out=self.out, fresh=fresh))
        return [call[1] if call[0] == "robodreamer" else "drive" for call in self.calls]

    @property
    def calls(self) -> list[list[str]]:
        """Every command line of the last run."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage(tmp_path)
    monkeypatch.setattr(
        demo_module, "execute", lambda words: demo_stand_in.main([*map(str, words)])
    )
    monkeypatch.setattr(demo_module, "say", stage.said.append)
    monkeypatch.setenv("DEMO_LOG", str(stage.log))
    return stage


def test_everything_is_done_in_order_and_the_end_says_where_to_look(stage: Stage) -> None:
    assert stage.run() == COMMANDS
    last = "\n".join(stage.said[-3:])
    assert "success in 94% of 50 episodes, 95 % interval 84% to 98%" in last
    assert str(stage.out / "report.html") in last
    assert (stage.out / "report.html").resolve().as_uri() in last


def test_every_word_is_understood_by_the_real_commands(stage: Stage, tmp_path: Path) -> None:
    stage.run()
    for program, *words in stage.calls:
        if program == "robodreamer-deploy":
            parser().parse_args(words)
            continue
        gone = [str(tmp_path / "gone") if str(stage.out) in word else word for word in words]
        if words[0] == "train":
            gone[-1] = "fetch_raech"  # the task is looked up after all words were read
        with pytest.raises(ValueError, match=r"gone|fetch_reach"):
            prepare(gone)


def test_what_is_done_is_not_repeated(stage: Stage) -> None:
    stage.run()
    assert stage.run() == []
    assert stage.said.count("done before") == len(COMMANDS)


def test_more_minutes_go_on_training_and_renew_the_rest(stage: Stage) -> None:
    stage.run()
    time.sleep(0.01)
    assert stage.run(minutes=20.0) == COMMANDS
    assert "--resume" in stage.calls[0]
    assert "--seed" not in stage.calls[0]


def test_a_part_is_renewed_with_what_was_made_from_it(stage: Stage) -> None:
    stage.run()
    (stage.out / "drive.json").unlink()
    assert stage.run() == ["drive", "report"]


def test_fresh_begins_again_and_deletes_nothing_of_others(stage: Stage) -> None:
    stage.run()
    (stage.out / "mine.txt").touch()
    (stage.out / "run" / "old").touch()
    assert stage.run(fresh=True) == COMMANDS
    assert (stage.out / "mine.txt").exists()
    assert not (stage.out / "run" / "old").exists()


def test_a_failing_part_stops_the_demo_with_its_status(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEMO_FAILS", "export")
    with pytest.raises(SystemExit) as stop:
        stage.run()
    assert stop.value.code == 7
    assert [call[1] for call in stage.calls] == ["train", "evaluate", "evaluate", "export"]
    assert "stand-in: no luck" in capfd.readouterr().err
    assert "'export to ONNX' failed" in stage.said[-1]
    monkeypatch.delenv("DEMO_FAILS")
    assert stage.run() == COMMANDS[3:]


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
)
def test_a_part_that_is_stopped_ends_by_itself(tmp_path: Path, number: int) -> None:
    log = tmp_path / "log.jsonl"
    code = (
        "import sys; from robodreamer.cli import demo; from robodreamer.cli.main import main; "
        f"file = {demo_stand_in.__file__!r}; "
        "demo.LAUNCHERS = {name: (file, name) for name in demo.LAUNCHERS}; "
        f"sys.exit(main(['demo', '--out', {str(tmp_path / 'demo')!r}]))"
    )
    environment = {"DEMO_LOG": str(log), "DEMO_WAITS": "train", "PYTHONPATH": SOURCES}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not log.with_suffix(".waiting").exists():
        assert process.poll() is None
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: to everybody in the foreground
    else:
        process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith("Stopped; the same command goes on from here.\n")
    assert log.with_suffix(".ended").exists()
    assert len(log.read_text().splitlines()) == 1  # and nothing came after it


def test_a_command_keeps_its_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", SOURCES)
    assert execute(["robodreamer", "tasks", "no such task"]) == 2
    assert execute(["robodreamer-deploy", "inspect", "nowhere"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "fetch_raech"], "fetch_reach"),
        (["--minutes", "0"], "--minutes is more than 0"),
        (["--seed", "1"], "demo of fetch_reach with seed 0"),
        (["--task", "fetch_push"], "--fresh"),
    ],
)
def test_what_cannot_be_demonstrated_is_refused(
    stage: Stage, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.run()
    assert main(["demo", "--out", str(stage.out), *words]) == 2
    assert message in capsys.readouterr().err


def test_the_list_of_tasks_is_filtered_and_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "cartpole"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == [
        "dmc_cartpole_balance",
        "dmc_cartpole_balance_sparse",
    ]
    assert main(["tasks"]) == 0
    out = capsys.readouterr().out
    assert "gym:ID" in out
    assert "fetch_pick_and_place_sparse" in out
    assert max(map(len, out.splitlines())) <= 80
    assert main(["tasks", "wlker"]) == 2
    assert "dmc_walker_run" in capsys.readouterr().err


def test_listing_tasks_loads_no_simulator() -> None:
    code = (
        "import sys; from robodreamer.cli.main import main; main(['tasks']); "
        "sys.exit(bool({'mujoco', 'gymnasium', 'torch'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": SOURCES}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL, check=False
    )
    assert result.returncode == 0
