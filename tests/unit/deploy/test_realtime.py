"""Real time: what is refused is told and harmless, what is granted is given back."""

import gc
import os
import sys
import threading

import pytest

from robodreamer_deploy.control import realtime
from robodreamer_deploy.control.realtime import Privilege, real_time


def granted(privileges: tuple[Privilege, ...]) -> dict[str, bool]:
    return {privilege.name: privilege.is_granted for privilege in privileges}


def test_whatever_is_granted_is_given_back() -> None:
    before = (os.sched_getscheduler(0), os.sched_getaffinity(0), gc.isenabled())
    core = min(before[1])
    with real_time(core) as privileges:
        assert [*granted(privileges)] == ["FIFO", "mlockall", "affinity", "gc"]
        assert os.sched_getaffinity(0) == {core}
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
        is_fifo = bool(os.sched_getscheduler(0) & os.SCHED_FIFO)
        assert is_fifo == granted(privileges)["FIFO"]
    assert (os.sched_getscheduler(0), os.sched_getaffinity(0), gc.isenabled()) == before
    assert gc.get_freeze_count() == 0


def test_threads_that_are_started_in_it_are_ordinary() -> None:
    found: list[int] = []
    with real_time():
        thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
        thread.start()
        thread.join()
    assert found == [os.SCHED_OTHER]


def test_a_refusal_says_why_and_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(realtime.resource, "getrlimit", lambda _: (8 << 20, 8 << 20))
    with real_time(97) as privileges:
        details = {p.name: p.detail for p in privileges if not p.is_granted}
    assert details["FIFO"] == "Operation not permitted: needs `ulimit -r 41` or root"
    assert details["mlockall"] == "the limit is 8192 KiB: needs `ulimit -l unlimited` or root"
    assert details["affinity"].startswith("Operation not permitted: core 97; there are ")


def test_elsewhere_than_on_linux_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with real_time() as privileges:
        assert granted(privileges) == {"FIFO": False, "mlockall": False, "gc": True}
        assert privileges[0].detail == "only on Linux, this is darwin"
