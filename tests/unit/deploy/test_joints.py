"""What an action asks of joints, whatever the action and wherever the joints are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_deploy.robots.joints import LEAD_S, GoalPositions, Quantity

DT_S = 0.02
ACTIONS = arrays(np.float32, 2, elements=st.floats(-1, 1, width=32))
POSITIONS = arrays(np.float64, 2, elements=st.floats(-3, 3))
LOW, HIGH = np.array([-1.0, -0.5]), np.array([1.0, 2.0])
SPEC = ActionSpec(size=2, low=(-2.0, -1.0), high=(2.0, 3.0), labels=("a", "b"))


def goal_positions(quantity: Quantity) -> GoalPositions:
    return GoalPositions(SPEC, (quantity, quantity), low=LOW, high=HIGH, dt_s=DT_S)


@pytest.mark.parametrize("quantity", ["position", "velocity"])
@given(start=POSITIONS, steps=st.lists(st.tuples(ACTIONS, POSITIONS), min_size=1, max_size=5))
def test_goals_leave_the_limits_no_further_than_before_and_the_executed_action_is_one(
    quantity: Quantity, start: Array, steps: list[tuple[Array, Array]]
) -> None:
    goals = goal_positions(quantity)
    goals.held_at(start)
    sent = start
    for action, measured in steps:
        lowest, highest = np.minimum(LOW, sent), np.maximum(HIGH, sent)
        if quantity == "velocity":  # a goal is never far from its joint
            lowest = np.minimum(lowest, measured + LEAD_S * np.array([2.0, 3.0]))
            highest = np.maximum(highest, measured - LEAD_S * np.array([2.0, 3.0]))
        sent = goals.advance(action, measured)
        executed = goals.executed(sent)
        assert ((sent >= lowest) & (sent <= highest)).all()
        assert executed.dtype == np.float32
        assert (np.abs(executed) <= 1).all()


@given(action=ACTIONS, start=arrays(np.float64, 2, elements=st.floats(-0.3, 0.9)))
def test_what_no_limit_touches_is_executed_to_the_bit(action: Array, start: Array) -> None:
    velocity = goal_positions("velocity")
    velocity.held_at(start)
    sent = velocity.advance(action, start)
    np.testing.assert_allclose(sent, start + SPEC.to_actuators(action) * DT_S, atol=1e-12)
    np.testing.assert_array_equal(velocity.executed(sent), action)
    position = goal_positions("position")
    sent = position.advance(action, start)
    is_free = (SPEC.to_actuators(action) >= LOW) & (SPEC.to_actuators(action) <= HIGH)
    np.testing.assert_array_equal(position.executed(sent)[is_free], action[is_free])


@given(action=ACTIONS, measured=arrays(np.float64, 2, elements=st.floats(-0.4, 0.9)))
def test_a_velocity_leads_a_blocked_joint_by_a_bounded_distance(
    action: Array, measured: Array
) -> None:
    goals = goal_positions("velocity")
    goals.held_at(measured)
    for _ in range(50):
        sent = goals.advance(action, measured)
        goals.executed(sent)
        assert (np.abs(sent - measured) <= LEAD_S * np.array([2.0, 3.0]) + 1e-9).all()


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_joint_beyond_its_limits_stays_for_an_action_of_0_and_comes_back_at_its_speed(
    side: float,
) -> None:
    spec = ActionSpec(size=1, low=(-2.0,), high=(2.0,), labels=("a",), units=("rad/s",))
    limits = {"low": np.array([-1.0]), "high": np.array([1.0])}
    goals = GoalPositions(spec, ("velocity",), **limits, dt_s=DT_S)
    held, sagged = np.array([1.4 * side]), np.array([1.38 * side])
    goals.held_at(held)
    for action, expected in ((0.0, 1.4), (0.0, 1.4), (1.0, 1.4), (-1.0, 1.36), (-1.0, 1.32)):
        sent = goals.advance(np.array([action * side], np.float32), sagged)
        np.testing.assert_allclose(sent, [expected * side], atol=1e-9)
        np.testing.assert_allclose(goals.executed(sent), [min(action, 0.0) * side], atol=1e-6)


def test_a_position_asked_for_out_there_is_approached_from_outside_and_never_left_outwards() -> (
    None
):
    goals = goal_positions("position")
    for asked, expected in ((1.8, 1.5), (1.3, 1.3), (1.5, 1.3), (0.5, 0.5), (1.3, 1.0)):
        if asked == 1.8:
            goals.held_at(np.array([1.5, 0.0]))
        sent = goals.advance(np.array([asked / 2.0, 0.0], np.float32), np.array([1.5, 0.0]))
        goals.executed(sent)
        assert sent[0] == pytest.approx(expected)


def test_what_the_hardware_changed_is_what_was_executed() -> None:
    position = goal_positions("position")
    position.advance(np.array([0.25, 0.0], np.float32), np.zeros(2))
    np.testing.assert_allclose(position.executed(np.array([0.1, 1.0])), [0.05, 0.0], atol=1e-6)
    velocity = goal_positions("velocity")
    velocity.held_at(np.zeros(2))
    velocity.advance(np.array([1.0, 1.0], np.float32), np.zeros(2))
    np.testing.assert_allclose(velocity.executed(np.array([0.02, 0.06])), [0.5, 1.0], atol=1e-6)
    resumed = velocity.advance(np.array([0.0, -0.5], np.float32), np.zeros(2))
    np.testing.assert_allclose(resumed, [0.02, 0.06], atol=1e-9, err_msg="it goes on from there")


def test_at_rest_the_velocity_is_zero_and_the_position_the_held_one() -> None:
    held = np.array([0.5, -1.0])
    np.testing.assert_allclose(goal_positions("velocity").held_at(held), [0.0, -0.5])
    np.testing.assert_allclose(goal_positions("position").held_at(held), [0.25, -1.0])
