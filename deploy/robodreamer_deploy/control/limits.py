"""Limits of each action element: range, rate, acceleration; from the contract or from a file.

The file is JSON, in the actuators' units, with an entry for every element that it limits, by the
label that `inspect` prints, or by its number where there are no labels:

    {"elements": {"shoulder": {"low": -0.5, "high": 0.5, "rate": 1.0, "acceleration": 8.0}}}

Letters: A action.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_deploy.utils.strict_json import parse_json, read_record
from robodreamer_deploy.utils.suggest import closest

FULL_RANGE = 2.0
"""From -1 to 1, in the policy's units."""
MAX_FILE_BYTES = 1 << 20
RETURN_RATE = FULL_RANGE
"""Largest change per second on the way back from outside the range, where no other rate is asked
for: the whole range in a second, which is what the longest ramp that is the default allows."""
ROUNDING = 1e-6
"""Rounding error of an executed action, which is float32, near 1."""
RESTING_UNITS = ("rad/s", "m/s", "N", "N m")
"""Units of what rests at 0, where the contract says no quantity."""


@dataclass(frozen=True, kw_only=True)
class ElementLimits:
    """Limits of one element in its actuator's unit; None for what is not limited further."""

    low: float | None = None
    high: float | None = None
    rate: float | None = None
    """Largest change per second."""
    acceleration: float | None = None
    """Largest change of the rate, per second squared."""

    def __post_init__(self) -> None:
        """Refuse what would forbid every motion."""
        for name, value in {"rate": self.rate, "acceleration": self.acceleration}.items():
            if value is not None and value <= 0.0:
                raise ValueError(f"{name} is {value}, expected a number above 0")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")


@dataclass(frozen=True, kw_only=True)
class LimitsFile:
    """Contents of a limits file."""

    elements: Mapping[str, ElementLimits] = field(default_factory=dict[str, ElementLimits])
    surprise_nats: float | None = None
    """Surprise above which `--on-surprise` acts; None for the manifest's highest quantile."""


class Limits(NamedTuple):
    """Limits of all elements in the policy's units, where the full range is [-1, 1].

    Every array is float64 (A,); infinite where there is no limit.
    """

    low: Array
    high: Array
    rate: Array  # per second
    acceleration: Array  # per second squared


class Limited(NamedTuple):
    """An action within the limits."""

    action: Array  # float64 (A,)
    limits: tuple[str, ...]  # which of `ramp`, `range`, `rate`, `acceleration` changed it


Ramp = Callable[[Array], Array]
"""Takes the way to go, float64 (A,), and returns the part of it that is gone now."""


def contract_limits(action: ActionSpec) -> Limits:
    """Return what the contract says: a range for every element, no rate and no acceleration."""
    ones, unlimited = np.ones(action.size), np.full(action.size, np.inf)
    return Limits(-ones, ones, unlimited, unlimited)


def rate_limits(action: ActionSpec, rates: tuple[float, ...]) -> Limits:
    """Limit the change per second, in the policy's units; one rate counts for all elements.

    Raises:
        ValueError: The rates do not fit the action.
    """
    if action.kind == "discrete":
        raise ValueError("a discrete action has no rate to limit")
    if len(rates) not in (1, action.size):
        raise ValueError(f"{len(rates)} rate limits for {action.size} action elements")
    if not all(0.0 < rate < np.inf for rate in rates):
        raise ValueError(f"rate limits must be above 0 and finite, got {rates}")
    return contract_limits(action)._replace(rate=np.broadcast_to(np.array(rates), action.size))


def slow(limits: Limits, action: ActionSpec, share: float) -> Limits:
    """Slow every element of the action down to `share` of its speed.

    A position is allowed that share of its range per second. Of everything else the range itself
    is narrowed about 0, where a velocity or a displacement rests.

    Raises:
        ValueError: It is a choice; nobody said whether an element is a position; the range of what
            is no position does not hold 0; or nothing is left of it.
    """
    if action.kind == "discrete":
        raise ValueError("a discrete action has no speed to limit")
    lowest, highest = np.asarray(action.low), np.asarray(action.high)
    names = action.labels or tuple(map(str, range(action.size)))
    quantities = np.array(action.quantities or ("unknown",) * action.size)
    is_position = quantities == "position"
    is_unknown = (quantities == "unknown") & ~np.isin(
        action.units or ("",) * action.size, RESTING_UNITS
    )
    if (unknown := (highest > lowest) & is_unknown).any():
        name = names[int(np.argmax(unknown))]
        raise ValueError(
            f"the contract does not say whether {name} is a position or a speed (`quantities` of "
            "its action), so nobody can tell what slow is; --max-rate limits its change per second"
        )
    moves = (highest > lowest) & ~is_position
    if (away := moves & ((lowest > 0.0) | (highest < 0.0))).any():
        name = names[int(np.argmax(away))]
        raise ValueError(f"{name} never rests at 0, so it is no speed; --max-rate limits it")
    half = np.where(moves, (highest - lowest) / 2.0, 1.0)
    low = np.where(moves, (share - 1.0) * lowest / half - 1.0, -1.0)
    high = np.where(moves, (share * highest - lowest) / half - 1.0, 1.0)
    low, high = np.maximum(limits.low, low), np.minimum(limits.high, high)
    if (empty := low > high).any():
        raise ValueError(f"nothing is left of the range of {names[int(np.argmax(empty))]}")
    rate = np.where(is_position, np.minimum(limits.rate, FULL_RANGE * share), limits.rate)
    return limits._replace(low=low, high=high, rate=rate)


