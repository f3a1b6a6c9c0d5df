"""A robot whose encoder and camera are read by threads, as docs/your-robot.md advises."""

import threading
import time
from collections.abc import Mapping

from _still_robot import StillRobot

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.robots.thread_priority import raise_to_loop

RATES_HZ = (200.0, 60.0)
"""Of the encoder and the camera."""
WORK = 2_000
"""Turns of a loop in Python per reading: 0.1 ms on the machine of RESULTS.md."""


class ThreadedRobot(StillRobot):
    """A `StillRobot` with a thread per sensor; `none`, `normal` or `raised` follows its name."""

    def __init__(self, argument: str, contract: Contract) -> None:
        super().__init__(argument, contract)
        self._kind = argument
        self._is_over = threading.Event()
        self._threads: list[threading.Thread] = []

    def connect(self) -> None:
        """Start the threads."""
        if self._kind == "none":
            return
        for rate_hz in RATES_HZ:
            thread = threading.Thread(target=self._read, args=(1.0 / rate_hz,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def get_observation(self) -> Mapping[str, Array]:
        """Return the newest values; nobody waits for a sensor."""
        return super().get_observation()

    def disconnect(self) -> None:
        """End the threads."""
        self._is_over.set()

    def _read(self, period_s: float) -> None:
        if self._kind == "raised":
            raise_to_loop()
        following = time.monotonic()
        while not self._is_over.wait(max(0.0, following - time.monotonic())):
            following += period_s
            total = 0
            for i in range(WORK):  # with the interpreter's lock held, as a driver in Python does
                total += i
