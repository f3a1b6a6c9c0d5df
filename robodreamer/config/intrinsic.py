"""Settings of the intrinsic reward."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from robodreamer.config.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)


@dataclass(frozen=True, kw_only=True)
class IntrinsicConfig(Settings):
    """Reward that the agent pays itself in imagination for states that it cannot predict."""

    OPTION: ClassVar[str] = "--algorithm.intrinsic."

    kind: Literal["none", "surprise", "disagreement"] = "none"
    """Measure of novelty: `surprise`, the divergence of posterior from prior, predicted by a head;
    or `disagreement` of an ensemble about the next latent (Plan2Explore)."""
    scale: NonNegativeFloat = 0.0
    """Intrinsic reward of an average state."""
    until: NonNegativeInt = 0
    """Updates over which it falls to 0, linearly; 0 keeps it."""
    momentum: NonNegativeFloat = 0.99
    """Decay of the running mean of its magnitude, by which it is divided; 1 keeps that at 1."""
    members: PositiveInt = 10
    """Predictors of the ensemble."""
    layers: PositiveInt = 4
    """Hidden layers of every predictor."""
    learning_rate: PositiveFloat = 3e-4
    """Learning rate of the predictors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.kind == "none") != (self.scale == 0):
            raise ValueError(
                f"--algorithm.intrinsic.kind {self.kind} and --algorithm.intrinsic.scale "
                f"{self.scale:g} contradict each other; give both, such as surprise and 0.1"
            )
        if self.momentum > 1:
            raise ValueError(f"{self.option('momentum')} is 0 to 1, got {self.momentum:g}")
        if self.kind == "disagreement" and self.members < 2:
            raise ValueError(f"{self.option('members')} is 2 or more: one cannot disagree")
