"""Noise: every random number of a step, which the graphs take as inputs.

Zeros are the mode, whatever the kind. Letters: S latent variables, K values of each, A action.
"""

from typing import Literal, NamedTuple

import numpy as np

from robodreamer_deploy.contract import Array

NoiseKind = Literal["gumbel", "normal", "uniform"]
"""Distribution of noise, in its standard form; `uniform` is the one over the open interval (0, 1).
"""


class Noise(NamedTuple):
    """Random numbers of one step, or of n steps with a leading axis."""

    stoch: Array  # float32 (S, K)
    action: Array  # float32 (A,)


# The generator's type is quoted because numpy imports its random module when it is first named.
def draw_noise(kind: NoiseKind, generator: "np.random.Generator", shape: tuple[int, ...]) -> Array:
    """Return noise of a kind, float32, drawn element by element."""
    if kind == "uniform":
        # Middles of 2^23 equal parts: exact in float32, and never 0, which is the mode, nor 1.
        middles = generator.integers(1 << 23, size=shape) + 0.5
        return (middles * 2.0**-23).astype(np.float32)
    draw = {"gumbel": generator.gumbel, "normal": generator.normal}[kind]
    return draw(size=shape).astype(np.float32)
