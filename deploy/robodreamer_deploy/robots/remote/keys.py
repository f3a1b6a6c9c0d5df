"""Keys of a robot and of its driver: ZeroMQ certificates, in a folder for each side.

    FOLDER/robot/     robot.key_secret    driver.key    for the robot's computer alone
    FOLDER/driver/    driver.key_secret   robot.key     for the driver's computer

ZeroMQ's CURVE encrypts what travels, proves to the driver that it talks to its robot, and to the
robot that the driver's public key is in its folder.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from robodreamer_deploy.errors import RobotError

Owner = Literal["robot", "driver"]
OWNER_ONLY = 0o600


@dataclass(frozen=True, kw_only=True)
class Key:
    """Key pair of one side and the public key of the other, in Z85."""

    folder: Path
    public: bytes
    secret: bytes = field(repr=False)
    other: bytes


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Write new keys into the folders `robot` and `driver` of `folder`; return their paths.

    Raises:
        RobotError: One of them exists already, or cannot be written.
    """
    require_zmq()
    from zmq.auth import create_certificates  # pyright: ignore[reportUnknownVariableType]

    robot, driver = folder / "robot", folder / "driver"
    if existing := [str(path) for path in (robot, driver) if path.exists()]:
        raise RobotError(f"{' and '.join(existing)} exist already; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for side in (robot, driver):
            side.mkdir(mode=0o700)  # before it holds a secret, which ZeroMQ writes for all to read
            create_certificates(side, side.name)
        (robot / "robot.key").rename(driver / "robot.key")
        (driver / "driver.key").rename(robot / "driver.key")
        for path in (*robot.iterdir(), *driver.iterdir()):
            path.chmod(OWNER_ONLY)
    except OSError as error:
        raise RobotError(f"keys cannot be written: {error}") from error
    return robot, driver


def load_key(folder: Path, owner: Owner) -> Key:
    """Read one side's folder of keys.

    Raises:
        RobotError: It cannot be read, others can read its secret, a file holds no key, or it is
            the other side's folder.
    """
    require_zmq()
    other: Owner = "driver" if owner == "robot" else "robot"
    path, other_path = folder / f"{owner}.key_secret", folder / f"{other}.key"
    if not path.exists() and (folder / f"{other}.key_secret").exists():
        raise RobotError(f"{folder} has the {other}'s key, the {owner}'s is needed here")
    public, secret = _read(path)
    if path.stat().st_mode & 0o077:
        raise RobotError(f"{path} can be read by others: chmod 600 {path}")
    if secret is None or _public_key(secret) != public:
        raise RobotError(f"{path} is no key file: its public and its secret key are no pair")
    other_public, _ = _read(other_path)
    if _public_key(other_public) is None:  # any 32 bytes are a secret key: this checks the form
        raise RobotError(f"{other_path} is no key file: its public key is not 40 characters of Z85")
    return Key(folder=folder, public=public, secret=secret, other=other_public)


def require_zmq() -> None:
    """Import ZeroMQ, which a robot in the same process does without.

    Raises:
        RobotError: It is not installed, or was built without CURVE.
    """
    try:
        import zmq
    except ImportError as error:
        raise RobotError(
            f"a robot over tcp needs ZeroMQ: pip install 'robodreamer[zmq]' ({error})"
        ) from error
    if not zmq.has("curve"):
        raise RobotError("this ZeroMQ cannot encrypt; pip's pyzmq can")


def _read(path: Path) -> tuple[bytes, bytes | None]:
    """Return the public and, if there is one, the secret key of a file."""
    from zmq.auth import load_certificate  # pyright: ignore[reportUnknownVariableType]

    try:
        path.stat()  # ZeroMQ's own error does not say why
        return load_certificate(path)
    except OSError as error:
        raise RobotError(
            f"the key {path} cannot be read: {error.strerror}; name the folder robot or driver "
            "that `robodreamer-deploy keys FOLDER` made"
        ) from error
    except ValueError as error:
        raise RobotError(f"{path} is no key file: it has no public key") from error


def _public_key(secret: bytes) -> bytes | None:
    """Return the public key that belongs to a secret one; None if that is no key."""
    import zmq

    try:
        return zmq.curve_public(secret)
    except (ValueError, zmq.ZMQError):
        return None
