"""A robot behind ROS 2: joints by name, values as old as they are, and a hold at Ctrl-C."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ros2_stub
from robodreamer_deploy.contract import (
    ActionSpec,
    Contract,
    Signal,
)
from robodreamer_deploy.errors import RobotError, SignalError
from robodreamer_deploy.robots.base import (
    check_features,
    is_stamped,
)
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.ros2.robot import Ros2Robot
from robodreamer_deploy.robots.ros2.settings import (
    Ros2Command,
    Ros2File,
    Ros2Joint,
    Ros2Picture,
    read_ros2_file,
)
from ros2_stub import Float64MultiArray, Image, JointState, World, doubles
from toy_policy import write_bundle
from toy_robot import FakeClock

ROOT = Path(__file__).parents[3]
LABELS = ("pan", "lift")
LOW, HIGH = (-2.0, -1.0), (2.0, 1.0)
CONTRACT = Contract(
    task="reach",
    observations=(
        Signal(name="proprio/joint_position", shape=(2,), dtype="float32", unit="rad",
               labels=LABELS, low=LOW, high=HIGH),
        Signal(name="proprio/joint_velocity", shape=(2,), dtype="float32", unit="rad/s",
               labels=LABELS),
        Signal(name="image/front", shape=(4, 6, 3), dtype="uint8"),
        Signal(name="goal/position", shape=(3,), dtype="float32", unit="m"),
    ),
    action=ActionSpec(size=2, low=LOW, high=HIGH, labels=LABELS, units=("rad",) * 2),
    control_dt_s=0.05,
)  # fmt: skip
BY_VELOCITY = dataclasses.replace(
    CONTRACT, action=ActionSpec(size=2, low=(-1.0,) * 2, high=(1.0,) * 2, labels=LABELS,
                                units=("rad/s",) * 2)
)  # fmt: skip
COMMANDS = "/controller/commands"
SETTINGS = Ros2File(
    command=Ros2Command(topic=COMMANDS, joints=("gripper", "joint_pan", "lift")),
    joints={"pan": Ros2Joint(name="joint_pan", factor=-1.0, offset=0.5)},
    pictures={"image/front": Ros2Picture(topic="/camera")},
    vectors={"goal/position": "/goal"},
    connect_within_s=0.5,
)


@pytest.fixture
def world() -> Iterator[World]:
    with ros2_stub.installed() as made:
        yield made


class Bench:
    """A robot that was connected, what it is told, and what it was sent."""

    def __init__(
        self, world: World, settings: Ros2File = SETTINGS, contract: Contract = CONTRACT
    ) -> None:
        self.world, self.clock, self.sent = world, FakeClock(), list[Any]()
        world.nanoseconds = lambda: round(1e9 * (1_000.0 + self.clock.time))
        world.listeners[settings.command.topic] = self.sent.append
        self.robot = Ros2Robot(settings, contract, self.clock.now)
        self.tell()
        self.see("rgb8", np.zeros((4, 6, 3), np.uint8))
        world.publish("/goal", Float64MultiArray(doubles([0.1, 0.2, 0.3])))
        self.robot.connect()

    def tell(self, *, age_s: float = 0.0, **positions: float) -> None:
        """Publish joints, in alphabetical order as robot_state_publisher and others do."""
        told = {"gripper": 0.02, "joint_pan": 0.5, "lift": 0.0} | positions
        self.world.publish("/joint_states", JointState(
            header=self.world.stamp(age_s), name=sorted(told),
            position=doubles(told[name] for name in sorted(told)),
        ))  # fmt: skip

    def see(self, encoding: str, pixels: Any, *, padding: int = 0, age_s: float = 0.0) -> None:
        rows = pixels.reshape(pixels.shape[0], -1)
        data = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
        self.world.publish("/camera", Image(
            header=self.world.stamp(age_s), height=pixels.shape[0], width=pixels.shape[1],
            encoding=encoding, step=data.shape[1], data=data.tobytes(),
        ))  # fmt: skip

    def observe(self) -> Any:
        self.world.sent.join()
        return self.robot.get_observation()


@pytest.fixture
def bench(world: World) -> Iterator[Bench]:
    made = Bench(world)
    yield made
    made.robot.disconnect()


def test_joints_are_found_by_name_whatever_order_the_message_has(bench: Bench) -> None:
    check_features(bench.robot, CONTRACT)
    bench.tell(joint_pan=0.2, lift=-0.4)
    observation = bench.observe()
    CONTRACT.check(observation)
    np.testing.assert_allclose(observation["proprio/joint_position"], [0.5 - 0.2, -0.4])
    np.testing.assert_allclose(observation["goal/position"], [0.1, 0.2, 0.3])
    action = CONTRACT.action.from_actuators(np.array([0.3, 0.6]))
    np.testing.assert_array_equal(bench.robot.send_action(action), action)
    # The controller's order is its own, and the gripper stays where it is.
    np.testing.assert_allclose(bench.sent[-1].data, [0.02, 0.2, 0.6], atol=1e-6)


def test_parts_of_the_joints_may_come_from_several_nodes(bench: Bench) -> None:
    for name, value in (("joint_pan", 0.1), ("lift", 0.7), ("stranger", 9.0)):
        bench.world.publish("/joint_states", JointState(name=[name], position=doubles([value])))
    found = bench.observe()["proprio/joint_position"]
    np.testing.assert_allclose(found, [0.4, 0.7], atol=1e-6)


def test_values_are_as_old_as_their_headers_say(bench: Bench) -> None:
    assert is_stamped(bench.robot)
    bench.clock.time += 10.0
    bench.tell(age_s=0.25)
    bench.see("rgb8", np.zeros((4, 6, 3), np.uint8), age_s=1.5)
    bench.observe()
    stamps = bench.robot.observation_stamps
    assert stamps["proprio/joint_position"] == pytest.approx(bench.clock.time - 0.25, abs=1e-6)
    assert stamps["image/front"] == pytest.approx(bench.clock.time - 1.5, abs=1e-6)
    bench.clock.time += 3.0  # nobody publishes any more
    bench.observe()
    assert bench.robot.observation_stamps["image/front"] == stamps["image/front"]


def test_without_a_stamp_a_value_is_as_old_as_its_arrival(bench: Bench) -> None:
    bench.world.tell("/joint_states", JointState(name=["lift"], position=doubles([0.3])))
    arrived = bench.clock.time
    bench.clock.time += 0.2
    bench.observe()
    assert bench.robot.observation_stamps["proprio/joint_position"] == arrived


def test_a_stamp_from_the_future_is_no_age(bench: Bench) -> None:
    bench.tell(age_s=-0.05)
    bench.observe()
    assert bench.robot.observation_stamps["proprio/joint_position"] == bench.clock.time
    bench.tell(age_s=-3.0)
    with pytest.raises(SignalError, match="in the future; synchronise the clocks"):
        bench.observe()


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_pictures_become_red_green_blue(bench: Bench, encoding: str, padding: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    pixels = colours[:, :, ::-1] if encoding.startswith("bgr") else colours
    if encoding.endswith("a8"):
        pixels = np.concatenate([pixels, np.full((4, 6, 1), 255, np.uint8)], -1)
    bench.see(encoding, pixels, padding=padding)
    np.testing.assert_array_equal(bench.observe()["image/front"], colours)


def test_grey_pictures_go_to_a_policy_that_sees_grey(world: World) -> None:
    grey = Signal(name="image/front", shape=(4, 6, 1), dtype="uint8")
    others = [s for s in CONTRACT.observations if s.name != grey.name]
    bench = Bench(world, contract=dataclasses.replace(CONTRACT, observations=(*others, grey)))
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6, 1)
    bench.see("mono8", pixels, padding=2)
    np.testing.assert_array_equal(bench.observe()["image/front"], pixels)
    bench.robot.disconnect()


def test_a_message_that_does_not_fit_is_no_value(bench: Bench) -> None:
    bench.see("16UC1", np.zeros((4, 6, 2), np.uint8))
    with pytest.raises(SignalError, match="image/front: encoding 16UC1; rgb8, "):
        bench.observe()
    bench.see("rgb8", np.zeros((4, 2, 3), np.uint8))
    bench.world.publish("/camera", Image(height=4, width=6, step=18, data=bytes(10)))
    with pytest.raises(SignalError, match="10 bytes, 18 in a row, are no 4 x 6 pixels"):
        bench.observe()
    bench.see("rgb8", np.zeros((4, 6, 3), np.uint8))
    bench.world.publish("/goal", Float64MultiArray(doubles([1.0])))
    with pytest.raises(SignalError, match="goal/position: 1 numbers, expected 3"):
        bench.observe()
    bench.robot.hold()  # goes on, whatever is read


def test_velocities_are_measured_or_else_derived(bench: Bench) -> None:
    velocity = np.zeros(2)
    for tick in range(20):
        bench.clock.time += 0.05
        bench.tell(joint_pan=0.01 * tick, lift=0.02 * tick)
        velocity = bench.observe()["proprio/joint_velocity"]
    np.testing.assert_allclose(velocity, [-0.2, 0.4], rtol=1e-3)
    measured = JointState(name=["lift", "joint_pan"], position=doubles([0.0, 0.0]),
                          velocity=doubles([0.7, 0.1]))  # fmt: skip
    bench.world.publish("/joint_states", measured)
    found = bench.observe()["proprio/joint_velocity"]
    np.testing.assert_allclose(found, [-0.1, 0.7], rtol=1e-6)


def test_it_holds_where_it_stood_and_twice_the_same(bench: Bench) -> None:
    np.testing.assert_array_equal(Ros2Robot(SETTINGS, CONTRACT).hold(), np.zeros(2))
    bench.observe()
    bench.robot.send_action(np.array([0.2, 0.2], np.float32))
    bench.tell(joint_pan=0.4, lift=0.1)
    bench.world.sent.join()
    held = bench.robot.hold()
    np.testing.assert_allclose(bench.sent[-1].data, [0.02, 0.4, 0.1])
    np.testing.assert_allclose(CONTRACT.action.to_actuators(held), [0.1, 0.1], atol=1e-6)
    bench.tell(joint_pan=0.4, lift=0.05)  # it gives way
    bench.world.sent.join()
    bench.robot.hold()
    assert bench.sent[-1].data == bench.sent[-2].data
    bench.robot.disconnect()
    bench.robot.disconnect()
    count = len(bench.sent)
    bench.robot.hold()
    assert len(bench.sent) == count


def test_a_pose_that_the_joints_cannot_have_is_neither_driven_from_nor_held_at(
    world: World,
) -> None:
    bench = Bench(world, contract=BY_VELOCITY)
    for reading in (57.2, -0.99, float("nan")):
        bench.tell(lift=0.9)
        bench.world.sent.join()
        bench.robot.send_action(np.zeros(2, np.float32))
        bench.tell(lift=reading)
        bench.world.sent.join()
        bench.robot.send_action(np.array([0.0, 1.0], np.float32))
        assert 0.9 <= bench.sent[-1].data[2] <= 1.0
        bench.robot.hold()
        assert bench.sent[-1].data[2] == pytest.approx(0.9)
    bench.robot.disconnect()


def test_nobody_who_listens_is_no_hold(bench: Bench) -> None:
    bench.observe()
    del bench.world.listeners[COMMANDS]
    with pytest.raises(RobotError, match="nobody listens on /controller/commands"):
        bench.robot.send_action(np.zeros(2, np.float32))
    with pytest.raises(RobotError, match="nobody listens on /controller/commands"):
        bench.robot.hold()


def test_a_controller_of_velocities_gets_them_and_is_stopped_by_zeros(world: World) -> None:
    settings = dataclasses.replace(
        SETTINGS, command=dataclasses.replace(SETTINGS.command, quantity="velocity")
    )
    bench = Bench(world, settings, BY_VELOCITY)
    action = np.array([0.5, -0.25], np.float32)
    np.testing.assert_array_equal(bench.robot.send_action(action), action)
    np.testing.assert_allclose(bench.sent[-1].data, [0.0, -0.5, -0.25])
    for lift in (0.4, 0.8, 1.02):  # a little beyond the end of its range
        bench.tell(lift=lift)
        bench.observe()
    executed = bench.robot.send_action(np.array([0.5, 0.8], np.float32))
    np.testing.assert_allclose(bench.sent[-1].data, [0.0, -0.5, 0.0])
    np.testing.assert_allclose(executed, [0.5, 0.0])
    np.testing.assert_array_equal(bench.robot.hold(), [0.0, 0.0])
    assert list(bench.sent[-1].data) == [0.0, 0.0, 0.0]
    bench.robot.disconnect()
    with pytest.raises(RobotError, match="commands positions; the controller takes velocities"):
        Ros2Robot(settings, CONTRACT)


def test_a_trajectory_names_its_joints_and_its_time(world: World) -> None:
    command = Ros2Command(topic="/arm/joint_trajectory", type="JointTrajectory")
    bench = Bench(world, dataclasses.replace(SETTINGS, command=command))
    bench.robot.send_action(CONTRACT.action.from_actuators(np.array([0.3, 0.6])))
    (point,) = bench.sent[-1].points
    assert bench.sent[-1].joint_names == ["joint_pan", "lift"]
    np.testing.assert_allclose(point.positions, [0.2, 0.6], atol=1e-6)
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (0, 50_000_000)
    bench.robot.disconnect()


@pytest.mark.parametrize(
    ("silent", "words"),
    [
        ("/joint_states", "no position of joint gripper was published yet; there is none"),
        ("/camera", "no picture was published on /camera"),
        ("/goal", "nothing was published on /goal yet"),
        (COMMANDS, "nobody listens on /controller/commands: is the controller running?"),
    ],
)
def test_what_does_not_come_in_time_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, silent: str, words: str
) -> None:
    publish = world.publish
    monkeypatch.setattr(world, "publish", lambda topic, m: topic == silent or publish(topic, m))
    if silent == COMMANDS:
        deaf = type("Deaf", (dict,), {"__setitem__": lambda *_: None})
        monkeypatch.setattr(world, "listeners", deaf())
    ticking = FakeClock()
    monkeypatch.setattr("robodreamer_deploy.robots.ros2.robot.time.sleep", ticking.sleep)
    monkeypatch.setattr(FakeClock, "now", lambda _: ticking.time)
    with pytest.raises(RobotError, match=words):
        Bench(world)
    assert all(node.is_destroyed and not node.context.ok() for node in world.nodes)


def test_a_callback_that_fails_ends_readings_in_words(bench: Bench) -> None:
    bench.world.tell("/joint_states", JointState(name=["lift"], position=["x"]))
    assert bench.robot.node is not None
    bench.robot.node._thread.join()
    with pytest.raises(RobotError, match="the ROS 2 node ended with ValueError"):
        bench.robot.get_observation()
    bench.robot.hold()


def test_a_machine_without_ros_is_told_where_it_comes_from() -> None:
    with pytest.raises(RobotError, match="rclpy comes with a ROS 2 installation: source"):
        Ros2Robot(SETTINGS, CONTRACT).connect()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"command": {}}, "command lacks the fields: topic"),
        ({"command": {"topic": "/c", "type": "Twist"}}, "expected 'Float64MultiArray' or"),
        ({"command": {"topic": "/c", "joints": ["lift"]}}, "drives pan; the controller has lift"),
        ({"joints": {"pan": {"factor": 0.0}}}, "factor is 0"),
        ({"joints": {"pan": {"low": 1.0, "high": 0.0}}}, "low 1.0 is not below high 0.0"),
        (
            {"pictures": {"image/left": {"topic": "/l"}}},
            "the file has image/left; ",
        ),
        ({"connect_within_s": 0}, "connect_within_s is 0.0"),
        ({"topics": []}, "unknown fields: topics"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    file = tmp_path / "arm.json"
    file.write_text(json.dumps({"command": {"topic": COMMANDS}} | change))
    with pytest.raises(RobotError, match=words):
        load_robot(f"ros2:{file}", CONTRACT)


def test_the_page_shows_a_file_and_a_subclass_that_work(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "ros2.md").read_text()
    (text,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "shown.json").write_text(text)
    assert "shoulder_lift_joint" in str(read_ros2_file(tmp_path / "shown.json"))
    (tmp_path / "arm.json").write_text(json.dumps({
        "command": {"topic": COMMANDS}, "pictures": {"image/front": {"topic": "/camera"}},
        "vectors": {"goal/position": "/goal"},
    }))  # fmt: skip
    (tmp_path / "shown.py").write_text(code)
    geometry = types.ModuleType("geometry_msgs.msg")
    vars(geometry)["WrenchStamped"] = object
    monkeypatch.setitem(sys.modules, "geometry_msgs", types.ModuleType("geometry_msgs"))
    monkeypatch.setitem(sys.modules, "geometry_msgs.msg", geometry)
    force = Signal(name="proprio/force", shape=(3,), dtype="float32", unit="N")
    contract = dataclasses.replace(CONTRACT, observations=(*CONTRACT.observations, force))
    robot: Any = load_robot(f"{tmp_path / 'shown.py'}:MyRobot:{tmp_path / 'arm.json'}", contract)
    check_features(robot, contract)
    world.listeners[COMMANDS] = lambda _: None
    node = robot.open_node()
    node.inbox.put_joints(JointState(name=["pan", "lift"], position=doubles([0.0, 0.0])))
    node.inbox.put("/goal", Float64MultiArray(doubles([0.0] * 3)))
    vector = types.SimpleNamespace(x=1.0, y=2.0, z=3.0)
    wrench = types.SimpleNamespace(wrench=types.SimpleNamespace(force=vector))
    node.node.callbacks["/wrench"](wrench)
    observation, stamps = robot.observe(node)
    np.testing.assert_array_equal(observation["proprio/force"], [1.0, 2.0, 3.0])
    assert stamps.keys() == observation.keys()
    node.close()


DRIVEN = """
import dataclasses, threading, time
import ros2_stub
from robodreamer_deploy.robots.ros2.robot import make_robot as make
installed = ros2_stub.installed()
world = installed.__enter__()
arm = ros2_stub.Arm(world, "/commands", ("y", "x"))

