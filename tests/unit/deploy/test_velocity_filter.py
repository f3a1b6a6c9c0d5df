"""Velocities that are derived from positions: late by what is said, calm, and never not finite."""

import numpy as np

from robodreamer_deploy.robots.velocity_filter import VelocityFilter

PERIOD = 0.02


def test_a_steady_motion_is_told_exactly_and_a_change_within_the_time_constant() -> None:
    velocity = VelocityFilter(PERIOD)
    told = [velocity.update(np.array([0.3 * PERIOD * i]), PERIOD * i)[0] for i in range(30)]
    assert told[0] == 0.0
    np.testing.assert_allclose(told[1], 0.3 * (1 - np.exp(-1)), rtol=1e-9)
    np.testing.assert_allclose(told[-1], 0.3, rtol=1e-9)


def test_periods_that_jitter_do_not_shake_it() -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.5 * PERIOD, 1.5 * PERIOD, 200))
    velocity = VelocityFilter(PERIOD)
    told = np.array([velocity.update(np.array([2.0 * t, -t]), t) for t in times])
    np.testing.assert_allclose(told[30:], np.tile([2.0, -1.0], (170, 1)), rtol=1e-6)


def test_a_reading_that_is_not_finite_or_comes_twice_changes_nothing() -> None:
    velocity = VelocityFilter(PERIOD)
    np.testing.assert_array_equal(velocity.update(np.array([np.nan]), 0.0), [0.0])
    velocity.update(np.zeros(1), PERIOD)
    before = velocity.update(np.full(1, 0.01), 2 * PERIOD)
    assert before > 0
    for position, time_s in ((np.inf, 3 * PERIOD), (0.01, 2 * PERIOD), (0.02, np.nan)):
        np.testing.assert_array_equal(velocity.update(np.array([position]), time_s), before)
    after = velocity.update(np.full(1, 0.03), 4 * PERIOD)  # over two periods, as fast as before
    np.testing.assert_allclose(after, 0.5, rtol=0.3)


def test_after_a_pause_nothing_is_known() -> None:
    velocity = VelocityFilter(PERIOD)
    for i in range(5):
        velocity.update(np.array([0.1 * i]), PERIOD * i)
    np.testing.assert_array_equal(velocity.update(np.array([3.0]), 1.0), [0.0])
