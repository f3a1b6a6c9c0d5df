"""Logs on the command line: written by a drive, dumped after a fault, repeated, labelled."""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import CompressionType

import toy_policy
from mcap_copies import Change, copy_log
from recorded_drive import RecordedDrive
from robodreamer.data.datasets.robot_log import segments
from robodreamer_deploy.cli import main
from robodreamer_deploy.control.events import EpisodeEnd, EpisodeStart, Tick
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.recording import recorder, writer
from robodreamer_deploy.recording.event_stream import LogEvent
from robodreamer_deploy.recording.flight_recorder import FlightRecorder, default_folder
from robodreamer_deploy.recording.labels import EpisodeLabel, read_labels
from robodreamer_deploy.recording.reader import LogReader
from toy_robot import CONTRACT

TOY = Path(__file__).parents[2] / "stand_ins" / "toy_robot.py"
SIMULATED = "robodreamer_sim.robots.in_process:make_robot:fetch_reach"
POLICIES = Path(__file__).parents[3] / "policies"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_policy.write_bundle(tmp_path_factory.mktemp("policies") / "toy")


@pytest.fixture
def deploy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """Run the command; return its exit code, output and error output."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def dumps() -> list[Path]:
    folder = default_folder()
    assert folder is not None
    return list(folder.glob("*"))


DRIVE = ["--robot", f"{TOY}:Point", "--fast", "--draw", "sample", "--episodes", "2"]


@pytest.fixture(scope="module")
def recorded(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the log of two episodes, in many chunks."""
    path = tmp_path_factory.mktemp("recorded") / "drive.mcap"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "CHUNK_BYTES", 4000)
        words = [str(policy), *DRIVE, "--max-rate", "4", "4", "--log", str(path)]
        assert main.main(words) == 0
    return path


@pytest.fixture
def log(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(recorded, tmp_path / "drive.mcap"))


def test_a_drive_prints_how_much_of_it_is_on_the_disk(
    deploy: Command, policy: Path, tmp_path: Path
) -> None:
    code, out, _ = deploy(policy, *DRIVE, "--log", tmp_path / "drive.mcap")
    assert code == 0
    assert f"log         {tmp_path / 'drive.mcap'}: 44 events, 0 lost" in out
    assert not dumps()  # nothing went wrong


def test_a_log_is_repeated_from_the_command_line(deploy: Command, policy: Path, log: Path) -> None:
    code, out, _ = deploy(policy, "--replay", log)
    assert code == 0
    assert f"log         recorded with {TOY}:Point, python 3" in out
    assert "the same    40 of 40 ticks, bit for bit" in out
    options = LogReader(log).metadata.options
    assert (options["max_rate"], options["draw"], options["seed"]) == ([4.0, 4.0], "sample", 0)


