"""Acting on surprise: never on single steps, never unasked."""

import pytest

from robodreamer_deploy.control.surprise import WINDOW, SurpriseGuard, surprise_limit


def test_one_surprising_step_is_no_reason() -> None:
    guard = SurpriseGuard(10.0, "stop")
    for _ in range(3 * WINDOW):
        assert guard.judge(1.0) is None
    assert guard.judge(50.0) is None
    assert guard.mean_nats == pytest.approx((9 * 1.0 + 50.0) / WINDOW)


def test_lasting_surprise_is() -> None:
    guard = SurpriseGuard(10.0, "slow")
    assert [guard.judge(11.0) for _ in range(WINDOW)] == [None] * (WINDOW - 1) + ["slow"]
    guard.forget()
    assert guard.judge(1e6) is None  # the first steps of an episode are surprising


def test_the_limit_is_the_users_or_the_highest_quantile() -> None:
    quantiles = {"0.5": 1.0, "0.99": 7.0, "0.9": 3.0}
    assert surprise_limit(quantiles, None) == 7.0
    assert surprise_limit(quantiles, 2.5) == 2.5
    with pytest.raises(ValueError, match="write surprise_nats into the file of --limits"):
        surprise_limit({}, None)
