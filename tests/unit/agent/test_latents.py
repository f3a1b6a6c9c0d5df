"""Families of latent variables, against torch.distributions and their formulas."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robodreamer.config import AlgorithmConfig
from robodreamer.learning.learner import Learner
from robodreamer.models.latents import (
    CategoricalLatent,
    GaussianLatent,
    GumbelLatent,
    Latent,
    kl_losses,
    make_latent,
)
from robodreamer.models.sampling import ModeSampler, RandomSampler
from toy_agent import ALGORITHM, NETWORK, make_agent, make_batch


def sample(seed: int = 0) -> RandomSampler:
    return RandomSampler(torch.Generator().manual_seed(seed))


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def test_no_class_is_ever_less_likely_than_its_share_of_the_mix() -> None:
    latent = CategoricalLatent(stoch=2, classes=4, unimix=0.01)
    probs = latent.parameters_of(torch.tensor([[1e4, 0.0, 0.0, -1e4, 0.0, 0.0, 0.0, 0.0]])).exp()
    assert probs.min() >= 0.01 / 4 * (1 - 1e-5)
    assert torch.allclose(probs.sum(-1), torch.ones(1, 2))


def test_a_drawn_latent_is_exactly_one_hot_and_its_gradient_is_that_of_the_probabilities() -> None:
    latent = CategoricalLatent(stoch=3, classes=5, unimix=0.01)
    outputs = torch.randn(4, 15, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(1))
    log_probs = latent.parameters_of(outputs)
    value = latent.sample(log_probs, sample())
    assert torch.equal(value.sum(-1), torch.ones(4, 3))
    assert set(value.unique().tolist()) == {0.0, 1.0}
    (through,) = torch.autograd.grad((weights * value).sum(), outputs, retain_graph=True)
    (direct,) = torch.autograd.grad((weights * log_probs.exp()).sum(), outputs)
    assert torch.allclose(through, direct)


def test_kl_and_entropy_agree_with_torch() -> None:
    latent = CategoricalLatent(stoch=3, classes=5, unimix=0.01)
    p, q = (latent.parameters_of(torch.randn(7, 15, generator=g)) for g in generators(2))
    theirs_p, theirs_q = (torch.distributions.Categorical(logits=value) for value in (p, q))
    kl = torch.distributions.kl_divergence(theirs_p, theirs_q).sum(-1)
    assert torch.allclose(latent.kl(p, q), kl, atol=1e-6)
    assert torch.equal(latent.kl(p, p), torch.zeros(7))
    assert torch.allclose(latent.entropy(p), theirs_p.entropy().sum(-1), atol=1e-6)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("activation", ["softplus", "sigmoid", "sigmoid2"])
def test_a_gaussian_agrees_with_torch(activation: str) -> None:
    latent = GaussianLatent(stoch=3, activation=activation, min_std=0.1)
    raw = noise(2, 7, 6)
    std = {
        "softplus": F.softplus,
        "sigmoid": torch.sigmoid,
        "sigmoid2": lambda x: 2 * torch.sigmoid(x / 2),
    }[activation](raw[..., 3:]) + 0.1
    theirs = [torch.distributions.Normal(raw[i, :, :3], std[i]) for i in range(2)]
    p, q = latent.parameters_of(raw)
    assert torch.allclose(p, torch.stack([theirs[0].mean, theirs[0].stddev], -1))
    kl = torch.distributions.kl_divergence(*theirs)
    assert torch.allclose(latent.kl_per_variable(p, q), kl, atol=1e-5)
    assert torch.allclose(latent.kl(p, q), kl.sum(-1), atol=1e-5)
    assert torch.allclose(latent.entropy_per_variable(p), theirs[0].entropy(), atol=1e-6)
    assert torch.equal(latent.mode(p), raw[0, :, :3].unsqueeze(-1))


def test_a_gaussian_draw_is_reparameterised_and_its_mode_is_its_mean() -> None:
    latent = GaussianLatent(stoch=3)
    parameters = latent.parameters_of(noise(20_000, 6)[:1].expand(20_000, 6)).requires_grad_()
    value = latent.sample(parameters, sample())
    assert value.shape == (20_000, 3, 1)
    assert torch.allclose(value.mean(0)[:, 0], parameters[0, :, 0], atol=0.03)
    assert torch.allclose(value.std(0)[:, 0], parameters[0, :, 1], atol=0.03)
    (gradient,) = torch.autograd.grad(value.sum(), parameters)
    assert torch.equal(gradient[..., 0], torch.ones(20_000, 3))
    drawn = ((value - parameters[..., :1]) / parameters[..., 1:]).detach()
    assert torch.allclose(gradient[..., 1:], drawn, atol=1e-4)
    assert torch.equal(latent.sample(parameters, ModeSampler()), latent.mode(parameters))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 5.0])
def test_a_gumbel_draw_is_the_largest_perturbed_score_whatever_the_temperature(
    temperature: float,
) -> None:
    latent = GumbelLatent(3, 5, 0.01, start=temperature, end=temperature, updates=1)
    log_probs = latent.parameters_of(noise(4, 15)).requires_grad_()
    value = latent.sample(log_probs, sample(1))
    scores = log_probs + sample(1).gumbel(log_probs)
    assert torch.equal(value, F.one_hot(scores.argmax(-1), 5).float())
    weights = noise(4, 3, 5, seed=2)
    (through,) = torch.autograd.grad((weights * value).sum(), log_probs, retain_graph=True)
    soft = F.softmax(scores / temperature, -1)
    (expected,) = torch.autograd.grad((weights * soft).sum(), log_probs)
    assert torch.allclose(through, expected)


def test_gumbel_draws_follow_the_probabilities() -> None:
    latent = GumbelLatent(1, 4, 0.0, start=0.5, end=0.5, updates=1)
    log_probs = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(50_000, 1, 4)
    drawn = latent.sample(log_probs, sample()).mean(0)[0]
    assert torch.allclose(drawn, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.01)


def test_the_temperature_falls_geometrically_to_its_end_and_is_part_of_the_state() -> None:
    latent = GumbelLatent(2, 3, 0.01, start=2.0, end=0.5, updates=4)
    seen = []
    for _ in range(6):
        seen.append(latent.temperature.item())
        latent.anneal()
    half = 2**-0.5
    assert seen == pytest.approx([2.0, 2 * half, 1.0, half, 0.5, 0.5])
    other = GumbelLatent(2, 3, 0.01, start=2.0, end=0.5, updates=4)
    other.load_state_dict(latent.state_dict())
    assert other.temperature == latent.temperature


def test_every_update_lowers_the_temperature() -> None:
    algorithm = replace(
        ALGORITHM, latent="gumbel", temperature=1.0, temperature_end=0.25, temperature_updates=2
    )
    agent = make_agent(algorithm=algorithm)
    learner = Learner(agent, algorithm.optimizer, replay_context=1)
    seen = []
    for _ in range(3):
        learner.update(make_batch(agent), sample())
        latent = agent.world_model.rssm.latent
        assert isinstance(latent, GumbelLatent)
        seen.append(latent.temperature.item())
    assert seen == pytest.approx([0.5, 0.25, 0.25])
    assert "world_model.rssm.latent.temperature" in agent.state_dict()


LATENTS = [
    CategoricalLatent(3, 4, 0.01),
    GumbelLatent(3, 4, 0.01, start=1.0, end=0.5, updates=10),
    GaussianLatent(3),
]


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: type(latent).__name__)
def test_every_family_states_its_shapes_and_draws_values_of_them(latent: Latent) -> None:
    parameters = latent.parameters_of(noise(5, latent.num_outputs))
    assert parameters.shape == (5, *latent.parameter_shape)
    for value in (latent.sample(parameters, sample()), latent.mode(parameters)):
        assert value.shape == (5, *latent.shape)
        assert value[0].numel() == latent.size
        assert latent.is_onehot == torch.equal(value.sum(-1), torch.ones(5, 3))
    assert torch.equal(latent.sample(parameters, ModeSampler()), latent.mode(parameters))


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: type(latent).__name__)
def test_two_terms_teach_prior_and_posterior_apart_and_one_term_teaches_both(
    latent: Latent,
) -> None:
    raw = [noise(2, 3, latent.num_outputs, seed=seed).requires_grad_() for seed in range(2)]
    post, prior = (latent.parameters_of(value) for value in raw)
    gradients = {}
    for kl in ("two_terms", "one_term"):
        losses, found = kl_losses(latent, post, prior, AlgorithmConfig(kl=kl, free_nats=0.0))
        assert torch.equal(found, latent.kl(post, prior))
        assert not found.requires_grad
        for name, loss in losses.items():
            gradients[name] = torch.autograd.grad(
                loss.sum(), raw, retain_graph=True, materialize_grads=True
            )
            assert torch.allclose(loss, latent.kl(post, prior))
    assert not gradients["dynamics"][0].any()
    assert not gradients["representation"][1].any()
    assert torch.allclose(gradients["kl"][0], gradients["representation"][0])
    assert torch.allclose(gradients["kl"][1], gradients["dynamics"][1])


def test_free_nats_count_for_every_step_or_for_the_mean() -> None:
    latent = GaussianLatent(2)
    post, prior = (latent.parameters_of(noise(4, 5, 4, seed=seed)) for seed in range(2))
    kl = latent.kl(post, prior)
    free = kl.median().item()
    each = kl_losses(latent, post, prior, AlgorithmConfig(kl="one_term", free_nats=free))[0]["kl"]
    assert torch.equal(each, kl.clamp(min=free))
    assert each.mean() > kl.mean()
    for nats in (free, 1000.0):
        algorithm = AlgorithmConfig(kl="one_term", free_nats=nats, free_average=True)
        mean = kl_losses(latent, post, prior, algorithm)[0]["kl"]
        assert mean.item() == pytest.approx(max(kl.mean().item(), nats))


def test_settings_name_the_family() -> None:
    families = {
        name: type(make_latent(NETWORK, replace(ALGORITHM, latent=name)))
        for name in ("categorical", "gumbel", "gaussian")
    }
    assert list(families.values()) == [CategoricalLatent, GumbelLatent, GaussianLatent]
