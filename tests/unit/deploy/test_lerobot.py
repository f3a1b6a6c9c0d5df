"""A class written for LeRobot drives unchanged: names, units, cameras, hold, failures."""

import dataclasses
import json
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lerobot_arm import Arm, ArmConfig
from robodreamer_deploy.contract import ActionSpec, Contract, Signal
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.base import (
    check_features,
    is_limp_when_disconnected,
    is_stamped,
)
from robodreamer_deploy.robots.composite import CompositeRobot
from robodreamer_deploy.robots.joints import LEAD_S
from robodreamer_deploy.robots.lerobot.mapping import Joint, LeRobotFile, Picture
from robodreamer_deploy.robots.lerobot.robot import LeRobotAdapter
from robodreamer_deploy.robots.loading import load_robot
from toy_robot import FakeClock

FILE = Path(__file__).parents[2] / "stand_ins" / "lerobot_arm.py"
JOINTS = ("shoulder_pan", "elbow_flex")
CONTRACT = Contract(
    task="pick",
    observations=(
        Signal(
            name="proprio/joint_position", shape=(2,), dtype="float32", unit="rad", labels=JOINTS
        ),
        Signal(
            name="proprio/gripper", shape=(1,), dtype="float32", unit="m", labels=("gripper",)
        ),
        Signal(name="image/front", shape=(24, 24, 3), dtype="uint8"),
    ),
    action=ActionSpec(
        size=3, low=(-1.5, -1.5, 0.0), high=(1.5, 1.5, 0.08), labels=(*JOINTS, "gripper"),
        units=("rad", "rad", "m"),
    ),
    control_dt_s=0.02,
)  # fmt: skip
GRIPPER = {"gripper": Joint(factor=0.0008)}  # 0..100 opens it by 8 cm
SETTINGS = LeRobotFile(joints=GRIPPER)


RANGED = Signal(
    name="proprio/joint_position",
    shape=(2,),
    dtype="float32",
    unit="rad",
    labels=JOINTS,
    low=(-np.pi * 170 / 180,) * 2,
    high=(np.pi * 170 / 180,) * 2,
)
VELOCITY = Signal(
    name="proprio/joint_velocity", shape=(2,), dtype="float32", unit="rad/s", labels=JOINTS
)
DRIVEN_BY_VELOCITY = dataclasses.replace(
    CONTRACT,
    observations=(RANGED, VELOCITY),
    action=ActionSpec(
        size=2, low=(-1.5,) * 2, high=(1.5,) * 2, labels=JOINTS, units=("rad/s",) * 2
    ),
)  # fmt: skip
MOST = np.degrees(1.5 * LEAD_S)
"""Degrees by which a commanded velocity moves a goal ahead of the joint at most."""


def adapt(**config: Any) -> tuple[LeRobotAdapter, Arm]:
    arm = Arm(ArmConfig(**config))
    return LeRobotAdapter(arm, CONTRACT, SETTINGS), arm


def adapt_velocity(
    settings: LeRobotFile = SETTINGS, contract: Contract = DRIVEN_BY_VELOCITY
) -> tuple[LeRobotAdapter, Arm, FakeClock]:
    """Return an arm that is driven by velocities, and its time."""
    arm, clock = Arm(ArmConfig()), FakeClock()
    return LeRobotAdapter(arm, contract, settings, clock.now), arm, clock


def test_degrees_become_radians_and_the_picture_the_policys_own() -> None:
    robot, _ = adapt()
    check_features(robot, CONTRACT)
    robot.connect()
    observation = robot.get_observation()
    CONTRACT.check(observation)
    np.testing.assert_allclose(observation["proprio/joint_position"], np.radians([10, -20]))
    np.testing.assert_allclose(observation["proprio/gripper"], 0.04)
    picture = observation["image/front"]
    assert (picture[:, :12, 0] == 255).all(), "the left half is red, also of the centred part"
    assert not picture[:, 12:].any()
    robot.disconnect()


def test_actions_arrive_in_degrees_by_label_and_come_back_as_sent() -> None:
    robot, arm = adapt()
    robot.connect()
    robot.get_observation()
    action = CONTRACT.action.from_actuators(np.array([np.radians(30), np.radians(-15), 0.02]))
    np.testing.assert_array_equal(robot.send_action(action), action)
    expected = {"shoulder_pan": 30, "elbow_flex": -15, "gripper": 25}
    assert arm.sent[-1] == pytest.approx(expected, abs=1e-4)
    robot.disconnect()


def test_a_limit_of_the_class_shows_in_the_executed_action() -> None:
    robot, _ = adapt(max_relative_target=5.0)
    robot.connect()
    robot.get_observation()
    executed = robot.send_action(np.ones(3, np.float32))
    done = CONTRACT.action.to_actuators(executed)
    np.testing.assert_allclose(done, [np.radians(15), np.radians(-15), 55 * 0.0008], atol=1e-6)
    robot.disconnect()


