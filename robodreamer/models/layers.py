"""Building blocks of every network: layers and norms.

A `LayerStyle` says which norm, activation and first weights a stack is made of. Biases start at
zero, norm scales at one. Pictures travel channels-last, (N, H, W, C), from end to end.

Shapes: G blocks; `*batch` is any leading axes.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from robodreamer.config import PartsConfig

TRUNCATION_SCALE = 1.1368  # restores unit variance after truncation at two sigma
NORM_EPSILON = 1e-4  # the reference's; 1e-8 would change outputs where activations are small
LAYER_NORM_EPSILON = 1e-3  # DreamerV2's, Keras' default

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "elu": F.elu, "relu": F.relu}


class LayerStyle(NamedTuple):
    """Norm, activation and first weights of a stack of layers; defaults are DreamerV3's."""

    norm: str = "rms"
    activation: str = "silu"
    initializer: str = "truncated_normal"


V3_STYLE = LayerStyle()


def layer_style(parts: PartsConfig) -> LayerStyle:
    """Return the style of all layers but the camera's."""
    return LayerStyle(parts.norm, parts.activation, parts.initializer)


def camera_style(parts: PartsConfig) -> LayerStyle:
    """Return the style of the camera's layers."""
    return LayerStyle(parts.norm, parts.camera_activation, parts.initializer)


def init_weight(weight: Tensor, fan_in: int, scale: float = 1.0) -> None:
    """Fill `weight` with a truncated normal of standard deviation scale * sqrt(1 / fan_in)."""
    with torch.no_grad():
        nn.init.trunc_normal_(weight, std=1.0, a=-2.0, b=2.0)
        weight.mul_(scale * TRUNCATION_SCALE * fan_in**-0.5)


class Linear(nn.Linear):
    """Linear layer that starts as DreamerV3's, or glorot-uniform; `scale` 0 starts it at zero."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        scale: float = 1.0,
        *,
        initializer: str = V3_STYLE.initializer,
    ) -> None:
        super().__init__(in_features, out_features)
        if initializer == "glorot":
            nn.init.xavier_uniform_(self.weight, gain=scale)
        else:
            init_weight(self.weight, in_features, scale)
        nn.init.zeros_(self.bias)


class LayerNorm(nn.LayerNorm):
    """Layer norm over the last axis, in float32 (Ba et al., 2016)."""

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=LAYER_NORM_EPSILON)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis, in float32 (Zhang and Sennrich, 2019)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        """Normalise; the result has the type of `x`."""
        if torch.is_grad_enabled():
            return _NormalizeRMS.apply(x.float(), self.weight).to(x.dtype)
        wide = x.float()
        return (wide * _inverse_rms(wide) * self.weight).to(x.dtype)


class _NormalizeRMS(torch.autograd.Function):
    """RMS normalisation with its gradient by hand: half the passes over memory of autograd's.

    With y = w x / r and r the root mean square of the C elements of x:
    dx = (w g - y/w mean(w g y/w)) / r, where g is the gradient of y.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        inverse = _inverse_rms(x)
        normal = x * inverse
        ctx.save_for_backward(normal, inverse, weight)
        return normal * weight

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        (grad,) = grad_outputs
        normal, inverse, weight = ctx.saved_tensors
        weighted = grad * normal
        mean = (weighted @ weight).unsqueeze(-1) / weight.shape[0]
        grad_x = (grad * weight).addcmul_(normal, mean, value=-1).mul_(inverse)
        return grad_x, weighted.flatten(0, -2).sum(0)


