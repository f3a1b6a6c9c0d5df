"""Readings that are numbers, and cannot be true: a lost sign bit, an encoder that wrapped.

The range of a signal in the contract is the one it works in, which a good robot may leave. What is
refused lies further out by a margin that no shipped task comes near, with random actions and
`--randomize strong`: positions were up to 2.3 spans beyond their range, everything else up to 5.
Signals without a range in the contract are not judged.
"""

import math
from collections.abc import Callable, Iterable
from typing import NoReturn

import numpy as np

from robodreamer_deploy.contract import (
    Array,
    Signal,
)
from robodreamer_deploy.errors import SignalError
from robodreamer_deploy.robots.pose_check import POSITION_MARGIN

POSITION_UNITS = ("m", "rad")
OTHER_MARGIN = 10.0
"""Distance beyond its range at which a value that is no position is refused, in spans of the
range."""
LARGEST_JUMP = 2.0
"""Spans by which a position in metres may differ from the one before; 1.34 was the most seen."""
HALF_TURN = math.pi
"""Angle in rad by which a joint may differ from the reading before; an encoder that wraps differs
by twice that."""
MOST_ROUND_RAD = 1e6
"""Beyond this angle float32 tells only every 0.06 rad apart. A joint without limits may be counted
on from turn to turn, as MuJoCo does: its range says nothing of how often it went around."""
JUMP_ROUND_RAD = 1.5 * math.tau
"""Angle in rad by which such a joint may differ: a turn, where it is counted from -pi to pi."""
FASTEST_M_S, FASTEST_RAD_S = 10.0, 10.0
"""Speed that is allowed where so much time has passed that it leads further than these."""


class Plausibility:
    """Compares every reading with its signal's range, and positions with the reading before."""

    def __init__(self, signals: Iterable[Signal], now: Callable[[], float]) -> None:
        """Judge `signals` by their ranges and units; `now` is in seconds."""
        self._now = now
        self._ranges = {
            s.name: _Range(s, np.asarray(s.low), np.asarray(s.high))
            for s in signals
            if s.dtype == "float32" and s.low is not None and s.high is not None
        }
        self._last: dict[str, Array] = {}
        self._read_s: dict[str, float] = {}

    def begin(self) -> None:
        """Forget the readings so far: the robot may have been moved by hand, or put elsewhere."""
        self._last.clear()
        self._read_s.clear()

    def check(self, name: str, value: Array) -> None:
        """Refuse a reading that no robot can have; one that is refused is not compared with.

        A robot that holds stays where it is: time in which readings are refused gives a position no
        further room, so that an encoder that has wrapped is refused for as long as that lasts.

        Args:
            name: Of the signal.
            value: Of its shape and type, and finite.

        Raises:
            SignalError: With the element and the reason.
        """
        if (judged := self._ranges.get(name)) is None:
            return
        values = value.ravel().astype(np.float64)
        judged.check(values)
        if not judged.is_position:
            return
        now = self._now()
        last, elapsed_s = self._last.get(name), now - self._read_s.get(name, now)
        self._read_s[name] = now
        if last is not None:
            judged.check_change(values - last, elapsed_s)
        self._last[name] = values


class _Range:
    """Range of one signal with the margins around it; every array is float64 (n,)."""

    def __init__(self, signal: Signal, low: Array, high: Array) -> None:
        has_length = signal.unit in POSITION_UNITS
        self.is_position = signal.family == "proprio" and has_length
        self._signal, self._low, self._high = signal, low, high
        # A range without extent is that of a signal which was never seen to change.
        span = np.where(high > low, high - low, np.inf)
        margin = span * (POSITION_MARGIN if has_length else OTHER_MARGIN)
        self._lowest, self._highest = low - margin, high + margin
        self._fastest = FASTEST_RAD_S if signal.unit == "rad" else FASTEST_M_S
        self._jump = LARGEST_JUMP * span
        if signal.unit == "rad":
            is_round = np.abs(span - math.tau) < 0.01 * math.tau
            self._jump = np.where(is_round, JUMP_ROUND_RAD, HALF_TURN)
            self._lowest[is_round], self._highest[is_round] = -MOST_ROUND_RAD, MOST_ROUND_RAD

    def check(self, values: Array) -> None:
        bad = (values < self._lowest) | (values > self._highest)
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            self._refuse(
                i,
                f"is {values[i]:.6g}{self._unit}, which no robot has that works within "
                f"{self._low[i]:.4g} .. {self._high[i]:.4g}",
            )

    def check_change(self, change: Array, elapsed_s: float) -> None:
        bad = np.abs(change) > np.maximum(self._jump, self._fastest * elapsed_s)
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            self._refuse(
                i,
                f"changed by {change[i]:.4g}{self._unit} from the last reading to trust: did an "
                "encoder wrap, or lose a bit?",
            )

    @property
    def _unit(self) -> str:
        return f" {self._signal.unit}" if self._signal.unit else ""

    def _refuse(self, i: int, why: str) -> NoReturn:
        labels = self._signal.labels
        label = labels[i] if i < len(labels) else str(i)
        raise SignalError(self._signal.name, f"element {label} {why}")
