"""Processor: the waiting of torch's threads, and the share of the cores that this process gets.

OpenMP's threads, which torch computes with, wait for each other by spinning, in GNU's version for
300,000 rounds. Where another process holds the core of the thread that is waited for, all of that
is wasted. Here they sleep after 10,000 rounds, which is as fast on an idle machine and 1.7 times as
fast beside two busy processes; without any spinning an idle machine is half as fast (RESULTS.md).
"""

import os
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

WAITS = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
"""Rounds in GNU's OpenMP; milliseconds in LLVM's and Intel's."""
CHOICES = {*WAITS, "OMP_WAIT_POLICY"}
"""Variables with which a user may have set the waiting of threads."""
THREADS = Path("/proc/self/task")
FEW = 0.5
"""Share of the processor below which a run warns."""
WINDOW_S = 60.0
FIGURE = "processor_share"


def bound_spinning(environment: MutableMapping[str, str]) -> None:
    """Bound the spinning of OpenMP's threads before torch is imported, unless the user set it."""
    if not CHOICES & environment.keys():
        environment.update(WAITS)


class Usage(NamedTuple):
    """Processor time so far, in seconds."""

    ran_s: Mapping[str, float]
    """Time that this process's threads ran, by thread."""
    waited_s: Mapping[str, float]
    """Time that they were ready to run without a free core; empty where the kernel does not count
    it."""
    children_s: Mapping[str, float]
    """Time that child processes, the simulators, ran, by process."""


def read_usage() -> Usage:
    """Read the usage from the kernel."""
    ran: dict[str, float] = {}
    waited: dict[str, float] = {}
    children: dict[str, float] = {}
    for folder in THREADS.glob("*"):
        with suppress(OSError, ValueError):  # a thread that has just ended, or another kernel
            run_ns, wait_ns, *_ = map(int, (folder / "schedstat").read_text().split())
            ran[folder.name], waited[folder.name] = run_ns / 1e9, wait_ns / 1e9
            for pid in (folder / "children").read_text().split():
                children[pid] = _processor_time(pid)
    return Usage(ran or {"all": time.process_time()}, waited, children)


def _processor_time(pid: str) -> float:
    """Return the seconds that all threads of a process have run."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime


class ProcessorMeter:
    """Meter of the share of the processor that this process gets of what it could use.

    Args:
        num_cores: Number of cores that it may use.
        read: Function that returns the usage so far.
    """

    def __init__(self, num_cores: int, read: Callable[[], Usage] = read_usage) -> None:
        self._read, self._num_cores = read, num_cores
        self._last = read()

    def restart(self) -> None:
        """Count from now on."""
        self._last = self._read()

    def share(self, elapsed_s: float, idle_s: float = 0.0) -> float:
        """Return the share since the last call, in [0, 1].

        It is the smaller one of two ratios: time running to time running or waiting for a core;
        and processor seconds to seconds in which this process had work, which also shows the limit
        of a container or a virtual machine. Time taken by its own simulators is not lost: where
        both fill all cores together, the share is 1.

        Args:
            elapsed_s: Seconds since the last call.
            idle_s: Seconds of these in which it only waited for simulators.
        """
        last, self._last = self._last, self._read()
        ran = _grown(self._last.ran_s, last.ran_s)
        waited = _grown(self._last.waited_s, last.waited_s)
        used = ran + _grown(self._last.children_s, last.children_s)
        if elapsed_s <= idle_s or ran <= 0:
            return 1.0
        got = min(1.0, ran / (ran + waited), ran / (elapsed_s - idle_s))
        return min(1.0, max(got, used / (self._num_cores * elapsed_s)))


def _grown(now: Mapping[str, float], before: Mapping[str, float]) -> float:
    """Return the time added by all threads that still exist."""
    return sum((value - before.get(name, 0.0) for name, value in now.items()), 0.0)


class Shortage:
    """Watch over the processor's share, which warns once if it stays low."""

    def __init__(self) -> None:
        self._seconds = self._got_s = 0.0
        self._has_told = False

    def warning(self, share: float, elapsed_s: float) -> str | None:
        """Return a warning after a minute in which the share was low, the first time only."""
        self._seconds += elapsed_s
        self._got_s += share * elapsed_s
        if self._seconds < WINDOW_S:
            return None
        mean = self._got_s / self._seconds
        self._seconds = self._got_s = 0.0
        if mean >= FEW or self._has_told:
            return None
        self._has_told = True
        return (
            f"other processes keep the processor busy: this run gets {mean:.0%} of the time that "
            "it could use, and learns that much less per minute; stop them, or give more minutes"
        )


def describe_lines(lines: Sequence[Mapping[str, Any]]) -> str | None:
    """Return a warning from all reports of a run's metrics; None if it got what it could use."""
    seconds = got = before = 0.0
    for line in lines:
        if FIGURE in line:
            elapsed = max(0.0, line["minutes"] - before)
            before = line["minutes"]
            seconds, got = seconds + elapsed, got + elapsed * line[FIGURE]
    if not seconds or got / seconds >= FEW:
        return None
    return (
        f"other processes kept the processor busy: this run got {got / seconds:.0%} of the time "
        "that it could have used, and learned that much less per minute"
    )
