"""Camera networks of World Models, DreamerV1 and V2: convolutions of stride 2 without padding.

Encoder: kernels of 4 pixels, channels depth x multipliers. Decoder: a linear layer to a start map
with four times the encoder's last channels, then transposed convolutions with kernels of 5, the
last two of 6, back to the picture. Pictures of 64x64 and multipliers (1, 2, 4, 8) are the
originals (Ha and Schmidhuber, 2018, appendix A.1; Hafner et al., 2020, appendix A).

The decoder can draw sides that grow from a start map alone: s -> 2s + 3 with a kernel of 5,
2s + 4 with one of 6, which is 64, 80, 96, ... in four stages. Both networks pad a picture of
another size to the smallest such sides, evenly on both ends, and the decoder crops its picture.

Shapes: N flat batch, H height, W width, C channels, E tokens, F features; `*batch` is any leading
axes.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log, prod, tau
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from robodreamer.config import NetworkConfig
from robodreamer.models.layers import ACTIVATIONS, LayerStyle, init_weight, make_norm
from robodreamer.models.pictures import stack_cameras
from robodreamer_deploy.contract import Signal

Output = Literal["linear", "sigmoid"]

STRIDE = 2
KERNEL = 4
LOG_SQRT_TAU = 0.5 * log(tau)  # of the density of a normal with variance 1
ORIGINAL_STYLE = LayerStyle(norm="none", activation="relu", initializer="glorot")
"""Layers of World Models and DreamerV1."""
START_FACTOR = 4  # channels of the start map per channel of the encoder's last stage


class StagePlan(NamedTuple):
    """Sizes of both networks for one size of pictures."""

    multipliers: tuple[int, ...]
    """Channel factor of every encoder stage."""
    start: tuple[int, int]
    """Height and width of the decoder's first feature map."""
    padded: tuple[int, int]
    """Height and width of what the decoder draws and the encoder reads."""
    encoded: tuple[int, int]
    """Height and width of the encoder's last feature map."""
    padding: tuple[int, int, int, int]
    """Pixels beside the picture: left, right, above, below."""


def plan_stages(signal: Signal, multipliers: Sequence[int]) -> StagePlan:
    """Return the most stages, up to one per multiplier, whose convolutions fit into the picture.

    Raises:
        ValueError: A side is too small for one stage.
    """
    sides = signal.shape[:2]
    count = next((n for n in range(len(multipliers), 0, -1) if _last_side(min(sides), n) > 0), 0)
    if not count:
        raise ValueError(
            f"{signal.name} has {sides[0]}x{sides[1]} pixels; one stage of convolutions without "
            f"padding needs sides of {KERNEL} or more, such as 64x64"
        )
    (top, height), (left, width) = (_smallest_decodable(side, count) for side in sides)
    above, before = (height - sides[0]) // 2, (width - sides[1]) // 2
    return StagePlan(
        multipliers=tuple(multipliers[:count]),
        start=(top, left),
        padded=(height, width),
        encoded=(_last_side(height, count), _last_side(width, count)),
        padding=(before, width - sides[1] - before, above, height - sides[0] - above),
    )


def decoder_kernels(count: int) -> tuple[int, ...]:
    """Return the kernel of every decoder stage: 5, and 6 for the last two."""
    return (5,) * (count - 2) + (6,) * min(count, 2)


def _last_side(side: int, count: int) -> int:
    for _ in range(count):
        side = (side - KERNEL) // STRIDE + 1
    return side


