"""Loading a robot from a user's own file: what works in a script works here, or is refused."""

import json
import sys
from pathlib import Path
from typing import cast

import pytest

from robodreamer_deploy.cli.main import main
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.composite import CompositeRobot
from robodreamer_deploy.robots.loading import load_robot
from toy_policy import write_bundle
from toy_robot import CONTRACT

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
    before = set(sys.modules)
    with pytest.raises(RobotError):
        load_robot(write(tmp_path, "1 / 0\n"), CONTRACT)
    assert not [name for name in sys.modules.keys() - before if name.startswith("robot_file_arm")]


REGISTERS_ITSELF = """
import toy_robot
registry = vars(toy_robot).setdefault("REGISTRY", set())
if __file__ in registry:
    raise ValueError("already registered")
registry.add(__file__)
class Arm(toy_robot.Bench):
    pass
"""


def test_a_file_is_executed_once_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write(tmp_path, REGISTERS_ITSELF)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.py").symlink_to("arm.py")
    composite = tmp_path / "parts.json"
    composite.write_text(json.dumps({"robot": spec}))
    kinds = {type(load_robot(other, CONTRACT)) for other in (spec, "arm.py:Arm:x", "link.py:Arm:x")}
    kinds.add(type(cast("CompositeRobot", load_robot(f"composite:{composite}", CONTRACT)).robot))
    assert len(kinds) == 1


def test_a_class_that_registers_itself_passes_check_robot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = write_bundle(tmp_path / "policy")
    code = main(["check-robot", str(policy), "--robot", write(tmp_path, REGISTERS_ITSELF)])
    assert "already registered" not in capsys.readouterr().out
    assert code == 0


def test_files_of_one_name_in_two_folders_are_two_robots(tmp_path: Path) -> None:
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        spec = write(tmp_path / side, f"class Arm(Bench):\n    side = {side!r}\n")
        assert vars(type(load_robot(spec, CONTRACT)))["side"] == side


def test_a_plain_folder_is_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "siim").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RobotError, match="there is no robot and no module siim; "):
        load_robot("siim:reach", CONTRACT)
