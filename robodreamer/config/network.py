"""Sizes of the networks."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from robodreamer.config.parts import PartsConfig
from robodreamer.config.settings import PositiveFloat, PositiveInt, Settings


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Settings):
    """Sizes of all networks (`--size`).

    Defaults are those of DreamerV3 with 12 million parameters.
    """

    OPTION: ClassVar[str] = "--network."

    deter: PositiveInt = 2048
    """Deterministic state D of the RSSM."""
    hidden: PositiveInt = 256
    """Width of the RSSM's input, prior and posterior layers."""
    stoch: PositiveInt = 32
    """Number of latent variables S."""
    classes: PositiveInt = 16
    """Classes K of each latent variable."""
    blocks: PositiveInt = 8
    """Blocks G of the recurrent unit; divides `deter`."""
    dynamics_layers: PositiveInt = 1
    """Block-linear layers before the gates."""
    prior_layers: PositiveInt = 2
    """Hidden layers of the prior."""
    posterior_layers: PositiveInt = 1
    """Hidden layers of the posterior."""
    units: PositiveInt = 256
    """Width of every MLP: vector encoder and decoder, heads, actor, critic."""
    encoder_layers: PositiveInt = 3
    """Layers of the vector encoder."""
    decoder_layers: PositiveInt = 3
    """Layers of the vector decoder."""
    depth: PositiveInt = 16
    """Channels of the CNNs, times `depth_multipliers`."""
    depth_multipliers: tuple[int, ...] = (2, 3, 4, 4)
    """One factor per CNN stage; every stage halves the picture."""
    kernel: PositiveInt = 5
    """Side of the convolution kernels."""
    decoder_blocks: PositiveInt = 8
    """Blocks of the layer from `deter` to the decoder's first feature map, or as many of them as
    divide its channels."""
    pooling: Literal["max", "stride"] = "max"
    """Operation that halves the picture: 2x2 max-pool (reference) or a stride of 2 (faster)."""
    reward_layers: PositiveInt = 1
    """Hidden layers of the reward head."""
    continue_layers: PositiveInt = 1
    """Hidden layers of the continuation head."""
    critic_layers: PositiveInt = 3
    """Hidden layers of the critic."""
    actor_layers: PositiveInt = 3
    """Hidden layers of the actor."""
    bins: PositiveInt = 255
    """Bins of the two-hot reward and value."""
    bin_limit: PositiveFloat = 20.0
    """The bins are spaced evenly in symlog space between minus and plus this. A small limit makes
    fine bins, which rewards of centimetres need (RESULTS.md)."""
    parts: PartsConfig = field(default_factory=PartsConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("blocks", "decoder_blocks"):
            if self.deter % getattr(self, name):
                raise ValueError(
                    f"--network.deter has to be a multiple of {self.option(name)}, "
                    f"{getattr(self, name)}, got {self.deter}"
                )
        if self.kernel % 2 == 0:  # an even one would shift pictures by half a pixel
            raise ValueError(f"--network.kernel has to be odd, got {self.kernel}")
        if min(self.depth_multipliers, default=0) < 1:
            raise ValueError(
                "--network.depth-multipliers has to be one number or more, each more than 0"
            )