def _smallest_decodable(side: int, count: int) -> tuple[int, int]:
    """Return the side of a start map, and the side not below `side` that it grows to."""
    grown = 0  # of a start map of side 0; every pixel of the start adds stride ** count
    for kernel in decoder_kernels(count):
        grown = STRIDE * (grown - 1) + kernel
    step = STRIDE**count
    start = max(1, -(-(side - grown) // step))
    return start, grown + step * start


class ValidCameraEncoder(nn.Module):
    """CNN over all cameras of one size, stacked on channels in sorted order."""

    def __init__(
        self,
        signals: Sequence[Signal],
        network: NetworkConfig,
        style: LayerStyle = ORIGINAL_STYLE,
    ) -> None:
        super().__init__()
        self.names = sorted(signal.name for signal in signals)
        self.plan = plan_stages(signals[0], network.depth_multipliers)
        self.activation = ACTIVATIONS[style.activation]
        self.channels = sum(signal.shape[2] for signal in signals)
        channels = [self.channels, *(network.depth * m for m in self.plan.multipliers)]
        convs = nn.ModuleList(
            nn.Conv2d(before, after, KERNEL, STRIDE) for before, after in pairwise(channels)
        )
        self.convs = cast("Sequence[nn.Conv2d]", convs)
        self.norms = nn.ModuleList(make_norm(style.norm, size) for size in channels[1:])
        for conv in self.convs:
            _initialize(conv, style.initializer, conv.in_channels * KERNEL**2)
        self.size = prod(self.plan.encoded) * channels[-1]

    def forward(
        self,
        observation: Mapping[str, UInt8[Tensor, "*batch H W C"]],
        is_valid: Mapping[str, Bool[Tensor, "*batch"]] | None = None,
    ) -> Tensor:
        """Return the flat feature map (*batch, E), in the order row, column, channel.

        Pixels of cameras that are not valid do not influence it.
        """
        flat = stack_cameras({name: observation[name] for name in self.names}, is_valid)
        return self._features(flat).reshape(*observation[self.names[0]].shape[:-3], -1)

    def _features(self, x: Float[Tensor, "N H W C"]) -> Float[Tensor, "N h w c"]:
        x = F.pad(x.permute(0, 3, 1, 2), self.plan.padding)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = _normalize(norm, conv(x))
            x = self.activation(x)
        return x.permute(0, 2, 3, 1)


class ValidCameraDecoder(nn.Module):
    """CNN that draws all cameras of one size from a row of features.

    With the output `linear` a prediction is a pixel's mean on the encoder's scale,
    value / 255 - 0.5, as in V1 and V2; with `sigmoid` it is value / 255, as in World Models.
    """

    def __init__(
        self,
        signals: Sequence[Signal],
        in_features: int,
        network: NetworkConfig,
        style: LayerStyle = ORIGINAL_STYLE,
        *,
        output: Output = "linear",
    ) -> None:
        super().__init__()
        self.names = [signal.name for signal in signals]
        self.channels = [signal.shape[2] for signal in signals]
        self.plan = plan_stages(signals[0], network.depth_multipliers)
        self.activation = ACTIVATIONS[style.activation]
        self.output = torch.sigmoid if output == "sigmoid" else nn.Identity()
        depths = [network.depth * factor for factor in self.plan.multipliers]
        start_depth = START_FACTOR * depths[-1]
        self.start = nn.Linear(in_features, prod(self.plan.start) * start_depth)
        channels = [start_depth, *reversed(depths[:-1]), sum(self.channels)]
        convs = nn.ModuleList(
            nn.ConvTranspose2d(before, after, kernel, STRIDE)
            for (before, after), kernel in zip(
                pairwise(channels), decoder_kernels(len(depths)), strict=True
            )
        )
        self.convs = cast("Sequence[nn.ConvTranspose2d]", convs)
        self.norms = nn.ModuleList(make_norm(style.norm, size) for size in channels[1:-1])
        _initialize(self.start, style.initializer, in_features)
        for conv in self.convs:  # a pixel drawn meets a quarter of the kernel at stride 2
            taps = conv.kernel_size[0] ** 2 // STRIDE**2
            _initialize(conv, style.initializer, conv.in_channels * taps)

    def forward(self, features: Float[Tensor, "*batch F"]) -> dict[str, Tensor]:
        """Predict pictures (*batch, H, W, C) of every camera."""
        batch_shape = features.shape[:-1]
        x = self.start(features.reshape(-1, features.shape[-1]))
        x = x.unflatten(-1, (*self.plan.start, -1)).permute(0, 3, 1, 2)
        for conv, norm in zip(self.convs[:-1], self.norms, strict=True):
            x = _normalize(norm, conv(x))
            x = self.activation(x)
        x = self._crop(self.convs[-1](x)).permute(0, 2, 3, 1)
        images = self.output(x.float())  # bfloat16 has 8 bits, fewer than pixels
        images = images.reshape(*batch_shape, *images.shape[1:])
        return dict(zip(self.names, images.split(self.channels, -1), strict=True))

    def _crop(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C H W"]:
        left, right, above, below = self.plan.padding
        height, width = self.plan.padded
        return x[..., above : height - below, left : width - right]


def _normalize(norm: nn.Module, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """Apply a norm over channels."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _initialize(
    layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, initializer: str, fan_in: int
) -> None:
    """Fill a layer's weight; its bias becomes zero."""
    if initializer == "glorot":
        nn.init.xavier_uniform_(layer.weight)
    else:
        init_weight(layer.weight, fan_in)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def normal_image_loss(
    prediction: Float[Tensor, "*batch H W C"], target: UInt8[Tensor, "*batch H W C"]
) -> Float[Tensor, "*batch"]:
    """Return minus the log-density of target / 255 - 0.5 under N(prediction, 1), in nats.

    The constant, 0.9189 per element, is part of it, as in V1 and V2.
    """
    error = prediction - (target.float() / 255.0 - 0.5)
    return (0.5 * error.square() + LOG_SQRT_TAU).sum((-3, -2, -1))