def test_hold_resends_the_pose_it_measured_first() -> None:
    robot, arm = adapt()
    np.testing.assert_array_equal(robot.hold(), np.zeros(3), "nothing to hold yet")
    robot.connect()
    robot.get_observation()
    robot.send_action(np.zeros(3, np.float32))
    first = robot.hold()
    arm.positions["elbow_flex"] -= 3.0  # the joint gives way
    np.testing.assert_array_equal(robot.hold(), first)
    assert arm.sent[-1] == arm.sent[-2]
    np.testing.assert_allclose(first, 0, atol=1e-6)
    robot.disconnect()
    robot.disconnect()
    assert len(arm.sent) == 3
    robot.hold()
    assert len(arm.sent) == 3


@pytest.mark.parametrize(
    ("start", "reading"),
    [
        (10.0, 3276.8),  # one lost sign bit
        (169.0, -169.9),  # an encoder that wraps, the range not left
        (179.0, -180.0),
        (10.0, 150.0),  # farther than the joint can go in the time
        (10.0, 1e30),
    ],
)
@pytest.mark.parametrize("ticks", [1, 5])
def test_a_pose_that_the_joint_cannot_have_is_neither_driven_to_nor_held_at(
    start: float, reading: float, ticks: int
) -> None:
    robot, arm, clock = adapt_velocity()
    arm.positions["elbow_flex"] = start
    robot.connect()
    for tick in range(12):
        clock.time += 0.02
        is_wrong = 3 <= tick < 3 + ticks
        stood = arm.positions["elbow_flex"]
        if is_wrong:
            arm.positions["elbow_flex"] = reading
        robot.get_observation()
        arm.positions["elbow_flex"] = stood
        robot.send_action(np.array([0.0, 1.0], np.float32))
        assert abs(arm.sent[-1]["elbow_flex"] - stood) <= MOST
        assert abs(arm.sent[-1]["elbow_flex"]) <= max(170.001, abs(stood))
    arm.positions["elbow_flex"], stood = reading, arm.positions["elbow_flex"]
    robot.hold()
    assert arm.sent[-1]["elbow_flex"] == pytest.approx(stood, abs=2.0)
    robot.disconnect()


def test_a_pose_that_was_never_possible_starts_no_drive() -> None:
    robot, arm, _ = adapt_velocity()
    arm.positions["elbow_flex"] = -3276.8
    robot.connect()
    robot.get_observation()
    with pytest.raises(
        RobotError, match=r"elbow_flex is said to be at -57\.19, its range is -2\.9"
    ):
        robot.send_action(np.zeros(2, np.float32))
    assert not arm.sent
    robot.disconnect()


def test_a_joint_that_does_move_fast_is_believed() -> None:
    robot, arm, clock = adapt_velocity()
    robot.connect()
    for degrees in range(-160, 160, 3):  # 2.6 rad/s, a good deal faster than commanded
        clock.time += 0.02
        arm.positions["elbow_flex"] = float(degrees)
        robot.get_observation()
    robot.hold()
    assert arm.sent[-1]["elbow_flex"] == 158.0
    robot.disconnect()


def test_goals_stay_within_the_range_of_the_joint_whatever_is_asked_for() -> None:
    for settings, edge in (
        (SETTINGS, 170.0),
        (LeRobotFile(joints={"elbow_flex": Joint(low=-0.5, high=np.radians(45))}), 45.0),
    ):
        robot, arm, clock = adapt_velocity(settings)
        robot.connect()
        executed = np.ones(2)
        for _ in range(300):
            clock.time += 0.02
            robot.get_observation()
            executed = robot.send_action(np.array([0.0, 1.0], np.float32))
        assert arm.sent[-1]["elbow_flex"] == pytest.approx(edge)
        assert executed == pytest.approx([0.0, 0.0]), "at the end of its range it stands still"
        robot.disconnect()


def test_whose_range_nobody_knows_is_told(caplog: pytest.LogCaptureFixture) -> None:
    boundless = dataclasses.replace(RANGED, low=None, high=None)
    contract = dataclasses.replace(DRIVEN_BY_VELOCITY, observations=(boundless,))
    robot, _, _ = adapt_velocity(contract=contract)
    robot.connect()
    assert "nobody says how far shoulder_pan, elbow_flex may go" in caplog.text
    robot.disconnect()


