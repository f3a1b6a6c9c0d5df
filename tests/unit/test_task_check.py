"""`robodreamer tasks check`: says of every promise whether it is kept, in 80 columns."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from robodreamer.cli import main
from robodreamer_sim.conformance import CHECKS


def test_a_fit_task_keeps_all_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "check", "test_conformance:Fit"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "test_conformance:Fit"
    assert [line.split()[0] for line in lines if line.startswith("  ok")] == ["ok"] * len(CHECKS)
    assert lines[-1] == "no broken promises"
    assert max(map(len, lines)) <= 80


def test_a_broken_promise_is_told_and_the_status_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tasks", "check", "test_conformance:Dark", "test_conformance:Fit"]) == 1
    said = capsys.readouterr().out
    assert "  broken  pictures      image/scene shows nothing" in said
    assert said.count("  ok      ") == 2 * len(CHECKS) - 1
    assert said.endswith("\n1 broken promise\n")


def test_a_task_without_pictures_is_checked_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "check", "foreign_env:Base"]) == 0
    assert capsys.readouterr().out.endswith("\nno broken promises\n")


def test_what_a_task_raises_while_it_is_checked_is_a_broken_promise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tasks", "check", "foreign_env:BreaksLater"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "broken observations it raises RuntimeError: lost contact (raised in foreign_env)" in said
    )


def test_what_is_no_task_cannot_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "check"]) == 2
    assert "name the tasks to check" in capsys.readouterr().err
    assert main(["tasks", "check", "arm_rech"]) == 2
    assert "the closest are arm_reach" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(find_spec("Box2D") is None, reason="needs the extra `box2d`")
def test_car_racing_keeps_all_promises() -> None:
    # In a process of its own: Box2D crashes where warnings are errors, as in these tests.
    code = "import sys; from robodreamer.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "tasks", "check", "gym:CarRacing-v3"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
