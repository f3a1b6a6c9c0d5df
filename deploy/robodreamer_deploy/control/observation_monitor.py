"""Checks of every observation before it enters the model: lost frames, and sensors that failed.

A camera without a frame, or with one that is too old, leaves a gap that the model can dream
through. Everything else that is missing, old, not finite, impossible or of the wrong shape is a
sensor that cannot be trusted, and the robot holds.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, cast

from robodreamer_deploy.contract import (
    Array,
    Contract,
    Signal,
)
from robodreamer_deploy.control.fault_tolerance import NONE_CAME
from robodreamer_deploy.control.plausibility import Plausibility
from robodreamer_deploy.errors import RobotError, SignalError
from robodreamer_deploy.robots.base import (
    as_time,
    is_stamped,
)

MAX_AHEAD_S = 1e-3
"""Stamps may lie in the future by this; beyond, they are not of the monotonic clock."""


class Sensors(Protocol):
    """The half of a robot that is read; `robots.StampedRobot` says what else there may be."""

    def get_observation(self) -> Mapping[str, Array]:
        """Return the newest value of every signal."""
        ...


class Reading(NamedTuple):
    """Reading of a robot's sensors, checked."""

    observation: Mapping[str, Array]  # as read; empty if it was not
    stamps: Mapping[str, float]  # when its values were measured, where that is known
    passed: Mapping[str, Array]  # what the policy reads of it, checked
    missing: Mapping[str, str]  # why, by camera without a frame to trust, which `passed` lacks
    fault: SignalError | None  # why nothing of it may be used; None if it may


class ObservationMonitor:
    """Reader of a robot's sensors that checks every observation against one contract."""

    def __init__(
        self,
        contract: Contract,
        now: Callable[[], float],
        *,
        has_ages: bool,
        max_ages_s: Mapping[str, float] | None = None,
    ) -> None:
        """Make a monitor.

        Args:
            contract: What is expected.
            now: The clock of the stamps, in seconds.
            has_ages: Whether to look at stamps; they have no meaning where time stands still.
            max_ages_s: Largest age by signal, where the user allows another one.
        """
        self._inputs = contract.inputs
        self._max_ages = {**max_ages_of(contract), **(max_ages_s or {})}
        self._now = now
        self._has_ages = has_ages
        self._plausibility = Plausibility(contract.inputs, now)

    def begin(self) -> None:
        """Forget the readings of another episode."""
        self._plausibility.begin()

    def read(self, sensors: Sensors) -> Reading:
        """Ask the robot; a reading that failed is a signal that cannot be trusted."""
        observation: Mapping[str, Array] = {}
        stamps: Mapping[str, Any] = {}
        try:
            observation = _mapping(sensors.get_observation(), "observation")
            if self._has_ages and is_stamped(sensors):
                stamps = _times(_mapping(sensors.observation_stamps, "observation_stamps"))
            passed, missing = self._check(observation, stamps)
        except SignalError as error:
            return Reading(observation, stamps, {}, {}, error)
        except (RobotError, OSError) as error:
            fault = SignalError("observation", f"not read: {error}")
            return Reading({}, {}, {}, {}, fault)
        return Reading(observation, stamps, passed, missing, None)

    def _check(
        self, observation: Mapping[str, Array], stamps: Mapping[str, Any]
    ) -> tuple[Mapping[str, Array], Mapping[str, str]]:
        """Return what the policy may read, and why which cameras have no frame to trust.

        Raises:
            SignalError: A signal is bad, and is no camera whose frame is merely missing or late.
        """
        now = self._now()
        passed: dict[str, Array] = {}
        missing: dict[str, str] = {}
        for signal in self._inputs:
            value = observation.get(signal.name)
            has_age = signal.name in stamps
            late = self._why_late(signal, stamps[signal.name], now) if has_age else ""
            if signal.is_image and (value is None or late):
                missing[signal.name] = late or NONE_CAME
            elif value is None:
                raise SignalError(signal.name, "missing from the observation")
            elif late:
                raise SignalError(signal.name, late)
            else:
                signal.check(value)
                self._plausibility.check(signal.name, value)
                passed[signal.name] = value
        return passed, missing

    def _why_late(self, signal: Signal, stamp: Any, now: float) -> str:
        """Return why the value is too old to be used; empty if it is not.

        Raises:
            SignalError: The stamp makes no sense.
        """
        if not isinstance(stamp, float):
            raise SignalError(
                signal.name, f"stamped {stamp!r:.40}, expected time.monotonic() in seconds"
            )
        age, limit = now - stamp, self._max_ages[signal.name]
        if not math.isfinite(stamp) or age < -MAX_AHEAD_S:
            raise SignalError(
                signal.name,
                f"stamped {stamp:.3f}, now is {now:.3f}: is that time.monotonic()?",
            )
        return f"{1e3 * age:.0f} ms old, allowed are {1e3 * limit:.0f}" if age > limit else ""


def max_ages_of(contract: Contract) -> dict[str, float]:
    """Return the largest age in seconds of every input, by signal.

    That is the signal's own limit, or one period of its sensor, plus the longest delay that the
    policy was trained with: it has learned to act on values that old.
    """
    return {signal.name: _max_age_s(signal, contract) for signal in contract.inputs}


def _max_age_s(signal: Signal, contract: Contract) -> float:
    if signal.max_age_s is not None:
        return signal.max_age_s
    _, delay_s = contract.delays_s.get(signal.name, (0.0, 0.0))
    period_s = 0.0 if signal.rate_hz is None else 1.0 / signal.rate_hz
    return delay_s + max(contract.control_dt_s, period_s)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Return what a driver returned, if it is a mapping.

    Raises:
        SignalError: It is anything else, such as None out of a function that forgot to return.
    """
    if not isinstance(value, Mapping):
        raise SignalError(what, f"{type(value).__name__}, expected a mapping by signal")
    return cast("Mapping[str, Any]", value)


def _times(stamps: Mapping[str, Any]) -> dict[str, Any]:
    """Return stamps as floats, and as they are where they are no numbers, for the record."""
    return {name: as_time(stamp) for name, stamp in stamps.items()}
