"""`robodreamer-deploy serve` and `keys`, as users run them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_policy
from toy_robot import CONTRACT

from robodreamer_deploy.driving.leaving import HOLD_ATTEMPTS
from robodreamer_deploy.robots import RobotError
from robodreamer_deploy.robots.loading import load_robot

TOY = Path(__file__).parent / "toy_robot.py"
RUN = "import sys; from robodreamer_deploy import cli; sys.exit(cli.main())"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_policy.write_bundle(tmp_path_factory.mktemp("policies") / "toy")


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


BAD = """
import time
from toy_robot import Bench
class Hanging(Bench):
    def get_observation(self):
        time.sleep(60)
    def hold(self):
        print("told to hold", flush=True)
        return super().hold()
class Loose(Bench):
    def hold(self):
        print("told to hold", flush=True)
        if self.num_holds:
            raise OSError("no bus")
        return super().hold()
class Absent(Hanging):
    def connect(self):
        raise OSError("no such port")
"""


def serve_until(
    name: str, policy: Path, folder: Path, then: Callable[[Any, Any], None]
) -> tuple[int, str]:
    """Serve a robot of `BAD`, do something with it as its driver; return how its process ended."""
    file = folder / "bad.py"
    file.write_text(BAD)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "serve", f"{file}:{name}", "--policy", policy,
         "--listen", "tcp://127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if address := re.search(r"tcp://\S+", line):
            robot = load_robot(address[0], CONTRACT)
            robot.connect()
            then(robot, process)
            with suppress(RobotError):
                robot.disconnect()
        rest, _ = process.communicate(timeout=20)
        return process.returncode, line + rest
    finally:
        process.kill()
        process.communicate()


def test_a_served_robot_that_hangs_is_held_and_its_process_ends(
    policy: Path, tmp_path: Path
) -> None:
    def read(robot: Any, _: Any) -> None:
        with pytest.raises(RobotError):
            robot.get_observation()

    code, said = serve_until("Hanging", policy, tmp_path, read)
    assert code == 1
    assert said.count("told to hold") >= 3  # for who connects, by the watchdog, in the end
    assert "FAULT       the robot did not come back within 1 s: " in said
    assert said.endswith("stopped     by a fault; the robot holds\n")


def test_a_served_robot_that_does_not_hold_in_the_end_is_told_again_and_again(
    policy: Path, tmp_path: Path
) -> None:
    def stop(_: Any, process: Any) -> None:
        process.send_signal(signal.SIGTERM)

    code, said = serve_until("Loose", policy, tmp_path, stop)
    assert code == 1
    assert said.count("ERROR hold failed: no bus") == HOLD_ATTEMPTS
    assert said.endswith("holding the robot FAILED (no bus): CUT ITS POWER\n")


def test_a_robot_that_is_not_there_is_not_served(policy: Path, tmp_path: Path) -> None:
    code, said = serve_until("Absent", policy, tmp_path, lambda *_: None)
    assert (code, said) == (2, "robodreamer-deploy: no such port\n")


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
