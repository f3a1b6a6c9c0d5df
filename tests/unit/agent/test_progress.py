"""Progress: a display that fits its terminal, plain lines where there is none."""

import os
import pty
import re
from pathlib import Path

import pytest

from robodreamer.training.progress import Progress
from robodreamer.utils.formatting import format_duration

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
FIGURES = {
    "steps": "1,000 (12/s)",
    "evaluation": "return -49.8, success 100% at step 1,504,000" * 2,
}


class FakeClock:
    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


def read_all(terminal: int) -> str:
    """Return all that was written to a terminal which its last user has closed."""
    content = b""
    while True:
        try:
            content += os.read(terminal, 65536)
        except OSError:  # Linux says EIO when nobody has the other end open
            return content.decode()


def test_a_notebook_shows_progress_as_output_and_not_as_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Progress("title").say("in a log")
    monkeypatch.setattr("sys.ps1", "In : ", raising=False)
    Progress("title").say("in a notebook")
    assert capsys.readouterr() == ("in a notebook\n", "in a log\n")


def test_a_log_gets_one_plain_line_per_report(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        progress = Progress("a title", log)
        progress.start()
        progress.say("[bold] stays as it is")
        progress.show(0.25, FIGURES)
        progress.stop()
    assert (tmp_path / "log").read_text().splitlines() == [
        "[bold] stays as it is",
        f" 25% steps 1,000 (12/s) | evaluation {FIGURES['evaluation']} | left ?",
    ]


def test_time_left_follows_the_pace_of_this_process(tmp_path: Path) -> None:
    clock = FakeClock()
    with (tmp_path / "log").open("w") as log:
        progress = Progress("a resumed run", log, clock)
        clock.now += 1000  # until everything was loaded
        progress.show(0.5, {})
        clock.now += 60
        progress.show(0.6, {})
        clock.now += 60
        progress.show(0.9, {})
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.rpartition("left ")[2] for line in lines] == ["?", "4 min", "30 s"]


@pytest.mark.parametrize("width", [40, 80])
def test_the_display_keeps_to_the_width_of_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        progress = Progress("a title that is longer than any terminal " * 4, terminal)
        progress.start()
        progress.show(0.5, FIGURES)
        progress.stop()
    text = read_all(ours)
    os.close(ours)
    lines = [line for line in re.split(r"[\r\n]+", ESCAPES.sub("\n", text)) if line.strip()]
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines[-5:]] == ["a", "done", "time", "steps", "evaluation"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert format_duration(float(seconds)) == text
