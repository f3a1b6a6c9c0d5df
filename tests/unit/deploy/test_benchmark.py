"""`--bench`: what is measured, at which pace, and that the process is left as it was."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from robodreamer_deploy.benchmark import QUANTILES, _measure, bench, format_bench
from robodreamer_deploy.control.clock import VirtualClock
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.policy import Policy

SECONDS = 0.15


@pytest.fixture(scope="module")
def figures(policy: Policy) -> dict[str, Any]:
    return bench(policy, load_golden(policy.bundle), seconds=SECONDS)


def test_every_part_is_measured_under_every_condition(
    figures: dict[str, Any], policy: Policy
) -> None:
    for condition in figures["conditions"]:
        measured = condition["milliseconds"]
        assert set(policy.graphs) < measured.keys()
        assert {"sense to act", "sense to act, without the split"} < measured.keys()
        for quantiles in measured.values():
            values = [quantiles[name] for name in QUANTILES]
            assert 0 < values[0] <= values[1] <= values[2] <= values[3]


def test_a_paced_bench_takes_one_step_per_period_and_flat_out_one_after_the_other() -> None:
    for period_s, steps in ((0.5, 20), (None, 80)):
        clock = VirtualClock()

        def tick(clock: VirtualClock = clock) -> dict[str, float]:
            clock.sleep(0.125)
            return {"all": 0.125}

        assert _measure(tick, 10.0, period_s, clock) == {"all": pytest.approx([125.0] * steps)}


def test_the_paced_conditions_take_no_more_steps_than_there_are_periods(
    figures: dict[str, Any],
) -> None:
    for condition in figures["conditions"]:
        if condition["is_paced"]:
            assert condition["num_steps"] <= SECONDS * figures["rate_hz"] + 2


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no choice of cores here")
def test_one_core_and_all_are_measured_and_the_process_may_use_all_afterwards(
    policy: Policy, figures: dict[str, Any]
) -> None:
    usable = os.sched_getaffinity(0)
    counts = {condition["num_cores"] for condition in figures["conditions"]}
    assert counts == {1, len(usable)}
    bench(policy, load_golden(policy.bundle), seconds=0.01)
    assert os.sched_getaffinity(0) == usable


def test_the_table_fits_80_columns_and_the_figures_are_plain_json(
    figures: dict[str, Any], tmp_path: Path
) -> None:
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert max(len(line) for line in format_bench(figures)[1:]) <= 80
