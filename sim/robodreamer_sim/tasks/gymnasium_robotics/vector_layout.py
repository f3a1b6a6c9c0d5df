"""Parts of a simulator's observation vector, which become named signals.

A part is a stretch of the vector with a name, a unit and a label per element. What the robot
measures of itself is proprioception. What is of an object is measured too where no camera is on;
with a camera on it is privileged: a real robot does not measure it.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import mujoco
import numpy as np

from robodreamer_deploy.contract import Array, Signal
from robodreamer_sim.options import EnvOptions

XYZ = ("x", "y", "z")
QUATERNION = ("w", "x", "y", "z")
Limit = float | tuple[float, ...]


class Part(NamedTuple):
    """Part of a vector, with a name, a unit and a label per element."""

    name: str
    unit: str
    labels: tuple[str, ...]
    low: Limit
    """Lower end of the working range, per element or for all."""
    high: Limit
    frame: str = "world"
    of: Literal["robot", "object", "goal", "nothing"] = "robot"
    """Owner of the measurement; `nothing` is not observed."""

    def signal(self, name: str) -> Signal:
        """Declare it as a signal."""
        return Signal(
            name=name,
            shape=(len(self.labels),),
            dtype="float32",
            unit=self.unit,
            frame=self.frame,
            labels=self.labels,
            low=self._each(self.low),
            high=self._each(self.high),
        )

    def _each(self, limit: Limit) -> tuple[float, ...]:
        return limit if isinstance(limit, tuple) else (limit,) * len(self.labels)


def joint_part(
    name: str,
    model: mujoco.MjModel,
    joints: Sequence[str],
    unit: str = "rad",
    of: Literal["robot", "object", "goal"] = "robot",
) -> Part:
    """Return a part that holds joint positions, in the ranges that the model gives them."""
    low, high = np.array([model.joint(joint).range for joint in joints]).T
    labels = tuple(plain(joint) for joint in joints)
    return Part(name, unit, labels, tuple(low.tolist()), tuple(high.tolist()), "joint", of)


def joint_names(model: mujoco.MjModel) -> list[str]:
    """Return the names of a model's joints, in order."""
    return [model.joint(i).name for i in range(model.njnt)]


def plain(name: str) -> str:
    """Return a name without the robot's: `robot0:A_FFJ3` is `FFJ3`."""
    return name.rpartition(":")[2].removeprefix("A_").removeprefix("panda0_")


def signal_name(part: Part, options: EnvOptions, *, hides_goal: bool = False) -> str | None:
    """Return the name of the signal that a part becomes; None if it is not observed."""
    if part.of == "goal":
        return f"privileged/goal_{part.name}" if hides_goal else f"goal/{part.name}"
    if part.of == "object" and options.uses_cameras:
        return f"privileged/{part.name}"
    return f"proprio/{part.name}" if options.uses_vectors and part.of != "nothing" else None


def split(parts: Sequence[Part], vector: Array) -> Iterator[Array]:
    """Split a vector: yield the slice of every part."""
    named = sum(len(part.labels) for part in parts)
    assert named == len(vector), f"{named} elements are named, {len(vector)} were measured"
    end = 0
    for part in parts:
        start, end = end, end + len(part.labels)
        yield vector[start:end]


def joined(name: str, parts: Sequence[Part]) -> Part:
    """Join several parts, one after the other."""
    is_single = len(parts) == 1
    labels = tuple(
        label if is_single else f"{part.name}_{label}" for part in parts for label in part.labels
    )
    signals = [part.signal(f"goal/{name}") for part in parts]
    return Part(
        name,
        parts[0].unit if len({part.unit for part in parts}) == 1 else "",
        labels,
        tuple(limit for signal in signals for limit in signal.low or ()),
        tuple(limit for signal in signals for limit in signal.high or ()),
        parts[0].frame,
    )
