"""Processor: spinning of OpenMP's threads, this process's share, and the warning about it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from robodreamer.utils.processor import (
    CHOICES,
    FIGURE,
    WAITS,
    ProcessorMeter,
    Shortage,
    Usage,
    bound_spinning,
    describe_lines,
    read_usage,
)

ROOT = Path(__file__).parents[3]
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("", "sim", "deploy"))


def meter(num_cores: int, *usages: Usage) -> ProcessorMeter:
    """Return a meter that reads these, one after the other."""
    left = list(usages)
    return ProcessorMeter(num_cores, lambda: left.pop(0))


def usage(ran: float, waited: float = 0.0, children: float = 0.0) -> Usage:
    return Usage({"1": float(ran)}, {"1": float(waited)}, {"9": float(children)})


@pytest.mark.parametrize(
    ("num_cores", "before", "after", "times", "expected"),
    [
        (2, usage(5, 1), usage(25, 1), (10.0, 0.0), 1.0),  # two threads, alone
        (2, usage(5, 1), usage(15, 11), (10.0, 0.0), 0.5),  # both waited half of the time
        (2, usage(5, 1), usage(9, 7), (10.0, 0.0), 0.4),
        (2, usage(0), usage(4), (10.0, 0.0), 0.4),  # a container's limit: nobody waits for a core
        (2, usage(0), usage(4), (10.0, 6.0), 1.0),  # but for simulators, which is another matter
        (2, Usage({"all": 0.0}, {}, {}), Usage({"all": 3.0}, {}, {}), (10.0, 0.0), 0.3),
        (1, usage(0, 0, 0), usage(5, 5, 4.5), (10.0, 0.0), 0.95),  # its own simulators had it
        (2, usage(0, 0, 0), usage(5, 15, 3), (10.0, 0.0), 0.4),  # they had little, others the rest
        (2, usage(3), usage(3), (0.0, 0.0), 1.0),
    ],
)
def test_the_share_is_time_running_of_time_that_could_be_used(
    num_cores: int, before: Usage, after: Usage, times: tuple[float, float], expected: float
) -> None:
    assert meter(num_cores, before, after).share(*times) == pytest.approx(expected)


def test_threads_that_begin_or_end_do_not_distort_the_share() -> None:
    before = Usage({"1": 5.0, "2": 100.0}, {"1": 1.0, "2": 50.0}, {})
    after = Usage({"1": 9.0, "3": 2.0}, {"1": 3.0, "3": 2.0}, {})
    assert meter(2, before, after).share(10.0) == pytest.approx(6 / 10)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="Linux tells")
def test_usage_is_read_for_threads_and_children() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        now = read_usage()
    finally:
        child.communicate()
    assert str(os.getpid()) in now.ran_s
    assert now.ran_s.keys() == now.waited_s.keys()
    assert str(child.pid) in now.children_s


def test_a_shortage_is_reported_once_after_a_minute() -> None:
    shortage = Shortage()
    assert [shortage.warning(0.2, 10.0) for _ in range(5)] == [None] * 5
    warning = shortage.warning(0.2, 10.0)
    assert warning is not None
    assert "this run gets 20% of the time that it could use" in warning
    assert [shortage.warning(0.1, 30.0) for _ in range(20)] == [None] * 20


def test_a_short_spell_or_a_moderate_neighbour_is_no_shortage() -> None:
    shortage = Shortage()
    assert [shortage.warning(share, 10.0) for share in [0.1, 1.0, 1.0] * 20] == [None] * 60


def test_a_shortage_of_the_whole_run_is_reported_afterwards() -> None:
    lines = [{"minutes": float(n), FIGURE: share} for n, share in ((1, 0.3), (2, 0.3), (4, 0.2))]
    said = describe_lines([*lines, {"minutes": 4.0, "evaluation/return": 1.0}])
    assert said is not None
    assert "this run got 25% of the time" in said
    assert describe_lines([{"minutes": 1.0, FIGURE: 0.9}]) is None
    assert describe_lines([{"minutes": 1.0}]) is None, "a run of an older release"


@pytest.mark.parametrize("name", [None, *sorted(CHOICES)])
def test_threads_sleep_while_they_wait_unless_the_user_has_set_it(name: str | None) -> None:
    chosen = {} if name is None else {name: "mine"}
    environment = chosen.copy()
    bound_spinning(environment)
    assert environment == (chosen or WAITS)


def test_the_command_bounds_spinning_before_torch_is_imported() -> None:
    code = """if True:
        import os, sys
        sys.argv = ["robodreamer", "--version"]
        from robodreamer.__main__ import main
        main()
        assert "torch" not in sys.modules
        print(os.environ["GOMP_SPINCOUNT"])
    """
    environment = {k: v for k, v in os.environ.items() if k not in CHOICES}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | {"PYTHONPATH": SOURCES},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "10000"
