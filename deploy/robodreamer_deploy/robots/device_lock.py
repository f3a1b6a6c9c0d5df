"""One thread at a time on hardware that knows no threads, and never waiting without end."""

import threading
from collections.abc import Generator
from contextlib import contextmanager

from robodreamer_deploy.errors import RobotError

BUSY_S = 1.0


class DeviceLock:
    """Lets one thread in, which may enter again; others wait for at most a second.

    A watchdog's thread holds the robot while the loop's may be in the middle of a reading.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.RLock()

    @contextmanager
    def use(self) -> Generator[None, None, None]:
        """Keep other threads out.

        Raises:
            RobotError: Another one does not come out.
        """
        with self.attempt(BUSY_S) as is_alone:
            if not is_alone:
                raise RobotError(f"{self._what} was in use by another thread for {BUSY_S:g} s")
            yield

    @contextmanager
    def attempt(self, seconds: float) -> Generator[bool, None, None]:
        """Keep other threads out, if they come out within `seconds`; yield whether they did."""
        is_alone = self._lock.acquire(timeout=seconds)
        try:
            yield is_alone
        finally:
            if is_alone:
                self._lock.release()