def test_a_cut_log_is_repeated_up_to_the_cut_and_is_damaged(
    deploy: Command, policy: Path, log: Path
) -> None:
    content = log.read_bytes()
    log.write_bytes(content[: 2 * len(content) // 3])
    code, out, _ = deploy(policy, "--replay", log)
    assert code == 1
    assert f"DAMAGED     the log was cut at byte {2 * len(content) // 3}" in out
    assert "bit for bit" in out


@pytest.mark.parametrize("part", range(20))
def test_a_log_with_a_flipped_bit_is_damaged(
    deploy: Command, policy: Path, log: Path, part: int
) -> None:
    content = bytearray(log.read_bytes())
    end = content.rindex(b"\x0f\x04\0\0\0\0\0\0\0")  # of what is read: the rest are indexes
    content[8 + part * (end - 8) // 20] ^= 1 << part % 8
    log.write_bytes(content)
    code, out, err = deploy(policy, "--replay", log)
    assert code in (1, 2)
    assert "DAMAGED" in out or "cannot be read" in err or "ends before" in err


def changing(number: int, **changes: Any) -> Change:
    """Return a function that changes fields of one tick of the second episode."""
    ticks: list[str] = []

    def change(topic: str, fields: dict[str, Any]) -> dict[str, Any]:
        ticks.extend([topic] if topic == "/tick" else [])
        return {**fields, **changes} if topic == "/tick" and len(ticks) == 21 + number else fields

    return change


def test_a_changed_log_and_another_policy_differ_at_a_tick(
    deploy: Command, policy: Path, log: Path, tmp_path: Path
) -> None:
    changed = copy_log(log, tmp_path / "changed.mcap", changing(13, executed=[0.25, 0.5]))
    code, out, _ = deploy(policy, "--replay", changed)
    assert code == 1
    assert "DAMAGED" not in out  # its checksums are right
    assert re.search("DIFFERENT   episode 1, tick 1[34]: ", out)
    other = toy_policy.write_bundle(tmp_path / "other", weights=toy_policy.make_weights(5))
    code, out, _ = deploy(other, "--replay", log)
    assert code == 1
    assert "the policy is another one than in the log" in out
    assert "DIFFERENT   episode 0, tick 0: element 0 of the action" in out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"skipped": 1_000_000_000}, "1000000000 ticks were skipped before it"),
        ({"executed": [0.0]}, "another number of elements than 2"),
        ({"sent": [0.0] * 9}, "another number of elements than 2"),
        ({"limits": ["rate"] * 100_000}, "limits is ['rate', 'rate', "),
        ({"limits": ["r" * 100_000]}, "limits is ['rrrr"),
        ({"limits": [["rate"]]}, "limits is [['rate']]"),
        ({"missing": 5}, "missing is 5"),
        ({"skipped": -1}, "skipped is -1"),
        ({"index": 10**4000}, "index is 1000"),
        ({"time_s": 10**400}, "int too large to convert to float"),
        ({"lateness_s": [1, 2]}, "lateness_s is [1, 2]"),
        ({"signals": [[[]]]}, "[[]] is missing"),
        ({"stamps": [{"signal": "a", "time_s": {}}]}, "float() argument"),
        ({"step": {"kind": "guess", "action": [0, 0], "surprise": 0, "counter": 0}}, "kind is"),
        ({"step": {"kind": "prior", "action": [0, 0], "surprise": 0, "counter": -9}}, "counter"),
        ({"executed": [[[[[[[0]]]]]]]}, "another number of elements"),
        ({"executed": [1e308, 0.0]}, "overflow encountered in cast"),
        ({"what": "x" * 10_000}, "unknown fields: what"),
    ],
)
def test_an_impossible_tick_gives_one_clear_line(
    deploy: Command, policy: Path, log: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    changed = copy_log(log, tmp_path / "changed.mcap", changing(13, **changes))
    code, out, _ = deploy(policy, "--replay", changed)
    assert code == 1
    assert re.search("(DIFFERENT   episode 1, tick 13: |DAMAGED     event 36 is damaged: )", out)
    assert words in out
    assert max(map(len, out.splitlines())) < 300


@pytest.mark.parametrize("has_facts", [True, False])
@pytest.mark.parametrize("compression", list(CompressionType))
def test_a_log_that_another_program_repacked_is_as_good(
    deploy: Command, policy: Path, log: Path, tmp_path: Path, compression: CompressionType,
    *, has_facts: bool,
) -> None:  # fmt: skip
    copy = copy_log(log, tmp_path / "copy.mcap", compression=compression, has_facts=has_facts)
    assert LogReader(copy).metadata == LogReader(log).metadata
    code, out, _ = deploy(policy, "--replay", copy)
    assert code == 0
    assert "the same    40 of 40 ticks, bit for bit" in out
    assert deploy("label", copy, "success", "--episode", 1)[0] == 0


def test_a_copy_that_lost_the_numbers_of_its_messages_is_damaged(
    deploy: Command, policy: Path, log: Path, tmp_path: Path
) -> None:
    copy = copy_log(log, tmp_path / "copy.mcap", has_numbers=False)
    code, out, _ = deploy(policy, "--replay", copy)
    assert code in (1, 2)
    assert "DAMAGED     event 0 has /tick twice: a copy has lost the numbers" in out


def test_events_that_a_copy_left_out_are_counted(
    deploy: Command, policy: Path, log: Path, tmp_path: Path
) -> None:
    def first_episode(topic: str, fields: dict[str, Any]) -> dict[str, Any] | None:
        began.extend([topic] if fields.get("event") == "start" else [])
        return fields if len(began) < 2 else None

    began: list[str] = []
    code, out, _ = deploy(policy, "--replay", copy_log(log, tmp_path / "part.mcap", first_episode))
    assert code == 0
    assert "part        22 of 44 events were left out" in out
    assert "the same    20 of 20 ticks, bit for bit" in out
    ticks = copy_log(
        log, tmp_path / "ticks.mcap", lambda t, fields: fields if t != "/goal/target" else None
    )
    code, out, err = deploy(policy, "--replay", ticks)
    assert (code, "holds no tick that can be repeated" in err) == (2, True)
    assert "DAMAGED     event 1 is damaged: /goal/target is missing" in out
    assert "DAMAGED     and 30 times more" in out


@pytest.fixture
def breaking(tmp_path: Path) -> str:
    """Return a robot that breaks at its 13th step."""
    path = tmp_path / "breaking.py"
    path.write_text(
        "from toy_robot import Point\n"
        "class Breaking(Point):\n"
        "    def send_action(self, action):\n"
        "        if self.steps == 13: raise RuntimeError('the gear is stripped\\x1b[2J')\n"
        "        return super().send_action(action)\n"
    )
    return f"{path}:Breaking"


def test_after_a_fault_the_last_seconds_are_kept(
    deploy: Command, policy: Path, breaking: str
) -> None:
    code, out, _ = deploy(policy, "--robot", breaking, "--fast", "--draw", "sample")
    assert code == 1
    (dump,) = dumps()
    assert f"recorder    the last 20 s are in {dump}" in out
    reader = LogReader(dump)
    *_, last = reader.events()
    assert isinstance(last.payload, EpisodeEnd)
    assert "the gear is stripped" in last.payload.reason
    assert "the gear is stripped" in reader.fault
    assert "\x1b" not in out
    code, out, _ = deploy(policy, "--replay", dump)
    assert code == 0
    assert "the gear is stripped\\x1b[2J" in out
    assert "written because of: " in out
    assert "the same    13 of 13 ticks, bit for bit" in out


@pytest.mark.parametrize("stamp", ["nan", "inf", "-1e300"])
def test_a_stamp_that_is_no_time_stops_the_drive_and_is_recorded(
    deploy: Command, policy: Path, tmp_path: Path, stamp: str
) -> None:
    robot = tmp_path / "stamping.py"
    robot.write_text(
        "from toy_robot import Bench\n"
        "class Stamping(Bench):\n"
        "    observation_stamps = dict.fromkeys(\n"
        f"        ('proprio/position', 'more\\udcff'), float('{stamp}'))\n"
    )
    log, report = tmp_path / "drive.mcap", tmp_path / "report.json"
    drive = [policy, "--robot", f"{robot}:Stamping", "--no-real-time", "--log", log]
    code, out, _ = deploy(*drive, "--report", report)
    assert code == 1
    assert "faults in a row" in json.loads(report.read_text())["fault"]
    assert out.rstrip().endswith("; the robot holds")
    (dump,) = dumps()
    for path in (log, dump):
        ticks = [e.payload for e in LogReader(path).events() if isinstance(e.payload, Tick)]
        assert len(ticks) > 5
        for tick in ticks:
            assert list(tick.stamps) == ["proprio/position", "more\\udcff"]
            for found in tick.stamps.values():
                assert found == pytest.approx(float(stamp), nan_ok=True)


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_logs_and_dumps_are_the_owners_alone(
    deploy: Command, policy: Path, breaking: str, tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        deploy(policy, "--robot", breaking, "--fast", "--log", tmp_path / "drive.mcap")
    finally:
        os.umask(before)
    (dump,) = dumps()
    assert {p: p.stat().st_mode & 0o777 for p in (tmp_path / "drive.mcap", dump)} == {
        tmp_path / "drive.mcap": 0o600, dump: 0o600,
    }  # fmt: skip
    made = [folder for folder in dump.parents if (tmp_path / "state") in (folder, *folder.parents)]
    assert [folder.name for folder in made] == ["flights", "robodreamer", "state"]
    assert {folder.stat().st_mode & 0o777 for folder in made} == {0o700}


@pytest.mark.parametrize("kind", ["no home", "a home that cannot be made", "a relative one"])
def test_without_a_home_a_dump_goes_to_a_private_folder_that_is_printed(
    deploy: Command, policy: Path, breaking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:  # fmt: skip
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state = {"no home": "", "a relative one": "state"}.get(kind, "/proc/nobody")
    monkeypatch.setenv("XDG_STATE_HOME", state)
    monkeypatch.setattr(Path, "home", no_home)
    _, out, _ = deploy(policy, "--robot", breaking, "--fast")
    (folder,) = tmp_path.glob("robodreamer-flights-*")
    (dump,) = folder.iterdir()
    assert f"recorder    the last 20 s are in {dump}" in out
    assert "recorder    this user has no home that can be written to: move it" in out
    assert folder.stat().st_mode & 0o777 == 0o700


def test_whatever_the_flight_recorder_raises_is_one_line(
    deploy: Command, policy: Path, breaking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dump(*_: object) -> None:
        raise OverflowError("no such\nnumber")

    monkeypatch.setattr(FlightRecorder, "dump", dump)
    report = tmp_path / "report.json"
    drive = [policy, "--robot", breaking, "--fast", "--report", report]
    code, out, _ = deploy(*drive)
    assert code == 1
    assert "recorder    the last 20 s cannot be written: OverflowError in test_drive_log.py" in out
    assert "no such number\n" in out
    assert json.loads(report.read_text())["fault"]


def test_an_episode_has_one_number_on_the_screen_in_report_log_labels_and_replay(
    deploy: Command, policy: Path, tmp_path: Path
) -> None:
    log, report = tmp_path / "drive.mcap", tmp_path / "report.json"
    drive = [policy, "--robot", f"{TOY}:Point", "--fast", "--episodes", 3, "--seed", 7]
    _, out, _ = deploy(*drive, "--log", log, "--report", report)
    shown = {
        int(n): int(seed)
        for n, seed in re.findall(r"^episode (\d+) +seed (\d+)", out, re.MULTILINE)
    }
    assert shown == {0: 7, 1: 8, 2: 9}
    reported = json.loads(report.read_text())["episodes"]
    assert {episode["number"]: episode["seed"] for episode in reported} == shown
    starts = [e.payload for e in LogReader(log).events() if isinstance(e.payload, EpisodeStart)]
    assert {start.number: start.seed for start in starts} == shown
    for number in shown:
        _, out, _ = deploy("label", log, "success", "--episode", number)
        assert f"episode {number} is a success" in out
    found = segments(LogReader(log).events(), CONTRACT).segments
    assert {segment.episode: read_labels(log).of(segment.episode) for segment in found} == {
        number: EpisodeLabel(outcome="success", reward=1.0) for number in shown
    }
    other = toy_policy.write_bundle(tmp_path / "other", weights=toy_policy.make_weights(5))
    assert "DIFFERENT   episode 0, tick 0: " in deploy(other, "--replay", log)[1]


def test_an_episode_of_which_a_dump_has_only_the_end_can_be_labelled(
    deploy: Command, policy: Path, tmp_path: Path
) -> None:
    recorded_events: list[LogEvent] = []
    drive = RecordedDrive(Policy(load_bundle(policy)))
    drive.record([recorded_events.append], range(3))
    flight = FlightRecorder(drive.metadata(), now=drive.clock.now, folder=tmp_path, seconds=0.3)
    for event in recorded_events:
        flight.put(event)
    dump = flight.dump("over")
    assert dump is not None
    assert not any(isinstance(event.payload, EpisodeStart) for event in LogReader(dump).events())
    assert deploy("label", dump, "failure", "--episode", 2)[0] == 0
    code, _, err = deploy("label", dump, "failure", "--episode", 1)
    assert (code, "has no episode 1; it holds 2\n" in err) == (2, True)


def test_an_operator_labels_episodes(deploy: Command, log: Path) -> None:
    code, out, _ = deploy("label", log, "success", "--episode", 1, "--terminal")
    assert (code, out) == (0, f"{log}.labels.json: episode 1 is a success, reward 1\n")
    assert deploy("label", log, "failure", "--episode", 0, "--reward", -2.5)[0] == 0
    assert read_labels(log).of(1) == EpisodeLabel(outcome="success", reward=1.0, is_terminal=True)
    assert read_labels(log).of(0) == EpisodeLabel(outcome="failure", reward=-2.5)
    assert json.loads(Path(f"{log}.labels.json").read_text())["episodes"].keys() == {"0", "1"}
    code, _, err = deploy("label", log, "success", "--episode", 2)
    assert (code, "has no episode 2; it holds 0 to 1" in err) == (2, True)
    code, _, err = deploy("label", log, "success", "--episode", 0, "--reward", "nan")
    assert (code, "--reward nan is not finite" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--replay", "none.mcap"], "none.mcap cannot be read: No such file"),
        (["--replay", TOY], "toy_robot.py is no MCAP file"),
        (["--robot", f"{TOY}:Bench", "--log", TOY], "toy_robot.py cannot be made: File exists"),
        (["--robot", f"{TOY}:Bench", "--log", "none/log.mcap"], "there is no folder none"),
    ],
)
def test_a_file_that_cannot_be_read_or_written_raises_a_clear_error(
    deploy: Command, policy: Path, words: list[object], reason: str
) -> None:
    code, _, err = deploy(policy, *words)
    assert code == 2
    assert reason in err


def test_a_disk_that_is_full_costs_the_log_and_is_a_fault(
    deploy: Command, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full").open("wb")  # noqa: SIM115  the recorder closes it
    monkeypatch.setattr(recorder, "open_new", lambda _: full)
    log = tmp_path / "log.mcap"
    drive = [policy, "--robot", f"{TOY}:Point", "--fast", "--episodes", 1, "--log", log]
    code, out, _ = deploy(*drive)
    assert code == 1
    assert f"FAULT       {log} ends early: [Errno 28] No space left on device" in out
    assert "stopped     all episodes are over; the robot holds" in out


def test_without_the_package_mcap_a_robot_drives_but_is_not_recorded(
    deploy: Command, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcap", None)
    drive = [policy, "--robot", f"{TOY}:Point", "--fast", "--episodes", 1]
    code, out, _ = deploy(*drive)
    assert code == 0
    assert "recorder    off: logs need the package mcap: pip install 'robodreamer[log]'" in out
    code, _, err = deploy(*drive, "--log", tmp_path / "log.mcap")
    assert code == 2
    assert "pip install 'robodreamer[log]'" in err
    assert not (tmp_path / "log.mcap").exists()


def test_a_real_drive_in_simulation_is_repeated_to_the_bit(deploy: Command, tmp_path: Path) -> None:
    log = tmp_path / "reach.mcap"
    code, *_ = deploy(
        POLICIES / "fetch_reach", "--robot", SIMULATED,
        "--fast", "--draw", "sample", "--episodes", 2, "--log", log,
    )  # fmt: skip
    assert code == 0
    code, out, _ = deploy(POLICIES / "fetch_reach", "--replay", log)
    assert code == 0
    assert "the same    100 of 100 ticks, bit for bit" in out
