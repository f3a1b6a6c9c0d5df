"""Where a robot's process listens, and to whom: what the commands that serve one have in common."""

from collections.abc import Callable
from pathlib import Path

from robodreamer_deploy.robots.remote.address import Address, parse_address
from robodreamer_deploy.robots.remote.keys import Key, load_key
from robodreamer_deploy.robots.remote.server import Server

Say = Callable[[str], None]


def listening(listen: str, key: Path | None) -> tuple[Address, Key | None]:
    """Return what `commands.arguments.add_listening` asked for.

    Raises:
        RobotError: It is no address, or no key.
    """
    return parse_address(listen), None if key is None else load_key(key, "robot")


def announce(server: Server, key: Key | None, say: Say) -> None:
    """Tell how to drive what a server answers for."""
    who = "this machine's processes, without a key" if key is None else "who has driver.key"
    suffix = "" if key is None else ":driver.key"
    say(f"listening   {server.address} for {who}")
    say(f"drive it    robodreamer-deploy POLICY --robot {server.address}{suffix}")
