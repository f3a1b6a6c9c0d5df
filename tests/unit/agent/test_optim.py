"""LaProp and Adam: their formulas, their warm-up, and saving and restoring them."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robodreamer.config import OptimizerConfig
from robodreamer.learning.optim import Adam, LaProp

CONFIG = OptimizerConfig(learning_rate=0.1, warmup=0)
SHAPES = ((4, 3), (5,), (2, 3, 2), (1,))


def make_parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [
        nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
        for shape in SHAPES
    ]


def set_gradients(parameters: list[nn.Parameter], step: int) -> None:
    """Give every parameter a gradient that is small, large or zero by turns."""
    generator = torch.Generator().manual_seed(100 + step)
    for i, parameter in enumerate(parameters):
        size = (1e-3, 1.0, 1e3, 0.0)[(i + step) % 4]
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.grad = size * noise


def plain_step(
    parameter: Tensor, gradient: Tensor, nu: Tensor, mu: Tensor, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Take one step on one tensor, as the formulas are written."""
    limit = CONFIG.clip * max(CONFIG.clip_floor, float(parameter.norm()))
    gradient = gradient / max(1.0, float(gradient.norm()) / limit)
    nu = CONFIG.beta2 * nu + (1 - CONFIG.beta2) * gradient**2
    scaled = gradient / (torch.sqrt(nu / (1 - CONFIG.beta2**step)) + CONFIG.epsilon)
    mu = CONFIG.beta1 * mu + (1 - CONFIG.beta1) * scaled
    return parameter - CONFIG.learning_rate * mu / (1 - CONFIG.beta1**step), nu, mu


def test_many_tensors_at_once_step_as_one_by_one() -> None:
    parameters = make_parameters()
    optimizer = LaProp(parameters, CONFIG)
    plain = [(p.detach().clone(), torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    for step in range(1, 9):
        set_gradients(parameters, step)
        gradients = [p.grad.clone() for p in parameters if p.grad is not None]
        norm = optimizer.step()
        plain = [
            plain_step(value, gradient, nu, mu, step)
            for (value, nu, mu), gradient in zip(plain, gradients, strict=True)
        ]
        assert math.isclose(float(norm), math.sqrt(sum(float(g.square().sum()) for g in gradients)))
    for parameter, (expected, _, _) in zip(parameters, plain, strict=True):
        assert torch.allclose(parameter.detach(), expected, rtol=1e-9, atol=1e-12)


def test_the_learning_rate_rises_from_zero_and_stays() -> None:
    optimizer = LaProp(make_parameters(), OptimizerConfig(learning_rate=0.1, warmup=4))
    rates = []
    for _ in range(6):
        rates.append(optimizer.learning_rate)
        optimizer.step()
    assert rates == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1, 0.1])


def test_the_first_step_of_a_warm_up_moves_nothing_but_the_averages() -> None:
    parameters = make_parameters()
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = LaProp(parameters, OptimizerConfig(learning_rate=0.1, warmup=4))
    set_gradients(parameters, 1)
    optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(parameters, before, strict=True))
    assert any(square.any() for square in optimizer.squares)
    set_gradients(parameters, 2)
    optimizer.step()
    assert not any(torch.equal(p, old) for p, old in zip(parameters[:3], before[:3], strict=True))


def test_the_actor_waits_and_then_moves_like_the_others() -> None:
    config = OptimizerConfig(learning_rate=0.1, warmup=2, actor_start=4)
    others, actor = make_parameters(), make_parameters()
    optimizer = LaProp([*others, *actor], config, actor)
    shares = []
    for step in range(9):
        before = [parameter.detach().clone() for parameter in (others[0], actor[0])]
        for parameters in (others, actor):
            set_gradients(parameters, 4 * step)
        optimizer.step()
        moved, acted = (
            float((parameter.detach() - old).norm())
            for parameter, old in zip((others[0], actor[0]), before, strict=True)
        )
        shares.append(acted / moved if moved else 0.0)
    assert shares == pytest.approx([0, 0, 0, 0, 0, 0.5, 1, 1, 1], rel=0.05)


def test_a_huge_gradient_moves_no_further_than_a_small_one() -> None:
    distances = []
    for size in (1e-6, 1e6):
        (parameter, *_) = make_parameters()
        before = parameter.detach().clone()
        parameter.grad = size * torch.ones_like(parameter)
        LaProp([parameter], CONFIG).step()
        distances.append((parameter - before).abs().max().item())
    assert distances == pytest.approx([CONFIG.learning_rate] * 2, rel=1e-6)


