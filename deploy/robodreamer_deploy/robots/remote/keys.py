"""Who may drive a robot: two key files, one for each side, made together.

ZeroMQ's CURVE encrypts what travels, proves to the driver that it talks to its robot, and to the
robot that this driver is the one it was made with. A key file holds a secret: it is read by its
owner alone, and is never an argument itself.
"""

import json
import os
import string
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.utils.strict_json import parse_json, read_record

Owner = Literal["robot", "driver"]
OWNER_ONLY = 0o600
KEY_LENGTH = 40
"""Of a CURVE key in Z85, ZeroMQ's way to print 32 bytes."""
LETTERS = frozenset(string.ascii_letters + string.digits + ".-:+=^!/*?&<>()[]{}@%$#")
"""Of Z85, by ZeroMQ's RFC 32."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """What one side needs to know: itself, and the other."""

    owner: Owner
    public: str
    secret: str = field(repr=False)
    other: str
    """The other side's public key."""

    def __post_init__(self) -> None:
        """Refuse what is no key."""
        for what, key in {
            "public": self.public,
            "secret": self.secret,
            "other": self.other,
        }.items():
            if len(key) != KEY_LENGTH or not LETTERS.issuperset(key):
                raise ValueError(f"{what} is not {KEY_LENGTH} characters of a key")


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Write a new `robot.key` and `driver.key` into a folder; return their paths.

    Raises:
        RobotError: One of them is there already, or cannot be written.
    """
    require_zmq()
    import zmq

    robot, driver = (tuple(k.decode() for k in zmq.curve_keypair()) for _ in range(2))
    keys = (
        Key(owner="robot", public=robot[0], secret=robot[1], other=driver[0]),
        Key(owner="driver", public=driver[0], secret=driver[1], other=robot[0]),
    )
    paths = folder / "robot.key", folder / "driver.key"
    if existing := [str(path) for path in paths if path.exists()]:
        raise RobotError(f"{' and '.join(existing)} exist already; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, key in zip(paths, keys, strict=True):
            _write(path, key)
    except OSError as error:
        raise RobotError(f"keys cannot be written: {error}") from error
    return paths


def load_key(path: Path, owner: Owner) -> Key:
    """Read one side's key file.

    Raises:
        RobotError: It cannot be read, others can read it, it is no key, or the other side's.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
        if mode & 0o077:
            raise RobotError(f"{path} can be read by others: chmod 600 {path}")
        key = read_record(Key, parse_json(text), "key")
    except OSError as error:
        raise RobotError(f"the key {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RobotError(f"{path} is no key file: {error}") from error
    if key.owner != owner:
        raise RobotError(f"{path} is the {key.owner}'s key, the {owner}'s is needed here")
    return key


def require_zmq() -> None:
    """See to it that ZeroMQ can be imported; a robot in the same process does without.

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


def _write(path: Path, key: Key) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(key), file, indent=2)