def tell():
    while len(arm.received) < 5:
        time.sleep(0.001)
    print("moving", flush=True)

threading.Thread(target=tell, daemon=True).start()

def make_robot(argument, contract):
    action = dataclasses.replace(contract.action, quantities=("position",) * 2)
    robot = make(argument, dataclasses.replace(contract, action=action))
    close = robot.disconnect
    def disconnect():
        close()
        print("last", arm.received[-1:] == arm.received[-2:-1], flush=True)
    robot.disconnect = disconnect
    return robot
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_ctrl_c_the_hold_is_published(tmp_path: Path, number: signal.Signals) -> None:
    policy = write_bundle(tmp_path / "policy")
    (tmp_path / "driven.py").write_text(DRIVEN)
    (tmp_path / "arm.json").write_text(json.dumps({
        "command": {"topic": "/commands", "joints": ["y", "x"]},
        "pictures": {"image/eye": {"topic": "/camera"}},
    }))  # fmt: skip
    (tmp_path / "parts.json").write_text(json.dumps({
        "robot": f"{tmp_path / 'driven.py'}:make_robot:{tmp_path / 'arm.json'}",
        "goals": {"goal/target": [0.1, 0.1]},
    }))  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, ROOT / "deploy", policy, "--robot", f"composite:{tmp_path / 'parts.json'}",
         "--no-real-time"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line
        if line == "moving\n":
            break
    process.send_signal(number)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, told + rest + err
    assert "the robot holds" in rest
    assert "last True" in rest
