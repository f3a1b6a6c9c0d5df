"""Smooth random actions that move a robot or a car, for pictures of what it can meet.

Actions that change at every step cancel each other, and nothing moves. Here every element is noise
that forgets its past within a fraction of a second, around a centre that is drawn per episode.

Shapes: A action.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import ActionSpec, Contract


@dataclass(frozen=True, kw_only=True)
class MotionStyle:
    """Style of random motion, in the policy's units: actions are in [-1, 1]."""

    center: tuple[float, ...] = (0.0,)
    """Mean action, per element or one for all."""
    center_spread: tuple[float, ...] = (0.4,)
    """Standard deviation of an episode's own centre around it."""
    spread: tuple[float, ...] = (0.6,)
    """Standard deviation around the episode's centre."""
    memory_s: float = 0.4
    """Time after which the noise is a third of what it was."""
    skipped_s: float = 0.0
    """Beginning of every episode that is not filmed."""
    filmed_s: float = math.inf
    """Longest part of an episode that is filmed; then another one begins."""


DRIVE = MotionStyle(
    # Steering, gas, brake: fast enough to meet the next bend, mostly too fast to take it.
    center=(0.0, -0.3, -1.0),
    center_spread=(0.1, 0.25, 0.0),
    spread=(0.3, 0.3, 0.15),
    skipped_s=1.0,  # the camera flies in
    filmed_s=2.0,  # later the car is far from the road
)
STYLES = {"gym:CarRacing": DRIVE}
"""Styles of tasks that an even motion would not show, by the beginning of their names."""


def motion_style(task: str) -> MotionStyle:
    """Return the style for a task."""
    found = (style for start, style in STYLES.items() if task.startswith(start))
    return next(found, MotionStyle())


class RandomMotion:
    """Source of the actions of one episode after the other."""

    def __init__(self, contract: Contract, style: MotionStyle, random: np.random.Generator) -> None:
        self._action: ActionSpec = contract.action
        self._style, self._random = style, random
        self._kept = math.exp(-contract.control_dt_s / style.memory_s)
        self.begin_episode()

    def begin_episode(self) -> None:
        """Draw the centre of another episode."""
        size = self._action.size
        self._noise = self._random.standard_normal(size)
        deviation = self._random.standard_normal(size)
        self._center = np.asarray(self._style.center) + self._style.center_spread * deviation

    def next_action(self) -> NDArray[np.float32]:
        """Return an action (A,): measures in [-1, 1], or one-hot the choice with most noise."""
        fresh = self._random.standard_normal(self._action.size)
        self._noise = self._kept * self._noise + math.sqrt(1 - self._kept**2) * fresh
        values = self._center + self._style.spread * self._noise
        if self._action.kind == "discrete":
            return np.eye(self._action.size, dtype=np.float32)[values.argmax()]
        return np.clip(values, -1.0, 1.0).astype(np.float32)
