"""Building blocks: the fast paths compute what the plain ones do."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robodreamer.models.cells import BlockGRU
from robodreamer.models.layers import (
    MLP,
    NORM_EPSILON,
    BlockLinear,
    ConvStage,
    Layer,
    LayerStyle,
    Linear,
    RMSNorm,
    UpsampleConv,
)


def randomise(module: torch.nn.Module, seed: int = 0) -> None:
    """Fill all parameters with noise, biases and scales included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(
    kernel=st.sampled_from([1, 3, 5, 7]),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_upsampling_in_the_kernel_is_upsampling_the_picture(
    kernel: int, height: int, width: int, channels: tuple[int, int]
) -> None:
    layer = UpsampleConv(*channels, kernel)
    randomise(layer)
    x = noise(2, height, width, channels[0]).requires_grad_()
    repeated = x.repeat_interleave(2, 1).repeat_interleave(2, 2).permute(0, 3, 1, 2)
    plain = F.conv2d(repeated, layer.weight, layer.bias, padding=kernel // 2).permute(0, 2, 3, 1)
    fast = layer(x)
    assert torch.allclose(fast, plain, atol=1e-4)
    weights = noise(*plain.shape, seed=1)
    inputs = (x, layer.weight, layer.bias)
    expected = torch.autograd.grad((weights * plain).sum(), inputs)
    found = torch.autograd.grad((weights * fast).sum(), inputs)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("blocks", [1, 2, 8])
def test_a_block_layer_is_a_dense_one_with_zeros_off_its_blocks(blocks: int) -> None:
    layer = BlockLinear(16, 24, blocks)
    randomise(layer)
    x = noise(5, 3, 16)
    dense = torch.block_diag(*layer.weight.detach())
    assert torch.allclose(layer(x), x @ dense + layer.bias, atol=1e-5)


def test_features_that_blocks_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="a layer of 10 features cannot be cut into 4 blocks"):
        BlockLinear(10, 8, 4)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_recurrent_core_computes_what_every_block_would_from_its_own_inputs(
    layers: int,
) -> None:
    blocks, deter_size = 4, 12
    core = BlockGRU(deter_size, 6, 2, hidden=5, blocks=blocks, layers=layers)
    randomise(core)
    deter, stoch, action = noise(3, deter_size), noise(3, 6, seed=1), 3 * noise(3, 2, seed=2)
    weights = core.cut_weights()
    fast = core(deter, stoch, core.project_action(action, weights), weights)
    assert torch.allclose(fast, plain_core(core, deter, stoch, action), atol=1e-5)


def plain_core(core: BlockGRU, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
    """Compute one step block by block, every block with a copy of all inputs."""
    blocks = core.gates.blocks
    shared = torch.cat(
        [
            core.deter_input(deter),
            core.stoch_input(stoch),
            core.action_input(action / action.abs().clamp(min=1.0)),
        ],
        -1,
    )
    slices = [torch.cat([part, shared], -1) for part in deter.chunk(blocks, -1)]
    x = torch.cat(slices, -1)
    for layer, norm in zip(core.hidden, core.hidden_norms, strict=True):
        x = F.silu(norm(layer(x)))
    new = []
    for gates, old in zip(core.gates(x).chunk(blocks, -1), deter.chunk(blocks, -1), strict=True):
        reset, candidate, update = gates.chunk(3, -1)
        update = torch.sigmoid(update - 1)
        new.append(update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * old)
    return torch.cat(new, -1)


def test_the_divisor_of_a_large_action_carries_no_gradient() -> None:
    core = BlockGRU(8, 4, 2, hidden=5, blocks=2, layers=1)
    action = torch.tensor([[4.0, 0.5]], requires_grad=True)
    clipped = torch.tensor([[1.0, 0.5]], requires_grad=True)
    weights = core.cut_weights()
    (found,) = torch.autograd.grad(core.project_action(action, weights).sum(), action)
    (inside,) = torch.autograd.grad(core.project_action(clipped, weights).sum(), clipped)
    assert found.all()
    assert torch.allclose(found, inside / torch.tensor([4.0, 1.0]))


def test_norms_have_unit_power_over_channels_and_keep_the_type() -> None:
    norm = RMSNorm(64)
    x = 100 * noise(5, 64)
    assert torch.allclose(norm(x).square().mean(-1), torch.ones(5), atol=1e-4)
    assert norm(x.bfloat16()).dtype == torch.bfloat16
    assert torch.equal(norm(torch.zeros(1, 64)), torch.zeros(1, 64))


def test_a_norms_gradient_is_that_of_its_formula() -> None:
    norm = RMSNorm(6)
    randomise(norm)
    x = noise(4, 3, 6).requires_grad_()
    plain = x / torch.sqrt(x.square().mean(-1, keepdim=True) + NORM_EPSILON) * norm.weight
    assert torch.allclose(norm(x), plain, atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(norm(x), plain, atol=1e-6)
    weights, inputs = noise(4, 3, 6, seed=1), (x, norm.weight)
    expected = torch.autograd.grad((weights * plain).sum(), inputs)
    found = torch.autograd.grad((weights * norm(x)).sum(), inputs)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride", "rows"),
    [(3, False, [3, 4]), (5, False, [3, 4, 5]), (3, True, [3, 4]), (5, True, [3, 4])],
)
def test_an_encoder_stage_halves_the_picture_around_its_centre(
    kernel: int, stride: bool, rows: list[int]
) -> None:
    stage = ConvStage(1, 16, kernel, stride=stride)
    randomise(stage)
    assert stage(noise(3, 8, 12, 1)).shape == (3, 4, 6, 16)
    x = torch.zeros(1, 16, 16, 1)
    x[0, 8, 8] = 1.0  # reaches the outputs whose kernels lie over it
    changed = (stage(x) != stage(torch.zeros_like(x))).any(-1)[0]
    assert changed.any(1).nonzero().flatten().tolist() == rows
    assert changed.any(0).nonzero().flatten().tolist() == rows


def test_a_layer_of_scale_zero_starts_at_zero() -> None:
    assert not Linear(8, 4, scale=0.0).weight.any()
    assert Linear(8, 4).weight.any()


NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "rms": lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-4).sqrt(),
    "layer": lambda x: (
        (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-3).sqrt()
    ),
    "none": lambda x: x,
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "elu": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
    "relu": lambda x: x.clamp(min=0),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_layer_normalises_and_activates_as_its_style_says(norm: str, activation: str) -> None:
    layer = Layer(6, 8, LayerStyle(norm, activation))
    randomise(layer)
    x = 0.1 * noise(5, 6, seed=1)  # small, so that the epsilon of a norm shows
    product = x @ layer.linear.weight.T + layer.linear.bias
    scaled = NORMS[norm](product)
    if norm != "none":
        scaled = scaled * layer.norm.get_parameter("weight")
    if norm == "layer":
        scaled = scaled + layer.norm.get_parameter("bias")
    expected = ACTIVATIONS[activation](scaled)
    assert torch.allclose(layer(x), expected, rtol=1e-4, atol=1e-6)
    assert torch.allclose(layer.activate(product), expected, rtol=1e-4, atol=1e-6)


def test_the_parameters_of_the_default_style_keep_their_names() -> None:
    names = {f"layers.{i}.{name}" for i in range(2) for name in ("linear.weight", "linear.bias")}
    norms = {f"layers.{i}.norm.weight" for i in range(2)}
    assert set(MLP(4, 5, 2).state_dict()) == names | norms
    assert set(MLP(4, 5, 2, LayerStyle(norm="none")).state_dict()) == names


def test_glorot_weights_are_uniform_up_to_their_limit() -> None:
    torch.manual_seed(0)
    limit = math.sqrt(6 / (300 + 500))
    weight = Linear(300, 500, initializer="glorot").weight
    assert weight.abs().max().item() == pytest.approx(limit, rel=1e-3)
    assert weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.01)
    assert not Linear(300, 500, scale=0.0, initializer="glorot").weight.any()
    (layer,) = MLP(300, 500, 1, LayerStyle(initializer="glorot")).layers
    assert layer.linear.weight.abs().max().item() == pytest.approx(limit, rel=1e-3)
