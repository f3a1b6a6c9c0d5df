"""Encoder: any number of cameras and vectors, fused into one row of tokens.

Its inputs are raw observations as the contract declares them, so that all preprocessing is part of
the network and of the exported graph. Vectors are scaled by the contract's range and compressed by
symlog, class indices become one-hot. Cameras of one size share a CNN, stacked on channels; cameras
of different sizes have one each.

With `camera_dropout` the row of tokens ends in a bit per camera, `is_valid/<camera>`. Where a bit
is False, the CNN reads grey, the middle of the pixels' range, in place of the picture.

Shapes: N flat batch, H height, W width, C channels, E tokens; `*batch` is any leading axes.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from robodreamer.config import NetworkConfig
from robodreamer.models.distributions import symexp, symlog
from robodreamer.models.layers import MLP, ConvStage, camera_style, layer_style
from robodreamer.models.pictures import stack_cameras
from robodreamer.models.valid_cnn import ValidCameraEncoder
from robodreamer_deploy.contract import Signal, validity_name

MIN_SIDE, MAX_SIDE = 3, 16  # of the last feature map; the reference's is 4 (64 pixels, 4 stages)


class VectorScale(nn.Module):
    """Map between a measurement's own unit and the network's.

    A signal's range in the contract, if it has one, becomes [-1, 1] first, so that centimetres
    weigh as much as radians; without a range the value is not scaled, as in the reference. Then it
    is compressed by symlog, or left `raw`.
    """

    center: Tensor
    half_range: Tensor

    def __init__(self, signal: Signal, transform: str = "symlog") -> None:
        super().__init__()
        self.is_compressed = transform == "symlog"
        low, high = torch.tensor(-1.0), torch.tensor(1.0)
        if signal.low is not None and signal.high is not None:
            low, high = (torch.tensor(v).reshape(signal.shape) for v in (signal.low, signal.high))
        self.register_buffer("center", (high + low) / 2, persistent=False)
        self.register_buffer("half_range", (high - low) / 2, persistent=False)

    def forward(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Convert a measurement (*batch, ...) to the scale of inputs and predictions."""
        scaled = (value - self.center) / self.half_range
        return symlog(scaled) if self.is_compressed else scaled

    def inverse(self, scaled: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Convert a prediction to the signal's unit."""
        value = symexp(scaled) if self.is_compressed else scaled
        return value * self.half_range + self.center


class VectorInput(nn.Module):
    """Flat row of an observation's vectors, sorted by name.

    A signal becomes zeros if any of its elements is marked as missing: -inf for a measurement, -1
    for a class, as in the reference.
    """

    def __init__(self, signals: Sequence[Signal], transform: str = "symlog") -> None:
        super().__init__()
        self.signals = sorted(signals, key=lambda signal: signal.name)
        self.scales = nn.ModuleList(VectorScale(signal, transform) for signal in self.signals)
        self.size = sum(prod(s.shape) * max(1, s.num_classes) for s in self.signals)

    def forward(self, observation: Mapping[str, Tensor]) -> Float[Tensor, "*batch V"]:
        """Concatenate scaled measurements and one-hot classes."""
        rows = []
        for signal, scale in zip(self.signals, self.scales, strict=True):
            value = observation[signal.name]
            batch_shape = value.shape[: value.dim() - len(signal.shape)]
            flat = value.reshape(*batch_shape, -1)
            if signal.num_classes:
                is_missing = (flat < 0).any(-1, keepdim=True)
                row = F.one_hot(flat.clamp(min=0).long(), signal.num_classes).flatten(-2).float()
            else:
                is_missing = torch.isneginf(flat).any(-1, keepdim=True)
                row = scale(value.float()).reshape(*batch_shape, -1)
            rows.append(row.masked_fill(is_missing, 0.0))  # masked, because 0 * inf is NaN
        return torch.cat(rows, -1)


class CameraEncoder(nn.Module):
    """CNN over all cameras of one size, stacked on channels in sorted order."""

    def __init__(self, signals: Sequence[Signal], network: NetworkConfig) -> None:
        super().__init__()
        self.names = sorted(signal.name for signal in signals)
        height, width, _ = signals[0].shape
        multipliers = stage_multipliers(signals[0], network)
        self.channels = sum(signal.shape[2] for signal in signals)
        channels = [self.channels, *(network.depth * factor for factor in multipliers)]
        self.stages = nn.Sequential(
            *(
                ConvStage(
                    before,
                    after,
                    network.kernel,
                    stride=network.pooling == "stride",
                    style=camera_style(network.parts),
                )
                for before, after in pairwise(channels)
            )
        )
        scale = 2 ** len(multipliers)
        self.size = (height // scale) * (width // scale) * channels[-1]

    def forward(
        self,
        observation: Mapping[str, UInt8[Tensor, "*batch H W C"]],
        is_valid: Mapping[str, Bool[Tensor, "*batch"]] | None = None,
    ) -> Tensor:
        """Return the flat feature map (*batch, E), in the order row, column, channel.

        Pixels of cameras that are not valid do not influence it.
        """
        flat = stack_cameras({name: observation[name] for name in self.names}, is_valid)
        return self.stages(flat).reshape(*observation[self.names[0]].shape[:-3], -1)


class Encoder(nn.Module):
    """Encoder of all inputs: tokens are [vector part, camera parts, bits of the cameras].

    There are bits only if `reads_validity`.
    """

    def __init__(
        self, signals: Sequence[Signal], network: NetworkConfig, *, reads_validity: bool = False
    ) -> None:
        super().__init__()
        vectors = [signal for signal in signals if not signal.is_image]
        self.size = 0
        self.vectors = None
        if vectors:
            vector_input = VectorInput(vectors, network.parts.vectors)
            style = layer_style(network.parts)
            mlp = MLP(vector_input.size, network.units, network.encoder_layers, style)
            self.vectors = nn.Sequential(vector_input, mlp)
            self.size += network.units
        cameras = nn.ModuleDict(
            {
                size: make_camera_encoder(group, network)
                for size, group in group_by_size(signals).items()
            }
        )
        self.cameras = cast("Mapping[str, CameraEncoder | ValidCameraEncoder]", cameras)
        self.size += sum(camera.size for camera in self.cameras.values())
        images = sorted(signal.name for signal in signals if signal.is_image)
        self.validity = {name: validity_name(name) for name in images if reads_validity}
        """Name of every camera's bit, by signal; empty if none is read."""
        self.size += len(self.validity)
        if not self.size:
            raise ValueError("nothing to observe: the task declares no input signal")

    def scale_of(self, name: str) -> VectorScale:
        """Return the scale in which a measurement, which is no picture, is read."""
        assert self.vectors is not None, f"{name} among pictures alone"
        inputs = cast("VectorInput", self.vectors[0])
        place = [signal.name for signal in inputs.signals].index(name)
        return cast("VectorScale", inputs.scales[place])

    def forward(self, observation: Mapping[str, Tensor]) -> Float[Tensor, "*batch E"]:
        """Encode raw observations; every signal of the contract has to be there.

        A camera without a bit is valid. A camera that is not valid still has a picture, whose
        pixels are ignored.
        """
        is_valid = self._read_validity(observation) if self.validity else None
        parts = [self.vectors(observation)] if self.vectors is not None else []
        parts += [camera(observation, is_valid) for camera in self.cameras.values()]
        if is_valid is not None:
            parts.append(torch.stack([*is_valid.values()], -1).to(parts[-1].dtype))
        return torch.cat(parts, -1)

    def _read_validity(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the bit of every camera (*batch,), sorted by name."""
        bits = {image: observation.get(bit) for image, bit in self.validity.items()}
        return {
            image: torch.ones_like(observation[image][..., 0, 0, 0], dtype=torch.bool)
            if bit is None
            else bit
            for image, bit in bits.items()
        }


def make_camera_encoder(
    signals: Sequence[Signal], network: NetworkConfig
) -> CameraEncoder | ValidCameraEncoder:
    """Build the encoder that `network.parts` names, for cameras of one size."""
    if network.parts.camera == "valid":
        return ValidCameraEncoder(signals, network, camera_style(network.parts))
    return CameraEncoder(signals, network)


def group_by_size(signals: Sequence[Signal]) -> dict[str, list[Signal]]:
    """Group image signals as `{"64x64": [...]}`; sorted by name, groups by their first camera."""
    groups: dict[str, list[Signal]] = {}
    for signal in sorted(signals, key=lambda signal: signal.name):
        if signal.is_image:
            groups.setdefault(f"{signal.shape[0]}x{signal.shape[1]}", []).append(signal)
    return groups


def stage_multipliers(signal: Signal, network: NetworkConfig) -> tuple[int, ...]:
    """Return one channel factor per CNN stage: as many stages as leave a side of 3 to 16.

    Raises:
        ValueError: No number of halvings leaves such a side; the message names sides that fit.
    """
    sides = signal.shape[:2]
    count = _num_stages(sides, len(network.depth_multipliers))
    scale = 2 ** max(1, count)
    lowest, highest = MIN_SIDE * scale, MAX_SIDE * scale
    if any(side % scale or not lowest <= side <= highest for side in sides):
        nearest = _nearest_sides(sides, len(network.depth_multipliers))
        raise ValueError(
            f"{signal.name} has {sides[0]}x{sides[1]} pixels; {max(1, count)} CNN stages need "
            f"sides that are multiples of {scale} from {lowest} to {highest}, "
            f"such as {nearest[0]}x{nearest[1]}"
        )
    return network.depth_multipliers[:count]


def _num_stages(sides: Sequence[int], most: int) -> int:
    """Return the number of times that the smaller side can be halved before it is too small."""
    return next((n for n in range(most, 0, -1) if min(sides) // 2**n >= MIN_SIDE), 0)


def _nearest_sides(sides: Sequence[int], most: int) -> tuple[int, ...]:
    """Return sides near the given ones that the CNN accepts."""
    count = max(1, _num_stages(sides, most))
    scale = 2**count
    nearest = tuple(scale * min(max(round(side / scale), MIN_SIDE), MAX_SIDE) for side in sides)
    if _num_stages(nearest, most) == count:
        return nearest
    return _nearest_sides(nearest, most)  # rounding up made room for one more stage
