"""Decoder: reconstructions of every observed signal, privileged ones included, from latent states.

Its losses shape the latent state; acting does not need it. Predictions of vectors stay in the
network's scale, pictures have black at 0 and white at 1. Losses are sums over a signal's elements,
as in the references, so a picture outweighs a vector by its number of pixels.

Shapes: B batch, T time, D deter, S stoch, K classes, C channels, I inputs; `*batch` is any leading
axes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from math import gcd, prod
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from robodreamer.config import NetworkConfig
from robodreamer.models.encoder import VectorScale, group_by_size, stage_multipliers
from robodreamer.models.layers import (
    ACTIVATIONS,
    MLP,
    BlockLinear,
    Linear,
    UpsampleConv,
    camera_style,
    layer_style,
    make_norm,
)
from robodreamer.models.rssm import State
from robodreamer.models.valid_cnn import ValidCameraDecoder
from robodreamer_deploy.contract import Signal


class VectorDecoder(nn.Module):
    """MLP with a linear output per signal."""

    def __init__(
        self, signals: Sequence[Signal], in_features: int, network: NetworkConfig, layers: int
    ) -> None:
        super().__init__()
        self.signals = sorted(signals, key=lambda signal: signal.name)
        parts = network.parts
        self.likelihood = parts.likelihood
        scales = nn.ModuleList(VectorScale(signal, parts.vectors) for signal in self.signals)
        self.scales = cast("Sequence[VectorScale]", scales)
        self.mlp = MLP(in_features, network.units, layers, layer_style(parts))
        self.outputs = nn.ModuleList(
            Linear(
                network.units,
                prod(s.shape) * max(1, s.num_classes),
                initializer=parts.initializer,
            )
            for s in self.signals
        )

    def forward(self, x: Float[Tensor, "*batch I"]) -> dict[str, Tensor]:
        """Predict scaled values (*batch, ...), or logits (*batch, ..., classes), per signal."""
        x = self.mlp(x)
        return {
            signal.name: output(x).reshape(
                *x.shape[:-1], *signal.shape, *([signal.num_classes] if signal.num_classes else [])
            )
            for signal, output in zip(self.signals, self.outputs, strict=True)
        }

    def losses(
        self, x: Float[Tensor, "*batch I"], observation: Mapping[str, Tensor]
    ) -> dict[str, Float[Tensor, "*batch"]]:
        """Return the loss of every signal, per step."""
        predictions = self(x)
        return {
            signal.name: vector_loss(
                predictions[signal.name], observation[signal.name], signal, scale, self.likelihood
            )
            for signal, scale in zip(self.signals, self.scales, strict=True)
        }

    def in_units(self, predictions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert predictions to measurements in their units, or to the likeliest class."""
        return {
            signal.name: predictions[signal.name].argmax(-1)
            if signal.num_classes
            else scale.inverse(predictions[signal.name])
            for signal, scale in zip(self.signals, self.scales, strict=True)
        }


class CameraDecoder(nn.Module):
    """CNN that draws all cameras of one size; the mirror image of `CameraEncoder`."""

    def __init__(self, signals: Sequence[Signal], stoch_size: int, network: NetworkConfig) -> None:
        super().__init__()
        self.names = [signal.name for signal in signals]
        self.channels = [signal.shape[2] for signal in signals]
        factors = stage_multipliers(signals[0], network)
        scale = 2 ** len(factors)
        depths = [network.depth * factor for factor in factors]
        self.start_shape = (
            signals[0].shape[0] // scale,
            signals[0].shape[1] // scale,
            depths[-1],
        )
        start_size = prod(self.start_shape)
        self.blocks = gcd(network.decoder_blocks, depths[-1])  # each block yields whole channels
        self.deter_map = BlockLinear(network.deter, start_size, self.blocks)
        style = camera_style(network.parts)
        self.activation = ACTIVATIONS[style.activation]
        self.stoch_layer = MLP(stoch_size, 2 * network.units, 1, style)
        self.stoch_map = Linear(2 * network.units, start_size)
        self.start_norm = make_norm(style.norm, depths[-1])
        upward = list(reversed(depths))
        self.convs = nn.ModuleList(
            UpsampleConv(before, after, network.kernel)
            for before, after in zip(upward, [*upward[1:], sum(self.channels)], strict=True)
        )
        self.norms = nn.ModuleList(make_norm(style.norm, depth) for depth in upward[1:])

    def forward(self, state: State) -> dict[str, Float[Tensor, "*batch H W C"]]:
        """Predict pictures in [0, 1]."""
        batch_shape = state.deter.shape[:-1]
        x = self._start_map(state.deter.flatten(0, -2), state.stoch.flatten(0, -3).flatten(1))
        x = self.activation(self.start_norm(x))
        for conv, norm in zip(self.convs[:-1], self.norms, strict=True):
            x = self.activation(norm(conv(x)))
        images = torch.sigmoid(self.convs[-1](x).float())  # bfloat16 has 8 bits, fewer than pixels
        images = images.reshape(*batch_shape, *images.shape[1:])
        return dict(zip(self.names, images.split(self.channels, -1), strict=True))

    def _start_map(
        self, deter: Float[Tensor, "N D"], stoch: Float[Tensor, "N L"]
    ) -> Float[Tensor, "N h w c"]:
        """Add the two small feature maps; the block layer orders (block, row, column, channel)."""
        height, width, channels = self.start_shape
        by_block = self.deter_map(deter).reshape(
            -1, self.blocks, height, width, channels // self.blocks
        )
        from_deter = by_block.permute(0, 2, 3, 1, 4).flatten(-2)
        from_stoch = self.stoch_map(self.stoch_layer(stoch))
        return from_deter + from_stoch.reshape(-1, height, width, channels)


