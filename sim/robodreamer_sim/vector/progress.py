"""What a shard is doing, in memory that its process shares with the one that waits for it.

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
    """What a shard began last."""

    number: int
    """How many things it has begun."""
    environment: int
    """With which environment."""
    phase: Phase
    """What the environment is being."""

    def __str__(self) -> str:
        if self.phase == "started":
            return "the process was being started"
        return f"environment {self.environment} was being {self.phase}"


class Progress:
    """A record of what a shard is doing.

    Args:
        memory: `NUM_CELLS` integers of 64 bits, shared or not.
    """

    def __init__(self, memory: Any = None) -> None:
        memory = bytearray(8 * NUM_CELLS) if memory is None else memory
        self._cells: NDArray[np.int64] = np.frombuffer(memory, np.int64)

    def begin(self, environment: int, phase: Phase) -> None:
        """Note what is begun now."""
        self._cells[1] = environment
        self._cells[2] = PHASES.index(phase)
        self._cells[0] += 1

    def read(self) -> Doing:
        """Return what was begun last."""
        number, environment, phase = self._cells.tolist()
        return Doing(number, environment, PHASES[phase])
