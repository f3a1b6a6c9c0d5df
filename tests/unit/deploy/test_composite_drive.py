"""The whole command on a whole robot: servos on a serial line, a camera, a goal, a real policy."""

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from robodreamer_deploy.cli.main import main
from servo_arm import ARM
from servo_bus.bus import SimulatedBus
from servo_bus.joints import MujocoJoints
from servo_bus.servo import SimulatedServo
from toy_policy import make_manifest, reseal, write_bundle
from toy_robot import CONTRACT

M_PER_TICK = 0.2 / 1000
SERVOS_WAIT_S = 2.0
PATIENTLY = ("--watchdog", "500", "--max-age", "image/eye=0.5", "proprio/position=5")
"""Ages and pauses that a busy machine may cause; a camera that stops shows within a drive."""


@pytest.fixture
def bus() -> Iterator[SimulatedBus]:
    """Lend the arm; the toy's policy drives its first two joints, as if they were slides."""
    servos = [SimulatedServo(id_, 2048) for id_ in range(1, 7)]
    with SimulatedBus(servos, MujocoJoints(ARM)) as bus:
        yield bus


@pytest.fixture
def words(bus: SimulatedBus, tmp_path: Path) -> list[str]:
    """Return the command line that drives it, up to its length."""
    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 50, (64, 48))
    for number in range(200):
        writer.write(np.full((48, 64, 3), number, np.uint8))
    writer.release()
    servos = [
        {"label": label, "id": id_, "low": -0.2, "high": 0.2, "units_per_tick": M_PER_TICK}
        for id_, label in enumerate("xy", 1)
    ]
    line = {"port": bus.port, "servos": servos, "watchdog_s": SERVOS_WAIT_S}
    line["response_timeout_s"] = 1.0  # the bus is a thread of this process
    (tmp_path / "bus.json").write_text(json.dumps(line))
    rig = {
        "robot": f"dynamixel:{tmp_path / 'bus.json'}",
        "cameras": {"image/eye": {"source": str(film)}},
        "goals": {"goal/target": [0.1, -0.1]},
    }
    (tmp_path / "rig.json").write_text(json.dumps(rig))
    policy = write_bundle(tmp_path / "policy")
    places = dataclasses.replace(CONTRACT.action, quantities=("position",) * 2)  # not changes
    contract = dataclasses.replace(CONTRACT, action=places)
    reseal(policy, dataclasses.replace(make_manifest(), contract=contract))
    report = ["--report", str(tmp_path / "report.json")]
    return [str(policy), "--robot", f"composite:{tmp_path / 'rig.json'}", *report]


def figures(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "report.json").read_text())


def test_a_policy_drives_servos_with_a_camera_and_a_goal(
    words: list[str], bus: SimulatedBus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *PATIENTLY, "--seconds", "1.2"]) == 0, capsys.readouterr()
    told = figures(tmp_path)
    assert (told["fault"], told["held_ticks"], told["bad_observations"]) == (None, 0, {})
    moved = np.array(bus.joints.positions()) - 2048
    assert np.abs(moved[:2]).max() > 20, "the servos went where the policy sent them"
    assert np.abs(moved[2:]).max() < 5, "the others are none of its business"


def test_a_cable_pulled_in_mid_drive_ends_it_in_words(
    words: list[str], bus: SimulatedBus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def pull() -> None:
        while not bus.servos[1].get("bus_watchdog"):  # until it is being driven
            time.sleep(0.01)
        bus.unplug()

    puller = threading.Thread(target=pull)
    puller.start()
    assert main([*words, *PATIENTLY, "--seconds", "60"]) == 1
    puller.join()
    assert "is gone" in figures(tmp_path)["fault"]
    assert "CUT ITS POWER" in capsys.readouterr().out
    bus.coast(SERVOS_WAIT_S + 0.5)
    assert bus.servos[1].get("bus_watchdog") == -1, "the servos stopped by themselves"
