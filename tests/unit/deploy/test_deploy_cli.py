"""The command `robodreamer-deploy`, from a folder and a robot's name to a table and a report."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import toy_policy
from robodreamer_deploy.cli import main
from robodreamer_deploy.control.loop import LoopStats
from robodreamer_deploy.drive_summary import (
    format_episodes,
    format_loop,
    summarize_episodes,
    summarize_loop,
    wilson_interval,
)
from robodreamer_deploy.policy.bundle import load_bundle, write_manifest
from robodreamer_deploy.robots import loading

ROOT = Path(__file__).parents[3]
TOY = Path(__file__).parents[2] / "stand_ins" / "toy_robot.py"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_policy.write_bundle(tmp_path_factory.mktemp("policies") / "toy")


def environment(**variables: object) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "deploy"), str(TOY.parent)])
    return {**os.environ, "PYTHONPATH": path, **{k: str(v) for k, v in variables.items()}}


def test_episodes_are_driven_and_reported(said: Command, policy: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code, out, _ = said(
        policy, "--robot", f"{TOY}:Point", "--fast", "--episodes", 4, "--draw", "sample",
        "--seed", 2, "--report", report,
    )  # fmt: skip
    assert code == 0
    assert "self-test   passed: 32 golden steps" in out
    assert "all episodes are over" in out
    assert max(map(len, out.splitlines())) <= 80 + len(str(tmp_path))  # paths may be long
    figures = json.loads(report.read_text())
    assert [episode["seed"] for episode in figures["episodes"]] == [2, 3, 4, 5]
    assert (figures["ticks"], figures["skipped_ticks"], figures["fault"]) == (80, 0, None)
    assert (figures["draw"], figures["is_paced"]) == ("sample", False)
    assert figures["elapsed_s"] == pytest.approx(80 * 0.02, abs=1e-9)  # of virtual time
    rate = sum(episode["success"] for episode in figures["episodes"]) / 4
    assert figures["success_rate"] == rate
    low, high = figures["success_interval_95"]
    assert low <= rate <= high


def test_the_same_command_gives_the_same_episodes(
    said: Command, policy: Path, tmp_path: Path
) -> None:
    reports = []
    for name in ("one", "two"):
        command = [policy, "--robot", f"{TOY}:Point", "--fast", "--draw", "sample"]
        said(*command, "--episodes", 2, "--report", tmp_path / name)
        reports.append(json.loads((tmp_path / name).read_text())["episodes"])
    assert reports[0] == reports[1]


def test_a_bench_is_driven_at_the_contracts_rate(
    said: Command, policy: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    start = time.monotonic()
    code, out, _ = said(
        policy, "--robot", f"{TOY}:Bench", "--seconds", 0.5, "--max-rate", 0.5, 0.5,
        "--watchdog", 500, "--report", report,
    )  # fmt: skip
    figures = json.loads(report.read_text())
    assert code == 0
    assert time.monotonic() - start >= 0.5
    ticks = figures["ticks"] + figures["skipped_ticks"]
    assert 1 < ticks <= figures["elapsed_s"] / 0.02 + 1  # late on a busy machine, never early
    assert figures["limits"]["rate"] > 0
    assert figures["num_episodes"] == 0
    assert "0.5 s are over" in out


def test_a_dry_run_never_writes(said: Command, policy: Path, tmp_path: Path) -> None:
    robot = tmp_path / "watched.py"
    robot.write_text(
        "from toy_robot import Point\n"
        "class Watched(Point):\n"
        "    def send_action(self, action): raise AssertionError('written to')\n"
        "    def hold(self): raise AssertionError('held')\n"
        "    def start_episode(self, seed): raise AssertionError('moved')\n"
    )
    command = [policy, "--robot", f"{robot}:Watched", "--fast", "--seconds", 2, "--dry-run"]
    report = tmp_path / "report.json"
    code, out, _ = said(*command, "--report", report)
    assert code == 0
    assert out.splitlines()[-1] == "stopped     2 s are over; nothing was commanded"
    assert json.loads(report.read_text())["ticks"] == 100


def test_inspecting_prints_the_manifest(said: Command, policy: Path) -> None:
    code, out, _ = said("inspect", policy)
    assert code == 0
    assert "proprio/position float32 (2,) m (x, y)" in out
    assert max(map(len, out.splitlines())) <= 80
    code, _, err = said("inspect", policy.parent / "toyy")
    assert code == 2
    assert "has toy" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{folder}/toyy", "--robot", "sim:x"], "no policy folder .*toyy; .* has toy"),
        (["{policy}", "--robot", "siim:x"], "no robot and no module siim; "),
        (["{policy}", "--robot", "Point"], "--robot Point is not of the form name:argument"),
        (["{policy}", "--robot", "{toy}:Pint"], "has no class Pint; it has Point, "),
        (["{policy}", "--robot", "none.py:Point"], "no robot file none.py"),
        (["{policy}", "--robot", "toy_robot:Point:broken"], "the toy is broken"),
        (["{policy}", "--robot", "{toy}:Bench", "--fast"], "--fast needs a simulator in this"),
        (["{policy}", "--robot", "{toy}:Bench", "--episodes", "2"], "--episodes needs a robot"),
        (["{policy}", "--robot", "{toy}:Point", "--max-rate", *"123"], "3 rate limits for 2 acti"),
        (["{policy}", "--robot", "{toy}:Point", "--max-age", "image/ear=1"], "reads no image/ear"),
        (["{policy}", "--robot", "{toy}:Point", "--limits", "no.json"], "no.json cannot be read"),
        (
            ["{policy}", "--robot", "{toy}:Point", "--limits", "{toy}"],
            "toy_robot.py: Extra data",
        ),
        (["{policy}", "--robot", "{toy}:Point", "--on-surprise", "slow"], "needs a rate limit of"),
        (["{policy}", "--robot", "{toy}:Point", "--report", "/no/x"], "there is no folder /no"),
        (["{policy}", "--robot", "x", "--provider", "cuda"], "needs CUDA.* onnxruntime .* has cpu"),
        (["{policy}", "--bench", "--log", "x"], "--log changes nothing about --bench: leave it"),
        (["{policy}", "--replay", "x", "--max-rate", "1"], "--max-rate changes nothing about --re"),
        (["{policy}", "--replay", "x", "--no-real-time"], "--no-real-time changes nothing"),
    ],
)
def test_a_users_mistake_is_one_sentence(
    said: Command, policy: Path, arguments: list[str], words: str
) -> None:
    names = {"folder": policy.parent, "policy": policy, "toy": TOY}
    code, _, err = said(*[argument.format(**names) for argument in arguments])
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("robodreamer-deploy: ")
    with pytest.raises(ValueError, match=words):
        raise ValueError(line)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("{'image/eye': (8, 6, 3)}", "reads proprio/position, this robot has image/eye"),
        ("{**Point.observation_features.fget(self), 'goal/target': (3,)}", r"is \(3,\) on this"),
    ],
)
def test_a_robot_that_does_not_fit_is_refused_before_it_is_connected(
    said: Command, policy: Path, tmp_path: Path, change: str, words: str
) -> None:
    robot = tmp_path / "other.py"
    robot.write_text(
        "from toy_robot import Point\n"
        "class Other(Point):\n"
        f"    observation_features = property(lambda self: {change})\n"
        "    def connect(self): raise AssertionError('connected')\n"
    )
    code, _, err = said(policy, "--robot", f"{robot}:Other")
    assert code == 2
    with pytest.raises(ValueError, match=words):
        raise ValueError(err)


def test_a_robot_that_cannot_hold_is_refused_before_it_is_connected(
    said: Command, policy: Path, tmp_path: Path
) -> None:
    robot = tmp_path / "other.py"
    robot.write_text(
        "from toy_robot import Bench\n"
        "class Other:\n"
        "    def __init__(self, *words): self.toy = Bench(*words)\n"
        "    observation_features = Bench.observation_features\n"
        "    action_features = Bench.action_features\n"
        "    def connect(self): raise AssertionError('connected')\n"
        "    def get_observation(self): return self.toy.get_observation()\n"
        "    def send_action(self, action): return self.toy.send_action(action)\n"
        "    def disconnect(self): pass\n"
    )
    code, _, err = said(policy, "--robot", f"{robot}:Other")
    assert code == 2
    assert "this robot has no hold; docs/your-robot.md" in err


def test_a_changed_policy_does_not_drive(said: Command, policy: Path, tmp_path: Path) -> None:
    other = shutil.copytree(policy, tmp_path / "other")
    weights = toy_policy.make_weights(seed=1)
    toy_policy.write_graphs(other, weights)
    assert said(other, "--robot", f"{TOY}:Point")[0] == 2
    write_manifest(other, toy_policy.make_manifest())
    load_bundle(other)
    code, out, err = said(other, "--robot", f"{TOY}:Point")
    assert code == 2
    assert "golden self-test: encoder.onnx: tokens is off by" in err
    assert "episode" not in out


def test_a_fault_while_driving_is_reported_and_the_episodes_before_it_are_kept(
    said: Command, policy: Path, tmp_path: Path
) -> None:
    robot = tmp_path / "frail.py"
    robot.write_text(
        "from toy_robot import Point\n"
        "class Frail(Point):\n"
        "    def send_action(self, action):\n"
        "        if len(self.sent) == 50: raise OSError('cable lost')\n"
        "        return super().send_action(action)\n"
    )
    report = tmp_path / "report.json"
    code, out, _ = said(policy, "--robot", f"{robot}:Frail", "--fast", "--report", report)
    assert code == 1
    assert "cable lost" in out
    figures = json.loads(report.read_text())
    assert "cable lost" in figures["fault"]
    assert (figures["num_episodes"], figures["ticks"]) == (2, 50)


@pytest.mark.parametrize(
    ("method", "code", "words"),
    [
        ("start_episode", 1, r"ValueError in bad\.py, line 3: no"),
        ("get_observation", 1, r"ValueError in bad\.py, line 3: no"),
        ("send_action", 1, r"ValueError in bad\.py, line 3: no"),
        ("disconnect", 1, r"disconnecting: ValueError in bad\.py, line 3: no"),
        ("connect", 2, r"cannot be connected: ValueError in bad\.py, line 3: no"),
    ],
)
def test_a_driver_that_breaks_is_one_sentence_and_a_report(
    said: Command, policy: Path, tmp_path: Path, method: str, code: int, words: str
) -> None:
    robot, report = tmp_path / "bad.py", tmp_path / "report.json"
    robot.write_text(
        "from toy_robot import Point\nclass Bad(Point):\n"
        f"    def {method}(self, *_): raise ValueError('no')\n"
    )
    found, out, err = said(policy, "--robot", f"{robot}:Bad", "--fast", "--report", report)
    assert found == code
    (line,) = [line for line in (out + err).splitlines() if "ValueError" in line]
    assert re.search(words, line)
    assert ("the robot holds" in out) == (method != "connect")
    figures = json.loads(report.read_text())
    told = figures["disconnect_fault" if method == "disconnect" else "fault"]
    assert re.search(words.removeprefix("disconnecting: "), told)


def test_a_robot_that_does_not_hold_is_told_so_in_the_last_line(
    said: Command, policy: Path, tmp_path: Path
) -> None:
    robot, report = tmp_path / "loose.py", tmp_path / "report.json"
    robot.write_text(
        "from toy_robot import Point\nclass Loose(Point):\n"
        "    def hold(self): raise OSError('cable lost')\n"
    )
    code, out, _ = said(policy, "--robot", f"{robot}:Loose", "--fast", "--report", report)
    assert code == 1
    assert "the robot holds" not in out
    assert out.splitlines()[-1].endswith("holding the robot FAILED (cable lost): CUT ITS POWER")
    assert json.loads(report.read_text())["hold_fault"] == "cable lost"


def test_a_report_that_cannot_be_written_costs_the_report_only(said: Command, policy: Path) -> None:
    code, out, err = said(policy, "--robot", f"{TOY}:Point", "--fast", "--report", "/dev/full")
    assert code == 1
    assert "FAULT       --report /dev/full cannot be written: [Errno 28]" in out
    assert "sense to act" in out
    assert err == ""


def test_a_policy_that_may_not_be_read_is_one_sentence(
    said: Command, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", "manifest.json")  # root may read anything

    monkeypatch.setattr(Path, "read_text", refuse)
    code, _, err = said("inspect", policy)
    assert code == 2
    assert err == "robodreamer-deploy: [Errno 13] Permission denied: 'manifest.json'\n"


ESCAPES = "\x1b[2J\x1b]0;gotcha\x07\u202e"


def test_a_policys_words_do_not_steer_the_terminal(
    said: Command, policy: Path, tmp_path: Path
) -> None:
    hostile = shutil.copytree(policy, tmp_path / "hostile")
    manifest = load_bundle(hostile).manifest
    contract = dataclasses.replace(manifest.contract, task=f"{ESCAPES}reach\nstopped \ud800")
    toy_policy.reseal(hostile, dataclasses.replace(manifest, contract=contract, run=ESCAPES))
    for words in (("inspect", hostile), (hostile, "--robot", f"{TOY}:Point", "--fast")):
        code, out, _ = said(*words)
        assert code == 0
        assert "\\x1b[2J" in out
        assert "\\ud800" in out
        assert out.replace("\n", "").isprintable()
        assert "\nstopped \\" not in out


def test_a_robots_errors_and_logs_do_not_steer_the_terminal(policy: Path, tmp_path: Path) -> None:
    robot = tmp_path / "hostile.py"
    robot.write_text(
        "import logging\n"
        "from toy_robot import Bench\n"
        "class Hostile(Bench):\n"
        f"    words = {ESCAPES!r}\n"
        "    def send_action(self, action):\n"
        "        logging.getLogger('bus').error(self.words)\n"
        "        raise ValueError(self.words)\n"
        "class Unmade(Bench):\n"
        "    def __init__(self, argument, contract):\n"
        "        raise ValueError(Hostile.words)\n"
    )
    for name, code in (("Hostile", 1), ("Unmade", 2)):
        run = subprocess.run(
            [sys.executable, ROOT / "deploy", policy, "--robot", f"{robot}:{name}",
             "--seconds", "1", "--no-real-time"],
            env=environment(), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert run.returncode == code, run.stderr
        assert "\\x1b[2J" in run.stderr
        assert "FAULT" in run.stdout or name == "Unmade"
        assert (run.stdout + run.stderr).replace("\n", "").isprintable()


def test_a_terminal_that_knows_ascii_alone_ends_no_drive(policy: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "deploy", shutil.copytree(policy, tmp_path / "\u00b5"),
         "--robot", f"{TOY}:Point", "--fast"],
        env=environment(PYTHONIOENCODING="ascii"), capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "\\xb5: task toy_reach" in run.stdout


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("robodreamer-deploy")


def test_a_reader_that_goes_away_does_not_stop_the_robot(policy: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, ROOT / "deploy", policy, "--robot", f"{TOY}:Point", "--fast"]
    with subprocess.Popen(
        [*command, "--episodes", "3", "--report", report], env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    figures = json.loads(report.read_text())
    assert (figures["num_episodes"], figures["fault"]) == (3, None)


def test_torch_in_the_process_is_an_error_with_the_simulator(
    said: Command, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sim` is found as an installed package registers it; here that is a toy."""
    point = EntryPoint("sim", "toy_robot:Point", loading.ENTRY_POINT_GROUP)
    monkeypatch.setattr(loading, "entry_points", lambda group: [point])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    command = [policy, "--robot", "sim:toy_reach", "--fast", "--episodes", 1]
    assert said(*command)[0] == 0
    monkeypatch.setitem(sys.modules, "torch", sys)
    code, out, _ = said(*command)
    assert code == 1
    assert "torch was imported" in out


