"""Conversion of Gymnasium's spaces to signals and actions of a contract.

A space is taken apart into leaves, each of which becomes one signal:

    Box, pictures            image/<name>, (H, W, C) as it was declared; see `observed_images`
    other Box, MultiBinary   float32 vector; () stays a scalar, more axes are flattened
    Discrete, MultiDiscrete  int32 class indices

The name is the path of dictionary keys. What lies under `desired_goal` is a goal; what lies under
`achieved_goal`, at whatever depth, is privileged, pictures too; everything else is proprioception.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from robodreamer_deploy.contract import ActionSpec, Array, Signal
from robodreamer_sim.tasks.gymnasium.observed_images import ImageLayout, image_layout

HUGE = 1e6  # a limit beyond this is none
FAMILIES = {"desired_goal": "goal", "achieved_goal": "privileged"}
ZERO = np.zeros(())


class Leaf(NamedTuple):
    """Leaf of an observation space: an array and the signal that it becomes."""

    path: tuple[str, ...]
    signal: Signal
    start: Array
    """Smallest class index, subtracted from the value; 0 for everything else."""
    layout: ImageLayout | None = None
    """Layout of an image; None for everything else."""

    def read(self, observation: Any) -> Array:
        """Return the signal's value, a copy of its type and shape."""
        for key in self.path:
            observation = observation[key]
        if self.layout is not None:
            return self.layout.read(observation)
        value = np.asarray(observation) - self.start if self.signal.num_classes else observation
        value = np.array(value, self.signal.dtype)
        is_whole = value.size == math.prod(self.signal.shape)  # the contract refuses it otherwise
        return value.reshape(self.signal.shape) if is_whole else value


def leaves(space: spaces.Space[Any], path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Take an observation space apart.

    Raises:
        ValueError: A kind of space that has no fixed number of elements, or bytes that are neither
            a picture nor a vector.
    """
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(space, (spaces.Box, spaces.MultiBinary)):
        if 0 not in (space.shape or ()):
            yield _measurement(space, path)
    elif isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        yield _classes(space, path)
    else:
        where = ".".join(path) or "the observation"
        raise ValueError(  # noqa: TRY004  the task is the wrong one, not the caller's type
            f"{where} is a {type(space).__name__} space; only Box, Dict, Discrete, MultiDiscrete "
            "and MultiBinary have a fixed number of elements; a function that makes the "
            "environment (module:function) can put a wrapper around it that leaves this out"
        )


def action_spec(space: spaces.Space[Any]) -> ActionSpec:
    """Return the action spec of an action space.

    Raises:
        ValueError: Neither Box nor Discrete.
    """
    if isinstance(space, spaces.Discrete):
        return ActionSpec(size=int(space.n), kind="discrete")
    if isinstance(space, spaces.Box):
        low, high = actuator_limits(space.low, space.high)
        return ActionSpec(size=len(low), low=low, high=high)
    raise ValueError(f"actions are a {type(space).__name__} space; Box and Discrete can be driven")


def to_action(space: spaces.Space[Any], actuators: Array) -> Any:
    """Return actuator values as an element of the action space."""
    if isinstance(space, spaces.Discrete):
        return space.start + actuators
    values = np.rint(actuators) if np.issubdtype(space.dtype, np.integer) else actuators
    return values.astype(space.dtype).reshape(space.shape)


def unbounded_note(space: spaces.Space[Any]) -> str:
    """Return a sentence about elements of an action without limits; empty if all have limits."""
    if not isinstance(space, spaces.Box):
        return ""
    low, high = np.ravel(space.low).astype(np.float64), np.ravel(space.high).astype(np.float64)
    without = np.flatnonzero((np.abs(low) > HUGE) | (np.abs(high) > HUGE))
    if not without.size:
        return ""
    lowest, highest = actuator_limits(low, high)
    first = int(without[0])
    which = "every element" if without.size == low.size else f"{without.size} of {low.size}"
    return (
        f"actions have no limits in {which}: of {low[first]:g} to {high[first]:g} the range "
        f"{lowest[first]:g} to {highest[first]:g} is used; gymnasium.wrappers.RescaleAction or a "
        "narrower action_space gives others"
    )


def actuator_limits(low: Array, high: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return limits per element, flattened; always finite.

    An element without limits gets -1 and 1, one with a single limit a range of 2 next to it.
    """
    low, high = np.ravel(low).astype(np.float64), np.ravel(high).astype(np.float64)
    has_low, has_high = np.abs(low) <= HUGE, np.abs(high) <= HUGE
    lowest = np.where(has_low, low, np.where(has_high, high - 2.0, -1.0))
    highest = np.where(has_high, high, np.where(has_low, low + 2.0, 1.0))
    return tuple(lowest.tolist()), tuple(highest.tolist())


def _measurement(space: spaces.Space[Any], path: tuple[str, ...]) -> Leaf:
    shape = tuple(int(size) for size in space.shape or ())
    layout = image_layout(space, ".".join(path) or "the observation")
    if layout is not None:
        is_privileged = _family(path) == "privileged"
        name = _vector_name(path) if is_privileged else f"image/{_join(path) or 'camera'}"
        return Leaf(path, Signal(name=name, shape=layout.shape, dtype="uint8"), ZERO, layout)
    if len(shape) > 1:
        shape = (math.prod(shape),)
    return Leaf(path, Signal(name=_vector_name(path), shape=shape, dtype="float32"), ZERO)


def _classes(space: spaces.Discrete | spaces.MultiDiscrete, path: tuple[str, ...]) -> Leaf:
    sizes = np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec)
    signal = Signal(
        name=_vector_name(path),
        shape=(sizes.size,) if sizes.ndim else (),
        dtype="int32",
        num_classes=int(sizes.max()),
    )
    return Leaf(path, signal, np.asarray(space.start))


def _vector_name(path: tuple[str, ...]) -> str:
    return f"{_family(path)}/{_join(path) or 'observation'}"


def _family(path: tuple[str, ...]) -> str:
    return next((FAMILIES[key] for key in path if key in FAMILIES), "proprio")


def _join(path: tuple[str, ...]) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", "_".join(path))
