"""The dead-man's switch: the robot moves only while somebody keeps saying that it may.

A callable that is asked right before every command. Where its answer is no, late or an error, the
robot holds; when it is yes again, the robot goes on through a ramp.
"""

import time
from collections.abc import Callable
from pathlib import Path

from robodreamer_deploy.robots import Robot, is_enabling

HEARTBEAT_S = 0.5

IsEnabled = Callable[[], bool]


class HeartbeatFile:
    """A file that has to be touched again and again: by a joystick's driver, or over ssh.

    What counts is when its time of modification was last seen to change, on the monotonic clock:
    no time server can keep a dead operator alive, and a file left over from before counts for
    nothing.
    """

    def __init__(
        self,
        path: Path,
        *,
        within_s: float = HEARTBEAT_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch `path`, which need not exist yet; a touch counts for `within_s` seconds."""
        self._path, self._within_s, self._now = path, within_s, now
        self._modified_ns = self._read()
        self._until = now()

    def __call__(self) -> bool:
        """Tell whether it was touched in time."""
        modified_ns, now = self._read(), self._now()
        if modified_ns is not None and modified_ns != self._modified_ns:
            self._until = now + self._within_s
        self._modified_ns = modified_ns
        return modified_ns is not None and now < self._until

    def _read(self) -> int | None:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return None


def enabling(robot: Robot, file: Path | None) -> IsEnabled | None:
    """Return all switches that a drive has as one: the robot's `is_enabled`, and a file's."""
    heartbeat = None if file is None else HeartbeatFile(file)
    if not is_enabling(robot):
        return heartbeat
    if heartbeat is None:
        return lambda: robot.is_enabled
    return lambda: robot.is_enabled and heartbeat()
