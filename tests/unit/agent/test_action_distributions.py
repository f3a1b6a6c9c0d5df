"""Distributions of actions against torch and numerical integrals, their gradients and noise."""

import math
from collections.abc import Callable

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from robodreamer.export.graphs import GivenNoise, _quiet_exporter
from robodreamer.models.action_distributions import (
    LARGEST_TANH,
    LARGEST_TRUNCATED,
    ActionDistribution,
    Categorical,
    Normal,
    TanhNormal,
    TruncatedNormal,
)
from robodreamer.models.sampling import ModeSampler, RandomSampler

A = 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal_noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


def categorical(x: Tensor, scale: Tensor) -> Categorical:
    return Categorical(torch.log_softmax(x / scale, -1))


def truncated(x: Tensor, scale: Tensor) -> TruncatedNormal:
    return TruncatedNormal(torch.tanh(x), scale)


KINDS: dict[str, Callable[[Tensor, Tensor], ActionDistribution]] = {
    "normal": Normal,
    "tanh_normal": TanhNormal,
    "truncated_normal": truncated,
    "categorical": categorical,
}
"""Every distribution, made of any number and of a positive one, for each element of the action."""


def make(kind: str, batch: int = 200) -> ActionDistribution:
    scale = 0.1 + normal_noise(batch, A, seed=1).abs()
    return KINDS[kind](normal_noise(batch, A), scale)


