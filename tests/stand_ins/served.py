"""Robots behind an address, for tests: a server in a thread of its own."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from robodreamer_deploy.contract import Contract
from robodreamer_deploy.drive_options import DriveOptions, make_remote_commands
from robodreamer_deploy.robots.remote import robot as driver
from robodreamer_deploy.robots.remote import server as module
from robodreamer_deploy.robots.remote.address import Address
from robodreamer_deploy.robots.remote.command_timeout import CommandTimeout
from robodreamer_deploy.robots.remote.keys import Key
from robodreamer_deploy.robots.remote.server import Server

NO_RAMP = DriveOptions(ramp=0.0)
ANY_PORT = Address("127.0.0.1", 0)
BOUNDS = {name: getattr(driver, name) for name in ("LEAST_WITHIN_S", "HOLD_WITHIN_S")}
"""How long a driver waits in truth; under test it may wait for a machine that is busy."""


@contextmanager
def waiting(seconds: Mapping[str, float]) -> Iterator[None]:
    """Let drivers that are made in the block wait for so long, and all for a hold."""
    with ExitStack() as patches:
        for name, value in seconds.items():
            patches.enter_context(patch.object(driver, name, value))
        yield


@contextmanager
def in_a_hurry(robot: Any) -> Iterator[None]:
    """Let a driver wait for no longer than it does in truth."""
    with waiting(BOUNDS), patch.object(robot, "_within_s", BOUNDS["LEAST_WITHIN_S"]):
        yield


@contextmanager
def serving(server: Server, is_over: threading.Event | None = None) -> Iterator[Server]:
    """Let a server answer until the end of the block; what it raised is raised there."""
    is_over = is_over or threading.Event()
    raised: list[BaseException] = []

    def serve() -> None:
        try:
            with patch.object(module, "IDLE_S", 0.02):
                server.serve(lambda: is_over.is_set() and "SIGTERM")
        except BaseException as error:  # noqa: BLE001  raised below
            raised.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server
    finally:
        is_over.set()
        thread.join(timeout=10)
        server.close()
        assert not thread.is_alive()
    if raised:
        raise raised[0]


@contextmanager
def served(
    robot: Any,
    contract: Contract,
    key: Key | None = None,
    within_s: float = 30.0,
    options: DriveOptions = NO_RAMP,
) -> Iterator[Server]:
    """Put a robot behind a free port of this machine, its commands filtered as `serve` does."""
    timeout = CommandTimeout(make_remote_commands(options, robot, contract), within_s)
    with serving(Server(robot, timeout, contract, ANY_PORT, key)) as server:
        yield server
