"""Where a robot listens: tcp://HOST:PORT, and whether only this machine can reach it."""

import ipaddress
import re
from typing import NamedTuple

from robodreamer_deploy.errors import RobotError

FORM = "tcp://HOST:PORT, such as tcp://127.0.0.1:5555"
ADDRESS = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:]+\]|[\w.*-]+):(?P<port>[0-9]{1,5})")


class Address(NamedTuple):
    """A place on the network."""

    host: str
    port: int
    """0 lets the system choose, when listening."""

    def __str__(self) -> str:
        """Return it as users write it."""
        return f"tcp://{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine's own processes can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:  # a name, which may lead anywhere
            return False


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        RobotError: It is not of the form, or its port is none.
    """
    match = ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) >= 1 << 16:
        raise RobotError(f"{text} is not of the form {FORM}")
    return Address(match["host"], int(match["port"]))