def test_velocities_that_it_does_not_measure_are_derived_from_its_positions() -> None:
    robot, arm, clock = adapt_velocity()
    check_features(robot, DRIVEN_BY_VELOCITY)
    robot.connect()
    velocities = []
    for tick in range(20):
        clock.time += 0.02
        arm.positions["elbow_flex"] = -20.0 + 0.5 * tick
        observation = robot.get_observation()
        DRIVEN_BY_VELOCITY.check(observation)
        velocities.append(observation["proprio/joint_velocity"])
    np.testing.assert_array_equal(velocities[0], 0)
    np.testing.assert_allclose(velocities[-1], [0, np.radians(0.5) / 0.02], rtol=1e-4)
    share = 1 - np.exp(-1)  # the filter, as it is documented
    np.testing.assert_allclose(velocities[1], [0, share * np.radians(0.5) / 0.02], rtol=1e-4)
    robot.disconnect()


def test_that_its_motors_go_off_in_the_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    for goes_off in (True, False):
        robot, arm = adapt(disable_torque_on_disconnect=goes_off)
        caplog.clear()
        robot.connect()
        assert is_limp_when_disconnected(CompositeRobot(robot, {})) is goes_off
        assert ("switches its motors off" in caplog.text) is goes_off
        robot.disconnect()
        assert arm.are_motors_on is not goes_off


def test_where_it_cannot_be_measured_the_last_known_pose_is_held() -> None:
    robot, arm = adapt()
    robot.connect()
    robot.get_observation()
    robot.send_action(np.full(3, 0.1, np.float32))
    arm.is_deaf = True
    with pytest.raises(ConnectionError):
        robot.get_observation()
    held = {"shoulder_pan": 10, "elbow_flex": -20, "gripper": 50}
    robot.hold()
    assert arm.sent[-1] == pytest.approx(held)
    robot.disconnect()


def test_a_pose_that_is_not_finite_is_never_sent(caplog: pytest.LogCaptureFixture) -> None:
    robot, arm = adapt()
    robot.connect()
    robot.get_observation()
    robot.send_action(np.full(3, 0.1, np.float32))
    arm.positions["elbow_flex"] = float("nan")  # an encoder that has gone
    assert np.isnan(robot.get_observation()["proprio/joint_position"][1]), "for others to judge"
    robot.hold()
    assert arm.sent[-1] == pytest.approx({"shoulder_pan": 10, "elbow_flex": -20, "gripper": 50})
    assert "measures no pose to stay at (elbow_flex.pos is nan)" in caplog.text
    robot.disconnect()


def test_a_robot_of_unknown_pose_is_sent_nothing() -> None:
    robot, arm = adapt()
    robot.connect()
    arm.positions["elbow_flex"] = float("nan")
    with pytest.raises(RobotError, match=r"elbow_flex\.pos is nan.*and its pose is unknown"):
        robot.hold()
    with pytest.raises(RobotError, match=r"no pose to start from: elbow_flex\.pos is nan"):
        robot.send_action(np.zeros(3, np.float32))
    assert not arm.sent


def test_a_reading_that_hangs_in_another_thread_does_not_keep_it_from_holding() -> None:
    robot, arm = adapt()
    robot.connect()
    robot.get_observation()
    robot.send_action(np.full(3, 0.1, np.float32))
    let_go = threading.Event()
    observe = arm.get_observation
    arm.get_observation = lambda: observe() if let_go.wait() else {}
    reader = threading.Thread(target=robot.get_observation, daemon=True)
    reader.start()
    robot.hold()  # returns: nothing lets the reading go before
    assert reader.is_alive()
    assert arm.sent[-1] == pytest.approx({"shoulder_pan": 10, "elbow_flex": -20, "gripper": 50})
    let_go.set()
    reader.join()
    robot.disconnect()


def test_a_lost_connection_is_no_hold() -> None:
    robot, arm = adapt()
    robot.connect()
    arm.disconnect()
    with pytest.raises(RobotError, match="Arm is not connected any more"):
        robot.hold()
    robot.disconnect()


def test_motors_that_the_policy_does_not_drive_keep_their_pose() -> None:
    action = ActionSpec(size=1, low=(-1.5,), high=(1.5,), labels=("elbow_flex",), units=("rad",))
    contract = dataclasses.replace(CONTRACT, action=action)
    arm = Arm(ArmConfig())
    robot = LeRobotAdapter(arm, contract, SETTINGS)
    robot.connect()
    robot.get_observation()
    robot.send_action(np.zeros(1, np.float32))
    expected = {"shoulder_pan": 10, "elbow_flex": 0, "gripper": 50}
    assert arm.sent[-1] == pytest.approx(expected, abs=1e-4)
    robot.disconnect()


