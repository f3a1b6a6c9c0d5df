"""The priority of threads that work for a robot.

The loop runs with SCHED_FIFO where that is granted, threads that it starts are ordinary. One that
holds Python's interpreter lock (GIL) while some other process takes the processor from it makes the
loop wait for it, however high the loop's own priority is.
"""

import logging
import os

logger = logging.getLogger(__name__)


def raise_to_loop(*, above: int = 0) -> bool:
    """Give the calling thread the loop's priority; return whether it has it now.

    It gets any core but the one that `--core` keeps the loop to: at equal priority the loop would
    have to wait there until a picture is decoded. A thread that is above the loop gets that one as
    well.

    Call it first thing in a thread that reads a sensor or a camera, started in `connect` or later.
    Such a thread waits most of the time; one that computes for long delays the loop as before. It
    does nothing where the loop has no such priority.

    Args:
        above: How much higher than the loop's it shall be.
    """
    if not hasattr(os, "sched_getscheduler"):
        return False
    loop = os.getpid()  # the main thread has the process's number
    if os.sched_getscheduler(loop) & ~os.SCHED_RESET_ON_FORK != os.SCHED_FIFO:
        return False
    try:
        os.sched_setaffinity(0, _cores_beside(loop) if above == 0 else _all_cores())
        priority = os.sched_getparam(loop).sched_priority + above
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:  # a limit that is just enough for the loop; it works all the same
        logger.warning("a thread does not have the loop's priority plus %d: %s", above, error)
        return False
    return True


def _cores_beside(loop: int) -> set[int]:
    """Return the cores that the loop's thread is not kept to; all, where it is not kept to one."""
    cores, kept = _all_cores(), os.sched_getaffinity(loop)
    return cores - kept if len(kept) == 1 and len(cores) > 1 else cores


def _all_cores() -> set[int]:
    return set(range(os.cpu_count() or 1))
