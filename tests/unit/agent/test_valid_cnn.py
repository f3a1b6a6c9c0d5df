"""Convolutions without padding: sizes, exact layers, padding, validity, initial weights."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal

from robodreamer.config import NetworkConfig
from robodreamer.models.layers import LayerStyle
from robodreamer.models.valid_cnn import (
    Output,
    ValidCameraDecoder,
    ValidCameraEncoder,
    normal_image_loss,
    plan_stages,
)
from robodreamer_deploy.contract import Signal

MULTIPLIERS = (1, 2, 4, 8)
NETWORK = NetworkConfig(depth=2, depth_multipliers=MULTIPLIERS)
WORLD_MODELS = NetworkConfig(depth=32, depth_multipliers=MULTIPLIERS)


def camera(height: int, width: int, channels: int = 3, name: str = "image/front") -> Signal:
    return Signal(name=name, shape=(height, width, channels), dtype="uint8")


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_pictures_of_64_pixels_have_the_sizes_of_world_models_and_dreamer_v1() -> None:
    encoder = ValidCameraEncoder([camera(64, 64)], WORLD_MODELS)
    decoder = ValidCameraDecoder([camera(64, 64)], 32, WORLD_MODELS)
    assert encoder.size == 1024
    kernels = [tuple(conv.weight.shape) for conv in decoder.convs]
    assert kernels == [(1024, 128, 5, 5), (128, 64, 5, 5), (64, 32, 6, 6), (32, 3, 6, 6)]
    assert decoder.start.out_features == 1024
    layers = [*encoder.parameters(), *decoder.parameters()]
    heads = 2 * (1024 * 32 + 32)  # mean and log-variance of the VAE
    assert sum(p.numel() for p in layers) + heads == 4_348_547


@pytest.mark.parametrize(
    ("sides", "padded", "start", "encoded"),
    [
        ((64, 64), (64, 64), (1, 1), (2, 2)),
        ((60, 80), (64, 80), (1, 2), (2, 3)),
        ((96, 96), (96, 96), (3, 3), (4, 4)),
        ((84, 84), (96, 96), (3, 3), (4, 4)),
        ((32, 32), (32, 32), (1, 1), (2, 2)),
        ((45, 64), (48, 64), (3, 5), (4, 6)),
        ((4, 5), (6, 6), (1, 1), (2, 2)),
    ],
)
def test_pictures_are_padded_to_the_smallest_sides_that_can_be_drawn(
    sides: tuple[int, int],
    padded: tuple[int, int],
    start: tuple[int, int],
    encoded: tuple[int, int],
) -> None:
    plan = plan_stages(camera(*sides), MULTIPLIERS)
    assert (plan.padded, plan.start, plan.encoded) == (padded, start, encoded)


@pytest.mark.parametrize(("side", "count"), [(4, 1), (9, 1), (10, 2), (22, 3), (45, 3), (46, 4)])
def test_there_are_as_many_stages_as_the_picture_has_pixels_for(side: int, count: int) -> None:
    assert plan_stages(camera(side, 200), MULTIPLIERS).multipliers == MULTIPLIERS[:count]


@given(
    height=st.integers(4, 130),
    width=st.integers(4, 130),
    multipliers=st.lists(st.integers(1, 3), min_size=1, max_size=5),
)
def test_what_the_encoder_reads_the_decoder_draws(
    height: int, width: int, multipliers: list[int]
) -> None:
    network = NetworkConfig(depth=1, depth_multipliers=tuple(multipliers))
    signal = camera(height, width)
    with torch.device("meta"):
        encoder = ValidCameraEncoder([signal], network)
        decoder = ValidCameraDecoder([signal], 5, network)
        image = torch.zeros(2, height, width, 3, dtype=torch.uint8)
        assert encoder({signal.name: image}).shape == (2, encoder.size)
        assert decoder(torch.zeros(2, 5))[signal.name].shape == (2, height, width, 3)
    left, right, above, below = decoder.plan.padding
    assert 0 <= right - left <= 1
    assert 0 <= below - above <= 1
    assert (height + above + below, width + left + right) == decoder.plan.padded


@pytest.mark.parametrize("sides", [(3, 64), (64, 2)])
def test_a_picture_too_small_for_one_stage_is_refused_with_what_fits(
    sides: tuple[int, int],
) -> None:
    with pytest.raises(ValueError, match=rf"^image/front has {sides[0]}x{sides[1]} pixels; .* 4 "):
        plan_stages(camera(*sides), MULTIPLIERS)


def plain_layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Normalise over channels (axis 1) with the epsilon of Keras."""
    mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    y = (x - mean) / torch.sqrt(variance + 1e-3)
    return y * weight.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)