def noise_of(distribution: ActionDistribution, seed: int = 2) -> Tensor:
    """Draw noise of the kind that a distribution states."""
    sampler, like = RandomSampler(generator(seed)), torch.empty(distribution.mode.shape)
    draws = {
        "normal": lambda: sampler.normal(torch.zeros_like(like), torch.ones_like(like)),
        "gumbel": lambda: sampler.gumbel(like),
        "uniform": lambda: sampler.uniform(like),
    }
    return draws[distribution.noise_kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_as_noise_and_a_sampler_of_modes_give_exactly_the_mode(kind: str) -> None:
    distribution = make(kind)
    zeros = GivenNoise(torch.zeros_like(distribution.mode))
    assert torch.equal(distribution.sample(zeros), distribution.mode)
    assert torch.equal(distribution.sample(ModeSampler()), distribution.mode)


@pytest.mark.parametrize("kind", KINDS)
def test_an_action_is_drawn_again_by_the_noise_that_is_stated_for_it(kind: str) -> None:
    distribution = make(kind)
    action = distribution.sample(GivenNoise(noise_of(distribution)))
    again = distribution.sample(GivenNoise(distribution.noise_for(action)))
    assert torch.allclose(again, action, atol=2e-6)
    assert not torch.allclose(action, distribution.mode, atol=0.1)


def test_the_noise_of_a_class_puts_it_as_far_ahead_as_asked_for() -> None:
    distribution = categorical(normal_noise(5, A), torch.ones(5, A))
    wanted = 0.25 * torch.eye(A)[torch.arange(5) % A]
    scores = (distribution.log_probs + distribution.noise_for(wanted)).sort(-1).values
    assert torch.allclose(scores[:, -1] - scores[:, -2], torch.full((5,), 0.25), atol=1e-6)


def test_normal_actions_and_choices_are_scored_as_by_torch() -> None:
    mean, std = normal_noise(6, A), normal_noise(6, A, seed=1).exp()
    action = normal_noise(6, A, seed=2)
    ours, theirs = Normal(mean, std), torch.distributions.Normal(mean, std)
    assert torch.allclose(ours.log_prob(action), theirs.log_prob(action).sum(-1), atol=1e-5)
    assert torch.allclose(ours.entropy(ModeSampler()), theirs.entropy().sum(-1), atol=1e-6)
    choice = Categorical(torch.log_softmax(mean, -1))
    their_choice = torch.distributions.Categorical(logits=mean)
    taken = choice.sample(RandomSampler(generator()))
    expected = their_choice.log_prob(taken.argmax(-1))
    assert torch.allclose(choice.log_prob(taken), expected, atol=1e-6)
    assert torch.allclose(choice.entropy(ModeSampler()), their_choice.entropy(), atol=1e-6)
    assert torch.equal(choice.mode.argmax(-1), mean.argmax(-1))


def test_a_drawn_choice_is_one_hot_and_its_gradient_is_that_of_the_probabilities() -> None:
    logits = normal_noise(7, A).requires_grad_()
    weights = normal_noise(7, A, seed=1)
    choice = Categorical(torch.log_softmax(logits, -1))
    action = choice.sample(RandomSampler(generator()))
    assert set(action.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(action.sum(-1), torch.ones(7))
    (through,) = torch.autograd.grad((weights * action).sum(), logits, retain_graph=True)
    (direct,) = torch.autograd.grad((weights * choice.log_probs.exp()).sum(), logits)
    assert torch.allclose(through, direct)


def test_the_log_probability_of_a_choice_gives_the_choice_no_gradient() -> None:
    action = torch.eye(A).requires_grad_()
    logits = normal_noise(A, A).requires_grad_()
    score = Categorical(torch.log_softmax(logits, -1)).log_prob(action).sum()
    found, _ = torch.autograd.grad(score, [action, logits], materialize_grads=True)
    assert not found.any()


def one_dimensional(kind: str, x: float, scale: float) -> ActionDistribution:
    return KINDS[kind](torch.tensor([[x]]), torch.tensor([[scale]]))


@pytest.mark.parametrize("kind", ["tanh_normal", "truncated_normal"])
@pytest.mark.parametrize(("x", "scale"), [(0.0, 0.3), (-1.5, 0.2), (0.8, 1.1)])
def test_densities_integrate_to_one_and_the_entropy_is_their_integral(
    kind: str, x: float, scale: float
) -> None:
    distribution = one_dimensional(kind, x, scale)
    # Midpoints, because a squashed density has no value at the limits.
    points = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 100_000 - 1
    log_prob = distribution.log_prob(points.float().unsqueeze(-1)).double()
    assert float(log_prob.exp().mean() * 2) == pytest.approx(1, abs=2e-4)
    integral = float(-(log_prob.exp() * log_prob).mean() * 2)
    samplers = [RandomSampler(generator(seed)) for seed in range(200)]
    entropies = torch.cat([distribution.entropy(sampler) for sampler in samplers])
    tolerance = 4 * float(entropies.std()) / math.sqrt(len(entropies))
    assert float(entropies.mean()) == pytest.approx(integral, abs=tolerance + 5e-4)


def test_squashed_actions_are_scored_as_by_torch_up_to_the_limits() -> None:
    mean, std = normal_noise(50, A), 0.1 + normal_noise(50, A, seed=1).abs()
    ours = TanhNormal(mean, std)
    theirs = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean.double(), std.double()),
        [torch.distributions.TanhTransform()],
    )
    action = torch.tanh(0.5 * normal_noise(50, A, seed=2))
    expected = theirs.log_prob(action.double()).sum(-1).float()
    assert torch.allclose(ours.log_prob(action), expected, rtol=1e-5, atol=1e-4)
    at_limit, within = (ours.log_prob(torch.full((50, A), x)) for x in (1.0, LARGEST_TANH))
    assert at_limit.isfinite().all()
    assert torch.equal(at_limit, within)


def test_the_estimated_entropy_has_gradients_and_survives_draws_that_round_to_one() -> None:
    mean, std = torch.full((2, 1), 20.0, requires_grad=True), torch.ones(2, 1, requires_grad=True)
    distribution = TanhNormal(mean, std)
    entropy = distribution.entropy(RandomSampler(generator()))
    # Far out 1 - tanh^2 x is 4 exp(-2 x), so entropy is that of x plus the mean of ln 4 - 2 x.
    exact = 0.5 * math.log(2 * math.pi * math.e) + math.log(4) - 2 * 20
    assert entropy.tolist() == pytest.approx([exact] * 2, abs=1.0)
    for gradient in torch.autograd.grad(entropy.sum(), [mean, std]):
        assert gradient.isfinite().all()
    (gradient,) = torch.autograd.grad(
        distribution.entropy(RandomSampler(generator())).sum(), [mean]
    )
    assert torch.allclose(gradient, torch.full_like(mean, -2.0), atol=1e-5)


