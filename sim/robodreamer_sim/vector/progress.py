"""Progress of a shard, in memory shared with the process that waits for it.

A wait is for one environment at a time: whenever the shard goes on to the next one, or to the next
thing to do, it begins again. So many slow environments in one process are not one long silence.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Phase = Literal["started", "made", "reset", "stepped", "drawn"]
PHASES: tuple[Phase, ...] = ("started", "made", "reset", "stepped", "drawn")
NUM_CELLS = 3


class Doing(NamedTuple):
    """Latest activity of a shard."""

    number: int
    """Number of activities so far."""
    environment: int
    """Index of the environment."""
    phase: Phase
    """Phase of the environment: made, reset, stepped or drawn."""

    def __str__(self) -> str:
        if self.phase == "started":
            return "the process was being started"
        return f"environment {self.environment} was being {self.phase}"


class Progress:
    """Record of a shard's activity.

    Args:
        memory: `NUM_CELLS` integers of 64 bits, shared or not.
    """

    def __init__(self, memory: Any = None) -> None:
        memory = bytearray(8 * NUM_CELLS) if memory is None else memory
        self._cells: NDArray[np.int64] = np.frombuffer(memory, np.int64)

    def begin(self, environment: int, phase: Phase) -> None:
        """Note the start of an activity."""
        self._cells[1] = environment
        self._cells[2] = PHASES.index(phase)
        self._cells[0] += 1

    def read(self) -> Doing:
        """Return the latest activity."""
        number, environment, phase = self._cells.tolist()
        return Doing(number, environment, PHASES[phase])
