"""Loading a policy ends: in time, with what it raises, or with a sentence."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from robodreamer_deploy import drive
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.time_limit import within
from toy_policy import write_bundle

ROOT = Path(__file__).parents[3]


def test_what_comes_back_is_returned_and_what_is_raised_is_raised() -> None:
    assert within(30.0, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(30.0, lambda: 1 / 0)


def test_a_self_test_that_does_not_end_is_broken_off_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, end = write_bundle(tmp_path / "toy"), threading.Event()
    monkeypatch.setattr(drive, "replay_golden", lambda *_: end.wait() and None)
    monkeypatch.setitem(drive.LOAD_WITHIN_S, "cpu", 0.1)
    with pytest.raises(BundleError, match=r"testing the policy did not end within 0\.1 s"):
        drive.load_policy(policy, lambda _: None)
    end.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_graph_that_does_not_come_back(
    tmp_path: Path, number: signal.Signals
) -> None:
    script = tmp_path / "hanging.py"
    script.write_text(
        "import ctypes, sys\n"
        "from robodreamer_deploy.cli import main\n"
        "from robodreamer_deploy.policy.onnx_graph import Graph\n"
        "def hang(graph, values):\n"
        "    print('computing', flush=True)\n"
        "    mutex = ctypes.create_string_buffer(64)\n"
        "    for _ in range(2):  # the second never comes back, and C hears no signal\n"
        "        ctypes.CDLL(None).pthread_mutex_lock(mutex)\n"
        "Graph.run = hang\n"
        "sys.exit(main.main(sys.argv[1:]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, script, write_bundle(tmp_path / "toy"), "--robot", "sim:none"],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert b"computing\n" in iter(process.stdout.readline, b"")
        process.send_signal(number)
        assert process.wait(20) in {128 + number, -number}
    finally:
        process.kill()
        process.communicate()
