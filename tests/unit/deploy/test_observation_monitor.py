"""The monitor: what may enter the model, and which pictures count as lost."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.control.observation_monitor import ObservationMonitor, max_ages_of
from robodreamer_deploy.errors import RobotError
from toy_robot import CONTRACT, Bench

NOW = 50.0
DT = CONTRACT.control_dt_s


class Stamped(Bench):
    def __init__(self, stamps: dict[str, float], changes: dict[str, Any] | None = None) -> None:
        super().__init__("", CONTRACT)
        self.observation_stamps = stamps
        self._changes = changes or {}

    def get_observation(self) -> dict[str, Array]:
        return {**super().get_observation(), **self._changes}


def read(robot: Any, *, has_ages: bool = True, contract: Contract = CONTRACT) -> Any:
    return ObservationMonitor(contract, lambda: NOW, has_ages=has_ages).read(robot)


def test_what_the_policy_does_not_read_is_ignored() -> None:
    reading = read(Stamped({}))
    assert (reading.missing, reading.fault) == ({}, None)
    assert reading.passed.keys() == {signal.name for signal in CONTRACT.inputs}
    assert "privileged/distance" in reading.observation


@pytest.mark.parametrize(
    ("robot", "is_missing"),
    [
        (Stamped({"image/eye": NOW - DT - 1e-4}), True),
        (Stamped({"image/eye": NOW - DT + 1e-4}), False),
        (Stamped({"image/eye": NOW}), False),
        (Stamped({}, {"image/eye": None}), True),
    ],
)
def test_a_picture_that_is_late_or_absent_is_lost(robot: Stamped, is_missing: bool) -> None:
    reading = read(robot)
    assert reading.fault is None
    assert set(reading.missing) == ({"image/eye"} if is_missing else set())
    assert ("image/eye" in reading.passed) != is_missing


@pytest.mark.parametrize(
    ("robot", "words"),
    [
        (Stamped({"proprio/position": NOW - 0.05}), "position: 50 ms old, allowed are 20"),
        (Stamped({"goal/target": NOW - 0.05}), "goal/target: 50 ms old"),
        (Stamped({}, {"proprio/position": None}), "position: missing from the observation"),
        (Stamped({}, {"proprio/position": np.full(2, np.nan, np.float32)}), "element x is nan"),
        (Stamped({}, {"proprio/position": np.zeros(3, np.float32)}), r"shape \(3,\)"),
        (Stamped({}, {"image/eye": np.zeros((6, 8, 3), np.uint8)}), r"shape \(6, 8, 3\)"),
        (Stamped({"image/eye": 1.7e9}), r"stamped 17.*, now is 50\.000: is that time\.monotonic"),
        (Stamped({"image/eye": np.nan}), "stamped nan"),
        (Stamped({"proprio/position": np.inf}), "stamped inf"),
        (Stamped({"proprio/position": -np.inf}), "stamped -inf"),
        (Stamped({"proprio/position": 10**400}), "stamped inf"),
        (Stamped({"image/eye": -(10**5000)}), "stamped inf"),
        (Stamped({"proprio/position": None}), "position: stamped None, expected time.monotonic"),  # type: ignore[dict-item]
        (Stamped({"image/eye": "now"}), "image/eye: stamped 'now', expected time.monotonic"),  # type: ignore[dict-item]
        (Stamped(None), "observation_stamps: NoneType, expected a mapping"),  # type: ignore[arg-type]
    ],
)
def test_a_sensor_that_cannot_be_trusted_is_a_fault(robot: Stamped, words: str) -> None:
    reading = read(robot)
    with pytest.raises(ValueError, match=words):
        raise reading.fault
    assert reading.passed == {}


@pytest.mark.parametrize("returned", [None, [], 3.0])
def test_an_observation_that_is_none_is_a_fault(returned: Any) -> None:
    class Forgetful(Bench):
        def get_observation(self) -> Any:
            return returned

    fault = read(Forgetful("", CONTRACT)).fault
    assert str(fault) == f"observation: {type(returned).__name__}, expected a mapping by signal"


def test_a_reading_that_no_robot_can_have_is_a_fault() -> None:
    low_high = {"low": (-1.0, -1.0), "high": (1.0, 1.0)}
    position, *others = CONTRACT.observations
    position = dataclasses.replace(position, **low_high)
    contract = dataclasses.replace(CONTRACT, observations=(position, *others))
    robot = Stamped({}, {"proprio/position": np.array([0.0, 1e30], np.float32)})
    reading = read(robot, contract=contract)
    assert (reading.fault.key, reading.passed) == ("proprio/position", {})
    assert "element y is 1e+30 m, which no robot has that works within -1 .. 1" in str(
        reading.fault
    )


def test_older_values_are_taken_where_the_user_allows_them() -> None:
    robot = Stamped({"image/eye": NOW - 1.9 * DT, "proprio/position": NOW - 0.9 * DT})
    assert set(read(robot).missing) == {"image/eye"}
    monitor = ObservationMonitor(
        CONTRACT, lambda: NOW, has_ages=True, max_ages_s={"image/eye": 2 * DT}
    )
    assert monitor.read(robot).missing == {}


@pytest.mark.parametrize("error", [RobotError("no answer"), TimeoutError("no answer")])
def test_a_reading_that_failed_is_a_fault(error: Exception) -> None:
    class Deaf(Bench):
        def get_observation(self) -> dict[str, Array]:
            raise error

    reading = read(Deaf("", CONTRACT))
    assert str(reading.fault) == "observation: not read: no answer"


def test_stamps_have_no_meaning_where_time_stands_still() -> None:
    assert read(Stamped({"image/eye": 0.0}), has_ages=False).missing == {}


def test_the_oldest_value_is_the_signals_or_one_period_of_its_sensor() -> None:
    def oldest(delay_s: float = 0.0, **fields: Any) -> float:
        eye = dataclasses.replace(CONTRACT["image/eye"], **fields)
        others = tuple(s for s in CONTRACT.observations if s.name != eye.name)
        delays_s = {eye.name: (0.0, delay_s)}
        contract = dataclasses.replace(CONTRACT, observations=(eye, *others), delays_s=delays_s)
        return max_ages_of(contract)[eye.name]

    assert oldest() == DT
    assert oldest(rate_hz=10.0) == 0.1
    assert oldest(rate_hz=100.0) == DT
    assert oldest(0.5, rate_hz=10.0) == 0.6
    assert oldest(0.5, rate_hz=10.0, max_age_s=0.03) == 0.03


def test_stamps_that_break_are_not_taken_for_none() -> None:
    """Or nobody would know how old a value is."""

    class Breaking(Bench):
        @property
        def observation_stamps(self) -> dict[str, float]:
            raise AttributeError("a typing mistake of the driver")

    with pytest.raises(AttributeError, match="typing mistake"):
        read(Breaking("", CONTRACT))


def test_a_policy_that_was_trained_with_a_delay_takes_values_that_are_so_much_older() -> None:
    robot = Stamped({"image/eye": NOW - 2.9 * DT, "proprio/position": NOW - 1.9 * DT})
    delays = {"image/eye": (0.0, 2 * DT)}
    late_eye = dataclasses.replace(CONTRACT, delays_s=delays)
    assert "proprio/position" in str(read(robot, contract=late_eye).fault)
    delays |= {"proprio/position": (DT, DT)}
    reading = read(robot, contract=dataclasses.replace(CONTRACT, delays_s=delays))
    assert (reading.missing, reading.fault) == ({}, None)
