"""What happened in one drive, as it is gathered tick by tick; `summary` makes figures of it."""

from array import array
from collections import Counter
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class LoopReport:
    """What happened in one drive, over all its episodes."""

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
    """How often the model had to begin anew within an episode."""
    elapsed_s: float = 0.0
    """Time of the loop's clock from the first tick on, resets excluded."""
    sense_to_act_s: "array[float]" = field(default_factory=lambda: array("d"))
    """From asking for the observation until the command was sent, per tick. With a simulator in
    the same process this includes its step."""
    policy_s: "array[float]" = field(default_factory=lambda: array("d"))
    """The policy's part of it, per step of the model."""
    lateness_s: "array[float]" = field(default_factory=lambda: array("d"))
    """From the grid's time until the tick began, per tick."""
    surprise: "array[float]" = field(default_factory=lambda: array("d"))
    """In nats, per step of the model with an observation."""
    limits: Counter[str] = field(default_factory=Counter[str])
    """How often each of `Safety`'s limits changed an action."""
    bad_observations: Counter[str] = field(default_factory=Counter[str])
    """How often each signal was refused, by key; `observation` counts failed readings."""
    missing_frames: Counter[str] = field(default_factory=Counter[str])
    """How often each camera had no frame, or one that was too old."""
