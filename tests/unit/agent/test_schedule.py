"""Schedule: times and steps at which things are due, and the signals that stop a run."""

import os
import queue
import signal
import threading
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodreamer.config import named_config
from robodreamer.training.schedule import STOPS, Period, Schedule, StopRequest

CONFIG = replace(
    named_config("x"), steps=1000, minutes=60.0, checkpoint_minutes=15.0, evaluate_minutes=5.0,
    log_seconds=10.0, checkpoint_steps=100, evaluate_steps=250, log_steps=30,
)  # fmt: skip
DETERMINISTIC = replace(CONFIG, deterministic=True, minutes=None)


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_each_thing_is_due_once_per_period(clock: FakeClock) -> None:
    schedule = Schedule(CONFIG, clock)
    counts = [0, 0, 0]
    for _ in range(3600):
        clock.now += 1
        counts[0] += schedule.is_report_due(0)
        counts[1] += schedule.is_evaluation_due(0)
        counts[2] += schedule.is_checkpoint_due(0)
    assert counts == [360, 12, 4]


def test_a_long_step_makes_a_thing_due_only_once(clock: FakeClock) -> None:
    schedule = Schedule(CONFIG, clock)
    clock.now += 95
    assert schedule.is_report_due(0)
    assert not schedule.is_report_due(0)
    clock.now += 5
    assert schedule.is_report_due(0)


def test_time_is_nothing_to_a_deterministic_run(clock: FakeClock) -> None:
    schedule = Schedule(DETERMINISTIC, clock)
    due = []
    for steps in range(0, 520, 8):
        clock.now += 1e6
        if schedule.is_checkpoint_due(steps):
            due.append(steps)
    assert due == [104, 200, 304, 400, 504]


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=60),
    stop=st.integers(0, 60),
    length=st.integers(1, 80),
)
def test_a_resumed_period_is_due_when_the_first_would_have_been(
    sizes: list[int], stop: int, length: int
) -> None:
    looks = [float(step) for step in accumulate(sizes)]
    whole, resumed = Period(float(length)), Period(float(length))
    expected = [look for look in looks if whole.is_due(look)]
    before, after = looks[:stop], looks[stop:]
    due = [look for look in before if resumed.is_due(look)]
    again = Period(float(length))
    again.restart(before[-1] if before else 0.0)
    assert due + [look for look in after if again.is_due(look)] == expected


def test_a_resumed_run_counts_its_earlier_time(clock: FakeClock) -> None:
    schedule = Schedule(CONFIG, clock)
    schedule.resume(steps=10, seconds=299.0)
    assert schedule.seconds == 299.0
    assert not schedule.is_evaluation_due(10)
    clock.now += 1
    assert schedule.is_evaluation_due(10)
    clock.now += 3300
    assert schedule.is_over(10)


def test_time_without_training_does_not_count(clock: FakeClock) -> None:
    schedule = Schedule(CONFIG, clock)
    clock.now += 100
    schedule.pause(40.0)
    assert schedule.seconds == 60


def test_a_run_ends_by_steps_or_minutes_whichever_comes_first(clock: FakeClock) -> None:
    schedule = Schedule(CONFIG, clock)
    assert schedule.share_done(500) == 0.5
    assert not schedule.is_over(999)
    assert schedule.is_over(1000)
    clock.now += 2700
    assert schedule.share_done(500) == 0.75
    clock.now += 900
    assert schedule.is_over(0)
    assert not Schedule(replace(CONFIG, minutes=None), clock).is_over(999)


def test_zero_minutes_evaluate_never(clock: FakeClock) -> None:
    for config in (CONFIG, DETERMINISTIC):
        schedule = Schedule(replace(config, evaluate_minutes=0.0), clock)
        clock.now += 1e6
        assert not schedule.evaluates
        assert not schedule.is_evaluation_due(10**6)


def test_a_saved_run_counts_from_there_to_the_next_checkpoint(clock: FakeClock) -> None:
    schedule = Schedule(replace(DETERMINISTIC, checkpoint_steps=2), clock)
    assert schedule.is_checkpoint_due(3)
    schedule.checkpoint_is_done(7)
    assert not schedule.is_checkpoint_due(7)
    assert schedule.is_checkpoint_due(8)


@pytest.mark.parametrize("number", STOPS)
def test_the_first_signal_only_asks_and_afterwards_all_is_as_before(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    said: queue.Queue[str] = queue.Queue()
    with StopRequest(said.put) as stop:
        assert not stop.is_requested
        os.kill(os.getpid(), number)
        assert stop.is_requested
    assert said.get(timeout=10) == "saving; Ctrl-C again leaves at once"
    assert said.empty()
    assert signal.signal(number, before) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_arrive_twice_by_themselves_confirm_nothing(number: signal.Signals) -> None:
    said: queue.Queue[str] = queue.Queue()
    with StopRequest(said.put) as stop:
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert stop.is_requested
    assert said.get(timeout=10) == "saving; Ctrl-C again leaves at once"
    assert said.empty()


def test_in_a_notebook_a_second_ctrl_c_interrupts_and_the_process_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.ps1", ">>> ", raising=False)
    with StopRequest(lambda _: None) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_thread_without_signals_trains_without_them() -> None:
    asked: list[bool] = []

    def train() -> None:
        with StopRequest(print) as stop:
            asked.append(stop.is_requested)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert asked == [False]


def test_a_hangup_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` starts a process
    try:
        with StopRequest(print) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
