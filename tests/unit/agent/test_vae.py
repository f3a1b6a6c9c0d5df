"""Autoencoder: its lower bound, its latent numbers, and what is drawn between two of them."""

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from robodreamer.config import NetworkConfig
from robodreamer.config.vae import VaeConfig
from robodreamer.models.sampling import ModeSampler, RandomSampler
from robodreamer.models.vae import (
    VAE,
    Gaussian,
    NegativeElbo,
    interpolate,
    num_active,
    psnr,
    squared_error,
)

SMALL = NetworkConfig(depth=2, depth_multipliers=(1, 2))


def pictures(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def small_vae(shape: tuple[int, int, int] = (17, 21, 3), latent: int = 5) -> VAE:
    torch.manual_seed(0)
    return VAE(shape, SMALL, latent)


def test_the_networks_of_64_pixels_are_those_of_world_models() -> None:
    config = VaeConfig(source="x")
    model = VAE((64, 64, 3), config.network, config.latent)
    assert sum(p.numel() for p in model.parameters()) == 4_348_547


@pytest.mark.parametrize("sides", [(60, 80), (64, 64), (33, 50)])
def test_pictures_of_any_size_are_drawn_in_their_own_size_between_0_and_1(
    sides: tuple[int, int],
) -> None:
    config = VaeConfig(source="x", depth=2)
    model = VAE((*sides, 3), config.network, 4)
    drawn = model.reconstruct(pictures(2, *sides, 3))
    assert drawn.shape == (2, *sides, 3)
    assert 0 < drawn.min() < drawn.max() < 1


def test_both_terms_are_those_of_the_evidence_lower_bound() -> None:
    model, batch = small_vae(), pictures(6, 17, 21, 3)
    sampler, again = (RandomSampler(torch.Generator().manual_seed(3)) for _ in range(2))
    terms = model.negative_elbo(batch, sampler)
    posterior = model.encode(batch)
    z = again.normal(posterior.mean, posterior.std)
    # The density whose logarithm is minus the squared error, but for a constant per element.
    density = Independent(Normal(model.decode(z), 0.5**0.5), 3)
    constant = 0.5 * np.log(np.pi) * batch[0].numel()
    expected = -density.log_prob(batch / 255) - constant
    torch.testing.assert_close(terms.reconstruction, expected, rtol=1e-4, atol=1e-2)
    q = Independent(Normal(posterior.mean, posterior.std), 1)
    p = Independent(Normal(torch.zeros(5), torch.ones(5)), 1)
    torch.testing.assert_close(terms.kl, kl_divergence(q, p))


def test_the_gradient_goes_through_the_drawn_latent_numbers_into_mean_and_deviation() -> None:
    model, batch = small_vae(), pictures(6, 17, 21, 3)
    sampler = RandomSampler(torch.Generator().manual_seed(3))
    model.negative_elbo(batch, sampler).reconstruction.mean().backward()
    for head in (model.mean, model.log_variance):
        assert head.weight.grad is not None
        assert head.weight.grad.abs().sum() > 0


def test_a_pictures_kl_below_the_free_nats_is_counted_but_not_pushed() -> None:
    kl = torch.tensor([1.0, 5.0], requires_grad=True)
    loss = NegativeElbo(torch.tensor([10.0, 20.0]), kl).loss(free_nats=3.0)
    loss.backward()
    assert loss.item() == (10 + 3 + 20 + 5) / 2
    assert kl.grad is not None
    assert kl.grad.tolist() == [0.0, 0.5]


def test_the_way_between_two_points_is_straight_and_holds_both() -> None:
    first, last = torch.tensor([0.1, -2.0]), torch.tensor([0.7, 3.0])
    way = interpolate(first, last, 6)
    assert torch.equal(way[0], first)
    assert torch.equal(way[-1], last)
    expected = [[0.1 + 0.12 * i, -2 + 1.0 * i] for i in range(6)]
    torch.testing.assert_close(way, torch.tensor(expected))


def test_the_signal_to_noise_ratio_is_in_decibels_of_the_pixels_range() -> None:
    batch = pictures(3, 8, 9, 3)
    drawn = batch / 255 + torch.tensor([0.1, 0.01, 0.001]).reshape(3, 1, 1, 1)
    error = squared_error(drawn, batch)
    torch.testing.assert_close(psnr(error, 8 * 9 * 3), torch.tensor([20.0, 40.0, 60.0]))


def test_latent_numbers_are_used_where_their_means_vary_over_pictures() -> None:
    varying = torch.linspace(-1, 1, 20)
    means = torch.stack([varying, torch.full((20,), 3.0), 0.05 * varying], -1)
    assert num_active(means) == 1


def test_the_mode_of_a_latent_distribution_is_its_mean() -> None:
    posterior = Gaussian(torch.randn(4, 3), torch.randn(4, 3))
    assert torch.equal(ModeSampler().normal(posterior.mean, posterior.std), posterior.mean)
