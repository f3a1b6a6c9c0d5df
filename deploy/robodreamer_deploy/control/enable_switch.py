"""The dead-man's switch: the robot moves only while somebody confirms that it may.

A callable that is asked right before every command. Where its answer is no, late or an error, the
robot holds; when it is yes again, the robot goes on through a ramp.
"""

import time
from collections.abc import Callable
from pathlib import Path

from robodreamer_deploy.control.clock import time_with_sleep
from robodreamer_deploy.robots.base import Robot, is_enabling, permits

HEARTBEAT_S = 0.5
CLOCKS_AGREE_S = 0.05
"""Difference of two clocks over the time between two looks, from which on neither is believed."""

IsEnabled = Callable[[], bool]


class HeartbeatFile:
    """A file that has to be touched again and again: by a joystick's driver, or over ssh.

    A touch counts from when it was made, not from when it was noticed. That is the file's time of
    modification where the clock of the day can be trusted: it has gone on like the monotonic one
    since the last look, and the touch lies between the two looks. Otherwise (a time server, a
    network drive) it is the last look, before which it was not made. So no clock keeps a dead
    operator alive, and a file left over from before counts for nothing.
    """

    def __init__(
        self,
        path: Path,
        *,
        within_s: float = HEARTBEAT_S,
        now: Callable[[], float] = time_with_sleep,
        day_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Watch `path`, which need not exist yet; a touch counts for `within_s` seconds.

        Args:
            path: Of the file.
            within_s: For how long a touch counts, in seconds.
            now: Monotonic time in seconds, which goes on while the computer sleeps.
            day_ns: The clock of the day, in nanoseconds since 1970.
        """
        self._path, self._within_s, self._now, self._day_ns = path, within_s, now, day_ns
        self._modified_ns = self._read()
        self._looked_s, self._looked_ns = now(), day_ns()
        self._until = now()

    def __call__(self) -> bool:
        """Return whether it was touched in time."""
        modified_ns, now, day_ns = self._read(), self._now(), self._day_ns()
        if modified_ns is not None and modified_ns != self._modified_ns:
            self._until = self._touched_s(modified_ns, now, day_ns) + self._within_s
        self._modified_ns, self._looked_s, self._looked_ns = modified_ns, now, day_ns
        return modified_ns is not None and now < self._until

    def _touched_s(self, modified_ns: int, now: float, day_ns: int) -> float:
        """Return when a touch was made that is new now, on the monotonic clock."""
        since_look_s = now - self._looked_s
        age_s = (day_ns - modified_ns) / 1e9
        drift_s = (day_ns - self._looked_ns) / 1e9 - since_look_s
        if abs(drift_s) <= CLOCKS_AGREE_S and 0.0 <= age_s <= since_look_s:
            return now - age_s
        return self._looked_s

    def _read(self) -> int | None:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return None


class EnableSwitch:
    """A dead-man's switch whose odd answers are warned about once each, not in every tick.

    Args:
        ask: Returns `True` where the robot may move.
    """

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self._told = set[str]()
        self._has_answered = False

    def __call__(self) -> bool:
        """Return whether the robot may move now."""
        return permits(self._look, self._told)

    @property
    def fault(self) -> str | None:
        """Reason why the robot never moved; None where the switch once returned True or False."""
        if self._has_answered or not self._told:
            return None
        return (
            f"the dead-man's switch {', then '.join(sorted(self._told))}, and never True or False"
        )

    def _look(self) -> object:
        answer = self._ask()
        self._has_answered |= isinstance(answer, bool)
        return answer


def enabling(robot: Robot, file: Path | None) -> EnableSwitch | None:
    """Return all switches that a drive has as one: the robot's `is_enabled`, and a file's."""
    heartbeat = None if file is None else HeartbeatFile(file)
    if not is_enabling(robot):
        return None if heartbeat is None else EnableSwitch(heartbeat)
    if heartbeat is None:
        return EnableSwitch(lambda: robot.is_enabled)

    def both() -> object:
        is_alive = heartbeat()  # looked at every time, so that a touch is noticed when it is made
        answer: object = robot.is_enabled
        return is_alive if answer is True else answer

    return EnableSwitch(both)
