"""Velocities of joints that only tell their positions, derived from stamped positions.

A simulation whose policy is to drive such a robot feeds the same filter with its own positions and
its own time, so that the policy learns on the velocities that it will be shown:

    velocity = VelocityFilter(contract.control_dt_s)
    observation["proprio/joint_velocity"] = velocity.update(positions, seconds)

Letter: J joints.
"""

import math

import numpy as np

from robodreamer_deploy.contract import Array

SETTLING_PERIODS = 1.0
"""Time constant of the filter, in control periods. With the half period by which a difference is
late anyway, a velocity that changes is seen one and a half periods late."""
LONGEST_GAP_PERIODS = 10.0
"""After a longer pause between two positions nothing is known of the velocity: it begins at 0."""


class VelocityFilter:
    """A first-order low-pass filter of the differences between consecutive positions.

    raw = (position - last position) / (time - last time); velocity moves towards raw by the share
    1 - exp(-(time - last time) / (`SETTLING_PERIODS` * period)).

    Args:
        period_s: Control period of the policy.
    """

    def __init__(self, period_s: float) -> None:
        self._settling_s = SETTLING_PERIODS * period_s
        self._longest_s = LONGEST_GAP_PERIODS * period_s
        self._shortest_s = 0.01 * period_s
        self._positions: Array | None = None
        self._velocities: Array | None = None
        self._time_s = 0.0

    def reset(self) -> None:
        """Forget all positions."""
        self._positions = self._velocities = None

    def update(self, positions: Array, time_s: float) -> Array:
        """Return velocities (J,) from positions (J,) and when they were measured, in seconds.

        Zeros at first. The last ones where a position is not finite, or hardly any time has passed:
        what follows is measured from the last position that was good.
        """
        positions = np.asarray(positions, np.float64)
        if not np.isfinite(positions).all() or not math.isfinite(time_s):
            return self._last(positions)
        passed = time_s - self._time_s
        if self._positions is None or self._velocities is None or passed > self._longest_s:
            self._velocities = np.zeros_like(positions)
        elif passed < self._shortest_s:
            return self._velocities.copy()
        else:
            raw = (positions - self._positions) / passed
            share = 1.0 - math.exp(-passed / self._settling_s)
            self._velocities = self._velocities + share * (raw - self._velocities)
        self._positions, self._time_s = positions, time_s
        return self._velocities.copy()

    def _last(self, positions: Array) -> Array:
        return np.zeros_like(positions) if self._velocities is None else self._velocities.copy()