def _inverse_rms(x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch 1"]:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.rsqrt(norm * norm / x.shape[-1] + NORM_EPSILON)


class BlockLinear(nn.Module):
    """Linear layer with a block-diagonal weight: block j maps input slice j to output slice j.

    The initialisation counts the inputs of all blocks as fan-in, as in the reference.
    """

    def __init__(self, in_features: int, out_features: int, blocks: int) -> None:
        super().__init__()
        for size in (in_features, out_features):
            if size % blocks:
                raise ValueError(f"a layer of {size} features cannot be cut into {blocks} blocks")
        self.blocks = blocks
        self.weight = nn.Parameter(
            torch.empty(blocks, in_features // blocks, out_features // blocks)
        )
        self.bias = nn.Parameter(torch.zeros(out_features))
        init_weight(self.weight, in_features)

    def forward(self, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        """Apply each block to its slice."""
        by_block = self.by_block(cut(x.reshape(-1, x.shape[-1]), self.blocks))
        return join(by_block).reshape(*x.shape[:-1], -1)

    def by_block(self, slices: Float[Tensor, "G N i"]) -> Float[Tensor, "G N o"]:
        """Apply each block to its slice, for callers that go on block by block."""
        bias = self.bias.reshape(self.blocks, 1, -1)
        return torch.baddbmm(bias, slices, self.weight)


def cut(x: Float[Tensor, "N I"], blocks: int) -> Float[Tensor, "G N i"]:
    """View the slices of every row, I = G * i, block by block."""
    return x.unflatten(-1, (blocks, -1)).transpose(0, 1)


def join(slices: Float[Tensor, "G N i"]) -> Float[Tensor, "N I"]:
    """Invert `cut`."""
    return slices.transpose(0, 1).flatten(1)


def make_norm(kind: str, size: int) -> nn.Module:
    """Return a norm over the last axis, by its name in `PartsConfig.norm`."""
    norms: dict[str, Callable[[int], nn.Module]] = {
        "rms": RMSNorm,
        "layer": LayerNorm,
        "none": lambda _: nn.Identity(),
    }
    return norms[kind](size)


class Layer(nn.Module):
    """Linear, norm, activation."""

    def __init__(self, in_features: int, out_features: int, style: LayerStyle = V3_STYLE) -> None:
        super().__init__()
        self.linear = Linear(in_features, out_features, initializer=style.initializer)
        self.norm = make_norm(style.norm, out_features)
        self.activation = ACTIVATIONS[style.activation]

    def forward(self, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        """Apply the layer."""
        return self.activate(self.linear(x))

    def activate(self, x: Float[Tensor, "*batch O"]) -> Float[Tensor, "*batch O"]:
        """Apply norm and activation to a product that the caller has made of the weight's parts."""
        return self.activation(self.norm(x))


class MLP(nn.Module):
    """Stack of hidden layers; the output layer, if any, belongs to the head that owns it."""

    def __init__(
        self, in_features: int, units: int, layers: int, style: LayerStyle = V3_STYLE
    ) -> None:
        super().__init__()
        sizes = [in_features] + [units] * layers
        stack = nn.ModuleList(Layer(a, b, style) for a, b in pairwise(sizes))
        self.layers = cast("Sequence[Layer]", stack)

    def forward(self, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        """Apply all layers."""
        for layer in self.layers:
            x = layer(x)
        return x


class ConvStage(nn.Module):
    """Encoder stage: convolve, halve, normalise, activate.

    `max` pooling is the reference's; `stride` convolves at half the resolution and costs a
    quarter.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: bool,
        style: LayerStyle = V3_STYLE,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
        self.norm = make_norm(style.norm, out_channels)
        self.activation = ACTIVATIONS[style.activation]
        init_weight(self.conv.weight, in_channels * kernel**2)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Float[Tensor, "N H W C"]) -> Float[Tensor, "N h w c"]:
        """Halve the picture: h = H / 2, w = W / 2."""
        conv, pad = self.conv, self.conv.kernel_size[0] // 2
        if self.stride:  # SAME padding of an even side puts the odd row and column at the end
            x = F.pad(x, (0, 0, pad - 1, pad, pad - 1, pad)).permute(0, 3, 1, 2)
            x = F.conv2d(x, conv.weight, conv.bias, stride=2)
        else:
            x = F.max_pool2d(conv(x.permute(0, 3, 1, 2)), 2)
        return self.activation(self.norm(x.permute(0, 2, 3, 1)))


class UpsampleConv(nn.Module):
    """Upsampling stage: repeat every pixel 2x2, then convolve, in about a third of the work.

    Each of the four output pixels that belong to one input pixel depends on few input pixels. So
    the kernel's columns that meet the same input are summed first, and one smaller convolution at
    the low resolution yields all four.
    """

    fold: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("fold", _fold_matrix(kernel), persistent=False)
        init_weight(self.weight, in_channels * kernel**2)

    def forward(self, x: Float[Tensor, "N H W C"]) -> Float[Tensor, "N h w c"]:
        """Double the picture: h = 2 H, w = 2 W."""
        fold, channels = self.fold, self.weight.shape[0]
        taps = fold.shape[1]
        # p, q: row and column phase; t, u: taps of the small kernel; y, x: of the large one
        folded = torch.einsum("oiyx,pty,qux->pqoitu", self.weight, fold, fold)
        kernel = folded.reshape(4 * channels, -1, taps, taps)
        y = F.conv2d(x.permute(0, 3, 1, 2), kernel, self.bias.repeat(4), padding=taps // 2)
        count, _, height, width = y.shape
        y = y.permute(0, 2, 3, 1).reshape(count, height, width, 2, 2, channels)
        return y.transpose(2, 3).reshape(count, 2 * height, 2 * width, channels)


def _fold_matrix(kernel: int) -> Float[Tensor, "2 taps k"]:
    """Return a 0/1 matrix that sums the large kernel's columns into the small one's, per phase."""
    reach = (kernel // 2 + 1) // 2
    fold = torch.zeros(2, 2 * reach + 1, kernel)
    for phase in range(2):
        for column in range(kernel):
            source = (phase + column - kernel // 2) // 2
            fold[phase, source + reach, column] = 1.0
    return fold
