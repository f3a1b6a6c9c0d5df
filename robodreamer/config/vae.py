"""Settings of a variational autoencoder."""

from dataclasses import dataclass
from typing import Literal

from robodreamer.config.network import NetworkConfig
from robodreamer.config.parts import PartsConfig
from robodreamer.config.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)


@dataclass(frozen=True, kw_only=True)
class VaeConfig(Settings):
    """Settings of one autoencoder: the pictures, the networks, and when to stop.

    Networks, loss and free nats are those of World Models (Ha and Schmidhuber, 2018), which took
    10,000 episodes, pictures of 64x64 and a learning rate of 1e-4.
    """

    source: str
    """Task whose camera is filmed while it moves at random, or folder of PNG and JPEG pictures."""
    size: tuple[int, int] = (64, 64)
    """Height and width to which pictures are brought."""
    camera: str | None = None
    """Camera of the task; by default the first that it observes."""
    frames: PositiveInt = 10_000
    """Pictures at most; a twentieth is held out, and all figures are about those."""
    latent: PositiveInt = 32
    """Latent numbers per picture."""
    depth: PositiveInt = 32
    """Channels of the networks, times `depth_multipliers`."""
    depth_multipliers: tuple[int, ...] = (1, 2, 4, 8)
    """One factor per stage of the networks; small pictures use as many stages as fit."""
    activation: Literal["relu", "elu", "silu"] = "relu"
    """Activation of the networks."""
    free_nats: NonNegativeFloat = 0.5
    """KL per latent number that costs nothing, on average over a picture's numbers."""
    batch_size: PositiveInt = 100
    """Pictures per update."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    updates: PositiveInt = 3_000
    """Updates after which training ends."""
    minutes: PositiveFloat | None = None
    """Minutes of training after which it ends, if that comes first."""
    seed: NonNegativeInt = 0
    """Seed of weights, episodes, motion and every random draw."""
    threads: PositiveInt = 1
    """CPU threads; another number rounds differently."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Processor; `auto` takes CUDA if torch finds it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.size) < 1:
            raise ValueError(f"--size is a height and a width in pixels, got {self.size}")
        if min(self.depth_multipliers, default=0) < 1:
            raise ValueError("--depth-multipliers has to be one number or more, each more than 0")

    @property
    def network(self) -> NetworkConfig:
        """Sizes and parts of both networks."""
        parts = PartsConfig(
            camera="valid", norm="none", initializer="glorot", camera_activation=self.activation
        )
        return NetworkConfig(
            depth=self.depth, depth_multipliers=self.depth_multipliers, parts=parts
        )
