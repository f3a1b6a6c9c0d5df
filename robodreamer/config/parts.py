"""Settings that say which part is used where: what sets the members of the family apart."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from robodreamer.config.settings import Settings


@dataclass(frozen=True, kw_only=True)
class PartsConfig(Settings):
    """Parts that all networks are made of (`--preset`); sizes are elsewhere.

    Defaults are those of DreamerV3. Sources of all others: docs/family.md.
    """

    OPTION: ClassVar[str] = "--network.parts."

    cell: Literal["block_gru", "gru", "layer_norm_gru"] = "block_gru"
    """Recurrent unit: with block-diagonal matrices (V3), plain (V1), or with a layer norm over its
    gates (V2)."""
    norm: Literal["rms", "layer", "none"] = "rms"
    """Normalisation before every activation."""
    activation: Literal["silu", "elu", "relu"] = "silu"
    """Activation of all layers but the camera's."""
    camera_activation: Literal["silu", "elu", "relu"] = "silu"
    """Activation of the camera's layers."""
    initializer: Literal["truncated_normal", "glorot"] = "truncated_normal"
    """Distribution of the first weights."""
    camera: Literal["same", "valid"] = "same"
    """Convolutions with padding, one per halving (V3), or without, 4x4 at stride 2 (VAE, V1, V2).
    Those read pictures of any size; `same` needs sides that halve evenly."""
    vectors: Literal["symlog", "raw"] = "symlog"
    """Scale in which vectors are read and predicted, after their range."""
    likelihood: Literal["squared_error", "normal"] = "squared_error"
    """Reconstruction loss: the squared error, or the negative log-density of a normal with unit
    deviation, which is half of that and a constant."""
    reward: Literal["twohot", "normal"] = "twohot"
    """Reward head: a distribution over bins, or a normal with unit deviation."""
    critic: Literal["twohot", "normal"] = "twohot"
    """Critic, as `reward`."""
    actor: Literal["normal", "tanh_normal", "truncated_normal"] = "normal"
    """Distribution of continuous actions: normal, which the environment clips (V3), squashed by
    tanh (V1), or truncated at the limits (V2)."""
