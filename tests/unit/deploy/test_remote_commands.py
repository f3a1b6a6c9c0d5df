"""`robodreamer-deploy serve` and `keys`, as users run them."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

import toy_policy
from robodreamer_deploy.cli.serve import SILENCE_PERIODS
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.control.shutdown import HOLD_ATTEMPTS
from robodreamer_deploy.errors import RemoteFault, RobotError
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.robots.loading import load_robot
from served import in_a_hurry
from toy_robot import CONTRACT

TOY = Path(__file__).parents[2] / "stand_ins" / "toy_robot.py"
FETCH_REACH = Path(__file__).parents[3] / "policies" / "fetch_reach"
RUN = """
import os, sys
from robodreamer_deploy.cli import main, serve
serve.SILENCE_PERIODS = int(os.environ.get("SILENCE_PERIODS", serve.SILENCE_PERIODS))
sys.exit(main.main())
"""
PATIENT = 500
"""Periods of silence that count as ceased commands; 5 pass by themselves on a busy machine."""
Command = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("patient_driver")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_policy.write_bundle(tmp_path_factory.mktemp("policies") / "toy")


def test_a_robot_of_ones_own_is_served_with_keys_and_left_holding(
    said: Command, policy: Path, tmp_path: Path
) -> None:
    code, out, _ = said("keys", tmp_path / "keys")
    assert code == 0
    assert str(tmp_path / "keys/robot") in out
    serve = ("serve", f"{TOY}:Bench", "--policy", policy, "--listen", "tcp://127.0.0.1:0")
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *serve, "--key", tmp_path / "keys/robot"],
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = re.search(r"tcp://\S+", process.stdout.readline())
        assert address is not None
        robot = load_robot(f"{address[0]}:{tmp_path / 'keys/driver'}", CONTRACT)
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
import numpy as np
from toy_robot import Bench
class Hanging(Bench):
    def get_observation(self):
        time.sleep(60)
    def hold(self):
        print("told to hold", flush=True)
        return super().hold()
class Moving(Bench):
    def send_action(self, action):
        print("moves", action.tolist(), flush=True)
        return super().send_action(action)
class Loose(Bench):
    def hold(self):
        print("told to hold", flush=True)
        if self.num_holds:
            raise OSError("no bus")
        return super().hold()
class Compares(Moving):
    @property
    def is_enabled(self):
        return np.float64(2.0) > 1.0
class Absent(Hanging):
    def connect(self):
        raise OSError("no such port")
"""


def serve_until(
    name: str,
    policy: Path,
    folder: Path,
    then: Callable[[Any, Any], None],
    *words: object,
    silence_periods: int = PATIENT,
) -> tuple[int, str]:
    """Serve a robot of `BAD`, do something with it as its driver; return how its process ended."""
    file = folder / "bad.py"
    file.write_text(BAD)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "serve", f"{file}:{name}", "--policy", policy,
         "--listen", "tcp://127.0.0.1:0", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SILENCE_PERIODS": str(silence_periods),
        },
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if address := re.search(r"tcp://\S+", line):
            robot = load_robot(address[0], CONTRACT)
            robot.connect()
            then(robot, process)
            with suppress(RobotError), in_a_hurry(robot):
                robot.disconnect()  # from a process that may be gone
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


def test_a_served_robot_that_does_not_hold_in_the_end_is_held_again(
    policy: Path, tmp_path: Path
) -> None:
    def stop(_: Any, process: Any) -> None:
        process.send_signal(signal.SIGTERM)

    code, said = serve_until("Loose", policy, tmp_path, stop)
    assert code == 1
    assert said.count("ERROR hold failed: no bus") == HOLD_ATTEMPTS
    assert said.endswith("holding the robot FAILED (no bus): CUT ITS POWER\n")


def forever(ask: Callable[[], object]) -> None:
    while True:
        ask()


def end(process: Any) -> None:
    process.send_signal(signal.SIGTERM)


def test_a_served_robot_that_hangs_in_motion_is_held_when_commands_cease(
    policy: Path, tmp_path: Path
) -> None:
    """The process itself is given up ten times as late."""

    def read(robot: Any, _: Any) -> None:
        robot.send_action(np.zeros(2, np.float32))
        with pytest.raises(RobotError):
            robot.get_observation()

    code, said = serve_until("Hanging", policy, tmp_path, read, silence_periods=SILENCE_PERIODS)
    assert code == 1
    held, ended = said.index("no command for 0.1 s: the robot was held"), said.index("FAULT")
    assert held < ended


def test_the_end_of_a_served_robots_process_is_answered_to_its_driver(
    policy: Path, tmp_path: Path
) -> None:
    def drive(robot: Any, process: Any) -> None:
        robot.send_action(np.zeros(2, np.float32))
        end(process)
        with pytest.raises(RemoteFault, match=r"process ends \(SIGTERM\); it has had it hold"):
            forever(robot.get_observation)
        robot.hold()  # is confirmed
        robot.disconnect()

    code, said = serve_until("Moving", policy, tmp_path, drive)
    assert code == 0
    assert said.endswith("stopped     SIGTERM; the robot holds\n")


def test_a_served_robot_is_within_the_limits_of_its_own_process(
    policy: Path, tmp_path: Path
) -> None:
    def drive(robot: Any, process: Any) -> None:
        executed = robot.send_action(np.ones(2, np.float32))
        np.testing.assert_allclose(executed, [0.01, 0.01])  # 0.5 per second, in 20 ms
        with pytest.raises(RobotError, match=r"1000000.0, 0.0\] is not within \[-1, 1\]"):
            robot._client.request(
                "send_action", within_s=2.0, arrays={"action": np.array([1e6, 0], np.float32)}
            )
        end(process)

    code, said = serve_until("Moving", policy, tmp_path, drive, "--max-rate", "0.5")
    assert code == 0
    assert said.count("moves") == 1
    assert "limited     rate 1" in said


