"""Monitor of MuJoCo simulations that diverge.

Where position, velocity or acceleration leave MuJoCo's bounds, it warns, resets the model and
continues. The task returns finite numbers and no flag, so an agent would learn from the jump; the
warning counters are the only trace.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any
from weakref import ProxyTypes

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import mujoco

    Simulations = Sequence[mujoco.MjData]

DIVERGED = ("mjWARN_BADQPOS", "mjWARN_BADQVEL", "mjWARN_BADQACC")
MAX_OBJECTS = 2000
"""Objects that are searched for a simulation; a wrapper's is among the first hundred."""
MAX_ITEMS = 32
"""Longer lists and dictionaries hold data, not parts of an environment."""

DATA = (
    str, bytes, bool, int, float, complex, np.ndarray, np.float32, np.float64, ModuleType,
    FunctionType, *ProxyTypes,
)  # fmt: skip
"""Types that hold no simulation, or lead out of an environment."""


class StabilityMonitor:
    """Monitor around every step that raises if a simulation was reset.

    Args:
        find: Returns the current simulations; called around every reset.
    """

    def __init__(self, find: "Callable[[], Simulations]") -> None:
        self._find = find
        self._simulations: Simulations = ()
        self._counters: list[NDArray[np.int32]] = []
        self._times: list[float] = []

    def before_reset(self) -> None:
        """Clear the warning counters, so that later ones belong to the reset."""
        self._watch()
        self.before_step()

    def after_reset(self) -> None:
        """Find the simulations, which a reset may replace, and check them.

        Raises:
            ValueError: One diverged during the reset.
        """
        self._watch()
        for counter in self._counters:
            require_stable(counter, 0.0)

    def before_step(self) -> None:
        """Clear the warning counters; comparison would miss a counter reset in between."""
        self._times = [data.time for data in self._simulations]
        for counter in self._counters:
            counter[:] = 0

    def after_step(self, *, is_over: bool) -> None:
        """Check that no simulation diverged, or went back in time while none advanced.

        Args:
            is_over: The episode ended, so the task may have begun another by itself.

        Raises:
            ValueError: One did; with the warning and the time.
        """
        for counter, time in zip(self._counters, self._times, strict=True):
            require_stable(counter, time)
        times = list(zip(self._simulations, self._times, strict=True))
        if is_over or any(data.time > time for data, time in times):
            return  # one that restarted beside an advancing one is a planner's, or a copy
        for data, time in times:
            if data.time < time:
                raise ValueError(
                    f"the simulation went back from {time:.3f} s to {data.time:.3f} s within an "
                    "episode; a task that starts again has to say that the episode is over"
                )

    def _watch(self) -> None:
        self._simulations = self._find()
        self._counters = [data.warning.number for data in self._simulations]  # views


def require_stable(counter: NDArray[np.int32], time: float) -> None:
    """Check that MuJoCo has not reset a simulation.

    Args:
        counter: Warnings by type (`MjData.warning.number`), 0 before the step.
        time: Simulation time at the beginning of the step, seconds.

    Raises:
        ValueError: The simulation diverged.
    """
    if not counter.any():
        return
    import mujoco

    for name in DIVERGED:
        if counter[int(mujoco.mjtWarning.__members__[name])]:
            raise ValueError(
                f"the simulation diverged ({name}) at {time:.3f} s; a smaller time step, more "
                "damping or weaker actuators keep it stable"
            )


def find_simulations(root: Any) -> "Simulations":
    """Return all MuJoCo simulations that an environment holds, inside any wrappers.

    They have different names, such as `_env.physics` or `sim.data._data`, so attributes are
    followed breadth first, without running any property.
    """
    import mujoco

    found: list[mujoco.MjData] = []
    queue, seen = deque([root]), {id(root)}
    while queue and len(seen) < MAX_OBJECTS:
        for part in _parts(queue.popleft()):
            if id(part) in seen:
                continue
            seen.add(id(part))
            if isinstance(part, mujoco.MjData):
                found.append(part)
            else:
                queue.append(part)
    return found


def _parts(whole: Any) -> Iterable[Any]:
    """Return the parts of an object, list or dictionary, without numbers, text and arrays."""
    if isinstance(whole, (list, tuple, dict)):
        values = list(whole.values() if isinstance(whole, dict) else whole)
        values = values if len(values) <= MAX_ITEMS else []
    else:
        values = list(getattr(whole, "__dict__", {}).values())
    return [v for v in values if v is not None and type(v) not in DATA and not isinstance(v, type)]