def test_a_bare_copy_of_the_folder_drives_without_torch(policy: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    run = subprocess.run(
        [sys.executable, "-X", "importtime", bare, policy, "--robot", f"{TOY}:Point", "--fast"],
        env=environment(PYTHONPATH=TOY.parent), cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert "all episodes are over" in run.stdout
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert {"onnxruntime.capi", "robodreamer_deploy.control.loop"} <= imported
    assert not {"torch", "robodreamer", "robodreamer_sim", "mujoco", "gymnasium"} & imported


def test_a_watchdog_that_would_stop_every_drive_is_refused(
    said: Command, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        said(policy, "--robot", f"{TOY}:Bench", "--watchdog", "1")
    assert "1 is below 2: the loop itself waits for one period" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    run = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "deploy", "--help"],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "--robot SPEC" in run.stdout
    assert "  robodreamer-deploy inspect policies/reach" in run.stdout.splitlines(), "can be copied"
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "argparse" in imported
    assert not {"numpy", "onnxruntime"} & imported


TELLING = """
from toy_robot import Bench
class Telling(Bench):
    def send_action(self, action):
        print("moving", flush=True)
        return super().send_action(action)
    def hold(self):
        print("held", flush=True)
        return super().hold()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_holds_the_robot_and_still_reports(
    policy: Path, tmp_path: Path, number: signal.Signals
) -> None:
    robot, held = tmp_path / "marked.py", tmp_path / "held"
    robot.write_text(
        "from pathlib import Path\n"
        "from toy_robot import Bench\n"
        "class Marked(Bench):\n"
        "    def send_action(self, action):\n"
        "        print('moving', flush=True)\n"
        "        return super().send_action(action)\n"
        "    def hold(self):\n"
        f"        Path({str(held)!r}).touch()\n"
        "        return super().hold()\n"
    )
    with subprocess.Popen(
        [sys.executable, ROOT / "deploy", policy, "--robot", f"{robot}:Marked"],
        env=environment(), stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert any("moving" in line for line in process.stdout)
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert f"stopped     {number.name}; the robot holds" in out
    assert "sense to act" in out
    assert held.exists()


def test_a_process_that_was_suspended_does_not_drive_on(policy: Path, tmp_path: Path) -> None:
    """As a frozen container, a debugger and `kill -STOP` do it; here a watchdog of 0.4 s."""
    robot = tmp_path / "told.py"
    robot.write_text(TELLING)
    with subprocess.Popen(
        [sys.executable, ROOT / "deploy", policy, "--robot", f"{robot}:Telling",
         "--watchdog", "20", "--ramp", "0"],
        env=environment(), stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert any("moving" in line for line in process.stdout)
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "did not come back within 0.4 s" in out
    assert "; the robot holds" in out.splitlines()[-1]


def test_a_report_is_printed_on_request_while_the_robot_is_driven(
    policy: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, ROOT / "deploy", policy, "--robot", f"{TOY}:Bench"],
        env=environment(), stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert any(line.startswith("robot ") for line in process.stdout)
        process.send_signal(signal.SIGUSR1)
        lines = [next(process.stdout) for _ in range(5)]
        assert any(line.startswith("  ticks") for line in lines)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert out.count("sense to act") >= 1
    assert "stopped     SIGTERM; the robot holds" in out


STUBBORN = """
import signal, time
from toy_robot import Bench
class Stubborn(Bench):
    def send_action(self, action):
        if self.sent:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # as a wait in C would
            time.sleep(60)
        return super().send_action(action)
    def hold(self):
        print("told to hold", flush=True)
        return super().hold()
"""


def test_a_robot_that_cannot_be_interrupted_is_held_and_given_up(
    policy: Path, tmp_path: Path
) -> None:
    robot, report = tmp_path / "stubborn.py", tmp_path / "report.json"
    robot.write_text(STUBBORN)
    start = time.monotonic()
    run = subprocess.run(
        [sys.executable, ROOT / "deploy", policy, "--robot", f"{robot}:Stubborn",
         "--watchdog", "5", "--ramp", "0", "--report", report],
        env=environment(), capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert time.monotonic() - start < 15.0
    assert run.returncode == 1
    fault = "send_action did not come back within 0.1 s: is the bus alive"
    assert f"Stubborn: {fault}" in run.stdout
    assert "It cannot be interrupted." in run.stdout
    assert run.stdout.splitlines()[-1] == "stopped     by a fault; the robot holds"
    assert run.stdout.count("told to hold") >= 6  # five ticks of warm-up, and the watchdog's
    assert fault in json.loads(report.read_text())["fault"]


CLINGING = """
import signal, sys, time
from robodreamer_deploy.cli import main
from robodreamer_deploy.control import shutdown
from toy_robot import Bench
shutdown.DISCONNECT_WITHIN_S = 0.2
class Clinging(Bench):
    def disconnect(self):
        if self.is_connected:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # as a wait in C would
            time.sleep(60)
if __name__ == "__main__":
    sys.exit(main.main())
"""


@pytest.mark.parametrize("command", ["drive", "serve"])
def test_a_robot_that_holds_is_said_to_hold_although_it_cannot_be_disconnected(
    policy: Path, tmp_path: Path, command: str
) -> None:
    robot = tmp_path / "clinging.py"
    robot.write_text(CLINGING)
    words: dict[str, tuple[object, ...]] = {
        "drive": (policy, "--robot", f"{robot}:Clinging", "--seconds", "0.1"),
        "serve": (
            "serve",
            f"{robot}:Clinging",
            "--policy",
            policy,
            "--listen",
            "tcp://127.0.0.1:0",
        ),
    }
    process = subprocess.Popen(
        [sys.executable, robot, *map(str, words[command])],
        env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        while command == "serve" and "tcp://" not in process.stdout.readline():
            pass
        if command == "serve":
            process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "disconnect did not come back within 0.2 s: has the bus been unplugged?" in said
    assert said.splitlines()[-1].endswith("; the robot holds")


def test_last_words_that_nobody_takes_do_not_keep_the_process_alive(
    policy: Path, tmp_path: Path
) -> None:
    robot, report = tmp_path / "stubborn.py", tmp_path / "report.json"
    robot.write_text(STUBBORN)
    os.mkfifo(report)  # nobody reads it: opening it hangs
    run = subprocess.run(
        [sys.executable, ROOT / "deploy", policy, "--robot", f"{robot}:Stubborn",
         "--watchdog", "5", "--ramp", "0", "--report", report],
        env=environment(), capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert run.returncode == 1
    assert "told to hold" in run.stdout


def test_nothing_moves_while_the_dead_mans_file_is_not_touched(
    said: Command, policy: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    code, *_ = said(
        policy, "--robot", f"{TOY}:Bench", "--seconds", 0.3, "--report", report,
        "--dead-man", tmp_path / "alive", "--watchdog", 500,
    )  # fmt: skip
    figures = json.loads(report.read_text())
    assert code == 0
    assert figures["limits"] == {"dead-man": figures["ticks"]}
    assert figures["held_ticks"] == 0  # waiting for the operator is no fault


def test_a_drive_whose_switch_never_said_true_or_false_has_failed(
    said: Command, policy: Path, tmp_path: Path
) -> None:
    robot = tmp_path / "compares.py"
    robot.write_text(
        "import numpy as np\nfrom toy_robot import Bench\n"
        "class Compares(Bench):\n    is_enabled = np.float64(2.0) > 1.0\n"
    )
    code, out, err = said(policy, "--robot", f"{robot}:Compares", "--seconds", 0.3)
    assert code == 1
    assert "the dead-man's switch says numpy.bool" in out + err
    assert "and never True or False" in out + err


def test_a_file_of_limits_is_kept_to(said: Command, policy: Path, tmp_path: Path) -> None:
    limits, report = tmp_path / "limits.json", tmp_path / "report.json"
    limits.write_text(json.dumps({"elements": {"x": {"rate": 0.01}, "y": {"high": -0.1}}}))
    code, *_ = said(
        policy, "--robot", f"{TOY}:Point", "--fast", "--episodes", 2, "--report", report,
        "--limits", limits,
    )  # fmt: skip
    counts = json.loads(report.read_text())["limits"]
    assert code == 0
    assert counts["rate"] > 0
    assert counts["range"] > 0


def test_a_first_drive_at_a_fifth_of_the_speed(said: Command, policy: Path, tmp_path: Path) -> None:
    robot, report = tmp_path / "slow.py", tmp_path / "report.json"
    robot.write_text(
        "import numpy as np\nfrom toy_robot import Point\nclass Slow(Point):\n"
        "    def send_action(self, action):\n"
        "        assert (np.abs(action) <= 0.2).all(), action\n"
        "        return super().send_action(action)\n"
    )
    code, out, _ = said(
        policy, "--robot", f"{robot}:Slow", "--fast", "--episodes", 1, "--max-speed", 0.2,
        "--report", report,
    )  # fmt: skip
    assert code == 0, out
    figures = json.loads(report.read_text())
    assert (figures["max_speed"], figures["limits"]["range"] > 0) == (0.2, True)


def test_an_older_camera_is_allowed_on_purpose(said: Command, policy: Path, tmp_path: Path) -> None:
    robot, report = tmp_path / "old.py", tmp_path / "report.json"
    robot.write_text(
        "import time\nfrom toy_robot import Bench\nclass Old(Bench):\n"
        "    @property\n"
        "    def observation_stamps(self): return {'image/eye': time.monotonic() - 1.0}\n"
    )
    command = [policy, "--robot", f"{robot}:Old", "--seconds", 0.3, "--report", report]
    assert said(*command)[0] == 1  # no frame to begin with
    said(*command, "--max-age", "image/eye=9.5")
    figures = json.loads(report.read_text())
    assert (figures["max_age_s"], figures["missing_frames"]) == ({"image/eye": 9.5}, {})


def test_a_drive_tells_what_became_of_real_time(
    said: Command, policy: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    command = [policy, "--robot", f"{TOY}:Bench", "--seconds", 0.3, "--report", report]
    _, out, _ = said(*command)
    assert "real time" in out
    assert all(len(line) <= 80 for line in out.splitlines() if "/" not in line)  # paths are long
    told = json.loads(report.read_text())["real_time"]
    assert told.keys() == {"FIFO", "mlockall", "gc"}
    for name, privilege in told.items():
        answer = "granted" if privilege["is_granted"] else "refused"
        assert f"  {name:<16}{answer}: " in out
    said(*command, "--no-real-time")
    assert json.loads(report.read_text())["real_time"] == {}


def test_wilsons_interval_is_that_of_the_literature() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)


def test_a_drive_without_completed_episodes_has_no_episode_lines() -> None:
    assert format_episodes(summarize_episodes([])) == []


def test_long_lists_go_on_in_the_next_line() -> None:
    report = LoopStats()
    report.bad_observations.update({f"proprio/some_long_signal_name_{i}": i for i in range(9)})
    lines = format_loop(summarize_loop(report, 0.02), is_paced=True)
    assert max(map(len, lines)) <= 80
    for i in range(9):
        assert f"proprio/some_long_signal_name_{i} {i}" in " ".join("".join(lines).split())
