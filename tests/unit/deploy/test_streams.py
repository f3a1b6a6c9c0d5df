"""Both commands with standard streams that are closed, full, or that nobody reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("", "sim", "deploy"))
COMMANDS = {
    "robodreamer": ("-m", "robodreamer"),
    "robodreamer-deploy": ("-m", "robodreamer_deploy.cli.main"),
}
WORDS = {"robodreamer": "tasks arm", "robodreamer-deploy": f"inspect {ROOT}/policies/fetch_reach"}
ALL = [(name, closed) for name in COMMANDS for closed in (">&-", "2>&-", "<&-", "<&- >&- 2>&-")]


def run(name: str, words: str, redirection: str) -> subprocess.CompletedProcess[str]:
    """Run a command through a shell that redirects its streams."""
    line = " ".join([sys.executable, *COMMANDS[name], words, redirection])
    return subprocess.run(
        ["/bin/sh", "-c", line], env=os.environ | {"PYTHONPATH": SOURCES},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "closed"), ALL)
def test_a_command_whose_streams_are_closed_does_its_work(name: str, closed: str) -> None:
    done = run(name, WORDS[name], closed)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (">&-" not in closed.replace("2>&-", ""))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("closed", [">&-", "2>&-", "2>/dev/full"])
def test_a_mistake_keeps_its_exit_status_whatever_takes_the_words_in(
    name: str, closed: str
) -> None:
    done = run(name, "tasks nowhere" if name == "robodreamer" else "inspect nowhere", closed)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == (closed == ">&-")


def test_output_that_nothing_takes_in_is_told_in_a_line() -> None:
    for words in ("tasks arm", "--version"):
        done = run("robodreamer", words, ">/dev/full")
        assert done.returncode == 2
        assert done.stderr == "robodreamer: [Errno 28] No space left on device\n"


def test_no_file_that_is_opened_later_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "from robodreamer_deploy.utils.streams import open_closed_streams; open_closed_streams(); "
        f"import os, subprocess, sys; file = open({str(tmp_path / 'log')!r}, 'w'); "
        "os.write(1, b'by a library'); os.write(2, b'by a library'); "
        "subprocess.run(['echo', 'by a child'], check=True); "
        "sys.exit(0 if file.fileno() > 2 and sys.stdout and sys.stderr and sys.stdin else 1)"
    )
    line = f'{sys.executable} -c "{code}" <&- >&- 2>&-'
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=os.environ | {"PYTHONPATH": SOURCES}, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "log").read_text() == ""
