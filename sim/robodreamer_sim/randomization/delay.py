"""Delays: of actuators and sensors inside MuJoCo, and of actions and observations around it.

MuJoCo keeps a history of commands and of sensor values, which is part of its state: a delay counts
physics steps there. It has to be asked for in the model's `MjSpec`. What does not pass through
actuators and sensors is delayed by whole control steps in a `DelayLine`.
"""

from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, Generic, TypeVar

import mujoco
import numpy as np

from robodreamer_deploy.utils.suggest import closest
from robodreamer_sim.mujoco_hooks import Edit
from robodreamer_sim.randomization.spec import Entry, Randomization

Value = TypeVar("Value")
KINDS = {"actuator_delay": "actuator", "sensor_delay": "sensor"}
"""Randomised quantities that need a history, and the kind of element that keeps it."""


def delay_s(model: Any, steps: int) -> float:
    """Return MuJoCo's delay for exactly `steps` physics steps: the first of them sees the past.

    MuJoCo looks up what was commanded `delay` seconds ago among the times of past steps. They are
    sums of many small steps, so that a whole multiple falls on either side of the one that is
    meant; half a step less always finds it. Runge-Kutta integration also looks ahead by up to a
    whole step, within which a command must not count: there it is a quarter more.

    Args:
        model: An `MjModel`, or an `MjSpec`'s `option` and the like: what has `opt` or `option`.
        steps: 0 for no delay.
    """
    option = model.option if isinstance(model, mujoco.MjSpec) else model.opt
    shift = 0.25 if option.integrator == mujoco.mjtIntegrator.mjINT_RK4.value else -0.5
    return (steps + shift) * option.timestep if steps else 0.0


def keep_history(element: Any, longest: int) -> None:
    """Give an actuator or sensor of an `MjSpec` the history that a delay needs, without a delay.

    Args:
        element: The actuator or sensor.
        longest: Longest delay in physics steps.
    """
    element.nsample = max(element.nsample, longest + 1)


def history_edits(randomization: Randomization) -> list[Edit]:
    """Return the edits with which a model keeps the history that randomised delays need."""
    return [
        partial(_keep_histories, entry=entry)
        for entry in randomization.entries
        if entry.field in KINDS
    ]


def _keep_histories(spec: Any, entry: Entry) -> None:
    kind, longest = KINDS[entry.field], int(np.rint(entry.distribution.bounds[1]))
    for index, element in enumerate(getattr(spec, f"{kind}s")):
        if entry.matches(element.name or f"{kind}_{index}"):
            keep_history(element, longest)


def delay(spec: Any, kind: str, steps: Mapping[str, int]) -> None:
    """Delay actuators or sensors of a model by physics steps, by name.

    Args:
        spec: The model, an `MjSpec`.
        kind: `actuator` or `sensor`.
        steps: The delay of each.

    Raises:
        ValueError: A name that the model does not have; names those that it has, closest first.
    """
    names = [element.name for element in getattr(spec, f"{kind}s")]
    for name, count in steps.items():
        if name not in names:
            exist = closest(name, names) or "none"
            raise ValueError(f"the model has no {kind} {name!r}; it has {exist}")
        element = getattr(spec, kind)(name)
        keep_history(element, count)
        element.delay = delay_s(spec, count)


class DelayLine(Generic[Value]):
    """Delay line, which returns values after a number of steps that may vary.

    Args:
        longest: The longest delay, in steps.
        first: What comes out until something that went in is old enough.
    """

    def __init__(self, longest: int, first: Value) -> None:
        self._past = deque([first], maxlen=longest + 1)

    @property
    def newest(self) -> Value:
        """Latest value."""
        return self._past[-1]

    def send(self, value: Value, delay: int) -> Value:
        """Put a value in; return the one of `delay` steps ago, 0 being this one."""
        self._past.append(value)
        return self._past[-min(delay + 1, len(self._past))]