def test_names_and_zeros_that_differ_are_said_in_the_file(tmp_path: Path) -> None:
    labels = ("pan", "elbow")
    signal = Signal(name="proprio/angles", shape=(2,), dtype="float32", unit="rad", labels=labels)
    eye = Signal(name="image/eye", shape=(48, 64, 3), dtype="uint8")
    action = ActionSpec(
        size=2, low=(-3.0,) * 2, high=(3.0,) * 2, labels=labels, units=("rad/s",) * 2
    )
    contract = dataclasses.replace(CONTRACT, observations=(signal, eye), action=action)
    file = tmp_path / "arm.json"
    text = {
        "config": {"port": "/dev/ttyACM7"},
        "joints": {
            "pan": {"motor": "shoulder_pan", "offset": 0.5},
            "elbow": {"motor": "elbow_flex", "factor": -0.0174532925},
        },
        "pictures": {"image/eye": {"camera": "front"}},
    }
    file.write_text(json.dumps(text))
    robot: Any = load_robot(f"lerobot:{FILE}:Arm:{file}", contract)
    assert robot.robot.config.port == "/dev/ttyACM7"
    check_features(robot, contract)
    robot.connect()
    angles = robot.get_observation()["proprio/angles"]
    np.testing.assert_allclose(angles, [np.radians(10) + 0.5, np.radians(20)], atol=1e-6)
    np.testing.assert_array_equal(robot.send_action(np.full(2, 0.5, np.float32)), [0.5, 0.5])
    sent = robot.robot.sent[-1]
    moved = 1.5 * 0.02  # rad in one step
    assert sent["shoulder_pan"] == pytest.approx(10 + np.degrees(moved), abs=1e-4)
    assert sent["elbow_flex"] == pytest.approx(-20 - np.degrees(moved), abs=1e-4)
    robot.disconnect()


def test_its_age_is_unknown_and_it_says_so(caplog: pytest.LogCaptureFixture) -> None:
    robot, _ = adapt()
    assert not is_stamped(robot)
    with caplog.at_level(logging.WARNING):
        robot.connect()
    assert "age unknown" in caplog.text
    robot.disconnect()


def test_it_is_not_calibrated_by_asking_questions() -> None:
    robot, arm = adapt(is_calibrated=False)
    with pytest.raises(RobotError, match="Arm is not calibrated"):
        robot.connect()
    assert not arm.is_connected
    robot.disconnect()


def test_a_port_that_is_not_there_leaves_nothing_to_disconnect() -> None:
    robot, _ = adapt(port="/dev/nowhere")
    with pytest.raises(ConnectionError):
        robot.connect()
    robot.disconnect()
    robot.disconnect()


def test_a_function_that_makes_it_gets_what_follows() -> None:
    contract = dataclasses.replace(
        CONTRACT,
        observations=CONTRACT.observations[:1],
        action=ActionSpec(
            size=2, low=(-1.0,) * 2, high=(1.0,) * 2, labels=JOINTS, units=("rad",) * 2
        ),
    )
    for spec, port in ((":/dev/ttyACM3", "/dev/ttyACM3"), ("", "/dev/ttyACM0")):
        robot: Any = load_robot(f"lerobot:{FILE}:make_arm{spec}", contract)
        assert robot.robot.config.port == port


@pytest.mark.parametrize(
    ("settings", "change", "words"),
    [
        (LeRobotFile(), {}, "gripper is in m, and LeRobot has no unit for gripper.pos"),
        (
            LeRobotFile(joints={**GRIPPER, "elbow_flex": Joint(motor="elbow")}), {},
            "proprio/joint_position needs elbow.pos; Arm has shoulder_pan.pos, ",
        ),
        (
            LeRobotFile(joints=GRIPPER, pictures={"image/front": Picture(camera="side")}), {},
            "Arm has no camera side",
        ),
        (
            SETTINGS,
            {
                "action": ActionSpec(
                    size=1, low=(0.0,), high=(1.0,), labels=("wrist",), units=("rad",)
                )
            },
            "the action drives wrist, Arm takes shoulder_pan.pos, ",
        ),
    ],
)  # fmt: skip
def test_what_names_do_not_tell_is_asked_for(
    settings: LeRobotFile, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(RobotError, match=words):
        LeRobotAdapter(Arm(ArmConfig()), dataclasses.replace(CONTRACT, **change), settings)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (f"lerobot:{FILE}:Amr", "has no class Amr; it has Arm, "),
        (f"lerobot:{FILE}", "is not of the form lerobot:MODULE:CLASS"),
        (f"{FILE}:Arm", "Arm takes .*; one written for LeRobot goes by lerobot:MODULE:CLASS"),
        (f"lerobot:{FILE}:Arm:/dev/ttyACM0", "Arm is made from a ArmConfig: give a .json file"),
        (f"lerobot:{FILE}:Arm:gone.json", "gone.json cannot be read"),
    ],
)
def test_a_spec_that_names_no_robot_is_refused(spec: str, words: str) -> None:
    with pytest.raises(RobotError, match=words):
        load_robot(spec, CONTRACT)
