"""Whether MuJoCo simulations stay the episode that they are.

Where position, velocity or acceleration leave MuJoCo's bounds, it warns, puts the model back into
its first pose and goes on. Finite numbers and no flag are all that a task yields of it, so that an
agent would learn from the jump; the warning counters are the only trace.
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
"""Objects that are looked at for a simulation; a wrapper's is among the first hundred."""
MAX_ITEMS = 32
"""Longer lists and dictionaries hold data, not parts of an environment."""

DATA = (
    str, bytes, bool, int, float, complex, np.ndarray, np.float32, np.float64, ModuleType,
    FunctionType, *ProxyTypes,
)  # fmt: skip
"""Types that hold no simulation, or lead out of an environment."""


class StabilityMonitor:
    """A check around every step that no simulation was put back to its beginning.

    Args:
        find: Returns the simulations of the moment; asked around every reset.
    """

    def __init__(self, find: "Callable[[], Simulations]") -> None:
        self._find = find
        self._simulations: Simulations = ()
        self._counters: list[NDArray[np.int32]] = []
        self._times: list[float] = []

    def before_reset(self) -> None:
        """Clear the warning counters, so that those after the reset are the reset's."""
        self._watch()
        self.before_step()

    def after_reset(self) -> None:
        """Take note of the simulations, which a reset may replace.

        Raises:
            ValueError: One diverged while the task put it into its first state.
        """
        self._watch()
        for counter in self._counters:
            require_stable(counter, 0.0)

    def before_step(self) -> None:
        """Clear the warning counters: one that is as high as before may have been reset between."""
        self._times = [data.time for data in self._simulations]
        for counter in self._counters:
            counter[:] = 0

    def after_step(self, *, is_over: bool) -> None:
        """Refuse a step in which a simulation diverged, or went back in time and none went on.

        Args:
            is_over: Whether the episode ended, after which a task may begin another by itself.

        Raises:
            ValueError: Says what happened, and when.
        """
        for counter, time in zip(self._counters, self._times, strict=True):
            require_stable(counter, time)
        times = list(zip(self._simulations, self._times, strict=True))
        if is_over or any(data.time > time for data, time in times):
            return  # one that began again beside it is a plan, or a copy
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
    """Refuse a simulation that MuJoCo put back into its first pose.

    Args:
        counter: Its warnings by type (`MjData.warning.number`), 0 before the step.
        time: Seconds of simulation at the beginning of the step.

    Raises:
        ValueError: It diverged.
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
    """Return every MuJoCo simulation that an environment holds, however deep in wrappers.

    Environments keep theirs under names of their own, such as `_env.physics` or `sim.data._data`.
    Attributes are followed breadth first, without running any property.
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
    """Return what an object, list or dictionary holds, without numbers, text and arrays."""
    if isinstance(whole, (list, tuple, dict)):
        values = list(whole.values() if isinstance(whole, dict) else whole)
        values = values if len(values) <= MAX_ITEMS else []
    else:
        values = list(getattr(whole, "__dict__", {}).values())
    return [v for v in values if v is not None and type(v) not in DATA and not isinstance(v, type)]
