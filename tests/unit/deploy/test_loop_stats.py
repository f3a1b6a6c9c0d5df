"""Figures of a drive that may last for days."""

import numpy as np
import pytest

from robodreamer_deploy.control.loop_stats import LoopStats, Series
from robodreamer_deploy.drive_summary import summarize_loop


def test_a_series_keeps_the_newest_values_in_order_and_the_largest_of_all() -> None:
    series = Series(kept=4)
    for value in (9.0, 1.0, 2.0, 3.0, 4.0, 5.0):
        series.append(value)
    assert list(series) == [2.0, 3.0, 4.0, 5.0]
    assert (len(series), series[-1], list(series[1:3])) == (4, 5.0, [3.0, 4.0])
    assert series.largest == 9.0


def test_the_summary_tells_the_worst_of_the_whole_drive() -> None:
    report = LoopStats(lateness_s=Series(kept=2))
    for lateness_s in (0.5, 0.001, 0.001):
        report.lateness_s.append(lateness_s)
    found = summarize_loop(report, 0.02)["lateness_ms"]
    assert (found["p50"], found["max"]) == pytest.approx((1.0, 500.0))


def test_a_series_is_an_array_to_numpy() -> None:
    series = Series()
    series.append(2.0)
    np.testing.assert_array_equal(np.asarray(series), [2.0])
