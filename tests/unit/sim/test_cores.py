"""Number of usable processor cores."""

import os

import pytest

from robodreamer_sim.utils.cores import num_usable_cores


def test_only_the_cores_that_this_process_is_bound_to_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert num_usable_cores() == 3


def test_where_processes_are_not_bound_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert num_usable_cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_usable_cores() == 1
