"""The watchdog: what hangs is noticed, the robot held, and the wait broken off within a bound."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from robodreamer_deploy.control import watchdog as module
from robodreamer_deploy.control.clock import time_with_sleep
from robodreamer_deploy.control.watchdog import Watchdog
from robodreamer_deploy.errors import HungError

DEADLINE_S = 0.06


class Told:
    """What a watchdog did, and when, in seconds from the beginning."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.acts: list[tuple[float, str]] = []
        self.given_up = threading.Event()
        self.last_words: tuple[str, bool] | None = None

    def act(self, reason: str) -> None:
        self.acts.append((time.monotonic() - self.start, reason))

    def give_up(self, reason: str, has_acted: bool) -> None:
        self.last_words = (reason, has_acted)
        self.given_up.set()


def watchdog(told: Told, look_s: float = DEADLINE_S) -> Watchdog:
    return Watchdog(look_s=look_s, give_up=told.give_up)


def test_what_comes_back_in_time_is_left_alone() -> None:
    told = Told()
    dog = watchdog(told, 0.3)
    with dog:
        for _ in range(20):
            dog.watch(0.3, "a tick", told.act)
            time.sleep(0.02)
        dog.rest()
        time.sleep(0.4)
    assert (told.acts, told.given_up.is_set()) == ([], False)


def hang_in_sleep() -> None:
    time.sleep(30.0)


def hang_in_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=30.0)


def hang_in_a_stubborn_driver() -> None:
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        with suppress(Exception):  # as drivers do
            time.sleep(30.0)


def hang_in_python() -> None:
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize(
    "hang", [hang_in_sleep, hang_in_a_lock, hang_in_a_stubborn_driver, hang_in_python]
)
def test_what_hangs_is_acted_upon_and_broken_off(hang: Callable[[], None]) -> None:
    dog = watchdog(told := Told())

    def drive() -> None:
        dog.watch(DEADLINE_S, "a tick", told.act)
        dog.turn_to("the bus")
        hang()

    with dog, pytest.raises(HungError, match="the bus did not come back"):
        drive()
    assert time.monotonic() - told.start < 5.0
    ((acted_s, reason),) = told.acts
    assert acted_s >= DEADLINE_S
    assert reason == f"the bus did not come back within 0.06 s: {module.OVERLOADED}"
    assert not told.given_up.is_set()


def test_an_act_that_hangs_or_fails_does_not_keep_it_from_interrupting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.1)

    def fail(_reason: str) -> None:
        raise OSError("no bus")

    for act in (lambda _: time.sleep(1.0), fail):
        dog = watchdog(Told())
        with dog:
            dog.watch(DEADLINE_S, "a tick", act)
            with pytest.raises(HungError):
                hang_in_sleep()
    assert "watchdog: no bus" in caplog.text


@pytest.mark.parametrize("acts", [True, False])
def test_what_cannot_be_interrupted_is_given_up(
    monkeypatch: pytest.MonkeyPatch, acts: bool
) -> None:
    """A driver that waits in C never sees the signal; here it is kept from the thread."""
    monkeypatch.setattr(module, "GRACE_S", 0.1)
    dog = watchdog(told := Told())
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        with dog:
            dog.watch(DEADLINE_S, "send_action", told.act if acts else None)
            assert told.given_up.wait(5.0)
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    assert told.last_words is not None
    reason, has_acted = told.last_words
    assert reason.startswith("send_action did not come back within 0.06 s: is the bus alive")
    assert reason.endswith("It cannot be interrupted.")
    assert has_acted == acts


def test_after_it_rests_nothing_is_interrupted() -> None:
    """Also where the time is over right then: whoever came back in time is not bitten."""
    dog = watchdog(told := Told())
    with dog:
        for _ in range(20):
            try:
                dog.watch(0.001, "a tick")
                time.sleep(0.01)
                dog.rest()
            except HungError:
                dog.forget()
            time.sleep(0.005)  # outside of what is watched
    assert told.last_words is None


def test_the_signals_handler_is_given_back() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    with watchdog(Told()):
        assert signal.getsignal(signal.SIGUSR2) != before
    assert signal.getsignal(signal.SIGUSR2) == before


def test_one_that_may_not_run_before_the_loop_watches_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As with `ulimit -r 40`, which is enough for the loop alone."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_FIFO)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    dog = watchdog(told := Told())
    with dog:
        dog.watch(DEADLINE_S, "a tick", told.act)
        with pytest.raises(HungError):
            time.sleep(5.0)
    assert told.acts
    assert "does not have the loop's priority plus 1" in caplog.text


# --- where nobody but the main thread looks, as after the whole process was suspended ------------


class Suspended:
    """A watchdog whose thread has not run yet, on a clock that is set by hand."""

    def __init__(self) -> None:
        self.time, self.acts = 100.0, list[str]()
        self.dog = Watchdog(look_s=0.2, give_up=lambda *_: None, now=lambda: self.time)
        self.dog.watch(0.2, "get_observation", self.acts.append)


GO_ON: dict[str, Callable[[Watchdog], None]] = {
    "the next tick": lambda dog: dog.watch(0.2, "asking whether to stop"),
    "the command of this tick": lambda dog: dog.turn_to("send_action"),
    "the end of the drive": lambda dog: dog.rest(),
}


@pytest.mark.parametrize("how", GO_ON)
def test_a_deadline_that_has_passed_is_a_stop_whoever_looks_first(how: str) -> None:
    suspended = Suspended()
    suspended.time += 1.5
    with pytest.raises(HungError, match=r"get_observation did not come back within 0\.2 s"):
        GO_ON[how](suspended.dog)
    assert len(suspended.acts) == 1
    GO_ON[how](suspended.dog)  # once is enough: what follows is another matter


@pytest.mark.parametrize("how", GO_ON)
def test_whoever_comes_back_in_time_goes_on(how: str) -> None:
    suspended = Suspended()
    suspended.time += 0.19
    GO_ON[how](suspended.dog)
    assert suspended.acts == []


def test_what_fails_on_the_way_to_a_stop_is_a_stop_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_reason: str) -> None:
        raise OSError("no bus")

    suspended = Suspended()
    suspended.dog.watch(0.2, "a tick", fail)
    suspended.time += 0.2
    with pytest.raises(HungError):
        suspended.dog.rest()
    assert "watchdog: no bus" in caplog.text


def test_time_in_which_the_computer_slept_counts() -> None:
    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("this system does not tell how long it slept")
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= time_with_sleep() <= time.clock_gettime(time.CLOCK_BOOTTIME)
