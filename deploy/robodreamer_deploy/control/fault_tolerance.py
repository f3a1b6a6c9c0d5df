"""Fault tolerance: how many held ticks, lost frames and skipped periods a drive may have."""

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from robodreamer_deploy.errors import SignalError

logger = logging.getLogger(__name__)

NONE_CAME = "none came"
"""Reason for a missing frame that was not part of the observation."""
WARNED_SHARE = 0.1
"""Share of ticks without a frame from which on there is a warning."""
JUDGED_FROM_S = 1.0
"""A rate is judged from the first second on."""


@dataclass(frozen=True, kw_only=True)
class FaultTolerance:
    """Bounds on faults within a drive, in consecutive ticks unless the name says otherwise."""

    faults_in_a_row: int = 10
    """Consecutive held ticks that are tolerated; one more stops the robot."""
    first_frames_s: float = 2.0
    """Seconds for which the robot may hold at the beginning of an episode because a camera has not
    delivered anything yet; that is no fault. `check-robot` gives cameras as long."""
    missing_in_a_row: int = 10
    """Consecutive ticks without a camera's frame that the model dreams through; then the robot
    holds."""
    missing_of_window: tuple[int, int] = (25, 50)
    """Ticks without a frame among so many of the last ones; with more, the robot holds. A camera
    that is always a little too old delivers a good frame now and then."""
    skipped_in_a_row: int = 5
    """Periods of one overrun that the model makes up for; after more, it resets."""
    skipped_share: float = 0.1
    """Share of the periods of the last `rate_window_s` that may be skipped; then it is stopped."""
    rate_window_s: float = 5.0
    """Seconds over which the rate is judged; 100 periods at least."""
    silent_ticks: int = 10
    """Periods without a command, after which the watchdog stops the robot."""


class Window:
    """Sliding window over the last periods that counts those in which something happened."""

    def __init__(self, size: int) -> None:
        self.size = size
        """Number of periods in a full window."""
        self._periods: deque[bool] = deque(maxlen=size)
        self.count = 0
        """Periods of the window in which it happened."""

    def __len__(self) -> int:
        return len(self._periods)

    @property
    def is_full(self) -> bool:
        """True if as many periods have passed as it holds."""
        return len(self._periods) == self.size

    def add(self, happened: bool) -> None:
        """Take the newest period, in the place of the oldest one of a full window."""
        if self.is_full:
            self.count -= self._periods[0]
        self._periods.append(happened)
        self.count += happened


class Patience:
    """Counters of faults since the beginning of an episode, compared with a `FaultTolerance`."""

    def __init__(self, tolerance: FaultTolerance, control_dt_s: float) -> None:
        self.tolerance = tolerance
        self._dt = control_dt_s
        self.begin()

    def begin(self) -> None:
        """Forget what happened in another episode."""
        self._faults_in_a_row = self._missing_in_a_row = 0
        self._ticks_to_wait = round(self.tolerance.first_frames_s / self._dt)
        self.is_waiting = False
        """True if this tick is held for nothing but the first frame of a camera."""
        self._missing = Window(self.tolerance.missing_of_window[1])
        self._skipped = Window(max(100, round(self.tolerance.rate_window_s / self._dt)))
        self._last_missing = ("", "")
        self._has_warned: set[str] = set()

    def count_fault(self, fault: str | None) -> str | None:
        """Take whether a tick was held, and why; return why the robot has to be stopped."""
        if self.is_waiting:
            return None
        self._faults_in_a_row = 0 if fault is None else self._faults_in_a_row + 1
        if self._faults_in_a_row <= self.tolerance.faults_in_a_row:
            return None
        return f"{self._faults_in_a_row} faults in a row, the last one: {fault}"

    def wait_for_first(self, missing: Mapping[str, str]) -> None:
        """Wait for cameras that have not delivered a frame yet, before anything has been driven.

        Args:
            missing: Why, by camera without a frame to trust.

        Raises:
            SignalError: A frame has not come yet, and may be waited for.
        """
        waited_for = sorted(name for name, why in missing.items() if why == NONE_CAME)
        self.is_waiting = bool(waited_for) and self._ticks_to_wait > 0
        if self.is_waiting:
            self._warn("first frames", f"{waited_for[0]}: waiting for its first frame")
            self._ticks_to_wait -= 1
            raise SignalError(waited_for[0], "waiting for its first frame")
        if not missing:
            self._ticks_to_wait = 0  # a camera that is lost later is a fault

    def count_missing(self, missing: Mapping[str, str], *, is_first: bool) -> None:
        """Take which cameras had no frame to trust, and why; the model dreams in their place.

        Raises:
            SignalError: It has nothing to dream from, or has dreamt for too long.
        """
        self._missing_in_a_row = self._missing_in_a_row + 1 if missing else 0
        self._missing.add(bool(missing))
        if missing:
            name = min(missing)
            self._last_missing = name, missing[name]
            if is_first:
                raise SignalError(name, f"no frame to begin with: {missing[name]}")
            if self._missing_in_a_row > self.tolerance.missing_in_a_row:
                in_a_row = f"no frame for {self._missing_in_a_row} ticks"
                raise SignalError(name, f"{in_a_row}: {missing[name]}")
        self._judge_missing()

    def _judge_missing(self) -> None:
        most, size = self.tolerance.missing_of_window
        name, why = self._last_missing
        told = f"no frame to trust in {self._missing.count} of the last {size} ticks: {why}"
        if self._missing.count > most:
            raise SignalError(name, f"{told} (--max-age allows older ones)")
        if self._missing.count > WARNED_SHARE * size:
            self._warn("frames", f"{name}: {told}; the model dreams in their place")

    def count_period(self, skipped: int) -> str | None:
        """Take how many periods a tick made the loop skip; return why it has to be stopped."""
        for _ in range(min(skipped, self._skipped.size)):
            self._skipped.add(happened=True)
        self._skipped.add(happened=False)
        reason = self.why_too_slow
        if reason is None:
            return None
        self._warn("rate", reason)
        return reason if self._skipped.is_full else None

    @property
    def why_too_slow(self) -> str | None:
        """Reason why the rate of the last seconds is too low; None if it is high enough."""
        periods, skipped = len(self._skipped), self._skipped.count
        if periods * self._dt < JUDGED_FROM_S or skipped <= self.tolerance.skipped_share * periods:
            return None
        rate_hz = 1.0 / self._dt
        return (
            f"{skipped} of the last {periods} periods were skipped: this computer and this robot "
            f"reach {rate_hz * (1 - skipped / periods):.1f} of {rate_hz:.1f} Hz"
        )

    def _warn(self, about: str, text: str) -> None:
        if about not in self._has_warned:
            self._has_warned.add(about)
            logger.warning("%s", text)
