"""Two processes: the simulated hardware and its driver over loopback, killed in turn."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train_runs import ROOT

from robodreamer_deploy.drive_options import WARM_UP_TICKS
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.remote.keys import make_keys
from robodreamer_deploy.robots.remote.robot import EpisodicRemoteRobot
from robodreamer_sim.robots.virtual_hardware.arguments import parser
from robodreamer_sim.robots.virtual_hardware.process import run

POLICY = ROOT / "policies" / "fetch_reach"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
FARTHEST_M = 0.15 * 3**0.5
"""From where the gripper begins to the goal: as much is lost per tick of warm-up."""
DRIVER = """
import sys, time
from pathlib import Path
import numpy as np
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.robots.loading import load_robot
contract = load_bundle(Path(sys.argv[1])).contract
robot = load_robot(sys.argv[2], contract)
robot.connect()
robot.start_episode(0)
print("drives", flush=True)
while True:
    robot.send_action(np.array([1, 1, 0, 0], np.float32))
    time.sleep(contract.control_dt_s)
"""


class Hardware:
    """The simulated hardware in its process."""

    def __init__(self, process: "subprocess.Popen[str]", address: str) -> None:
        self.process, self.address = process, address

    def end(self) -> str:
        """End it as a user does; return what it said."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=20)[0]


@contextmanager
def hardware(*words: str) -> Iterator[Hardware]:
    """Run the simulated hardware at a free port."""
    task = ("-m", "robodreamer_sim.robots.virtual_hardware", "fetch_reach", "--policy", POLICY)
    with started(*task, "--listen", "tcp://127.0.0.1:0", *words) as process:
        yield Hardware(process, wait_for(process, r"listening +(tcp://\S+)"))


@contextmanager
def started(*words: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """Run Python in a process that ends with the block."""
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def driving(address: str, *words: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    """Run `robodreamer-deploy`."""
    return started(ROOT / "deploy", POLICY, "--robot", address, *words)


def wait_for(process: "subprocess.Popen[str]", words: str) -> str:
    """Wait until a process has said something; return its first group."""
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(words, line):
            return match[match.re.groups and 1]
    pytest.fail(f"it ended without saying {words!r}")


def test_a_killed_driver_leaves_a_robot_that_holds_and_can_be_driven_by_the_next() -> None:
    with hardware() as robot:
        with started("-c", DRIVER, POLICY, robot.address) as driver:
            wait_for(driver, "drives")
            time.sleep(0.4)
        contract = load_bundle(POLICY).contract
        following = load_robot(robot.address, contract)
        assert isinstance(following, EpisodicRemoteRobot)
        time.sleep(0.5)
        verdict = following.verdict()  # the watchdog's bound has passed; nobody has connected since
        assert verdict["num_ceased"] == 1
        assert verdict["num_unsafe"] == 0
        assert 0.0 < verdict["longest_blind_s"] <= verdict["still_within_s"]
        with pytest.raises(RobotError, match="has a driver, last heard"):
            following.connect()
        time.sleep(1.6)
        following.connect()
        positions = []
        for _ in range(2):
            positions.append(following.get_observation()["proprio/gripper_position"].copy())
            time.sleep(0.3)
        np.testing.assert_allclose(positions[0], positions[1], atol=1e-3)  # metres
        following.disconnect()
        said = robot.end()
        assert "0 unsafe" in said
        assert robot.process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_robot_that_dies_or_hangs_in_mid_episode_is_reported_within_the_bound(
    number: signal.Signals,
) -> None:
    with hardware() as robot, driving(robot.address, "--seconds", "60") as driver:
        wait_for(driver, "episode 0")
        robot.process.send_signal(number)
        start = time.monotonic()
        said = driver.communicate(timeout=20)[0]
        assert time.monotonic() - start < 8.0  # five attempts to hold, and Python's own end
        assert driver.returncode == 1
        assert re.search(r"FAULT .*(did not answer within 0\.|is no longer there)", said)
        assert "CUT ITS POWER" in said


@pytest.mark.slow
def test_a_driver_that_was_suspended_does_not_drive_on() -> None:
    with hardware() as robot, driving(robot.address, "--seconds", "60") as driver:
        wait_for(driver, "episode 1")
        time.sleep(0.7)  # in the middle of the next one: between two episodes the robot holds
        driver.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        driver.send_signal(signal.SIGCONT)
        said = driver.communicate(timeout=20)[0]
        assert driver.returncode == 1
        assert re.search(r"FAULT .*(did not come back within|without a command)", said)
        assert said.endswith("the robot holds\n")
        assert "0 unsafe" in robot.end()


@pytest.mark.slow
def test_the_end_of_the_robots_process_is_reported_by_its_driver_without_an_alarm() -> None:
    with hardware() as robot, driving(robot.address, "--seconds", "60") as driver:
        wait_for(driver, "episode 1")
        robot.process.send_signal(signal.SIGTERM)
        said = driver.communicate(timeout=20)[0]
        assert driver.returncode == 1
        assert "the robot's process ends (SIGTERM); it has had it hold" in said
        assert said.endswith("stopped     by a fault; the robot holds\n")


@pytest.mark.slow
def test_the_bundled_policy_does_as_well_over_loopback(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    report = tmp_path / "report.json"
    with hardware("--key", str(tmp_path / "keys/robot")) as robot:
        address = f"{robot.address}:{tmp_path / 'keys/driver'}"
        words = ("--episodes", "10", "--ramp", "0", "--report", str(report))
        with driving(address, *words) as driver:
            said = driver.communicate(timeout=120)[0]
        assert driver.returncode == 0, said
        assert "0 unsafe" in robot.end()
    figures: dict[str, Any] = json.loads(report.read_text())
    trained = load_bundle(POLICY).manifest.draws["mode"]
    assert figures["success_rate"] >= 0.9
    assert trained.return_mean is not None
    warming = WARM_UP_TICKS * FARTHEST_M  # the robot stands where it began
    assert figures["return_mean"] > trained.return_mean - warming


@pytest.mark.slow
def test_with_lost_and_late_pictures_it_is_still_driven_safely() -> None:
    with hardware("--camera-drop", "0.2", "--action-delay", "1", "--randomize", "mild") as robot:
        with driving(robot.address, "--episodes", "3") as driver:
            driver.communicate(timeout=60)
        assert "0 unsafe" in robot.end()
        assert robot.process.returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fetch_reech",), "no task 'fetch_reech'; the closest are fetch_reach"),
        (("fetch_reach", "--listen", "tcp://0.0.0.0:0"), "can be reached by other machines"),
        (("fetch_reach", "--key", "none"), "the key none/robot.key_secret cannot be read"),
        (("fetch_reach", "--camera-drop", "2"), "camera_drop lies between 0 and 1"),
    ],
)
def test_hardware_that_cannot_be_is_refused_in_a_sentence(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(parser("robot").parse_args(words), "robot") == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
