"""Real-time privileges of the operating system, for ticks that come on time; Linux only.

Every privilege is attempted, and whether it was granted is told; none is needed. Only the thread
that asks becomes a real-time one: threads that it starts later are ordinary.
"""

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

PRIORITY = 40
"""Priority under SCHED_FIFO: below that of the kernel's interrupts (50), one below the
watchdog's."""
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # <sys/mman.h>


class Privilege(NamedTuple):
    """Privilege that was asked for, and the answer."""

    name: str
    is_granted: bool
    detail: str  # what was granted, or why it was refused and what would help


class RefusedError(OSError):
    """The privilege is refused; the message says why, and what would help."""


@contextmanager
def real_time(core: int | None = None) -> Generator[tuple[Privilege, ...], None, None]:
    """Ask for all privileges, run, and give them back; yields what became of each.

    Args:
        core: CPU that the calling thread keeps to; None for any.
    """
    with ExitStack() as undo:
        attempts: dict[str, Callable[[ExitStack], str]] = {
            "FIFO": _schedule,
            "mlockall": _lock_memory,
            "affinity": lambda stack: _keep_to(core, stack),
            "gc": _freeze,
        }
        if core is None:
            del attempts["affinity"]
        yield tuple(_attempt(name, attempt, undo) for name, attempt in attempts.items())


def _attempt(name: str, attempt: Callable[[ExitStack], str], undo: ExitStack) -> Privilege:
    if name != "gc" and not sys.platform.startswith("linux"):
        return Privilege(name, is_granted=False, detail=f"only on Linux, this is {sys.platform}")
    try:
        return Privilege(name, is_granted=True, detail=attempt(undo))
    except RefusedError as error:
        return Privilege(name, is_granted=False, detail=str(error))


def _schedule(undo: ExitStack) -> str:
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        # Reset on fork: threads and processes that are started from here stay ordinary.
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    except OSError as error:
        raise RefusedError(f"{error.strerror}: needs `ulimit -r {PRIORITY + 1}` or root") from error
    undo.callback(_schedule_again, policy, parameter)
    return f"priority {PRIORITY}"


def _schedule_again(policy: int, parameter: os.sched_param) -> None:
    try:
        os.sched_setscheduler(0, policy, parameter)
    except PermissionError:  # only root can clear that flag
        os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, parameter)


def _lock_memory(undo: ExitStack) -> str:
    """Lock pages as they are first touched: nothing grows, and nothing is paged out again."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:
        # Beyond the limit not this call would fail, but some allocation in the middle of a drive.
        raise RefusedError(f"the limit is {limit >> 10} KiB: needs `ulimit -l unlimited` or root")
    library = ctypes.CDLL(None, use_errno=True)
    if library.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        raise RefusedError(os.strerror(ctypes.get_errno()))
    undo.callback(library.munlockall)
    return "pages stay in memory"


def _keep_to(core: int | None, undo: ExitStack) -> str:
    assert core is not None
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {core})
    except OSError as error:
        cores = ", ".join(map(str, sorted(before)))
        raise RefusedError(f"{error.strerror}: core {core}; there are {cores}") from error
    undo.callback(os.sched_setaffinity, 0, before)
    return f"core {core}"


def _freeze(undo: ExitStack) -> str:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    undo.callback(gc.unfreeze)
    if was_enabled:
        undo.callback(gc.enable)
    return "frozen, no collections"
