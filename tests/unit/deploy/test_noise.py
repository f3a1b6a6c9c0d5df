"""Noise of the kind that is asked for, in float32."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy.noise import NoiseKind, draw_noise

COUNT = 50_000


@pytest.mark.parametrize(
    ("kind", "mean", "std"),
    [
        ("gumbel", 0.5772, np.pi / np.sqrt(6)),  # Euler's constant
        ("normal", 0.0, 1.0),
        ("uniform", 0.5, 1 / np.sqrt(12)),
    ],
)
def test_every_kind_has_the_moments_of_its_standard_form(
    kind: NoiseKind, mean: float, std: float
) -> None:
    noise = draw_noise(kind, np.random.default_rng(0), (COUNT // 5, 5))
    assert (noise.shape, noise.dtype) == ((COUNT // 5, 5), np.float32)
    assert noise.mean() == pytest.approx(mean, abs=4 * std / np.sqrt(COUNT))
    assert noise.std() == pytest.approx(std, rel=0.02)


def extreme(*, largest: bool) -> np.random.Generator:
    """Return a generator of the smallest or of the largest integers that may be drawn."""

    def integers(high: int, size: tuple[int, ...]) -> Array:
        return np.full(size, high - 1 if largest else 0)

    return cast("np.random.Generator", SimpleNamespace(integers=integers))


def test_uniform_noise_is_never_0_which_is_the_mode_and_never_1() -> None:
    lowest = draw_noise("uniform", extreme(largest=False), (3,))
    highest = draw_noise("uniform", extreme(largest=True), (3,))
    assert (lowest > 0.0).all()
    assert (highest < 1.0).all()
    np.testing.assert_array_equal(lowest, np.float32(1.0) - highest)  # and it is symmetric
