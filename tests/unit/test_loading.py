"""Loading a robot from a user's own file: what works in a script works here, or is refused."""

import sys
from pathlib import Path

import pytest
from toy_robot import CONTRACT

from robodreamer_deploy.robots import RobotError
from robodreamer_deploy.robots.loading import load_robot

SIGNATURE = r"calling it with \(argument: str, contract: Contract\)"


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])


def write(folder: Path, text: str) -> str:
    (folder / "arm.py").write_text(f"from toy_robot import Bench\n{text}")
    return f"{folder / 'arm.py'}:Arm:left"


def test_a_file_with_future_annotations_and_a_dataclass(tmp_path: Path) -> None:
    (tmp_path / "arm.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Arm:\n"
        "    argument: str\n"
        "    contract: object\n"
    )
    robot = load_robot(f"{tmp_path / 'arm.py'}:Arm:left", CONTRACT)
    assert vars(robot) == {"argument": "left", "contract": CONTRACT}


def test_modules_beside_the_file_are_found_then_and_later(tmp_path: Path) -> None:
    (tmp_path / "beside_the_arm.py").write_text("name = 'servo'\n")
    (tmp_path / "also_beside_the_arm.py").write_text("name = 'bus'\n")
    spec = write(
        tmp_path,
        "import beside_the_arm\n"
        "class Arm(Bench):\n"
        "    def connect(self):\n"
        "        import also_beside_the_arm\n"
        "        self.names = beside_the_arm.name, also_beside_the_arm.name\n",
    )
    robot = load_robot(spec, CONTRACT)
    robot.connect()
    assert vars(robot)["names"] == ("servo", "bus")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class Arm:\n    def __init__(self): pass\n", rf"Arm takes \(\); .* {SIGNATURE}"),
        ("def Arm(a, b, c): pass\n", rf"Arm takes \(a, b, c\); .* {SIGNATURE}"),
        ("class Arm(:\n", r"arm\.py cannot be made: .*syntax.* \(arm\.py, line 2\)"),
        ("import no_such_driver\n", "cannot be made: No module named 'no_such_driver'"),
        ("1 / 0\n", r"ZeroDivisionError in arm\.py, line 2: division by zero"),
        ("def Arm(a, b): return {}['x']\n", r"KeyError in arm\.py, line 2: 'x'"),
        ("class Leg(Bench): pass\n", "has no class Arm; it has "),
    ],
)
def test_a_file_that_makes_no_robot_is_refused_in_one_sentence(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(RobotError, match=words) as caught:
        load_robot(write(tmp_path, text), CONTRACT)
    assert "\n" not in str(caught.value)


def test_a_file_that_failed_leaves_nothing_half_imported(tmp_path: Path) -> None:
    with pytest.raises(RobotError):
        load_robot(write(tmp_path, "1 / 0\n"), CONTRACT)
    assert not [name for name in sys.modules if name.startswith("robot_file_arm")]


def test_a_plain_folder_is_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "siim").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RobotError, match="there is no robot and no module siim; "):
        load_robot("siim:reach", CONTRACT)
