"""Threads of a robot have the loop's priority, where the loop has one."""

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from robodreamer_deploy.robots.thread_priority import raise_to_loop


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the system is asked for, in place of asking it; the loop has FIFO 40."""
    calls: dict[str, Any] = {}
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_FIFO | os.SCHED_RESET_ON_FORK)
    monkeypatch.setattr(os, "sched_getparam", lambda _: os.sched_param(40))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: calls.update(cores=set(cores)))
    monkeypatch.setattr(
        os,
        "sched_setscheduler",
        lambda who, policy, parameter: calls.update(
            who=who, policy=policy, priority=parameter.sched_priority
        ),
    )
    return calls


@pytest.mark.parametrize(("above", "priority"), [(0, 40), (1, 41)])
def test_a_thread_gets_the_loops_priority_and_any_core(
    asked: dict[str, Any], above: int, priority: int
) -> None:
    assert raise_to_loop(above=above)
    assert asked == {
        "who": 0, "policy": os.SCHED_FIFO, "priority": priority,
        "cores": {0, 1, 2, 3},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "above", "num_cores", "cores"),
    [
        ({2}, 0, 4, {0, 1, 3}),  # a camera's: it would keep the loop from its only core
        ({2}, 1, 4, {0, 1, 2, 3}),  # the watchdog's, which may interrupt the loop
        ({0}, 0, 1, {0}),  # there is no other
        ({0, 1}, 0, 4, {0, 1, 2, 3}),  # the system chooses for the loop as well
    ],
)
def test_a_thread_beside_the_loop_leaves_it_the_core_that_it_is_kept_to(
    asked: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    kept: set[int],
    above: int,
    num_cores: int,
    cores: set[int],
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: num_cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: kept)
    assert raise_to_loop(above=above)
    assert asked["cores"] == cores


@pytest.mark.parametrize("policy", [os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE, os.SCHED_RR])
@pytest.mark.parametrize("flag", [0, os.SCHED_RESET_ON_FORK])
def test_without_real_time_nothing_is_asked_for(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, policy: int, flag: int
) -> None:
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: policy | flag)
    assert not raise_to_loop()
    assert asked == {}


def test_a_thread_that_may_not_goes_on_as_it_is(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert not raise_to_loop()
    assert "does not have the loop's priority" in caplog.text


def test_it_is_the_calling_thread_that_is_raised(asked: dict[str, Any]) -> None:
    done: list[bool] = []
    call: Callable[[], None] = lambda: done.append(raise_to_loop())  # noqa: E731
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert (done, asked["who"]) == ([True], 0)  # 0 is whoever asks
