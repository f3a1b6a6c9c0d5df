"""Variational autoencoder of pictures (Ha and Schmidhuber, 2018, appendix A.1).

The camera networks of `valid_cnn` around Z latent numbers: the encoder yields a Gaussian, one
number of it is drawn by reparameterisation, the decoder draws the picture. Training minimises

    sum over pixels of (prediction - picture)^2 + KL(N(mean, variance) || N(0, I)),

minus the evidence lower bound of a picture whose pixels are normal with variance 1/2, but for a
constant. Pictures are in [0, 1] here.

Shapes: N pictures, H height, W width, C channels, Z latent; `*batch` is any leading axes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from robodreamer.config import NetworkConfig
from robodreamer.models.layers import camera_style
from robodreamer.models.sampling import Sampler
from robodreamer.models.valid_cnn import ValidCameraDecoder, ValidCameraEncoder
from robodreamer_deploy.contract import Signal

PICTURE = "image/picture"
MIN_VARIANCE = 0.01
"""Variance of a dimension's mean over pictures above which it is used (Burda et al., 2016)."""


class Gaussian(NamedTuple):
    """Independent normals of the latent numbers."""

    mean: Float[Tensor, "*batch Z"]
    log_variance: Float[Tensor, "*batch Z"]

    @property
    def std(self) -> Float[Tensor, "*batch Z"]:
        """Standard deviations."""
        return torch.exp(0.5 * self.log_variance)

    @property
    def kl_per_dimension(self) -> Float[Tensor, "*batch Z"]:
        """Return KL(self || N(0, 1)) of every dimension, in nats (Kingma and Welling, 2014)."""
        variance = self.log_variance.exp()
        return 0.5 * (self.mean.square() + variance - 1.0 - self.log_variance)


class NegativeElbo(NamedTuple):
    """Both terms of minus the evidence lower bound, per picture."""

    reconstruction: Float[Tensor, "*batch"]
    """Squared error, summed over pixels and channels."""
    kl: Float[Tensor, "*batch"]
    """Divergence from N(0, I) in nats, summed over the latent numbers."""

    def loss(self, free_nats: float) -> Float[Tensor, ""]:
        """Return the mean of their sum, where a picture's KL below `free_nats` is not pushed."""
        return (self.reconstruction + self.kl.clamp(min=free_nats)).mean()


class VAE(nn.Module):
    """Variational autoencoder of pictures of one size."""

    def __init__(self, shape: Sequence[int], network: NetworkConfig, latent: int) -> None:
        super().__init__()
        signal = Signal(name=PICTURE, shape=tuple(shape), dtype="uint8")
        style = camera_style(network.parts)
        self.encoder = ValidCameraEncoder([signal], network, style)
        self.mean = nn.Linear(self.encoder.size, latent)
        self.log_variance = nn.Linear(self.encoder.size, latent)
        self.decoder = ValidCameraDecoder([signal], latent, network, style, output="sigmoid")
        for head in (self.mean, self.log_variance):
            nn.init.xavier_uniform_(head.weight)
            nn.init.zeros_(head.bias)

    def encode(self, pictures: UInt8[Tensor, "*batch H W C"]) -> Gaussian:
        """Return the distribution of the latent numbers of pictures."""
        features = self.encoder({PICTURE: pictures})
        return Gaussian(self.mean(features), self.log_variance(features))

    def decode(self, latent: Float[Tensor, "*batch Z"]) -> Float[Tensor, "*batch H W C"]:
        """Draw pictures in [0, 1]."""
        return self.decoder(latent)[PICTURE]

    def reconstruct(self, pictures: UInt8[Tensor, "*batch H W C"]) -> Float[Tensor, "*batch H W C"]:
        """Draw pictures from the means of their latent numbers."""
        return self.decode(self.encode(pictures).mean)

    def negative_elbo(
        self, pictures: UInt8[Tensor, "*batch H W C"], sampler: Sampler
    ) -> NegativeElbo:
        """Return both terms, with one draw of the latent numbers per picture."""
        posterior = self.encode(pictures)
        drawn = self.decode(sampler.normal(posterior.mean, posterior.std))
        kl = posterior.kl_per_dimension.sum(-1)
        return NegativeElbo(squared_error(drawn, pictures), kl)


def squared_error(
    drawn: Float[Tensor, "*batch H W C"], pictures: UInt8[Tensor, "*batch H W C"]
) -> Float[Tensor, "*batch"]:
    """Return the squared error to bytes / 255, summed over pixels and channels."""
    return (drawn - pictures.float() / 255.0).square().sum((-3, -2, -1))


def interpolate(
    first: Float[Tensor, " Z"], last: Float[Tensor, " Z"], count: int
) -> Float[Tensor, "count Z"]:
    """Return points at equal distances on the straight line between two, both included."""
    weights = torch.linspace(0.0, 1.0, count, dtype=first.dtype).unsqueeze(-1)
    return torch.lerp(first, last, weights)


def psnr(squared_error: Float[Tensor, "*batch"], num_values: int) -> Float[Tensor, "*batch"]:
    """Return the peak signal-to-noise ratio in decibels, from errors summed over that many."""
    return -10.0 * torch.log10(squared_error / num_values)


def num_active(means: Float[Tensor, "N Z"]) -> int:
    """Count the latent numbers whose mean varies over pictures."""
    return int((means.var(0) > MIN_VARIANCE).sum())