def test_a_served_robot_moves_only_while_the_file_of_its_process_is_touched(
    policy: Path, tmp_path: Path
) -> None:
    pedal = tmp_path / "pedal"

    def drive(robot: Any, process: Any) -> None:
        assert robot.send_action(np.ones(2, np.float32)).tolist() == [0.0, 0.0]
        assert not robot.is_enabled
        pedal.touch()
        robot.get_observation()
        assert robot.is_enabled
        assert 0.0 < robot.send_action(np.ones(2, np.float32))[0] < 0.2  # a ramp of its own
        end(process)

    code, said = serve_until("Moving", policy, tmp_path, drive, "--dead-man", pedal)
    assert (code, said.count("moves")) == (0, 1)
    assert "dead-man 1" in said


def test_a_served_switch_that_never_says_true_or_false_is_a_fault(
    policy: Path, tmp_path: Path
) -> None:
    def drive(robot: Any, process: Any) -> None:
        for _ in range(3):
            assert robot.send_action(np.ones(2, np.float32)).tolist() == [0.0, 0.0]
        end(process)

    code, said = serve_until("Compares", policy, tmp_path, drive)
    assert (code, said.count("moves"), said.count("counts as no")) == (1, 0, 1)
    assert "FAULT       the dead-man's switch says numpy.bool" in said


def test_a_process_that_was_suspended_does_not_take_the_command_that_waited(
    policy: Path, tmp_path: Path
) -> None:
    def drive(robot: Any, process: Any) -> None:
        robot.send_action(np.zeros(2, np.float32))
        process.send_signal(signal.SIGSTOP)
        robot._acted_s = None  # a driver that does not watch its own time
        with in_a_hurry(robot), pytest.raises(RobotError, match="did not answer"):
            robot.send_action(np.ones(2, np.float32))
        time.sleep(0.3)
        process.send_signal(signal.SIGCONT)
        with pytest.raises(RobotError, match="commands had ceased for"):
            robot.send_action(np.ones(2, np.float32))
        end(process)

    code, said = serve_until("Moving", policy, tmp_path, drive, silence_periods=SILENCE_PERIODS)
    assert (code, said.count("moves")) == (0, 1)


@pytest.mark.parametrize(
    "header",
    [
        b'{"version":1,"kind":"describe","fields":{"session":[]},"arrays":[]}',
        b'{"version":1,"kind":"describe","fields":{"session":{"a":[]},"number":[]},"arrays":[]}',
        b'{"version":1,"kind":"connect","fields":{"session":["s"],"number":1},"arrays":[]}',
        b'{"version":1,"kind":"send_action","fields":{"session":[[]],"number":NaN},"arrays":[]}',
    ],
)
def test_no_message_ends_a_served_robots_process(
    policy: Path, tmp_path: Path, header: bytes
) -> None:
    def drive(robot: Any, process: Any) -> None:
        send(str(robot._client.address), header, 3)
        for _ in range(10):
            robot.send_action(np.zeros(2, np.float32))
        end(process)

    code, said = serve_until("Moving", policy, tmp_path, drive)
    assert code == 0
    assert said.count("moves") == 10


def serve_words(policy: Path) -> tuple[Any, ...]:
    return ("-c", RUN, "serve", f"{TOY}:Bench", "--policy", policy)


def hardware_words(_: Path) -> tuple[Any, ...]:
    return ("-m", "robodreamer_sim.robots.virtual_hardware", "fetch_reach", "--policy", FETCH_REACH)


@pytest.mark.parametrize(
    ("words", "contract"),
    [
        (serve_words, lambda: CONTRACT),
        pytest.param(
            hardware_words, lambda: load_bundle(FETCH_REACH).contract, marks=pytest.mark.slow
        ),
    ],
)
def test_a_paused_terminal_delays_neither_serving_nor_leaving_a_robot(
    policy: Path, words: Callable[[Path], tuple[Any, ...]], contract: Callable[[], Contract]
) -> None:
    """3000 messages of a stranger, each of which could be a warning, delay nothing either."""
    reader, writer = full_pipe()
    address = f"tcp://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, *words(policy), "--listen", address],
        stdout=writer, stderr=writer,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        robot = wait_for_robot(address, contract())
        robot.connect()
        send(address, b"junk", 3000)
        robot.hold()
        robot.get_observation()
        robot.disconnect()
        end(process)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)


def send(address: str, data: bytes, count: int) -> None:
    """Send bytes as fast as they are taken."""
    context = zmq.Context[zmq.Socket[bytes]]()
    stranger = context.socket(zmq.DEALER)
    stranger.connect(address)
    for _ in range(count):
        stranger.send(data)
    stranger.close(1000)
    context.term()


def full_pipe() -> tuple[int, int]:
    """Return both ends of a pipe that is full, as a terminal after Ctrl-S."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    return reader, writer


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for_robot(address: str, contract: Contract) -> Any:
    """Return the driver of a robot that is being started."""
    for _ in range(300):
        with suppress(RobotError):
            return load_robot(address, contract)
        time.sleep(0.1)
    pytest.fail(f"nobody listens at {address}")


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
        (
            ["serve", "{toy}:Bench", "--policy", "{policy}", "--key", "x"],
            "x/robot.key_secret cannot",
        ),
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
