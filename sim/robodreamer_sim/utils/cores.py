"""Number of usable processor cores."""

import os


def num_usable_cores() -> int:
    """Return the number of cores that this process may use; all where the system binds none."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
