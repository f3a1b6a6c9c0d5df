"""Families of latents: each drawn, compared and measured by its own rule."""

from typing import get_args

import numpy as np
import pytest

from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy.graph_spec import StateSpec
from robodreamer_deploy.policy.latents import FAMILIES, LatentFamily
from robodreamer_deploy.policy.noise import draw_noise

CATEGORICAL, GAUSSIAN = FAMILIES["categorical"], FAMILIES["gaussian"]
PARAMETERS = np.array([[-1.0, 0.5], [0.2, 2.0], [3.0, 0.1]], np.float32)  # mean, deviation


def log_softmax(logits: Array) -> Array:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_every_family_has_its_rules() -> None:
    assert {*FAMILIES} == {*get_args(LatentFamily)}


def test_zeros_as_noise_draw_the_mode() -> None:
    logs = log_softmax(np.array([[0.0, 2.0, 1.0], [5.0, 0.0, 0.0]], np.float32))
    drawn = CATEGORICAL.draw(logs, np.zeros_like(logs))
    np.testing.assert_array_equal(drawn, [[0, 1, 0], [1, 0, 0]])
    drawn = GAUSSIAN.draw(PARAMETERS, np.zeros((3, 1), np.float32))
    np.testing.assert_array_equal(drawn, PARAMETERS[:, :1])


def test_a_categorical_takes_each_class_as_often_as_it_is_probable() -> None:
    probs = np.array([0.6, 0.3, 0.1])
    logs = np.broadcast_to(np.log(probs).astype(np.float32), (20_000, 1, 3))
    noise = draw_noise(CATEGORICAL.noise_kind, np.random.default_rng(0), logs.shape)
    drawn = CATEGORICAL.draw(logs, noise)
    np.testing.assert_array_equal(drawn.sum(-1), 1.0)
    np.testing.assert_allclose(drawn.mean((0, 1)), probs, atol=0.015)


def test_a_gaussian_has_the_mean_and_the_deviation_of_its_parameters() -> None:
    parameters = np.broadcast_to(PARAMETERS, (20_000, 3, 2))
    noise = draw_noise(GAUSSIAN.noise_kind, np.random.default_rng(0), (20_000, 3, 1))
    drawn = GAUSSIAN.draw(parameters, noise)
    assert drawn.shape == (20_000, 3, 1)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.mean(0)[:, 0], PARAMETERS[:, 0], atol=0.05)
    np.testing.assert_allclose(drawn.std(0)[:, 0], PARAMETERS[:, 1], rtol=0.02)


def test_the_surprise_of_a_categorical_is_the_divergence_of_posterior_from_prior() -> None:
    prior = np.log(np.full((2, 4), 0.25, np.float32))
    certain = np.log(np.array([[1 - 3e-9, 1e-9, 1e-9, 1e-9]] * 2))
    assert CATEGORICAL.kl(prior, prior) == 0
    assert CATEGORICAL.kl(certain, prior) == pytest.approx(2 * np.log(4), rel=1e-6)
    assert CATEGORICAL.kl(prior, certain) > 10  # not symmetric


def test_the_surprise_of_a_gaussian_is_the_integral_that_defines_it() -> None:
    other = PARAMETERS[[1, 2, 0]]
    x = np.linspace(-40.0, 40.0, 800_001)

    def log_density(mean: float, std: float) -> Array:
        return -0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)

    integrals = []
    for (mean_p, std_p), (mean_q, std_q) in zip(PARAMETERS, other, strict=True):
        log_p, log_q = log_density(mean_p, std_p), log_density(mean_q, std_q)
        integrals.append((np.exp(log_p) * (log_p - log_q)).sum() * (x[1] - x[0]))
    assert GAUSSIAN.kl(PARAMETERS, other) == pytest.approx(sum(integrals), rel=1e-6)
    assert GAUSSIAN.kl(PARAMETERS, PARAMETERS) == 0
    assert min(integrals) > 0


def test_only_a_choice_has_a_lead() -> None:
    logs = np.array([[[-1.0, -2.0, -3.0]]], np.float32)
    noise = np.array([[[0.0, 0.5, 1.75]]], np.float32)
    np.testing.assert_allclose(CATEGORICAL.lead(logs, noise), [[0.25]])
    assert np.isposinf(GAUSSIAN.lead(PARAMETERS[None], np.ones((1, 3, 1)))).all()
    assert GAUSSIAN.lead(PARAMETERS[None], np.ones((1, 3, 1))).shape == (1, 3)
    assert (CATEGORICAL.is_choice, GAUSSIAN.is_choice) == (True, False)


def test_a_state_knows_the_shape_of_its_parameters() -> None:
    state = StateSpec(deter=(8,), stoch=(3, 4), family="categorical")
    assert state.parameters == (3, 4)
    assert StateSpec(deter=(8,), stoch=(3, 1), family="gaussian").parameters == (3, 2)
    with pytest.raises(ValueError, match=r"shape \(3, 4\); each is one number"):
        StateSpec(deter=(8,), stoch=(3, 4), family="gaussian")


def test_a_family_is_described_with_its_numbers() -> None:
    assert CATEGORICAL.describe((16, 8)) == "16 categorical variables of 8 classes"
    assert GAUSSIAN.describe((30, 1)) == "30 Gaussian variables"
