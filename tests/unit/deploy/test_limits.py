"""Limits: a file in the actuators' units, and commands that keep to range, rate, acceleration."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_deploy.control.limits import (
    Limiter,
    Limits,
    contract_limits,
    file_limits,
    rate_limits,
    read_limits_file,
    slow,
)

DT = 0.02
SPEC = ActionSpec(size=3, low=(-2.0, 0.0, 5.0), high=(2.0, 1.0, 5.0), labels=("hip", "knee", "fix"))
ONE = ActionSpec(size=1, low=(-1.0,), high=(1.0,))


def written(folder: Path, content: Any) -> Path:
    path = folder / "limits.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_file_limits_the_elements_it_names_in_their_actuators_units(tmp_path: Path) -> None:
    hip = {"low": -1.0, "high": 5.0, "rate": 4.0, "acceleration": 8.0}
    file = read_limits_file(written(tmp_path, {
        "elements": {"hip": hip, "knee": {"low": -1.0}, "fix": {"rate": 1.0}}
    }))  # fmt: skip
    limits = file_limits(file, SPEC)
    np.testing.assert_allclose(limits.low, [-0.5, -1, -1])
    np.testing.assert_allclose(limits.high, [1, 1, 1])  # never wider than the contract's
    np.testing.assert_allclose(limits.rate, [2, np.inf, np.inf])
    np.testing.assert_allclose(limits.acceleration, [4, np.inf, np.inf])
    lowest = SPEC.to_actuators(limits.low.astype(np.float32))
    np.testing.assert_allclose(lowest, [-1.0, 0.0, 5.0])


def test_elements_without_labels_go_by_their_number(tmp_path: Path) -> None:
    file = read_limits_file(written(tmp_path, {"elements": {"0": {"rate": 0.5}}}))
    assert file_limits(file, ONE).rate.tolist() == [0.5]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", r"limits\.json: Expecting"),
        ("[]", r"limits\.json: limits is \[\], expected an object"),
        ('{"elements": {"hip": {"rate": NaN}}}', "NaN is not JSON"),
        ({"element": {}}, "limits has unknown fields: element"),
        ({"elements": {"hip": {"speed": 1}}}, r"limits\.elements\.hip has unknown fields: speed"),
        ({"elements": {"hip": {"rate": "fast"}}}, r"hip\.rate is 'fast', expected a number"),
        ({"elements": {"hip": {"rate": 0}}}, r"hip: rate is 0\.0, expected a number above 0"),
        ({"elements": {"hip": {"acceleration": -1}}}, r"acceleration is -1\.0, expected"),
        ({"elements": {"hip": {"low": 2, "high": 1}}}, r"low 2\.0 lies above high 1\.0"),
        ("x" * (2 << 20), "Expecting value"),
        ({"elements": {"hipp": {"rate": 1}}}, "no element 'hipp'; there are hip, "),
        ({"elements": {"hip": {"low": 3}}}, r"hip may go from 3\.0 to None, the policy's range is"),
    ],
)
def test_a_malformed_file_is_refused_in_words(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        file_limits(read_limits_file(written(tmp_path, content)), SPEC)


def test_a_file_that_cannot_be_read_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_limits_file(tmp_path / "none.json")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_limits_file(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="binary: 'utf-8' codec"):
        read_limits_file(tmp_path / "binary")


def test_a_choice_has_no_elements_to_limit(tmp_path: Path) -> None:
    file = read_limits_file(written(tmp_path, {"elements": {"0": {"rate": 1.0}}}))
    with pytest.raises(ValueError, match="a discrete action has no elements"):
        file_limits(file, ActionSpec(size=2, kind="discrete"))


def test_one_rate_counts_for_all_elements() -> None:
    assert rate_limits(SPEC, (3.0,)).rate.tolist() == [3.0, 3.0, 3.0]


SPEEDS = ActionSpec(
    size=3, low=(-1.5, -0.5, 0.0), high=(1.5, 1.0, 0.0), labels=("a", "b", "c"),
    quantities=("velocity", "effort", "unknown"),
)  # fmt: skip


@pytest.mark.parametrize(
    "told", [{}, {"quantities": ("unknown",) * 3}, {"units": ("rad", "m", ""), "quantities": ()}]
)
def test_what_may_be_a_position_is_not_slowed_down_by_narrowing_its_range(told: Any) -> None:
    action = dataclasses.replace(SPEEDS, **{"quantities": (), **told})
    with pytest.raises(ValueError, match=r"whether a is a position or a speed.*--max-rate limits"):
        slow(contract_limits(action), action, 0.2)


def test_the_unit_tells_a_speed_where_no_quantity_does() -> None:
    action = dataclasses.replace(SPEEDS, quantities=(), units=("rad/s", "N m", ""))
    expected = slow(contract_limits(SPEEDS), SPEEDS, 0.2)
    for found, value in zip(slow(contract_limits(action), action, 0.2), expected, strict=True):
        np.testing.assert_array_equal(found, value)


def test_a_share_of_the_speed_is_a_share_of_the_range_about_rest() -> None:
    limits = slow(contract_limits(SPEEDS), SPEEDS, 0.2)
    limiter = Limiter(limits, DT)
    for wanted, values in ((1.0, [0.3, 0.2, 0.0]), (-1.0, [-0.3, -0.1, 0.0])):
        sent = limiter.apply(np.full(3, wanted), None, np.zeros(3)).action
        np.testing.assert_allclose(SPEEDS.to_actuators(sent), values, atol=1e-12)
    narrow = slow(limits._replace(high=np.array([-0.1, 1.0, 1.0])), SPEEDS, 1.0)
    assert narrow.high.tolist() == [-0.1, 1.0, 1.0]  # what else is limited stays so


def test_a_share_of_a_positions_speed_is_a_share_of_its_range_per_second() -> None:
    action = ActionSpec(
        size=2, low=(0.2, -1.0), high=(0.4, 1.0), quantities=("position", "velocity")
    )
    limits = slow(rate_limits(action, (9.0,)), action, 0.2)
    np.testing.assert_allclose(limits.rate, [0.4, 9.0])
    np.testing.assert_allclose([limits.low, limits.high], [[-1.0, -0.2], [1.0, 0.2]])


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (ActionSpec(size=2, kind="discrete"), "a discrete action has no speed"),
        (
            ActionSpec(size=1, low=(0.2,), high=(0.4,), labels=("grip",), quantities=("effort",)),
            "grip never rests at 0",
        ),
    ],
)
def test_what_is_no_speed_is_not_slowed_down(action: ActionSpec, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        slow(contract_limits(action), action, 0.2)


def follow(limits: Limits, wanted: list[float], start: float = 0.0) -> Array:
    """Return the positions of one element that is asked for `wanted`, from rest at `start`."""
    limiter, last, change = Limiter(limits, DT), np.array([start]), np.zeros(1)
    positions = [last[0]]
    for value in wanted:
        new = limiter.apply(np.array([value]), last, change).action
        last, change = new, new - last
        positions.append(new[0])
    return np.array(positions)


FINITE = st.floats(-3.0, 3.0)


@given(
    wanted=st.lists(FINITE, min_size=1, max_size=60),
    rate=st.floats(0.1, 100.0),
    acceleration=st.floats(1.0, 5000.0),
    high=st.floats(0.0, 1.0),
)
def test_range_rate_and_acceleration_hold_for_whatever_is_wanted(
    wanted: list[float], rate: float, acceleration: float, high: float
) -> None:
    one = np.ones(1)
    limits = Limits(-one, one * high, one * rate, one * acceleration)
    positions = follow(limits, wanted)
    steps = np.diff(positions)
    assert (positions >= -1.0 - 1e-9).all()
    assert (positions <= high + 1e-9).all()
    assert (np.abs(steps) <= rate * DT + 1e-9).all()
    changes = np.diff(np.concatenate([[0.0], steps]))
    assert (np.abs(changes) <= acceleration * DT**2 + 1e-9).all()


def test_it_brakes_before_the_range_ends_and_arrives() -> None:
    limits = contract_limits(ONE)._replace(acceleration=np.array([20.0]))
    positions = follow(limits, [5.0] * 60)
    assert positions[-1] == pytest.approx(1.0)
    assert np.diff(positions).max() > 5 * 20.0 * DT**2  # it was fast in between
    assert (np.diff(positions) >= -1e-12).all()


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(
    ("rate", "acceleration"), [(2.0, 50.0), (np.inf, np.inf), (np.inf, 50.0), (0.5, np.inf)]
)
@given(start=st.floats(0.6, 1.0), wanted=st.lists(FINITE, min_size=1, max_size=40))
def test_a_robot_found_out_of_range_is_brought_back_without_a_jump(
    rate: float, acceleration: float, side: float, start: float, wanted: list[float]
) -> None:
    """Within the whole range in a second, where there is no limit of its rate."""
    one = np.ones(1)
    limits = Limits(-0.5 * one, 0.5 * one, rate * one, acceleration * one)
    positions = side * follow(limits, wanted, side * start)
    steps, outside = np.diff(positions), positions[:-1] > 0.5 + 1e-6
    assert (np.abs(steps) <= rate * DT + 1e-9).all()
    assert (np.abs(steps[outside]) <= 2.0 * DT + 1e-9).all()
    assert (steps[outside] <= 1e-12).all()


def test_slowing_down_scales_the_rate() -> None:
    limiter = Limiter(rate_limits(ONE, (10.0,)), DT)
    slow = limiter.apply(np.ones(1), np.zeros(1), np.zeros(1), rate_scale=0.25)
    assert slow.action.tolist() == [pytest.approx(0.05)]
    assert slow.limits == ("rate",)
    assert not Limiter(contract_limits(ONE), DT).has_rate


def test_slowing_down_keeps_to_the_acceleration() -> None:
    one = np.ones(1)
    limiter = Limiter(Limits(-one, one, 10.0 * one, 50.0 * one), DT)
    slow = limiter.apply(one, 0.0 * one, 0.2 * one, rate_scale=0.25)
    np.testing.assert_allclose(slow.action, 0.2 - 50.0 * DT**2)


def test_a_robot_that_was_faster_than_allowed_is_back_within_its_rate_at_once() -> None:
    one = np.ones(1)
    limiter = Limiter(Limits(-one, one, 10.0 * one, 50.0 * one), DT)
    near = -0.9 * one  # far from the end of its range, where it would brake
    assert limiter.apply(one, near, 0.5 * one).action - near == pytest.approx(10.0 * DT)


def test_what_is_within_the_limits_passes_bit_for_bit() -> None:
    one = np.ones(1)
    limiter = Limiter(Limits(-one, one, 50.0 * one, 5000.0 * one), DT)
    for value in (0.1, 0.2, 1 / 3):
        wanted = np.array([value], np.float32)
        passed = limiter.apply(wanted, np.array([0.1]), np.zeros(1))
        assert passed == (wanted, ())
