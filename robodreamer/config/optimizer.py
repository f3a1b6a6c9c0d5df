"""Settings of the optimizer."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from robodreamer.config.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    Settings,
)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Settings):
    """LaProp or Adam, and the clipping of gradients; defaults are DreamerV3's."""

    OPTION: ClassVar[str] = "--algorithm.optimizer."

    method: Literal["laprop", "adam"] = "laprop"
    """LaProp, one for all networks; or Adam, one each for world model, actor and critic."""
    learning_rate: NonNegativeFloat = 4e-5
    """Learning rate of all networks after the warm-up."""
    actor_learning_rate: PositiveFloat | None = None
    """That of the actor, with Adam; by default the same."""
    critic_learning_rate: PositiveFloat | None = None
    """That of the critic, with Adam; by default the same."""
    warmup: NonNegativeInt = 1000
    """Updates over which the learning rate rises linearly from 0."""
    actor_start: NonNegativeInt = 0
    """Updates before the actor begins to warm up. With negative rewards an untrained critic
    overrates states that nobody has visited, and an actor that follows it spends most of a short
    run on the way back (RESULTS.md)."""
    clip: NonNegativeFloat = 0.3
    """Largest ratio of gradient norm to parameter norm, per tensor, with LaProp."""
    clip_floor: NonNegativeFloat = 1e-3
    """Smallest parameter norm that this clipping assumes."""
    global_clip: PositiveFloat = 100.0
    """Largest norm of the gradient of a group of networks, with Adam."""
    weight_decay: NonNegativeFloat = 0.0
    """Share that every parameter loses before a step, with Adam; not times the learning rate."""
    beta1: NonNegativeFloat = 0.9
    """Decay of the momentum."""
    beta2: NonNegativeFloat = 0.999
    """Decay of the mean squared gradient."""
    epsilon: NonNegativeFloat = 1e-20
    """Term that keeps the division by the root of that mean finite."""
