"""Only who has the driver's key drives; keys are files of their owner's, and never shown."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.remote.address import Address, parse_address
from robodreamer_deploy.robots.remote.keys import load_key, make_keys
from robodreamer_deploy.robots.remote.server import Server
from robodreamer_deploy.robots.remote.server_socket import Door
from robodreamer_deploy.robots.remote.wire import Message, encode
from served import served
from toy_robot import CONTRACT, Bench


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robodreamer_deploy.robots.remote.client.CONNECT_WITHIN_S", 0.6)


@pytest.fixture
def locked(keys: Path) -> Iterator[Server]:
    with served(Bench("", CONTRACT), CONTRACT, load_key(keys / "robot.key", "robot")) as server:
        yield server


def test_keys_are_their_owners_alone_and_are_not_overwritten(keys: Path) -> None:
    for path in keys.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        secret = json.loads(path.read_text())["secret"]
        assert secret not in repr(load_key(path, path.stem))  # pyright: ignore[reportArgumentType]
    assert sorted(path.name for path in keys.iterdir()) == ["driver.key", "robot.key"]
    with pytest.raises(RobotError, match=r"robot\.key and .*driver\.key exist already"):
        make_keys(keys)


def test_who_has_the_key_drives(locked: Server, keys: Path) -> None:
    robot = load_robot(f"{locked.address}:{keys / 'driver.key'}", CONTRACT)
    robot.connect()
    action = np.ones(2, np.float32)
    np.testing.assert_array_equal(robot.send_action(action), action)
    robot.disconnect()


def test_who_has_none_is_refused(locked: Server) -> None:
    with pytest.raises(RobotError, match=r"lets nobody in without a key: tcp:.*:driver\.key"):
        load_robot(str(locked.address), CONTRACT)


def test_who_has_a_key_of_another_robot_is_refused(locked: Server, tmp_path: Path) -> None:
    _, driver = make_keys(tmp_path / "other")
    with pytest.raises(RobotError, match="does not let this key in"):
        load_robot(f"{locked.address}:{driver}", CONTRACT)


def test_who_knows_the_robots_public_key_alone_is_refused(
    locked: Server, keys: Path, tmp_path: Path
) -> None:
    _, driver = make_keys(tmp_path / "other")
    forged = {**json.loads(driver.read_text())}
    forged["other"] = json.loads((keys / "driver.key").read_text())["other"]
    driver.write_text(json.dumps(forged))
    with pytest.raises(RobotError, match="does not let this key in"):
        load_robot(f"{locked.address}:{driver}", CONTRACT)


def test_a_robot_without_keys_is_not_mistaken_for_the_one_with(keys: Path) -> None:
    with (
        served(Bench("", CONTRACT), CONTRACT) as server,
        pytest.raises(RobotError, match="does not let this key in, or knows of no keys"),
    ):
        load_robot(f"{server.address}:{keys / 'driver.key'}", CONTRACT)


def test_unauthenticated_messages_never_reach_the_robot(locked: Server) -> None:
    context = zmq.Context[zmq.Socket[bytes]]()
    socket = context.socket(zmq.DEALER)
    socket.connect(str(locked.address))
    for _ in range(5):
        socket.send(encode(Message(kind="describe", fields={"number": 1}), max_bytes=1000))
    assert not socket.poll(500)
    assert locked.num_malformed == 0
    socket.close(0)
    context.term()


@pytest.mark.parametrize("host", ["0.0.0.0", "*", "192.168.1.7", "[::]", "robot.local"])  # noqa: S104
def test_an_open_address_asks_for_a_key(host: str) -> None:
    with pytest.raises(RobotError, match=r"can be reached by other machines: .* keys FOLDER"):
        Door(parse_address(f"tcp://{host}:5555"), None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.0.1", "[::1]"])
def test_loopback_is_loopback(host: str) -> None:
    assert parse_address(f"tcp://{host}:5555") == Address(host, 5555)
    assert Address(host, 5555).is_loopback


def test_a_port_that_is_taken_is_said() -> None:
    door = Door(Address("127.0.0.1", 0), None)
    with pytest.raises(RobotError, match=r"nothing can listen at .*: Address already in use"):
        Door(door.address, None)
    door.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.chmod(0o640), r"can be read by others: chmod 600 .*robot\.key"),
        (lambda path: path.write_text("{}"), r"is no key file: key lacks the fields"),
        (lambda path: path.write_text("secret"), "is no key file"),
        (lambda path: path.write_bytes(b"\xff"), "is no key file"),
        (
            lambda path: path.write_text(path.read_text().replace('"robot"', '"driver"')),
            "is the driver's key, the robot's is needed here",
        ),
        (
            lambda path: path.write_text(
                json.dumps({**json.loads(path.read_text()), "secret": "~" * 40})
            ),
            "secret is not 40 characters",
        ),
    ],
)
def test_a_file_that_is_no_key_is_refused(keys: Path, change: object, words: str) -> None:
    assert callable(change)
    secret = json.loads((keys / "robot.key").read_text())["secret"]
    change(keys / "robot.key")
    with pytest.raises(RobotError, match=words) as refused:
        load_key(keys / "robot.key", "robot")
    assert secret not in str(refused.value)
