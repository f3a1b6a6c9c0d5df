"""Images in an environment's own observations: their array layout and scaling.

These spaces hold images; everything else is a vector:

    uint8 (H, W, C)      of 1 to 16 channels, the fewest; 0 to 255, or any three channels
    uint8 (C, H, W)      the same with channels first, 1, 3 or 4 of them
    uint8 (H, W)         grey, 0 to 255, from 8 pixels a side on
    uint8 (N, H, W, C)   N frames, one behind the other on the channels
    floats (H, W, C)     of 1, 3 or 4 channels, 0 to 1 or 0 to 255, from 8 pixels a side on

H height, W width, C channels, N frames.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array, Camera
from robodreamer_sim.cameras.images import Image, ImageSource, resize, to_color

USUAL_CHANNELS = (1, 3, 4)
"""Grey, colour, and colour with depth or four grey frames."""
MAX_CHANNELS = 16
SMALLEST_SIDE = 8
"""Pixels: a smaller array that could be a grey picture, or one of floats, is a grid of numbers."""


class ImageLayout(NamedTuple):
    """Array layout of an image: its rows, columns and channels."""

    source: tuple[int, ...]
    """Shape of the array as the environment returns it."""
    axes: tuple[int, ...]
    """Axes of the source in the order rows, columns, then all that become channels."""
    shape: tuple[int, int, int]
    """(H, W, C)"""
    scale: float = 1.0
    """Factor from a value to a byte."""

    def read(self, value: Any) -> Array:
        """Return an image, uint8 (H, W, C); an array of another shape is returned as it is.

        Raises:
            ValueError: A value is not finite, which bytes cannot represent.
        """
        array = np.asarray(value)
        if array.shape != self.source:
            return array  # the contract refuses it, and names both shapes
        if array.dtype != np.uint8:
            if not np.isfinite(array).all():
                bad = array[~np.isfinite(array)]
                raise ValueError(f"an observed picture has {bad.size} values such as {bad[0]}")
            array = np.rint(np.clip(array * self.scale, 0.0, 255.0)).astype(np.uint8)
        return np.array(array.transpose(self.axes)).reshape(self.shape)


def image_layout(space: spaces.Space[Any], where: str) -> ImageLayout | None:
    """Return the layout of an image in a space; None if it holds none.

    Args:
        space: Any space.
        where: What it is called in messages.

    Raises:
        ValueError: Bytes over three axes that use their whole range, and are no picture.
    """
    if not isinstance(space, spaces.Box) or len(space.shape) not in (2, 3, 4):
        return None
    shape = tuple(int(size) for size in space.shape)
    if space.dtype != np.uint8:
        return _of_floats(space, shape)
    is_whole = bool((space.high == 255).all()) and not space.low.any()
    if not is_whole and (len(shape) != 3 or shape[-1] != 3):
        return None
    layout = _of_bytes(shape)
    if layout is None and len(shape) == 3:
        raise ValueError(
            f"{where} holds bytes {shape}, which is no picture (height, width, channels) of "
            f"1 to {MAX_CHANNELS} channels; a wrapper of the environment has to make it one, or "
            "floats"
        )
    return layout


def _of_bytes(shape: tuple[int, ...]) -> ImageLayout | None:
    if len(shape) == 2:
        is_grey = min(shape) >= SMALLEST_SIDE
        return ImageLayout(shape, (0, 1), (shape[0], shape[1], 1)) if is_grey else None
    if len(shape) == 4:
        frames, height, width, channels = shape
        if channels not in USUAL_CHANNELS or frames * channels > MAX_CHANNELS:
            return None
        return ImageLayout(shape, (1, 2, 0, 3), (height, width, frames * channels))
    first, middle, last = shape
    if last in USUAL_CHANNELS or (last <= MAX_CHANNELS and last < min(first, middle)):
        return ImageLayout(shape, (0, 1, 2), (first, middle, last))
    if first in USUAL_CHANNELS and min(middle, last) >= SMALLEST_SIDE:
        return ImageLayout(shape, (1, 2, 0), (middle, last, first))
    return None


def _of_floats(space: spaces.Box, shape: tuple[int, ...]) -> ImageLayout | None:
    if not np.issubdtype(space.dtype, np.floating) or len(shape) != 3 or space.low.any():
        return None
    if shape[-1] not in USUAL_CHANNELS or min(shape[:2]) < SMALLEST_SIDE:
        return None
    for highest in (1.0, 255.0):
        if (space.high == highest).all():
            height, width, channels = shape
            return ImageLayout(shape, (0, 1, 2), (height, width, channels), 255.0 / highest)
    return None


class ObservedImages:
    """Image source of the images in an observation, followed by those that can be drawn.

    Args:
        read: Returns the current observed image of a name, uint8 (H, W, C).
        channels: Number of channels of each observed image, by name.
        drawn: Source of drawn images; an observed image hides a drawn one of the same name.
    """

    def __init__(
        self, read: Callable[[str], Array], channels: Mapping[str, int], drawn: ImageSource
    ) -> None:
        self.names = (*channels, *(name for name in drawn.names if name not in channels))
        self._read, self._channels, self._drawn = read, channels, drawn

    def draw(self, name: str, height: int, width: int) -> NDArray[np.uint8]:
        """Return an image for people, uint8 (height, width, 3)."""
        if name not in self._channels:
            return self._drawn.draw(name, height, width)
        return resize(to_color(self._read(name)), height, width)

    def stage(self, name: str, height: int, width: int, *, has_depth: bool) -> Callable[[], Image]:
        """Scale the observed image, or stage a drawn one."""
        if name not in self._channels:
            return self._drawn.stage(name, height, width, has_depth=has_depth)
        frame = self._read(name)
        if frame.ndim != 3 or frame.shape[-1] != self._channels[name]:
            return lambda: Image(frame)  # the contract refuses it, and names both shapes
        picture = Image(resize(frame, height, width))
        return lambda: picture

    def describe(self, name: str) -> Camera:
        """Return the known geometry of a camera."""
        if name not in self._channels:
            return self._drawn.describe(name)
        return Camera(signal=f"image/{name}")

    def close(self) -> None:
        """Free the resources for drawing."""
        self._drawn.close()
