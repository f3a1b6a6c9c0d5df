"""Time as the control loop sees it: clocks that can be injected, and the absolute grid of ticks."""

import math
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the grid sees it, in seconds; tests bring their own."""

    def now(self) -> float:
        """Return the time since some fixed moment."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Return no sooner than `seconds` from now."""
        ...


class MonotonicClock:
    """The machine's monotonic clock, which no time server can set back."""

    now = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


def time_with_sleep() -> float:
    """Return monotonic seconds, those included in which the computer slept, where it tells them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class VirtualClock:
    """Time that passes only while the loop waits, and then at once: as fast as possible.

    Only for robots whose own time advances with `send_action`, which are simulators.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Return how long the loop has waited in all."""
        return self._now

    def sleep(self, seconds: float, /) -> None:
        """Let `seconds` have passed."""
        self._now += seconds


class Grid:
    """Absolute tick times: start, start + period, start + 2 periods, ..."""

    def __init__(self, clock: Clock, period_s: float) -> None:
        self._clock = clock
        self._period = period_s
        self._start = clock.now()
        self._index = 0

    @property
    def lateness_s(self) -> float:
        """Seconds that have passed since the current tick's time."""
        return self._clock.now() - (self._start + self._index * self._period)

    @property
    def index(self) -> int:
        """Number of the current tick; skipped ones leave gaps."""
        return self._index

    def advance(self) -> int:
        """Go on to the next tick that is not past; return how many had to be skipped."""
        elapsed = self._clock.now() - self._start
        following = self._index + 1
        # The margin keeps a tick that ends exactly on the grid from being rounded past it.
        self._index = max(following, math.ceil(elapsed / self._period - 1e-6))
        return self._index - following

    def wait(self) -> None:
        """Sleep until the current tick's time, if that is not past."""
        self._clock.sleep(max(0.0, -self.lateness_s))
