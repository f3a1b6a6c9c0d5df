"""`robodreamer-deploy serve` and `keys`, as users run them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy_policy
from toy_robot import CONTRACT

from robodreamer_deploy import cli
from robodreamer_deploy.robots.loading import load_robot

TOY = Path(__file__).parent / "toy_robot.py"
RUN = "import sys; from robodreamer_deploy import cli; sys.exit(cli.main())"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_policy.write_bundle(tmp_path_factory.mktemp("policies") / "toy")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command; return its exit code, output and error output."""

    def run(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_robot_of_ones_own_is_served_with_keys_and_left_holding(
    said: Command, policy: Path, tmp_path: Path
) -> None:
    code, out, _ = said("keys", tmp_path / "keys")
    assert code == 0
    assert "robot.key" in out
    serve = ("serve", f"{TOY}:Bench", "--policy", policy, "--listen", "tcp://127.0.0.1:0")
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *serve, "--key", tmp_path / "keys/robot.key"],
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = re.search(r"tcp://\S+", process.stdout.readline())
        assert address is not None
        robot = load_robot(f"{address[0]}:{tmp_path / 'keys/driver.key'}", CONTRACT)
        robot.connect()
        action = np.ones(2, np.float32)
        np.testing.assert_array_equal(robot.send_action(action), action)
        robot.disconnect()
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=10)
        assert "stopped     SIGTERM; the robot holds" in rest
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["serve", "{toy}:Bench", "--policy", "{policy}", "--listen", "udp://x"],
            "not of the form",
        ),
        (["serve", "{toy}:Pint", "--policy", "{policy}"], "has no class Pint"),
        (["serve", "{toy}:Bench", "--policy", "nowhere"], "no policy folder nowhere"),
        (["serve", "{toy}:Bench", "--policy", "{policy}", "--key", "x"], "key x cannot be read"),
        (
            ["serve", "{toy}:Bench", "--policy", "{policy}", "--listen", "tcp://*:1"],
            "other machines",
        ),
        (["keys", "{toy}"], "keys cannot be written"),
    ],
)
def test_a_users_mistake_is_one_sentence(
    said: Command, policy: Path, words: list[str], told: str
) -> None:
    names = {"policy": policy, "toy": TOY}
    code, _, err = said(*[word.format(**names) for word in words])
    assert code == 2
    assert err.count("\n") == 1
    assert told in err
