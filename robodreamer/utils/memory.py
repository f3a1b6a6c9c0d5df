"""Memory that this process may use: the machine's, or its control group's if that is less."""

from pathlib import Path
from typing import NamedTuple

MEMINFO = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
FILES = {"": ("memory.max", "memory.current"), "memory": (
    "memory.limit_in_bytes", "memory.usage_in_bytes",
)}  # fmt: skip
"""Names of limit and usage, in bytes, of version 2 (which has no controller's name) and 1."""


class Memory(NamedTuple):
    """Limit and free part of memory, in bytes."""

    total: int
    """Most memory that there can be."""
    available: int
    """Memory that is free now."""
    what: str
    """Name of the limit, for messages."""


def read_memory(
    meminfo: Path = MEMINFO, own_groups: Path = OWN_GROUPS, groups: Path = GROUPS
) -> Memory | None:
    """Return the tightest of all limits; None where the system reports none."""
    found = [*_read_machine(meminfo), *_read_groups(own_groups, groups)]
    if not found:
        return None
    total = min(found, key=lambda memory: memory.total)
    available = min(found, key=lambda memory: memory.available)
    return Memory(total.total, available.available, total.what)


def _read_machine(meminfo: Path) -> list[Memory]:
    if not meminfo.is_file():
        return []
    rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    size = {name: 1024 * int(text.split()[0]) for name, text in rows.items()}
    if not {"MemTotal", "MemAvailable"} <= size.keys():
        return []
    total = size["MemTotal"] + size.get("SwapTotal", 0)
    return [Memory(total, size["MemAvailable"], "this machine")]


def _read_groups(own_groups: Path, groups: Path) -> list[Memory]:
    """Return the limits of this process's control groups and of their parents."""
    found: list[Memory] = []
    lines = own_groups.read_text().splitlines() if own_groups.is_file() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in {""} if not controllers else {"memory"} & set(controllers.split(",")):
            folder = groups / controller / path.lstrip("/")
            root = groups / controller
            # In a container the process's own group may be mounted as the root.
            for parent in (folder, *folder.parents):
                found += _read_group(parent, *FILES[controller])
                if parent == root:
                    break
    return found


def _read_group(folder: Path, limit_name: str, usage_name: str) -> list[Memory]:
    try:
        limit = int((folder / limit_name).read_text())
        usage = int((folder / usage_name).read_text())
    except (OSError, ValueError):  # no such group here, or the limit is "max"
        return []
    available = min(limit, max(0, limit - usage + _read_cache(folder / "memory.stat")))
    return [Memory(limit, available, "the control group (container, batch job)")]


def _read_cache(path: Path) -> int:
    """Return the bytes of cached files, which count as usage but are freed on demand."""
    if not path.is_file():
        return 0
    rows = dict(line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip())
    cached = ("inactive_file", "active_file")
    prefix = "total_" if "total_inactive_file" in rows else ""  # of version 1, groups inside too
    return sum(int(rows.get(f"{prefix}{name}", 0)) for name in cached)


class Shortage(NamedTuple):
    """Memory that a replay lacks, as a message."""

    text: str
    is_hopeless: bool
    """True if it needs more than there can ever be."""


def find_shortage(bytes_per_step: int, num_steps: int, memory: Memory) -> Shortage | None:
    """Compare a replay with the free memory; return None if it fits.

    Args:
        bytes_per_step: Memory of one record.
        num_steps: Number of records that it will hold.
        memory: Memory of this process.
    """
    needed = bytes_per_step * num_steps
    if needed <= memory.available:
        return None
    fitting = int(0.8 * memory.available / bytes_per_step)  # the rest is for networks and workers
    text = (
        f"a replay of {num_steps:,} steps takes {needed / 1e9:.1f} GB when it is full; "
        f"{memory.what} has {memory.total / 1e9:.1f} GB, of which {memory.available / 1e9:.1f} GB "
        f"are free now, and the kernel ends what takes more. --data.replay-capacity {fitting} "
        "takes 80 % of that"
    )
    return Shortage(text, needed > memory.total)
