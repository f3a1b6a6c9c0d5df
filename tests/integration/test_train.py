"""Training from the command line: it learns, leaves a run folder, and stops when asked to."""

import fcntl
import math
import os
import pty
import re
import signal
import struct
import termios
import time
from dataclasses import fields
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest
import torch
from train_runs import (
    CHECKPOINT_STEPS,
    QUICK,
    STEPS,
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

from robodreamer.config import LossScales
from robodreamer.data.replay import make_replay
from robodreamer.evaluation.evaluate import Evaluation
from robodreamer.learning.learner import Learner
from robodreamer.models.sampling import RandomSampler
from robodreamer.runs.checkpoint import Checkpoints
from robodreamer.runs.metrics import read_metrics
from robodreamer.runs.run_folder import load_run, make_agent, read_run

TIMELY = tuple(word for word in QUICK if not word.startswith(("--deterministic", "--steps")))
ENDLESS = (*TIMELY, "--steps=100000", "--log-seconds=0.2")
STOP_S = 60.0  # generous, for busy machines; an idle one takes less than a second
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_every_parameter_moves(quick_run: Path) -> None:
    loaded = load_run(quick_run)
    before = dict(make_agent(loaded.config, loaded.contract).named_parameters())
    after = dict(loaded.agent.named_parameters())
    still = [name for name, value in after.items() if torch.equal(value, before[name])]
    assert still == []
    assert all(value.isfinite().all() for value in after.values())


def test_every_loss_is_logged_and_finite(quick_run: Path) -> None:
    _, contract, _ = read_run(quick_run)
    # The debug preset has its KL in two terms.
    names = {field.name for field in fields(LossScales)}
    names -= {"images", "vectors", "auxiliary", "kl"}
    names |= {signal.name for signal in contract.observations} | {"total"}
    names |= {f"auxiliary/{signal.name}" for signal in contract.privileged}
    *_, last = read_metrics(quick_run)
    assert {name.removeprefix("loss/") for name in last if name.startswith("loss/")} == names
    assert all(math.isfinite(value) for value in last.values())


def test_every_figure_is_explained_on_the_page_about_metrics(quick_run: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    told = set(re.findall(r"`([a-z_/.]+)`", page))
    families = tuple(name.removesuffix("...") for name in told if name.endswith("/..."))
    logged = {name for line in read_metrics(quick_run) for name in line}
    one = np.ones(1)
    logged |= {f"evaluation/{name}" for name in Evaluation(one, one, one, one).summary()}
    assert {name for name in logged - told if not name.startswith(families)} == set()


def test_losses_on_a_fixed_batch_fall(quick_run: Path) -> None:
    config, contract, _ = read_run(quick_run)
    agent = make_agent(config, contract)
    length = config.data.replay_context + config.data.batch_length
    replay = make_replay(
        contract, agent, num_envs=config.data.num_envs, capacity=config.data.replay_capacity,
        sequence_length=length, seed=0, device=torch.device("cpu"),
    )  # fmt: skip
    checkpoints = Checkpoints(quick_run)
    checkpoints.restore_replay(checkpoints.load(checkpoints.history()[-1]), replay)
    batch = replay.sample(4).data
    learner = Learner(agent, config.algorithm.optimizer, replay_context=config.data.replay_context)
    first, last = {}, {}
    for update in range(40):
        sampler = RandomSampler(torch.Generator().manual_seed(0))
        last, _ = learner.update(batch, sampler)
        first = first if update else last
    falling = ["total", "reward", *agent.world_model.decoder.signals]
    risen = [name for name in falling if not last[f"loss/{name}"] < first[f"loss/{name}"]]
    assert risen == []


def test_updates_follow_the_replay_ratio_at_every_report(quick_run: Path) -> None:
    config, _, _ = read_run(quick_run)
    batch_steps = config.data.batch_size * config.data.batch_length
    sequence = config.data.replay_context + config.data.batch_length
    start = max(config.data.prefill, batch_steps, sequence * config.data.num_envs)
    for line in read_metrics(quick_run):
        due = max(0, line["step"] - start) * config.data.train_ratio / batch_steps
        assert line["updates"] == math.floor(due)


def test_the_run_folder_holds_what_the_run_was_made_from(quick_run: Path) -> None:
    config, contract, provenance = read_run(quick_run)
    assert config.task == contract.task == "fetch_reach"
    assert provenance["packages"]["torch"] == torch.__version__
    assert {"numpy", "mujoco", "gymnasium", "safetensors"} <= provenance["packages"].keys()
    assert re.fullmatch(r"[0-9a-f]{40}|", provenance["commit"])
    names = {path.name for path in quick_run.iterdir()}
    assert {"config.json", "contract.json", "metrics.jsonl", "checkpoints", "replay"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)


def test_the_run_folder_holds_nothing_that_is_executed_on_load(quick_run: Path) -> None:
    kinds = {p.suffix for p in quick_run.rglob("*") if p.is_file() and "events" not in p.name}
    assert kinds == {".json", ".jsonl", ".safetensors"}


def test_checkpoints_fall_at_fixed_steps_and_old_ones_go(quick_run: Path) -> None:
    steps = [found.step for found in Checkpoints(quick_run).history()]
    assert steps == [2 * CHECKPOINT_STEPS + 4, STEPS + 4]


def test_evaluations_are_logged_and_change_nothing(quick_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = "--steps=60", "--evaluate-minutes=1", "--evaluate-steps=50", "--evaluate-episodes=1"
    assert train(run, *words, "--num-workers=0") == 0
    lines = metrics_of(run)
    evaluations = [line for line in lines if "evaluation/success" in line]
    assert [line["step"] for line in evaluations] == [50, 64]
    reports = [line for line in lines if line not in evaluations]
    assert [line["step"] for line in reports] == [20, 40, 44, 60, 64]
    assert reports[:4] == metrics_of(quick_run)[:4]


def end(process: Popen[bytes]) -> int:
    """Wait for the end of a run that was told to stop; return its exit status."""
    began = time.monotonic()
    status = process.wait(STOP_S)
    assert time.monotonic() - began < STOP_S
    return status


def test_under_nohup_a_closed_terminal_is_ignored_and_sigterm_saves(tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited by the run, as under nohup
    try:
        with log.open("wb") as file:
            process = launch("fetch_reach", f"--run={run}", *ENDLESS, output=file)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert wait_until(lambda: num_lines(run) >= 2, process), log.read_text()
    os.killpg(process.pid, signal.SIGHUP)
    lines = num_lines(run)
    assert wait_until(lambda: num_lines(run) >= lines + 2, process), "it ended"
    family = family_of(process.pid)
    os.killpg(process.pid, signal.SIGTERM)  # as `timeout` and batch systems do it
    assert end(process) == 130, log.read_text()
    assert family
    require_gone(family)
    assert result_of(run)["step"] == read_metrics(run)[-1]["step"]
    text = log.read_text()
    assert "\x1b" not in text
    assert "\r" not in text
    reports = [line for line in text.splitlines() if "updates" in line]
    assert len(reports) == num_lines(run)
    assert all(re.match(r" *\d+% steps [\d,]+ \(\d+/s\) \| .*left \S+", line) for line in reports)
    lines = num_lines(run)
    assert resume(run, f"--steps={result_of(run)['step'] + 10}", "--num-workers=0") == 0
    assert num_lines(run) > lines


def test_ctrl_c_while_the_run_is_built_leaves_at_once_and_nothing_behind(tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    with log.open("wb") as file:
        process = launch("fetch_reach", f"--run={run}", *ENDLESS, output=file)
        assert wait_until(lambda: bool(family_of(process.pid)), process)  # workers start
        family = family_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        assert end(process) == 130
    assert log.read_text() == ""
    assert not run.exists()
    require_gone(family)


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, pytest.param(signal.SIGQUIT, marks=pytest.mark.slow)]
)
def test_a_closed_terminal_or_ctrl_backslash_saves_and_no_worker_dies_of_it_first(
    number: signal.Signals, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    terminal, theirs = pty.openpty()
    process = launch("fetch_reach", f"--run={run}", *ENDLESS, output=theirs)
    os.close(theirs)
    assert wait_until(lambda: num_lines(run) >= 2, process)
    family = family_of(process.pid)
    for worker in family:
        os.kill(worker, number)
    os.close(terminal)  # writing fails with EIO from now on
    lines = num_lines(run)
    assert wait_until(lambda: num_lines(run) >= lines + 2, process), "it ended unsaved"
    os.killpg(process.pid, number)
    assert end(process) == 130
    assert len(family) >= 1
    require_gone(family)
    assert result_of(run)["step"] == read_metrics(run)[-1]["step"]


@pytest.mark.slow
def test_two_interrupts_leave_at_once_and_the_last_checkpoint_loads(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = "--checkpoint-minutes=0.0005", "--data.train-ratio=200"  # saves nearly every step
    process = launch("fetch_reach", f"--run={run}", *ENDLESS, *words)
    assert wait_until(lambda: len(Checkpoints(run).history()) >= 2, process)
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGQUIT)
    assert end(process) == 130
    assert result_of(run)["step"] > 0


def read_all(terminal: int) -> str:
    """Return everything that was written to a terminal until its last user has gone."""
    content = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says EIO when nobody has the other end open
            return content.decode()
        content += piece


def test_ctrl_c_in_a_narrow_terminal_saves_and_no_line_wraps(tmp_path: Path) -> None:
    run = tmp_path / "a-folder-whose-name-is-so-long-that-it-does-not-fit-beside-a-bar" / "run"
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(theirs, "wb") as end_of_run:
        process = launch(
            "fetch_reach", f"--run={run}", *ENDLESS,
            output=end_of_run, environment={"TERM": "xterm-256color", "COLUMNS": ""},
        )  # fmt: skip
        assert wait_until(lambda: num_lines(run) >= 3, process)
        os.killpg(process.pid, signal.SIGINT)
    text = read_all(terminal)
    os.close(terminal)
    assert end(process) == 130, text
    assert text.count("saving; Ctrl-C again leaves at once") == 1
    assert result_of(run)["step"] == read_metrics(run)[-1]["step"]
    assert text.rstrip().endswith("\x1b[?25h"), "the cursor stays hidden"
    lines = [line for row in ESCAPES.sub("", text).split("\n") for line in row.split("\r")]
    assert max(map(len, lines)) <= 80
    for name in ("done", "steps", "updates", "waiting for"):
        shown = [line for line in lines if line.startswith(name)]
        assert len(shown) >= 3
    assert any(line.rstrip().endswith("…") for line in lines), "the title was not cut"


@pytest.mark.slow
def test_a_run_that_ends_is_evaluated_once_for_it(tmp_path: Path) -> None:
    words = "--evaluate-minutes=1", "--evaluate-steps=30", "--evaluate-episodes=1", "--steps=60"
    assert train(tmp_path, "--observe=proprio", "--num-workers=0", *words) == 0
    evaluated = [line["step"] for line in read_metrics(tmp_path) if "evaluation/return" in line]
    assert len(evaluated) == 2
    assert 30 <= evaluated[0] < 60 <= evaluated[1]
