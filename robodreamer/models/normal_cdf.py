"""Standard normal distribution function and its inverse, of operations that ONNX has.

Torch's `erfc` and `erfinv` cannot be exported, and 1 - Phi(z) of `erf` has no digits left where z
is large. Masses of both tails are kept instead of one probability, so that a small one stays exact
to float32 on either side.

    Q(z) = exp(-z^2 / 2) t P(t),   t = 1 / (1 + z / 4)       mass above z >= 0

P is a minimax polynomial for the relative error, 3e-8 on [0, inf), fitted for this module.

Shapes: any; all functions work element by element, in float32, without gradients of their own.
"""

import torch
from jaxtyping import Float
from torch import Tensor

TAIL = (
    0.0997355632, 0.09973666876, 0.0934616123, 0.08164599162, 0.05876706033,
    0.06428653951, -0.03271058312, 0.0965863406, -0.08141211296, 0.01990290415,
)  # fmt: skip
"""Coefficients of P, constant first."""

# Giles (2012), "Approximating the erfinv function", single precision: polynomials in w - 2.5 below
# w = 5 and in sqrt(w) - 3 above, highest power first, that multiply x in erfinv(x), with
# w = -ln(1 - x^2).
CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
OUTER = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip
SMALLEST_MASS = 2.0**-26
"""Mass that counts as the smallest: the polynomials end there, at 5.5 standard deviations."""


def mass_above(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the probability that a standard normal exceeds z >= 0; relative error 1e-6 up to 6."""
    t = 1 / (1 + 0.25 * z)
    return torch.exp(-0.5 * z.square()) * t * _polynomial(tuple(reversed(TAIL)), t)


def quantile(
    below: Float[Tensor, "*shape"], above: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Return the number that has these masses of a standard normal below and above it.

    The masses add up to 1; both are given, because the smaller one holds the digits.
    """
    below, above = below.clamp(min=SMALLEST_MASS), above.clamp(min=SMALLEST_MASS)
    # With x = below - above, the argument of erfinv: 1 - x^2 = 4 below above.
    w = -torch.log(4 * below * above)
    centre = _polynomial(CENTRE, w - 2.5)
    outer = _polynomial(OUTER, torch.sqrt(w.clamp(min=5.0)) - 3)
    return 2**0.5 * torch.where(w < 5, centre, outer) * (below - above)


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Evaluate a polynomial, highest power first (Horner)."""
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value