class Decoder(nn.Module):
    """Decoder of all vectors and cameras; its losses are the world model's reconstruction term."""

    def __init__(self, signals: Sequence[Signal], stoch_size: int, network: NetworkConfig) -> None:
        super().__init__()
        vectors = [signal for signal in signals if not signal.is_image]
        self.signals = {signal.name: signal for signal in signals}
        self.vectors = None
        if vectors:
            in_features = stoch_size + network.deter
            self.vectors = VectorDecoder(vectors, in_features, network, network.decoder_layers)
        self.likelihood = network.parts.likelihood
        self.cameras = nn.ModuleDict(
            {
                size: make_camera_decoder(group, stoch_size, network)
                for size, group in group_by_size(signals).items()
            }
        )

    def forward(self, state: State) -> dict[str, Tensor]:
        """Predict every signal from states with any leading axes."""
        predictions = self.vectors(_join(state)) if self.vectors is not None else {}
        for camera in self.cameras.values():
            predictions |= camera(state)
        return predictions

    def in_units(self, predictions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert predictions to measurements in their units, classes, and pictures in [0, 1]."""
        vectors = self.vectors.in_units(predictions) if self.vectors is not None else {}
        pictures = {n: predictions[n].clamp(0, 1) for n, s in self.signals.items() if s.is_image}
        return pictures | vectors

    def vector_losses(
        self, state: State, observation: Mapping[str, Tensor]
    ) -> dict[str, Float[Tensor, "*batch"]]:
        """Return the loss of every vector signal, per step."""
        return self.vectors.losses(_join(state), observation) if self.vectors is not None else {}

    def image_losses(
        self, state: State, observation: Mapping[str, Tensor]
    ) -> dict[str, Float[Tensor, "*batch"]]:
        """Return the loss of every camera, per step."""
        predictions: dict[str, Tensor] = {}
        for camera in self.cameras.values():
            predictions |= camera(state)
        return {
            name: image_loss(p, observation[name], self.likelihood)
            for name, p in predictions.items()
        }


class ValidStateDecoder(nn.Module):
    """CNN without padding that draws all cameras of one size from latent states."""

    def __init__(self, signals: Sequence[Signal], stoch_size: int, network: NetworkConfig) -> None:
        super().__init__()
        in_features, style = stoch_size + network.deter, camera_style(network.parts)
        self.network = ValidCameraDecoder(signals, in_features, network, style)

    def forward(self, state: State) -> dict[str, Float[Tensor, "*batch H W C"]]:
        """Predict pictures with black at 0 and white at 1; nothing bounds them."""
        return {name: centred + 0.5 for name, centred in self.network(_join(state)).items()}


def make_camera_decoder(
    signals: Sequence[Signal], stoch_size: int, network: NetworkConfig
) -> CameraDecoder | ValidStateDecoder:
    """Build the decoder that `network.parts` names, for cameras of one size."""
    if network.parts.camera == "valid":
        return ValidStateDecoder(signals, stoch_size, network)
    return CameraDecoder(signals, stoch_size, network)


def _join(state: State) -> Float[Tensor, "*batch I"]:
    """Return [stoch, deter], in the order of the reference's decoder."""
    return torch.cat([state.stoch.flatten(-2), state.deter], -1)


def vector_loss(
    prediction: Tensor,
    target: Tensor,
    signal: Signal,
    scale: VectorScale,
    likelihood: str = "squared_error",
) -> Float[Tensor, "*batch"]:
    """Return the error to the scaled target, or the cross-entropy of classes, summed."""
    if signal.num_classes:
        log_probs = F.log_softmax(prediction.float(), -1)
        each = -log_probs.gather(-1, target.long().unsqueeze(-1)).squeeze(-1)
    else:
        each = ELEMENT_LOSSES[likelihood](prediction.float() - scale(target))
    batch_dims = target.dim() - len(signal.shape)
    return each.reshape(*target.shape[:batch_dims], -1).sum(-1)


def image_loss(
    prediction: Float[Tensor, "*batch H W C"], target: Tensor, likelihood: str = "squared_error"
) -> Float[Tensor, "*batch"]:
    """Return the error to target / 255, summed over height, width and channels."""
    return ELEMENT_LOSSES[likelihood](prediction - target.float() / 255.0).sum((-3, -2, -1))


ELEMENT_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "squared_error": torch.square,
    "normal": lambda error: 0.5 * error.square() + 0.5 * math.log(2 * math.pi),
}
"""Loss of an element's error, by `PartsConfig.likelihood`; `normal` has unit deviation."""