def test_parameters_without_gradient_stay_and_frozen_ones_are_left_out() -> None:
    moved, still, frozen = make_parameters()[:3]
    frozen.requires_grad_(False)  # noqa: FBT003
    before = still.detach().clone()
    optimizer = LaProp([moved, still, frozen], CONFIG)
    moved.grad = torch.ones_like(moved)
    optimizer.step()
    assert len(optimizer.parameters) == 2
    assert torch.equal(still, before)
    optimizer.zero_grad()
    assert moved.grad is None


ADAM = OptimizerConfig(method="adam", warmup=0, global_clip=20.0, weight_decay=1e-3, epsilon=1e-3)


def torch_adam_step(theirs: torch.optim.Adam, parameters: list[nn.Parameter], step: int) -> Tensor:
    """Take one step of torch's Adam after clipping and decay; return the norm before clipping."""
    norm = nn.utils.clip_grad_norm_(parameters, ADAM.global_clip)
    with torch.no_grad():
        for parameter in parameters:
            parameter.mul_(1 - ADAM.weight_decay)
    # Its epsilon joins the root after the correction of the bias, ours before.
    theirs.param_groups[0]["eps"] = ADAM.epsilon / math.sqrt(1 - ADAM.beta2**step)
    theirs.step()
    return norm


def test_adam_is_torchs_with_the_epsilon_in_the_uncorrected_root() -> None:
    ours, theirs = make_parameters(), make_parameters()
    optimizer = Adam(ours, ADAM, learning_rate=0.1)
    reference = torch.optim.Adam(theirs, lr=0.1, betas=(ADAM.beta1, ADAM.beta2))
    norms = []
    for step in range(1, 9):
        for parameters in (ours, theirs):
            set_gradients(parameters, step)
        norms.append(float(optimizer.step()))
        assert norms[-1] == pytest.approx(float(torch_adam_step(reference, theirs, step)))
        for parameter, expected in zip(ours, theirs, strict=True):
            assert torch.allclose(parameter.detach(), expected.detach(), rtol=1e-5, atol=1e-6)
    assert max(norms) > ADAM.global_clip
    assert optimizer.learning_rate == 0.1


def test_the_gradients_of_one_group_are_clipped_by_their_joint_norm_alone() -> None:
    parameters = make_parameters()[:2]
    for parameter, size in zip(parameters, (3.0, 4.0), strict=True):
        parameter.grad = torch.zeros_like(parameter)
        parameter.grad.view(-1)[0] = size
    config = OptimizerConfig(method="adam", global_clip=1.0, beta1=0.0, warmup=0)
    optimizer = Adam(parameters, config, learning_rate=0.0)
    assert float(optimizer.step()) == pytest.approx(5.0)
    assert [float(m.view(-1)[0]) for m in optimizer.momenta] == pytest.approx([0.6, 0.8])
    assert all(p.grad is not None and p.grad.view(-1)[0] > 1 for p in parameters)


def test_adam_warms_up_and_decays_what_has_no_gradient() -> None:
    moved, still = make_parameters()[:2]
    before = still.detach().clone()
    config = OptimizerConfig(method="adam", warmup=4, weight_decay=0.5)
    optimizer = Adam([moved, still], config, learning_rate=0.1)
    rates = []
    for _ in range(6):
        moved.grad = torch.ones_like(moved)
        rates.append(optimizer.learning_rate)
        optimizer.step()
    assert rates == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1, 0.1])
    assert torch.allclose(still.detach(), before / 2**6)


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], LaProp | Adam]] = {
    "laprop": lambda parameters: LaProp(parameters, CONFIG),
    "adam": lambda parameters: Adam(parameters, ADAM, 0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_restored_optimizer_goes_on_as_the_first_would_have(
    make: Callable[[list[nn.Parameter]], LaProp | Adam],
) -> None:
    parameters = make_parameters()
    first = make(parameters)
    for step in range(3):
        set_gradients(parameters, step)
        first.step()
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    second = make(copies)
    second.load_state_dict(first.state_dict())
    for optimizer, values in ((first, parameters), (second, copies)):
        set_gradients(values, 3)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(parameters, copies, strict=True))
