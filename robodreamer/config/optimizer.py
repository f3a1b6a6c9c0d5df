"""Settings of the optimizer."""

from dataclasses import dataclass
from typing import ClassVar

from robodreamer.config.settings import NonNegativeFloat, NonNegativeInt, Settings


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Settings):
    """LaProp with adaptive gradient clipping."""

    OPTION: ClassVar[str] = "--algorithm.optimizer."

    learning_rate: NonNegativeFloat = 4e-5
    """Learning rate of all networks after the warm-up."""
    warmup: NonNegativeInt = 1000
    """Updates over which the learning rate rises linearly from 0."""
    actor_start: NonNegativeInt = 0
    """Updates before the actor begins to warm up. With negative rewards an untrained critic
    overrates states that nobody has visited, and an actor that follows it spends most of a short
    run on the way back (RESULTS.md)."""
    clip: NonNegativeFloat = 0.3
    """Largest ratio of gradient norm to parameter norm, per tensor."""
    clip_floor: NonNegativeFloat = 1e-3
    """Smallest parameter norm the clipping assumes."""
    beta1: NonNegativeFloat = 0.9
    """Decay of the momentum."""
    beta2: NonNegativeFloat = 0.999
    """Decay of the mean squared gradient."""
    epsilon: NonNegativeFloat = 1e-20
    """Term that keeps the division by the root of that mean finite."""
