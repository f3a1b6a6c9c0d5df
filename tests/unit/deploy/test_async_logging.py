"""Log lines: whoever logs never waits for whoever reads."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import toy_policy
from robodreamer_deploy.utils import async_logging
from robodreamer_deploy.utils.async_logging import MAX_LINES, ThreadHandler

ROOT = Path(__file__).parents[3]


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("robot", logging.ERROR, __file__, 1, text, None, None)


def test_a_reader_that_reads_nothing_makes_nobody_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_logging, "FLUSH_WITHIN_S", 0.1)
    read, write = os.pipe()
    handler, start = ThreadHandler(write), time.monotonic()
    for number in range(3 * MAX_LINES):
        handler.emit(record(f"{number:0200}"))  # three times what fits into pipe and queue
    handler.close()
    assert time.monotonic() - start < 2.0
    with os.fdopen(read, "rb") as reader:
        first = reader.read(1 << 16)  # which lets the thread go on
        text = first + reader.read(200 * MAX_LINES - len(first))
    os.close(write)
    numbers = [int(line) for line in text.split()[:-1]]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 0.9 * MAX_LINES


def test_a_drive_goes_on_and_ends_while_nobody_reads_what_is_logged(tmp_path: Path) -> None:
    robot = tmp_path / "talkative.py"
    robot.write_text(
        "import logging\n"
        "from toy_robot import Bench\n"
        "class Talkative(Bench):\n"
        "    def get_observation(self):\n"
        "        logging.getLogger('bus').warning('x' * 10_000)\n"
        "        return super().get_observation()\n"
    )
    policy = toy_policy.write_bundle(tmp_path / "toy")
    process = subprocess.Popen(
        [sys.executable, ROOT / "deploy", policy, "--robot", f"{robot}:Talkative",
         "--seconds", "1", "--no-real-time", "--watchdog", "500"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert process.wait(20) == 0
        assert process.stdout is not None
        out = process.stdout.read()
        assert "stopped     1 s are over; the robot holds" in out
    finally:
        process.kill()
        process.communicate()


def test_the_last_line_is_printed_before_the_program_ends(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import logging, sys\n"
        "from robodreamer_deploy.cli import main as cli\n"
        "class Command:\n"
        "    parser = staticmethod(__import__('argparse').ArgumentParser)\n"
        "    run = staticmethod(lambda *_: logging.getLogger('x').error('the last word') or 3)\n"
        "cli.find_command = lambda _: (Command, [])\n"
        "sys.exit(cli.main([]))\n"
    )
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (3, "ERROR the last word\n")
