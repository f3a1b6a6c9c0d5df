"""Statistics of a drive, gathered tick by tick; `drive_summary` computes figures from them."""

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

KEPT = 1 << 18
"""Newest values of a figure that are kept: 87 minutes at 50 Hz, 2 MB."""


class Series(Sequence[float]):
    """The newest values of a figure, oldest first, in bounded memory; and the largest of all."""

    def __init__(self, kept: int = KEPT) -> None:
        self.largest = -math.inf
        """Largest value that was ever appended."""
        self._values, self._kept, self._oldest = array("d"), kept, 0

    def append(self, value: float) -> None:
        """Add the newest value, in the place of the oldest one where there is no other."""
        self.largest = max(self.largest, value)
        if len(self._values) < self._kept:
            self._values.append(value)
        else:
            self._values[self._oldest] = value
            self._oldest = (self._oldest + 1) % self._kept

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> "array[float]": ...
    def __getitem__(self, index: int | slice) -> "float | array[float]":
        if isinstance(index, slice):
            return (self._values[self._oldest :] + self._values[: self._oldest])[index]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index} of {len(self)} values")
        return self._values[(self._oldest + index) % len(self)]

    def __iter__(self) -> Iterator[float]:
        return iter(self[:])


@dataclass(kw_only=True)
class LoopStats:
    """Statistics of one drive, over all its episodes."""

    ticks: int = 0
    """Periods in which the robot was sent something, holds included."""
    skipped_ticks: int = 0
    """Periods that passed while an earlier tick was still busy."""
    held_ticks: int = 0
    """Ticks in which the robot held because a sensor value or the policy was not to be trusted."""
    prior_steps: int = 0
    """Steps of the model without an observation: skipped and held ticks, and lost frames where the
    policy was not trained without cameras."""
    partial_steps: int = 0
    """Steps of the model with the other signals alone, in place of a camera's frame."""
    model_resets: int = 0
    """Number of times that the model was reset within an episode."""
    elapsed_s: float = 0.0
    """Time of the loop's clock from the first tick on, resets excluded."""
    sense_to_act_s: Series = field(default_factory=Series)
    """From asking for the observation until the command was sent, per tick. With a simulator in
    the same process this includes its step."""
    policy_s: Series = field(default_factory=Series)
    """The policy's part of it, per step of the model."""
    lateness_s: Series = field(default_factory=Series)
    """From the grid's time until the tick began, per tick."""
    surprise: Series = field(default_factory=Series)
    """Surprise in nats, per step of the model with an observation."""
    limits: Counter[str] = field(default_factory=Counter[str])
    """Number of actions that each of `Safety`'s limits changed."""
    bad_observations: Counter[str] = field(default_factory=Counter[str])
    """Number of refusals of each signal; `observation` counts failed readings."""
    missing_frames: Counter[str] = field(default_factory=Counter[str])
    """Number of ticks in which each camera had no frame, or one that was too old."""
    listener_fault: str | None = None
    """Reason why a listener, such as the recorder of a log, was dropped; None while all are
    called."""
