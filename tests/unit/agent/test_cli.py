"""The command line: what it refuses, in which words, and what it makes of the words it takes."""

import dataclasses
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st

from robodreamer import __version__
from robodreamer.cli.main import COMMANDS, main
from robodreamer.cli.train import config_of, parse_train
from robodreamer.config import SIZES, TrainConfig, from_dict, named_config, to_dict
from robodreamer.runs.files import locked
from robodreamer.runs.run_folder import read_run, write_run
from robodreamer.training.run_settings import resumed_config
from robodreamer_deploy.contract import ActionSpec, Contract, Signal

ROOT = Path(__file__).parents[3]
QUICK = (
    "--size=debug",
    "--preset=debug",
    "--protocol=debug",
    "--device=cpu",
    "--threads=1",
    "--num-workers=0",
)
TOY = ("gym:toy_env:Toy-v0", "--observe=proprio")
CONTRACT = Contract(
    task="fetch_reach",
    observations=(Signal(name="proprio/position", shape=(3,), dtype="float32", unit="m"),),
    action=ActionSpec(size=2, low=(-1.0, -1.0), high=(1.0, 1.0)),
    control_dt_s=0.05,
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let runs/TASK be made where nobody minds, and torch be as before."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line in which a command refuses its words."""
    status = main(words)
    *before, line = capsys.readouterr().err.splitlines()
    assert status == 2
    assert line.startswith("robodreamer: ")
    assert not any("Traceback" in other for other in before)
    assert not Path("runs").exists(), "a refused run leaves no folder"
    return line.removeprefix("robodreamer: ")


REFUSED = {
    "command": (["trian", "fetch_reach"], "unknown command 'trian'; there is train, "),
    "task": (["train", "fetch_reech"], "no task 'fetch_reech'; the closest are fetch_reach, "),
    "size": (["train", "fetch_reach", "--size", "12x"], "unknown size '12x'; there is 12m, "),
    "preset": (["train", "x", "--preset=dreamer_v4"], "unknown preset 'dreamer_v4'; there is dre"),
    "protocol": (["train", "x", "--protocol=dmc_visoin"], "'dmc_visoin'; there is dmc_vision, "),
    "camera": (["train", "fetch_reach", "--cameras", "wirst"], "no camera 'wirst'; it has wrist, "),
    "key": (
        ["train", "fetch_reach", "--sead", "3"],
        "does not know '--sead'; the closest are --se",
    ),
    "nested key": (
        ["train", "fetch_reach", "--batch-size=4"],
        "does not know '--batch-size'; the closest are --data.batch-size, ",
    ),
    "extra word": (["train", "fetch_reach", "fetch_push"], "train does not know 'fetch_push'; "),
    "no task": (["train"], "name a task, such as fetch_reach"),
    "no run to resume": (["train", "--resume"], "name the run to go on with: --run FOLDER"),
    "gymnasium id": (["train", "gym:Pendulum-v9"], "Pendulum-v1"),
    "replay": (["train", *TOY, "--data.replay-capacity=10"], "a sequence needs 9"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_refused_in_a_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, expected = REFUSED[name]
    chooses = name in {"size", "preset", "protocol"}  # QUICK would choose another word
    settings = QUICK if words[0] == "train" and not chooses else ()
    assert expected in complaint(capsys, *words, *settings)


WRONG_VALUES = {
    "--observe=cam": "'camera', 'proprio', 'both', 'state'",
    "--data.batch-size=0": "--data.batch-size has to be more than 0, got 0",
    "--algorithm.loss-scales.value=-1": "value has to be 0 or more, got -1",
    "--algorithm.optimizer.learning-rate=nan": "has to be 0 or more, got nan",
    "--network.deter=30": "has to be a multiple of --network.blocks, 8, got 30",
}


@pytest.mark.parametrize("word", WRONG_VALUES)
def test_a_value_of_the_wrong_kind_or_range_raises_a_clear_error(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["train", "fetch_reach", word])
    assert exit_.value.code == 2
    framed = capsys.readouterr().err.replace("│", " ")
    assert WRONG_VALUES[word] in " ".join(framed.split())


def test_help_needs_neither_torch_nor_the_simulator() -> None:
    script = f"""
import contextlib, io, sys
from robodreamer.__main__ import main
for command in {["", *COMMANDS]!r}:
    sys.argv = ["robodreamer", *command.split(), "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        main()
    assert "usage" in text.getvalue(), command
    heavy = {{"torch", "mujoco", "gymnasium", "dm_control", "onnx", "matplotlib", "numpy"}}
    assert not heavy & sys.modules.keys(), (command, heavy & sys.modules.keys())
"""
    path = ":".join(str(ROOT / folder) for folder in (".", "sim", "deploy"))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": path, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    ["train", "evaluate", "export", "dream", "inspect", "plot", "report", "import-reference"],
)
def test_every_option_has_a_description(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    undescribed = re.findall(r"(--[\w.-]+) (?:[A-Z]+|\{[^ ]+\}) \((?:default|required)", text)
    assert "(default: " in text
    assert not undescribed


def test_the_list_of_commands_is_that_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0] for line in lines if line.startswith("  ")}
    assert listed == set(COMMANDS)


@pytest.mark.parametrize("words", [["tasks"], ["--help"], ["tasks", "--help"]])
def test_a_reader_that_leaves_early_is_no_error(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    path = ":".join(str(ROOT / folder) for folder in (".", "sim", "deploy"))
    done = subprocess.run(
        [sys.executable, "-m", "robodreamer", *words],
        env={"PYTHONPATH": path, "PATH": ""},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.stderr, done.returncode) == ("", 141)


def test_another_broken_pipe_is_not_taken_for_a_reader_that_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def job() -> None:
        raise BrokenPipeError(errno.EPIPE, "the pipe of a worker")

    monkeypatch.setattr("robodreamer.cli.tasks.tasks", lambda _: job)
    assert "the pipe of a worker" in complaint(capsys, "tasks")


def test_a_job_that_finds_its_folder_in_use_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def job() -> None:  # as import-log, which locks when it writes
        with locked(tmp_path), locked(tmp_path):
            pass

    monkeypatch.setattr("robodreamer.cli.dataset.import_log", lambda _: job)
    assert "another process is at work in" in complaint(capsys, "import-log")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_job_that_is_told_to_end_puts_in_order_what_it_was_about(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def job() -> None:  # as evaluate and export, which close simulators and delete drafts
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)  # the shell and the kernel both tell
            done.append("in order")

    monkeypatch.setattr("robodreamer.cli.export.export", lambda _: job)
    before = {n: signal.signal(n, signal.SIG_DFL) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert main(["export"]) == 128 + number
    finally:
        for other, handler in before.items():
            signal.signal(other, handler)
    assert done == ["in order"]


def test_under_nohup_a_job_goes_on_when_the_terminal_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = lambda: os.kill(os.getpid(), signal.SIGHUP)  # noqa: E731
    monkeypatch.setattr("robodreamer.cli.export.export", lambda _: job)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main(["export"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands_options_tasks_and_files(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    assert main(["--print-completion", shell]) == 0
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "fetched").touch()

    def complete(*words: str) -> list[str]:
        asked = " ".join(f'"{word}"' for word in ("robodreamer", *words))
        first = "autoload -U compinit; compinit -u; setopt KSH_ARRAYS;" if shell == "zsh" else ""
        line = (
            f"{first} source {script}; COMP_WORDS=({asked}); COMP_CWORD={len(words)}; "
            'COMPREPLY=(); _robodreamer; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            [shell, "-c", line], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        return done.stdout.split()

    assert {"train", "evaluate", "robot", "--version"} <= set(complete(""))
    assert complete("ev") == ["evaluate"]
    assert {"--data.batch-size", "--data.batch-length"} <= set(complete("train", "--data.ba"))
    assert {"fetch_reach", "fetched"} <= set(complete("train", "fetch"))
    assert complete("export", "--check") == ["--checkpoint"]
    assert "--listen" in complete("robot", "--l") or complete("robot", "--") != []


def test_completion_knows_every_command() -> None:
    from robodreamer.cli.completion import ARGUMENTS

    assert {*ARGUMENTS, "robot"} == COMMANDS.keys()


def test_a_shell_without_completion_is_answered_with_those_that_have_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "unknown shell 'fish'; there is " in complaint(capsys, "--print-completion", "fish")


def test_the_traceback_is_shown_to_who_asks_for_it_and_the_help_says_how(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--help"]) == 0
    assert "ROBODREAMER_TRACEBACK=1" in capsys.readouterr().out
    monkeypatch.setenv("ROBODREAMER_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown command 'trian'"):
        main(["trian"])


def test_the_release_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"robodreamer {__version__}\n"


def test_nested_settings_can_be_given_and_land_in_the_run_folder(tmp_path: Path) -> None:
    words = (
        "fetch_reach", "--size", "debug", "--protocol=debug", "--network.deter", "64",
        "--data.batch-size", "4", "--algorithm.horizon", "5",
        "--algorithm.optimizer.learning-rate", "1e-4", "--network.depth-multipliers", "2", "4",
        "--cameras", "scene", "wrist", "--deterministic",
    )  # fmt: skip
    config = config_of(parse_train(words))
    write_run(tmp_path / "run", config, CONTRACT)
    saved, contract, _ = read_run(tmp_path / "run")
    assert contract == CONTRACT
    assert saved == config
    assert saved.network == dataclasses.replace(SIZES["debug"], deter=64, depth_multipliers=(2, 4))
    assert (saved.data.batch_size, saved.algorithm.horizon) == (4, 5)
    assert saved.algorithm.optimizer.learning_rate == 1e-4
    assert (saved.cameras, saved.deterministic) == (("scene", "wrist"), True)


def leaves(kind: Any = TrainConfig, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every single setting."""
    hints = get_type_hints(kind)
    for name in (field.name for field in dataclasses.fields(kind)):
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            yield from leaves(hint, (*path, name))
        else:
            yield (*path, name)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Return any value that a setting of this type may have."""
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple:
        return st.lists(values_of(get_args(hint)[0]), max_size=4).map(tuple)
    if get_args(hint):  # a union
        return st.one_of([values_of(kind) for kind in get_args(hint)])
    if hint is float:
        return st.floats(0, allow_nan=False, allow_infinity=False)
    if hint is int:
        return st.integers(0, 100).map(lambda number: 8 * number)
    return st.from_type(hint)


def with_any_value(settings: Any, path: tuple[str, ...], data: st.DataObject) -> Any:
    """Return settings of which one has another value that is in its range."""
    name, *rest = path
    if rest:
        value = with_any_value(getattr(settings, name), tuple(rest), data)
    else:
        value = data.draw(values_of(get_type_hints(type(settings))[name]), label=name)
    try:
        return dataclasses.replace(settings, **{name: value})
    except ValueError:
        reject()


@given(data=st.data())
def test_settings_survive_json(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(leaves())))
    config = with_any_value(named_config("fetch_reach"), path, data)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


RATE = "--algorithm.optimizer.learning-rate=1e-3"
PATHS = [(), ("network",), ("algorithm", "loss_scales"), ("algorithm", "optimizer")]


@pytest.mark.parametrize("path", PATHS)
def test_settings_of_another_version_are_refused(path: tuple[str, ...]) -> None:
    for change in ("lacks", "unknown"):
        data = to_dict(named_config("x"))
        part = data
        for name in path:
            part = part[name]
        if change == "lacks":
            key = next(iter(part))
            del part[key]
        else:
            part[key := "colour"] = 3
        with pytest.raises(ValueError, match=key):
            from_dict(data)


def test_what_a_resumed_run_may_not_change_is_listed_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    write_run(run, config_of(parse_train(["fetch_reach", *QUICK])), CONTRACT)
    words = (
        "--seed=3",
        RATE,
        "--network.deter=64",
        "--steps=5",
    )
    line = complaint(capsys, "train", f"--run={run}", "--resume", *words)
    assert "seed 0 -> 3" in line
    assert "algorithm.optimizer.learning_rate 0.0003 -> 0.001" in line
    assert "network.deter 32 -> 64" in line
    assert "steps" not in line


def test_a_resumed_run_may_change_what_it_is_not_made_of(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = config_of(parse_train(["fetch_reach", *QUICK]))
    write_run(run, config, CONTRACT)
    changes = {"threads": 2, "steps": 7, "num_workers": 2}
    resumed = resumed_config(run, read_run(run).config, changes)
    assert resumed == dataclasses.replace(config, threads=2, steps=7, num_workers=2)