def read_limits_file(path: Path) -> LimitsFile:
    """Read a file of limits.

    Raises:
        ValueError: It cannot be read or is malformed; the message names the field.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_FILE_BYTES)  # what is longer is cut, and then no JSON
        return read_record(LimitsFile, parse_json(text), "limits")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # what is no UTF-8 as well
        raise ValueError(f"{path}: {error}") from error


def file_limits(file: LimitsFile, action: ActionSpec) -> Limits:
    """Turn a file's limits into the policy's units.

    Raises:
        ValueError: The file names an element that the action lacks, or leaves one no range.
    """
    if action.kind == "discrete" and file.elements:
        raise ValueError("a discrete action has no elements to limit")
    names = action.labels or tuple(map(str, range(action.size)))
    if unknown := [name for name in file.elements if name not in names]:
        near = closest(unknown[0], names)
        raise ValueError(f"the action has no element {unknown[0]!r}; there are {near}")
    limits = Limits(*(values.copy() for values in contract_limits(action)))
    for i, name in enumerate(names):
        if name in file.elements:
            _set_element(limits, i, name, file.elements[name], action)
    return limits


def _set_element(
    limits: Limits, i: int, name: str, element: ElementLimits, action: ActionSpec
) -> None:
    """Write the limits of element `i`, which narrow the contract's and never widen them."""
    lowest, highest = action.low[i], action.high[i]
    half = (highest - lowest) / 2.0
    if half == 0.0:  # it stands still whatever is sent
        return
    low = lowest if element.low is None else max(element.low, lowest)
    high = highest if element.high is None else min(element.high, highest)
    if low > high:
        raise ValueError(
            f"{name} may go from {element.low} to {element.high}, "
            f"the policy's range is {lowest} to {highest}"
        )
    limits.low[i], limits.high[i] = (low - lowest) / half - 1.0, (high - lowest) / half - 1.0
    if element.rate is not None:
        limits.rate[i] = element.rate / half
    if element.acceleration is not None:
        limits.acceleration[i] = element.acceleration / half


class Limiter:
    """Applies `Limits` from one action to the next."""

    def __init__(self, limits: Limits, control_dt_s: float) -> None:
        """Take over `limits`; actions follow each other by `control_dt_s` seconds."""
        self._low, self._high = limits.low, limits.high
        self._rate = limits.rate * control_dt_s
        self._return_rate = np.minimum(limits.rate, RETURN_RATE) * control_dt_s
        self._acceleration = limits.acceleration * control_dt_s**2
        self._brakes = np.isfinite(self._acceleration)

    @property
    def has_rate(self) -> bool:
        """True if every element's rate is limited, so that all can be slowed down."""
        return bool(np.isfinite(self._rate).all())

    def apply(
        self,
        wanted: Array,
        last: Array | None,
        change: Array,
        *,
        rate_scale: float = 1.0,
        ramp: Ramp = lambda step: step,
    ) -> Limited:
        """Return what is nearest to `wanted` (A,) within the limits.

        From outside the range (a robot that was found there) the way back is within rate and
        acceleration, and within `RETURN_RATE`; never further out.

        Args:
            wanted: What to limit.
            last: Executed before it; None if nothing was, and then only the range counts.
            change: From the action before `last` to `last`.
            rate_scale: Makes the rate smaller, within (0, 1]; it is reached within the
                acceleration.
            ramp: Shortens the way from `last` to what is wanted of the range.
        """
        limits: list[str] = []
        safe = np.clip(wanted.astype(np.float64), self._low, self._high)
        if (safe != wanted).any():
            limits.append("range")
        if last is None:
            return Limited(safe, tuple(limits))
        way = safe - last
        step = ramp(way)
        if (step != way).any():
            limits.insert(0, "ramp")
        rate = np.where(self._is_outside(last), self._return_rate, self._rate) * rate_scale
        slower = np.clip(step, -rate, rate)
        if (slower != step).any():
            limits.append("rate")
        smooth = self._smooth(slower, last, change)
        if (smooth != slower).any():
            limits.append("acceleration")
        return Limited(np.where(smooth == way, safe, last + smooth), tuple(limits))

    def _is_outside(self, last: Array) -> Array:
        """Tell which elements are outside by more than what float32 rounds."""
        return (last < self._low - ROUNDING) | (last > self._high + ROUNDING)

    def _smooth(self, step: Array, last: Array, change: Array) -> Array:
        """Limit the change of the change, so that it can still brake before the range ends."""
        smooth = np.clip(step, change - self._acceleration, change + self._acceleration)
        smooth = np.clip(smooth, -self._rate, self._rate)
        to_low = self._longest(last - np.minimum(self._low, last))
        to_high = self._longest(np.maximum(self._high, last) - last)
        return np.where(self._brakes, np.clip(smooth, -to_low, to_high), smooth)

    def _longest(self, distance: Array) -> Array:
        """Return the largest step from which braking ends within `distance`.

        A step of n times the acceleration's a is followed by n - 1, n - 2, ...: with m the whole
        part of n they cover a (m + 1) (n - m / 2), which is solved for n.
        """
        a = np.where(self._brakes, self._acceleration, 1.0)
        covered = distance / a
        m = np.floor(np.sqrt(0.25 + 2.0 * covered) - 0.5)
        return a * (m + (covered - m * (m + 1.0) / 2.0) / (m + 1.0))
