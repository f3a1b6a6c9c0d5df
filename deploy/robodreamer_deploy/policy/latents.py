"""Families of latent variables: all that a robot's side knows about what a policy draws.

A value is float32 (S, K). It is drawn from parameters (S, P), which the graphs return as `prior`
and `posterior`, with the noise that they take as an input.

    family        value                       parameters                       noise
    categorical   one-hot along K classes     logs of the K probabilities      gumbel
    gaussian      a number, K = 1             mean and standard deviation      normal

`draw` repeats what the graphs do. Letters: S variables, K classes, P parameters of a variable;
`*` any leading axes.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy.comparison import lead
from robodreamer_deploy.policy.noise import NoiseKind

LatentFamily = Literal["categorical", "gaussian"]


class Latents(Protocol):
    """Rules of one family of latent variables."""

    @property
    def noise_kind(self) -> NoiseKind:
        """Kind of the noise that a value is drawn with, in the shape of the value."""
        ...

    @property
    def is_choice(self) -> bool:
        """True if a value is compared by its class, false if number by number."""
        ...

    def parameter_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the shape (S, P) of the parameters of values of `shape` (S, K).

        Raises:
            ValueError: The family has no values of that shape.
        """
        ...

    def draw(self, parameters: Array, noise: Array) -> Array:
        """Return the values (*, S, K) that noise (*, S, K) draws; zeros as noise draw the mode."""
        ...

    def lead(self, parameters: Array, noise: Array) -> Array:
        """Return by how much each choice (*, S) leads its runner-up; infinite for a number."""
        ...

    def kl(self, posterior: Array, prior: Array) -> float:
        """Return the sum over all variables of KL(posterior || prior), in nats.

        That is the surprise: how much the observation told the model.
        """
        ...

    def describe(self, shape: tuple[int, int]) -> str:
        """Return the variables in words."""
        ...


class CategoricalLatents:
    """Rules of variables that take one of K classes; parameters are normalised."""

    noise_kind: NoiseKind = "gumbel"
    is_choice = True

    def parameter_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """See `Latents`."""
        return shape

    def draw(self, parameters: Array, noise: Array) -> Array:
        """See `Latents`."""
        scores = parameters + noise
        return np.eye(scores.shape[-1], dtype=np.float32)[scores.argmax(-1)]

    def lead(self, parameters: Array, noise: Array) -> Array:
        """See `Latents`."""
        return lead(parameters + noise)

    def kl(self, posterior: Array, prior: Array) -> float:
        """See `Latents`."""
        log_p, log_q = posterior.astype(np.float64), prior.astype(np.float64)
        return float((np.exp(log_p) * (log_p - log_q)).sum())

    def describe(self, shape: tuple[int, int]) -> str:
        """See `Latents`."""
        return f"{shape[0]} categorical variables of {shape[1]} classes"


class GaussianLatents:
    """Rules of variables that are normally distributed numbers; the mode is the mean."""

    noise_kind: NoiseKind = "normal"
    is_choice = False

    def parameter_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """See `Latents`."""
        if shape[1] != 1:
            raise ValueError(f"Gaussian latents of shape {shape}; each is one number: (S, 1)")
        return (shape[0], 2)

    def draw(self, parameters: Array, noise: Array) -> Array:
        """See `Latents`."""
        mean, std = parameters[..., :1], parameters[..., 1:]
        return mean + std * noise

    def lead(self, parameters: Array, noise: Array) -> Array:
        """See `Latents`."""
        del noise
        return np.full(parameters.shape[:-1], np.inf, np.float32)

    def kl(self, posterior: Array, prior: Array) -> float:
        """See `Latents`."""
        mean_p, std_p = np.moveaxis(posterior.astype(np.float64), -1, 0)
        mean_q, std_q = np.moveaxis(prior.astype(np.float64), -1, 0)
        ratio, distance = std_p / std_q, (mean_p - mean_q) / std_q
        return float((0.5 * (ratio**2 + distance**2 - 1.0) - np.log(ratio)).sum())

    def describe(self, shape: tuple[int, int]) -> str:
        """See `Latents`."""
        return f"{shape[0]} Gaussian variables"


FAMILIES: Mapping[LatentFamily, Latents] = {
    "categorical": CategoricalLatents(),
    "gaussian": GaussianLatents(),
}
