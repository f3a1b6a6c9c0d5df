"""Which measured pose a robot may be driven from, or held at.

An encoder that loses a bit or wraps from +180 to -180 degrees tells a pose that is finite, and that
the joint cannot have. A goal beside such a pose, and a hold at it, would send the joint there.
Letter: J joints.
"""

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.robots.joints import LEAD_S

MARGIN = 0.05
"""A joint may stand beyond its range by this share of it: real stops are not the model's."""
LARGEST_LEAP = 0.5
"""No joint covers a larger share of its range from one reading to the next; a wrap does."""
FASTER = 2.0
"""A joint may be so many times faster than what it is commanded at most: it overshoots, and is
pushed."""


class PoseCheck:
    """A judge of measured positions by range, and by how far a joint gets since the last good ones.

    Args:
        labels: Names of the joints.
        low: Lower ends of their ranges (J,); infinite where unknown.
        high: Upper ends.
        speed: How fast each is at most, in rad/s or m/s (J,); infinite where unknown: such a joint
            crosses its range in a second.
    """

    def __init__(self, labels: tuple[str, ...], low: Array, high: Array, speed: Array) -> None:
        self._labels = labels
        self._low, self._high = low, high
        span = high - low
        self._margin = MARGIN * span
        self._largest_leap = LARGEST_LEAP * span
        self._speed = FASTER * np.where(np.isfinite(speed), speed, span)
        self._good: tuple[Array, float] | None = None

    def reset(self) -> None:
        """Forget the last good positions."""
        self._good = None

    def doubt(self, positions: Array, time_s: float) -> str | None:
        """Return why positions (J,), measured at `time_s`, are impossible; None if they are not.

        Those that are not become what the next ones are compared with.
        """
        fault = self._find(positions, time_s)
        if fault is None:
            self._good = positions.copy(), time_s
        return fault

    def _find(self, positions: Array, time_s: float) -> str | None:
        with np.errstate(invalid="ignore"):
            beyond = (positions < self._low - self._margin) | (
                positions > self._high + self._margin
            )
        for i in np.flatnonzero(beyond | ~np.isfinite(positions)):
            return (
                f"{self._labels[i]} is said to be at {positions[i]:.4g}, its range is "
                f"{self._low[i]:.4g} .. {self._high[i]:.4g}"
            )
        if self._good is None:
            return None
        last, last_time_s = self._good
        reach = np.minimum(self._largest_leap, self._speed * max(time_s - last_time_s, LEAD_S))
        for i in np.flatnonzero(np.abs(positions - last) > reach):
            return (
                f"{self._labels[i]} is said to have gone from {last[i]:.4g} to {positions[i]:.4g} "
                f"within {time_s - last_time_s:.2g} s"
            )
        return None
