"""Addresses of robots: tcp://HOST:PORT, open to this machine alone or to others."""

import ipaddress
import re
from typing import NamedTuple

from robodreamer_deploy.errors import RobotError

FORM = "tcp://HOST:PORT, such as tcp://127.0.0.1:5555"
ADDRESS = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:]+\]|[\w.*-]+):(?P<port>[0-9]{1,5})")


class Address(NamedTuple):
    """Address at which a robot listens."""

    host: str
    port: int
    """0 lets the system choose a free one."""

    def __str__(self) -> str:
        """Return the address as users write it."""
        return f"tcp://{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True if only processes of this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:  # a name, which may resolve to any address
            return False


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        RobotError: It is not of the form tcp://HOST:PORT, or the port is above 65535.
    """
    match = ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) >= 1 << 16:
        raise RobotError(f"{text} is not of the form {FORM}")
    return Address(match["host"], int(match["port"]))
