"""docs/your-robot.md: the class in it is a robot, and every command in it is understood."""

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.cli.main import find_command, main
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.robots.composite import CompositeFile
from robodreamer_deploy.robots.dynamixel.config import ServoBus
from robodreamer_deploy.robots.lerobot.mapping import LeRobotFile
from robodreamer_deploy.utils.strict_json import read_record

ROOT = Path(__file__).parents[3]
POLICY = ROOT / "policies" / "fetch_reach"
PAGE = (ROOT / "docs" / "your-robot.md").read_text()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the page's one block of Python as a file."""
    (text,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    file = tmp_path / "my_robot.py"
    file.write_text(text)
    return file


@pytest.fixture
def contract() -> Contract:
    return load_bundle(POLICY).contract


def make_robot(file: Path, contract: Contract) -> Any:
    spec = importlib.util.spec_from_file_location("my_robot", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MyRobot("", contract)


def test_the_robot_of_the_page_is_driven_by_the_bundled_policy(file: Path, tmp_path: Path) -> None:
    report = tmp_path / "drive.json"
    words = [str(POLICY), "--robot", f"{file}:MyRobot", "--seconds", "0.5", "--report", str(report)]
    assert main([*words, "--watchdog", "500"]) == 0
    figures = json.loads(report.read_text())
    assert figures["ticks"] > 0
    assert figures["fault"] is None
    assert (figures["held_ticks"], figures["bad_observations"]) == (0, {})
    assert "robot" not in figures["limits"], "it says that it did what it was told"


def test_it_moves_where_it_is_told_and_stays_where_it_can_go(
    file: Path, contract: Contract
) -> None:
    robot = make_robot(file, contract)
    robot.connect()
    for direction in (1.0, -1.0):
        before = robot.get_observation()
        contract.check(before, inputs_only=True)
        robot.send_action(np.array([0, direction, 0, 0], np.float32))
        after = robot.get_observation()
        moved = after["proprio/gripper_position"] - before["proprio/gripper_position"]
        np.testing.assert_allclose(moved, [0, 0.05 * direction, 0], atol=1e-6)
        velocity = after["proprio/gripper_velocity"]
        np.testing.assert_allclose(velocity, moved / contract.control_dt_s, atol=1e-5)
    for _ in range(100):
        robot.send_action(np.ones(4, np.float32))
    still = robot.get_observation()["proprio/gripper_position"]
    robot.hold()
    np.testing.assert_array_equal(robot.get_observation()["proprio/gripper_position"], still)
    robot.disconnect()


def test_every_command_of_the_page_is_understood() -> None:
    lines = re.findall(r"^    robodreamer-deploy (.*)$", PAGE, re.MULTILINE)
    assert len(lines) >= 3
    for line in lines:
        command, words = find_command(shlex.split(line))
        assert (ROOT / command.parser().parse_args(words).policy).is_dir()


def test_the_files_of_the_page_are_understood(tmp_path: Path) -> None:
    blocks = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for text, kind in zip(blocks, (LeRobotFile, ServoBus, CompositeFile), strict=True):
        assert read_record(kind, json.loads(text), "the page")


def test_every_promise_of_the_page_is_kept_by_its_robot(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-robot", str(POLICY), "--robot", f"{file}:MyRobot"]) == 0
    assert "gripper_position: x 1.34 m, y 0.75 m, z 0.53 m" in capsys.readouterr().out