@pytest.mark.parametrize("std", [0.1, 0.4, 2.0])
def test_truncated_draws_invert_the_distribution_function(std: float) -> None:
    loc = torch.linspace(-1, 1, 41).repeat(100, 1)
    uniform = RandomSampler(generator()).uniform(loc)
    action = TruncatedNormal(loc, torch.full_like(loc, std)).sample(GivenNoise(uniform))
    low, high = (torch.special.ndtr((x - loc.double()) / std) for x in (-1, 1))
    exact = loc + std * torch.special.ndtri(low + uniform * (high - low))
    assert torch.allclose(action, exact.float(), atol=5e-6)
    assert action.abs().max() <= LARGEST_TRUNCATED
    assert action.std() > 0.05


def test_truncated_draws_stay_within_the_limits_for_every_uniform_number() -> None:
    loc = torch.tensor([-1.0, -0.999, 0.0, 0.999, 1.0])
    for std in (1e-4, 0.1, 2.0):
        distribution = TruncatedNormal(loc, torch.full_like(loc, std))
        for uniform in (2.0**-25, 1e-4, 0.5, 1 - 2**-24):
            action = distribution.sample(GivenNoise(torch.full_like(loc, uniform)))
            assert (action.abs() <= LARGEST_TRUNCATED).all(), (std, uniform)


def test_the_gradient_of_a_truncated_draw_holds_its_quantile() -> None:
    loc, std = torch.tanh(normal_noise(50, A)), 0.1 + normal_noise(50, A, seed=1).abs()
    loc.requires_grad_()
    std.requires_grad_()
    distribution = TruncatedNormal(loc, std)
    action = distribution.sample(RandomSampler(generator()))
    to_loc, to_std = torch.autograd.grad(action.sum(), [loc, std])
    assert torch.equal(to_loc, torch.ones_like(loc))
    assert torch.allclose(to_std, ((action - loc) / std).detach(), atol=2e-5)


class Draw(nn.Module):
    """Graph that draws from one distribution with given noise."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = KINDS[kind]

    def forward(self, x: Tensor, scale: Tensor, noise: Tensor) -> Tensor:
        return self.kind(x, scale).sample(GivenNoise(noise))


@pytest.mark.parametrize("kind", KINDS)
def test_exported_draws_are_those_of_torch_and_zeros_are_the_mode(kind: str) -> None:
    x, scale = normal_noise(500, A), 0.1 + normal_noise(500, A, seed=1).abs()
    noise = noise_of(KINDS[kind](x, scale))
    with torch.no_grad(), _quiet_exporter():
        program = torch.onnx.export(
            Draw(kind).eval(), (x, scale, noise), opset_version=18, dynamo=True, verbose=False
        )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    names = [value.name for value in session.get_inputs()]
    # From the middle to the last numbers of float32, where an inverse is steepest.
    edges = torch.tensor([0.5, 1e-3, 1e-6, 2**-25, 1 - 1e-3, 1 - 2**-24, 0.0]).repeat(72)[:500]
    for given in (noise, torch.zeros_like(noise), edges.unsqueeze(-1).expand(-1, A)):
        values = (value.numpy() for value in (x, scale, given.contiguous()))
        (found,) = session.run(None, dict(zip(names, values, strict=True)))
        expected = KINDS[kind](x, scale).sample(GivenNoise(given))
        assert torch.allclose(torch.from_numpy(found), expected, atol=1e-5)
