"""Checks of the machine: GPU, cores, memory, real-time rights, disk."""

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from robodreamer.doctor.finding import Finding
from robodreamer_sim.utils.cores import num_usable_cores

GIB = 2**30
LEAST_MEMORY = 2 * GIB
"""Libraries, learner, replay and one worker of the smallest size; see RESULTS.md."""
LEAST_DISK, AMPLE_DISK = GIB, 10 * GIB
"""A checkpoint, and the replay that each holds: 100,000 pictures of 64x64 take 1.4 GB."""
LIMITS = "/etc/security/limits.d/robodreamer.conf"


def check_gpu() -> Finding:
    """Ask torch for a GPU; there need not be one."""
    if find_spec("torch") is None:
        return Finding("GPU", "ok", "not looked for, as torch is not installed")
    try:
        import torch
    except (ImportError, OSError) as error:
        advice = "pip install --force-reinstall torch"
        return Finding("GPU", "failure", f"torch cannot be imported: {error}", advice)
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        found = ", ".join(f"{gpu.name}, {gpu.total_memory / GIB:.0f} GiB" for gpu in gpus)
        return Finding("GPU", "ok", found)
    if not has_nvidia_driver():
        return Finding("GPU", "ok", "none from NVIDIA; training runs on the processor")
    build = "is built without CUDA" if torch.version.cuda is None else "cannot use it"
    advice = f"pip install --force-reinstall torch=={torch.__version__.partition('+')[0]}"
    return Finding("GPU", "warning", f"NVIDIA's driver is there, but torch {build}", advice)


def check_cores() -> Finding:
    """Count the cores that this process may use."""
    usable, all_cores = num_usable_cores(), os.cpu_count() or 1
    found = f"{usable} of {all_cores}"
    if usable > 1:
        return Finding("cores", "ok", found)
    return Finding("cores", "warning", found, "learning and simulating take turns; give it two")


def check_memory() -> Finding:
    """Look up the memory that is free, or could be made free without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    sizes = {name: int(size.split()[0]) * 1024 for name, size in (x.split(":") for x in lines)}
    free, whole = sizes["MemAvailable"], sizes["MemTotal"]
    found = f"{free / GIB:.1f} of {whole / GIB:.1f} GiB free"
    if free >= LEAST_MEMORY:
        return Finding("memory", "ok", found)
    advice = "training needs 2 GiB at least: end something else, or add memory"
    return Finding("memory", "warning", found, advice)


def check_real_time() -> Finding:
    """Try what keeps a control loop on time: a real-time priority, and memory that stays."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    is_unlimited = limit == resource.RLIM_INFINITY or os.geteuid() == 0
    lock = "any memory" if is_unlimited else f"{limit // 1024:,} KiB of memory"
    try:
        with _first_in_first_out():
            found = f"SCHED_FIFO allowed, {lock} may be locked"
    except PermissionError:
        advice = (
            "training needs neither; on a robot's computer, put the lines `USER - rtprio 80` and "
            f"`USER - memlock unlimited` into {LIMITS} and log in again"
        )
        return Finding(
            "real time", "warning", f"SCHED_FIFO forbidden, {lock} may be locked", advice
        )
    return Finding("real time", "ok", found)


def check_disk(folder: Path = Path()) -> Finding:
    """Look up the free space of the folder that runs are written to."""
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in {folder.absolute()}"
    if not os.access(folder, os.W_OK):
        return Finding("disk", "failure", f"{folder.absolute()} is not writable", "go to another")
    if free >= AMPLE_DISK:
        return Finding("disk", "ok", found)
    status = "warning" if free >= LEAST_DISK else "failure"
    advice = "a run keeps its replay, several GB: make room, or use --run elsewhere"
    return Finding("disk", status, found, advice)


def has_nvidia_driver() -> bool:
    """Whether NVIDIA's driver is loaded, and this process may use it."""
    return Path("/dev/nvidiactl").exists()


@contextmanager
def _first_in_first_out() -> Iterator[None]:
    """Schedule this thread in real time meanwhile, at the lowest priority.

    Raises:
        PermissionError: It may not be.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    lowest = os.sched_get_priority_min(os.SCHED_FIFO)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(lowest))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def check_machine() -> Iterator[Finding]:
    """Yield what there is of everything."""
    for check in (check_gpu, check_cores, check_memory, check_real_time, check_disk):
        yield check()
