"""Image noise of a real camera: pure functions of bytes to bytes.

Images are uint8 (H, W, C).
"""

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
LEAST_BLUR = 0.1
"""Pixels; a narrower Gaussian leaves its neighbours less than a rounding error."""


def change_brightness(picture: Picture, factor: float) -> Picture:
    """Multiply every pixel."""
    return _to_bytes(picture * np.float32(factor))


def change_contrast(picture: Picture, factor: float) -> Picture:
    """Multiply every pixel's distance to the mean of the image."""
    mean = picture.mean(dtype=np.float32)
    return _to_bytes(mean + (picture - mean) * np.float32(factor))


def add_noise(picture: Picture, std: float, rng: np.random.Generator) -> Picture:
    """Add independent Gaussian noise to every channel of every pixel; `std` is of 255."""
    noise = rng.standard_normal(picture.shape, np.float32)
    return _to_bytes(picture + noise * np.float32(std))


def blur(picture: Picture, std: float) -> Picture:
    """Smooth with a Gaussian of `std` pixels; at the border with what is inside of it."""
    if std < LEAST_BLUR:
        return picture.copy()
    rows = np.tensordot(_weights(picture.shape[0], std), picture.astype(np.float32), (1, 0))
    return _to_bytes(np.tensordot(_weights(picture.shape[1], std), rows, (1, 1)).swapaxes(0, 1))


def _weights(size: int, std: float) -> NDArray[np.float32]:
    """Return (size, size): the share of each old pixel in each new one; rows sum to 1."""
    pixels = np.arange(size, dtype=np.float32)
    weights = np.exp(-0.5 * ((pixels[:, None] - pixels) / np.float32(std)) ** 2)
    return weights / weights.sum(1, keepdims=True)


def _to_bytes(values: NDArray[np.floating]) -> Picture:
    return np.ascontiguousarray(np.rint(np.clip(values, 0.0, 255.0)).astype(np.uint8))