@pytest.mark.parametrize(("activation", "plain"), [("relu", F.relu), ("elu", F.elu)])
def test_the_encoder_is_padding_convolutions_norms_and_activations(
    activation: str, plain: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    torch.manual_seed(0)
    encoder = ValidCameraEncoder(
        [camera(60, 80)], NETWORK, LayerStyle("layer", activation, "glorot")
    )
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    image = pictures(2, 3, 60, 80, 3)
    x = torch.zeros(6, 3, 64, 80)
    x[:, :, 2:62] = image.flatten(0, 1).permute(0, 3, 1, 2) / 255 - 0.5
    for conv, norm in zip(encoder.convs, encoder.norms, strict=True):
        assert isinstance(norm, torch.nn.LayerNorm)
        x = F.conv2d(x, conv.weight, conv.bias, stride=2)
        x = plain(plain_layer_norm(x, norm.weight, norm.bias))
    expected = x.permute(0, 2, 3, 1).reshape(2, 3, -1)
    tokens = encoder({"image/front": image})
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


def spread(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return a transposed convolution of stride 2, pixel by pixel: (H, W, I) to (h, w, O)."""
    height, width, _ = x.shape
    size = kernel.shape[-1]
    out = np.zeros((2 * (height - 1) + size, 2 * (width - 1) + size, kernel.shape[1]))
    for row in range(height):
        for column in range(width):
            mark = np.einsum("i,ioyx->yxo", x[row, column], kernel)
            out[2 * row : 2 * row + size, 2 * column : 2 * column + size] += mark
    return out


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_the_decoder_spreads_a_start_map_and_crops_the_picture(output: Output) -> None:
    torch.manual_seed(0)
    network = NetworkConfig(depth=1, depth_multipliers=(2, 3))
    decoder = ValidCameraDecoder(
        [camera(17, 18)], 4, network, LayerStyle("none", "elu", "glorot"), output=output
    )
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    features = torch.randn(3, 4)
    weights = [[p.detach().numpy() for p in conv.parameters()] for conv in decoder.convs]
    for row, drawn in zip(features, decoder(features)["image/front"], strict=True):
        x = decoder.start(row).detach().numpy().astype(np.float64).reshape(2, 2, 12)
        x = spread(x, weights[0][0]) + weights[0][1]
        x = np.where(x > 0, x, np.expm1(x))
        x = spread(x, weights[1][0]) + weights[1][1]
        x = x[1:18, 1:19]  # of 20 x 20: one and two pixels too many, the odd one at the end
        x = 1 / (1 + np.exp(-x)) if output == "sigmoid" else x
        np.testing.assert_allclose(drawn.detach().numpy(), x, atol=1e-4, rtol=1e-4)


def test_cameras_are_stacked_on_channels_and_drawn_apart() -> None:
    signals = [camera(64, 64), camera(64, 64, 1, "image/wrist")]
    encoder = ValidCameraEncoder(signals, NETWORK)
    decoder = ValidCameraDecoder(signals, 7, NETWORK)
    assert encoder.convs[0].in_channels == 4
    drawn = decoder(torch.zeros(2, 5, 7))
    assert {name: tuple(image.shape) for name, image in drawn.items()} == {
        "image/front": (2, 5, 64, 64, 3),
        "image/wrist": (2, 5, 64, 64, 1),
    }


def test_pixels_of_a_camera_that_is_not_valid_count_as_grey() -> None:
    signals = [camera(64, 64), camera(64, 64, 1, "image/wrist")]
    encoder = ValidCameraEncoder(signals, NETWORK)
    first = {"image/front": pictures(2, 64, 64, 3), "image/wrist": pictures(2, 64, 64, 1)}
    second = {**first, "image/wrist": pictures(2, 64, 64, 1, seed=1)}
    is_valid = {"image/front": torch.tensor([True, True])}
    lost = {**is_valid, "image/wrist": torch.tensor([False, True])}
    tokens, others = encoder(first, lost), encoder(second, lost)
    assert torch.equal(tokens[0], others[0])
    assert not torch.equal(tokens[1], others[1])
    torch.testing.assert_close(tokens[1], encoder(first)[1])


@pytest.mark.parametrize("initializer", ["glorot", "truncated_normal"])
def test_initial_weights_have_the_published_spread(initializer: str) -> None:
    torch.manual_seed(0)
    style = LayerStyle("none", "relu", initializer)
    encoder = ValidCameraEncoder([camera(64, 64)], WORLD_MODELS, style)
    decoder = ValidCameraDecoder([camera(64, 64)], 32, WORLD_MODELS, style)
    conv, drawn = encoder.convs[2], decoder.convs[1]
    expected = {
        "glorot": (2 / (16 * 64 + 16 * 128), 2 / (25 * 128 + 25 * 64)),
        "truncated_normal": (1 / (16 * 64), 1 / (6 * 128)),
    }[initializer]
    for layer, variance in zip((conv, drawn), expected, strict=True):
        assert layer.weight.var().item() / variance == pytest.approx(1.0, rel=0.03)
        assert not any(p.any() for name, p in layer.named_parameters() if name == "bias")


def test_the_loss_is_the_whole_negative_log_density() -> None:
    prediction, target = torch.randn(2, 3, 8, 9, 3), pictures(2, 3, 8, 9, 3)
    expected = -Normal(prediction, 1.0).log_prob(target / 255 - 0.5).sum((-3, -2, -1))
    torch.testing.assert_close(normal_image_loss(prediction, target), expected)
