"""docs/onboard.md: its options and numbers are the program's, and its rules have tests."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from robodreamer_deploy.cli import drive
from robodreamer_deploy.control import realtime, shutdown, surprise
from robodreamer_deploy.control.enable_switch import HEARTBEAT_S
from robodreamer_deploy.control.fault_tolerance import FaultTolerance
from robodreamer_deploy.control.limits import ElementLimits, LimitsFile
from robodreamer_deploy.control.states import State
from robodreamer_deploy.drive_options import RAMP_S, WARM_UP_TICKS
from robodreamer_deploy.utils.strict_json import parse_json, read_record

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "onboard.md").read_text(encoding="utf-8")


def test_every_rule_names_tests_that_there_are() -> None:
    page = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    table = page.partition("## Rules onboard")[2]
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    rows = [line for line in lines if not line.startswith("| **")]  # but headings
    assert len(rows) > 40
    for row in rows:
        file = ""
        names = re.findall(r"`(?:(test_\w+\.py)(?:::)?)?(test_\w+\*?)?`", row)
        assert names, row
        for in_file, name in names:
            file = in_file or file
            (path,) = (ROOT / "tests").rglob(file)
            source = path.read_text(encoding="utf-8")
            pattern = f"def {name[:-1]}" if name.endswith("*") else f"def {name}("
            assert not name or pattern in source, (file, name)


def test_every_option_of_the_page_is_one() -> None:
    text = drive.parser().format_help()
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+\b(?!\.)", PAGE)):  # --a.b is training's
        assert option in text, option


def test_the_example_of_limits_is_read() -> None:
    example = PAGE.partition("```json")[2].partition("```")[0]
    file = read_record(LimitsFile, parse_json(example), "limits")
    assert file.elements["shoulder"].acceleration == 8.0
    assert {field.name for field in fields(ElementLimits)} <= set(re.findall(r"\w+", example))


@pytest.mark.parametrize(
    "words",
    [
        f"warming | holds; the model watches, {WARM_UP_TICKS} ticks",
        f"(`--ramp`, {RAMP_S:g} s)",
        f"touched within the last {HEARTBEAT_S:g} s",
        f"mean surprise of the last {surprise.WINDOW} steps",
        f"by {surprise.SLOW_RATE:g}.",
        f"the model dreams on, for {FaultTolerance.missing_in_a_row} ticks in a row",
        f"the robot holds and waits, for {FaultTolerance.first_frames_s:g} s",
        f"more than {FaultTolerance.faults_in_a_row} held ticks in a row",
        f"up to {FaultTolerance.skipped_in_a_row} periods skipped",
        f"{FaultTolerance.silent_ticks} periods without a command",
        f"{shutdown.HOLD_ATTEMPTS} attempts, of {shutdown.ATTEMPT_WITHIN_S:g} s at most each",
        f"none later than {shutdown.HOLD_WITHIN_S:g} s after the first",
        f"broken off after {shutdown.DISCONNECT_WITHIN_S:g} s",
        f"SCHED_FIFO (priority {realtime.PRIORITY},",
        *(f"| {state.value} |" for state in State),
    ],
)
def test_the_numbers_of_the_page_are_the_programs(words: str) -> None:
    assert words in " ".join(PAGE.split())
