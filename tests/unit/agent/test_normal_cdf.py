"""The normal distribution function keeps its digits in both tails, compared with torch's."""

import torch

from robodreamer.models.normal_cdf import SMALLEST_MASS, mass_above, quantile


def test_the_mass_of_a_tail_keeps_its_digits() -> None:
    z = torch.linspace(0, 12, 5_000)
    exact = torch.special.erfc(z.double() / 2**0.5) / 2
    error = (mass_above(z).double() / exact - 1).abs()
    assert error[z <= 6].max() < 1.5e-6
    assert error.max() < 1e-5
    assert mass_above(torch.tensor(60.0)).item() == 0


def test_the_quantile_is_exact_to_float32_in_the_centre_and_in_both_tails() -> None:
    small = torch.logspace(-26, -1, 5_000, base=2)
    exact = torch.special.ndtri(small.double())
    error = (quantile(small, 1 - small).double() - exact).abs()
    assert (error <= 2e-6 * exact.abs() + 5e-7).all()
    assert torch.equal(quantile(1 - small, small), -quantile(small, 1 - small))
    centre = torch.linspace(0.3, 0.7, 1_000)
    exact = torch.special.ndtri(centre.double())
    assert (quantile(centre, 1 - centre).double() - exact).abs().max() < 5e-7
    assert quantile(torch.tensor(0.5), torch.tensor(0.5)).item() == 0


def test_a_mass_of_nothing_has_a_finite_quantile() -> None:
    nothing, everything = torch.zeros(1), torch.ones(1)
    furthest = float(torch.special.ndtri(torch.tensor(SMALLEST_MASS, dtype=torch.float64)))
    assert abs(quantile(nothing, everything).item() - furthest) < 1e-4
    assert abs(quantile(everything, nothing).item() + furthest) < 1e-4
