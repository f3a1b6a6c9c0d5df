"""Check of measured poses before a robot is driven from one, or held at it.

An encoder that loses a bit or wraps from +180 to -180 degrees tells a pose that is finite, and that
the joint does not have. A goal beside such a pose, and a hold at it, would send the joint there. So
a pose is believed where it is the first one, or goes on from those before; a jump is not; after a
pause, in which the robot may have been moved by hand, the next two that agree are. Where within its
range a joint stands does not matter: a range is what a joint works in. Letter: J joints.
"""

import math

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.robots.joints import LEAD_S

POSITION_MARGIN = 3.0
"""No joint stands further beyond the range it works in, in spans of it; a lost sign bit does."""
LARGEST_LEAP = 0.5
"""No joint covers a larger share of its span from one reading to the next; a wrap does."""
FASTER = 2.0
"""A joint may be so many times faster than what it is commanded at most: it overshoots, and is
pushed."""
PAUSE_S = 1.0
"""After so long without a reading, a joint may be anywhere."""
FAR, FARTHEST = 0.1, 0.2
"""A joint that stands further from where it is held, as a share of its span and in rad or m, was
moved: under the load of an arm it gives way by less. Sent back, it would leap."""


class PoseCheck:
    """Check of measured positions, by how they go on from those before.

    Args:
        labels: Names of the joints.
        low: Lower ends of the ranges that they work in (J,); infinite where unknown.
        high: Upper ends.
        span: Between which positions readings may differ, as a way (J,): a joint's range, or a
            turn of its encoder; infinite where unknown, and such a joint's jumps are not seen.
        speed: How fast each is at most, in rad/s or m/s (J,); infinite where unknown: such a joint
            crosses its span in a second.
    """

    def __init__(
        self, labels: tuple[str, ...], low: Array, high: Array, *, span: Array, speed: Array
    ) -> None:
        self._labels, self._low, self._high = labels, low, high
        extent = high - low
        # An angle that goes once around starts again at the other end, and may count its turns.
        self._is_round = np.abs(extent - math.tau) < 0.01 * math.tau
        self._margin = np.where(self._is_round | (extent <= 0.0), np.inf, POSITION_MARGIN * extent)
        self._largest_leap = LARGEST_LEAP * span
        self._far = np.minimum(FAR * span, FARTHEST)
        self._speed = FASTER * np.where(np.isfinite(speed), speed, span)
        self.reset()

    @property
    def wants_another(self) -> bool:
        """True if a second reading that agrees with the newest one would have both believed."""
        return self._candidate is not None

    def reset(self) -> None:
        """Forget all positions."""
        self._good: Array | None = None
        self._read_s: float | None = None
        self._was_pause = False
        self._candidate: Array | None = None

    def doubt(self, positions: Array, time_s: float) -> str | None:
        """Return why positions (J,) measured at `time_s` are not to be believed; None if they are.

        Those that are become what the next ones are compared with. Readings in doubt give a joint
        no time to get further: it is held until then.
        """
        if (fault := self._find_impossible(positions)) is not None:
            return fault
        elapsed_s = 0.0 if self._read_s is None else time_s - self._read_s
        self._read_s = time_s
        self._was_pause = self._was_pause or elapsed_s > PAUSE_S
        before, self._candidate = self._candidate, None
        fault = self._find_leap(self._good, positions, elapsed_s)
        if fault is not None and self._was_pause:
            if before is None or self._find_leap(before, positions, elapsed_s) is not None:
                self._candidate = positions.copy()
                return f"{fault}, after a pause; the next reading has to agree"
            fault = None
        if fault is None:
            self._good, self._was_pause = positions.copy(), False
        return fault

    def is_far(self, held: Array, measured: Array) -> bool:
        """Return whether a joint `measured` (J,) was moved from where it is held (J,)."""
        return bool((np.abs(self._differences(held, measured)) > self._far).any())

    def _find_impossible(self, positions: Array) -> str | None:
        with np.errstate(invalid="ignore"):
            beyond = (positions < self._low - self._margin) | (
                positions > self._high + self._margin
            )
        for i in np.flatnonzero(beyond | ~np.isfinite(positions)):
            return (
                f"{self._labels[i]} is said to be at {positions[i]:.4g}, its range is "
                f"{self._low[i]:.4g} .. {self._high[i]:.4g}"
            )
        return None

    def _find_leap(self, last: Array | None, positions: Array, elapsed_s: float) -> str | None:
        if last is None:
            return None
        time_s = min(max(elapsed_s, LEAD_S), PAUSE_S)
        reach = np.minimum(self._largest_leap, self._speed * time_s)
        for i in np.flatnonzero(np.abs(self._differences(last, positions)) > reach):
            return (
                f"{self._labels[i]} is said to have gone from {last[i]:.4g} to {positions[i]:.4g} "
                f"within {elapsed_s:.2g} s"
            )
        return None

    def _differences(self, one: Array, other: Array) -> Array:
        straight = other - one
        around = straight - math.tau * np.rint(straight / math.tau)
        return np.where(self._is_round, around, straight)
