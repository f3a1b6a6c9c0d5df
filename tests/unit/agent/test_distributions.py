"""Distributions and latents: frequencies of samples, exact values, and the ways of gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robodreamer.models.distributions import (
    bernoulli_loss,
    symexp,
    symexp_bins,
    symlog,
    twohot_loss,
    twohot_mean,
)
from robodreamer.models.rssm import mask_state
from robodreamer.models.sampling import ModeSampler, RandomSampler

BINS = st.integers(3, 300)
SEED_OF_ZERO = 1
"""Seed with which torch draws a 0 among the first four million uniform numbers."""


def sample(seed: int = 0) -> RandomSampler:
    return RandomSampler(torch.Generator().manual_seed(seed))


@given(st.floats(-1e6, 1e6))
def test_symexp_inverts_symlog(value: float) -> None:
    x = torch.tensor(value, dtype=torch.float64)
    assert torch.isclose(symexp(symlog(x)), x, rtol=1e-9, atol=1e-12)
    assert torch.equal(symlog(-x), -symlog(x))


def test_drawn_categories_follow_their_probabilities() -> None:
    probs = torch.tensor([0.6, 0.3, 0.1, 0.0])
    draws = sample().category(probs.expand(20_000, 4))
    shares = torch.bincount(draws, minlength=4) / len(draws)
    assert (shares - probs).abs().max() < 4 * math.sqrt(0.25 / len(draws))
    assert shares[3] == 0


def test_drawn_actions_follow_their_normal_and_carry_gradients() -> None:
    mean, std = torch.full((20_000, 1), 0.5, requires_grad=True), torch.full((20_000, 1), 0.2)
    draws = sample().normal(mean, std)
    (gradient,) = torch.autograd.grad(draws.sum(), mean)
    assert torch.equal(gradient, torch.ones_like(mean))
    draws = draws.detach()
    assert abs(float(draws.mean()) - 0.5) < 4 * 0.2 / math.sqrt(20_000)
    assert abs(float(draws.std()) - 0.2) < 4 * 0.2 / math.sqrt(40_000)


def test_the_same_generator_draws_the_same() -> None:
    probs = torch.rand(50, 7)
    assert torch.equal(sample(3).category(probs), sample(3).category(probs))
    assert not torch.equal(sample(3).category(probs), sample(4).category(probs))


def test_drawn_noise_follows_its_law_and_is_drawn_by_the_generator() -> None:
    like = torch.empty(20_000, dtype=torch.float32)
    uniform, gumbel = sample().uniform(like), sample().gumbel(like)
    assert (uniform > 0).all()
    assert (uniform < 1).all()
    assert abs(float(uniform.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / len(like))
    # Both are made of the same number u: P(gumbel < x) = exp(-exp(-x)).
    assert torch.allclose(torch.exp(-torch.exp(-gumbel)), uniform, atol=1e-6)


def test_a_uniform_number_is_never_the_zero_that_stands_for_the_mode() -> None:
    like = torch.empty(2**22)
    bare = torch.empty_like(like).uniform_(generator=torch.Generator().manual_seed(SEED_OF_ZERO))
    assert (bare == 0).any(), "the seed draws a zero"
    assert (sample(SEED_OF_ZERO).uniform(like) > 0).all()
    assert sample(SEED_OF_ZERO).gumbel(like).isfinite().all()


@given(st.integers(1, 40), st.data())
def test_a_subset_is_ascending_without_repetition(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, total))
    chosen = sample(data.draw(st.integers(0, 100))).subset(total, count).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == count
    assert set(chosen) <= set(range(total))


def test_every_position_is_chosen_equally_often() -> None:
    sampler, times = sample(), torch.zeros(10)
    for _ in range(2_000):
        times[sampler.subset(10, 3)] += 1
    assert (times / 2_000 - 0.3).abs().max() < 4 * math.sqrt(0.3 * 0.7 / 2_000)


def test_the_mode_is_the_first_of_equals() -> None:
    assert ModeSampler().category(torch.tensor([[0.2, 0.4, 0.4]])).tolist() == [1]
    assert ModeSampler().subset(5, 2).tolist() == [0, 1]


def test_a_certain_end_costs_nothing_where_it_happens_and_its_logit_where_it_does_not() -> None:
    logit, target = torch.tensor([80.0, -80.0, 80.0]), torch.tensor([1.0, 0.0, 0.0])
    assert bernoulli_loss(logit, target).tolist() == pytest.approx([0.0, 0.0, 80.0])


@given(BINS)
def test_bins_mirror_exactly_and_a_uniform_prediction_is_exactly_zero(count: int) -> None:
    bins = symexp_bins(count)
    assert len(bins) == count
    assert torch.equal(bins, -bins.flip(0))
    assert (bins.diff() >= 0).all()
    assert torch.equal(twohot_mean(torch.full((2, count), 0.3), bins), torch.zeros(2))


@given(BINS, st.floats(0.5, 30.0, width=32))
def test_the_outer_bins_lie_at_the_limit(count: int, limit: float) -> None:
    bins = symexp_bins(count, limit)
    assert symlog(bins[-1]).item() == pytest.approx(limit, rel=1e-5)
    assert torch.equal(bins, -bins.flip(0))


def target_weights(target: Tensor, bins: Tensor) -> Tensor:
    """Return how the loss spreads a target: softmax minus the loss's gradient."""
    logits = torch.zeros(*target.shape, len(bins), dtype=torch.float32, requires_grad=True)
    (gradient,) = torch.autograd.grad(twohot_loss(logits, target, bins).sum(), logits)
    return torch.softmax(logits.detach(), -1) - gradient


@given(BINS, st.floats(-1e7, 1e7, width=32))
def test_a_target_is_spread_over_neighbouring_bins_that_average_to_it(
    count: int, value: float
) -> None:
    bins, target = symexp_bins(count), torch.tensor([value])
    (weights,) = target_weights(target, bins)
    used = (weights.abs() > 1e-5).nonzero().flatten()
    assert len(used) <= 2
    assert used.max() - used.min() <= 1
    mean = (weights.double() * bins.double()).sum()
    # Unused weights are rounding of 1e-7, which bins of 5e8 make large.
    tolerance = 1e-6 * float(bins[used].abs().max()) + 1e-6 * float(bins.abs().sum())
    assert abs(float(mean) - value) <= tolerance


@pytest.mark.parametrize("count", [40, 41])
def test_a_target_beyond_the_bins_falls_on_the_last_one(count: int) -> None:
    bins = symexp_bins(count)
    weights = target_weights(torch.tensor([-1e30, 1e30]), bins)
    assert weights.argmax(-1).tolist() == [0, count - 1]
    assert torch.allclose(weights.max(-1).values, torch.ones(2), atol=1e-6)


def test_dropped_rows_forget_even_nan() -> None:
    value = torch.full((2, 3), torch.nan)
    value[1] = 1.0
    masked = mask_state(value, torch.tensor([True, False]))
    assert masked.tolist() == [[0.0] * 3, [1.0] * 3]
