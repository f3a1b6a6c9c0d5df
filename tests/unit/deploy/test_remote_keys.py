"""Keys: only their owners drive; secrets are files of one user, and never shown."""

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from zmq.auth import load_certificate

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.remote.address import Address, parse_address
from robodreamer_deploy.robots.remote.keys import load_key, make_keys
from robodreamer_deploy.robots.remote.server import Server
from robodreamer_deploy.robots.remote.server_socket import ServerSocket
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
    with served(Bench("", CONTRACT), CONTRACT, load_key(keys / "robot", "robot")) as server:
        yield server


def secret_in(path: Path) -> str:
    secret = load_certificate(path)[1]
    assert secret is not None
    return secret.decode()


def drive(server: Server, key: Path) -> None:
    """Drive a served robot for one action."""
    robot = load_robot(f"{server.address}:{key}", CONTRACT)
    robot.connect()
    action = np.ones(2, np.float32)
    np.testing.assert_array_equal(robot.send_action(action), action)
    robot.disconnect()


def test_keys_are_readable_by_their_owner_alone_and_are_not_overwritten(keys: Path) -> None:
    for owner, other in (("robot", "driver"), ("driver", "robot")):
        folder = keys / owner
        assert {path.name for path in folder.iterdir()} == {f"{owner}.key_secret", f"{other}.key"}
        for path in folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        secret = secret_in(folder / f"{owner}.key_secret")
        assert secret not in repr(load_key(folder, owner))  # pyright: ignore[reportArgumentType]
        assert secret not in (keys / other / f"{owner}.key").read_text()
    with pytest.raises(RobotError, match=r"keys/robot and .*keys/driver exist already"):
        make_keys(keys)


def test_the_owner_of_the_key_drives(locked: Server, keys: Path) -> None:
    drive(locked, keys / "driver")


def test_a_robot_admits_every_public_key_of_its_folder(keys: Path, tmp_path: Path) -> None:
    _, second = make_keys(tmp_path / "second")
    shutil.copy(tmp_path / "second/robot/driver.key", keys / "robot/second.key")
    shutil.copy(keys / "driver/robot.key", second / "robot.key")
    with served(Bench("", CONTRACT), CONTRACT, load_key(keys / "robot", "robot")) as server:
        for key in (keys / "driver", second):
            drive(server, key)


def test_a_driver_without_a_key_is_refused(locked: Server) -> None:
    with pytest.raises(RobotError, match=r"admits nobody without a key: tcp:.*:driver"):
        load_robot(str(locked.address), CONTRACT)


def test_the_key_of_another_robot_is_refused(locked: Server, tmp_path: Path) -> None:
    _, driver = make_keys(tmp_path / "other")
    with pytest.raises(RobotError, match="does not admit this key"):
        load_robot(f"{locked.address}:{driver}", CONTRACT)


def test_a_driver_with_the_robots_public_key_alone_is_refused(
    locked: Server, keys: Path, tmp_path: Path
) -> None:
    _, driver = make_keys(tmp_path / "other")
    shutil.copy(keys / "driver/robot.key", driver / "robot.key")
    with pytest.raises(RobotError, match="does not admit this key"):
        load_robot(f"{locked.address}:{driver}", CONTRACT)


def test_nobody_is_admitted_while_the_authenticator_is_gone(locked: Server, keys: Path) -> None:
    authenticator: Any = locked._socket._authenticator
    authenticator.stop()
    with pytest.raises(RobotError, match=r"does not admit this key|did not answer"):
        load_robot(f"{locked.address}:{keys / 'driver'}", CONTRACT)


def test_a_robot_without_keys_is_not_mistaken_for_the_one_with_keys(keys: Path) -> None:
    with (
        served(Bench("", CONTRACT), CONTRACT) as server,
        pytest.raises(RobotError, match="does not admit this key, or has no keys"),
    ):
        load_robot(f"{server.address}:{keys / 'driver'}", CONTRACT)


def test_unauthenticated_messages_never_reach_the_robot(locked: Server) -> None:
    context = zmq.Context[zmq.Socket[bytes]]()
    socket = context.socket(zmq.DEALER)
    socket.connect(str(locked.address))
    for _ in range(5):
        socket.send_multipart(
            encode(Message(kind="describe", fields={"number": 1}), max_bytes=1000)
        )
    assert not socket.poll(500)
    assert locked.num_malformed == 0
    socket.close(0)
    context.term()


@pytest.mark.parametrize("host", ["0.0.0.0", "*", "192.168.1.7", "[::]", "robot.local"])  # noqa: S104
def test_an_address_that_others_can_reach_needs_a_key(host: str) -> None:
    with pytest.raises(RobotError, match=r"can be reached by other machines: .* keys FOLDER"):
        ServerSocket(parse_address(f"tcp://{host}:5555"), None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.0.1", "[::1]"])
def test_loopback_is_loopback(host: str) -> None:
    assert parse_address(f"tcp://{host}:5555") == Address(host, 5555)
    assert Address(host, 5555).is_loopback


@pytest.mark.parametrize("has_key", [False, True])
def test_a_port_that_is_taken_raises_a_clear_error(keys: Path, has_key: bool) -> None:
    first = ServerSocket(Address("127.0.0.1", 0), None)
    key = load_key(keys / "robot", "robot") if has_key else None
    with pytest.raises(RobotError, match=r"nothing can listen at .*: Address already in use"):
        ServerSocket(first.address, key)
    first.close()


SECRET, OTHER = "robot.key_secret", "driver.key"


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (SECRET, lambda p: p.chmod(0o640), r"can be read by others: chmod 600 .*robot\.key_secret"),
        (SECRET, lambda p: p.write_text("{}"), "is no key file: it has no public key"),
        (SECRET, lambda p: p.write_bytes(b"\xff"), "is no key file: it has no public key"),
        (SECRET, lambda p: p.unlink(), "robot/robot.key_secret cannot be read: No such file"),
        (
            SECRET,
            lambda p: p.write_text(p.read_text().replace(secret_in(p), "~" * 40)),
            "its public and its secret key are no pair",
        ),
        (
            SECRET,
            lambda p: p.write_text(p.read_text().replace(secret_in(p), "a" * 40)),
            "its public and its secret key are no pair",
        ),
        (SECRET, lambda p: p.rename(p.with_name("driver.key_secret")), "has the driver's key, the"),
        (OTHER, lambda p: p.unlink(), "robot/driver.key cannot be read: No such file"),
        (OTHER, lambda p: p.write_text("public-key=ab"), "is no key file: its public key is not"),
        (OTHER, lambda p: p.write_text(""), "driver.key is no key file: it has no public key"),
    ],
)
def test_a_folder_without_usable_keys_raises_a_clear_error(
    keys: Path, name: str, change: Any, words: str
) -> None:
    secret = secret_in(keys / "robot" / SECRET)
    change(keys / "robot" / name)
    with pytest.raises(RobotError, match=words) as refused:
        load_key(keys / "robot", "robot")
    assert secret not in str(refused.value)


def test_a_file_in_place_of_a_folder_of_keys_raises_a_clear_error(keys: Path) -> None:
    with pytest.raises(RobotError, match="cannot be read: Not a directory; name the folder"):
        load_key(keys / "robot" / SECRET, "robot")
