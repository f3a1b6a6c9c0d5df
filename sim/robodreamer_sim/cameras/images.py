"""Images of a task, by camera: drawn by our renderer or by the environment's own `render()`.

An `ImageSource` draws any camera at any size, for people and for policies. Which cameras a policy
observes, and how often, is decided in `camera_set`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array, Camera
from robodreamer_sim.errors import GraphicsError

RENDERED = "camera"
"""Camera name of an environment's own `render()`."""


class Image(NamedTuple):
    """Image of one camera, with depth where it was asked for."""

    color: NDArray[np.uint8]
    """(H, W, 3); (H, W, C) of an image that the environment observes itself."""
    depth: NDArray[np.float32] | None = None
    """(H, W), metres along the viewing direction; None where it was not asked for."""


class ImageSource(Protocol):
    """Cameras of an environment by name; the first is the default."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all cameras; empty if the environment cannot be drawn."""
        ...

    def draw(self, name: str, height: int, width: int) -> NDArray[np.uint8]:
        """Return the image of a camera, uint8 (height, width, 3).

        Raises:
            ValueError: No such camera.
            GraphicsError: This machine cannot render.
        """
        ...

    def stage(self, name: str, height: int, width: int, *, has_depth: bool) -> Callable[[], Image]:
        """Capture a camera's view now; return a function that returns its image.

        Views that are staged before the first image is asked for may be drawn together.
        """
        ...

    def describe(self, name: str) -> Camera:
        """Return the geometry of a camera."""
        ...

    def close(self) -> None:
        """Free the resources for drawing."""
        ...


@runtime_checkable
class DepthImageSource(ImageSource, Protocol):
    """Image source that also measures depth."""

    def default_depth_range_m(self, name: str) -> float:
        """Return a distance beyond which little that matters is seen."""
        ...


class RenderedImages:
    """Image source of a Gymnasium environment's own `render()`, scaled."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self.names = (RENDERED,) if env.render_mode == "rgb_array" else ()

    def draw(self, name: str, height: int, width: int) -> NDArray[np.uint8]:  # noqa: ARG002
        """Return what `render()` returns, scaled, uint8 (height, width, 3).

        Raises:
            GraphicsError: A library that `render()` needs is not installed.
            ValueError: `render()` returned something else than an image.
        """
        try:
            frame = self._env.render()
        except DependencyNotInstalled as error:
            raise GraphicsError(f"the environment cannot be drawn: {error}") from error
        if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[-1] < 3:
            raise ValueError(f"render() returned {type(frame).__name__}, not a picture (H, W, 3)")
        return resize(frame[..., :3], height, width)

    def stage(
        self,
        name: str,
        height: int,
        width: int,
        *,
        has_depth: bool,  # noqa: ARG002  the camera set refuses it
    ) -> Callable[[], Image]:
        """Draw now; return a function that returns the image."""
        image = Image(self.draw(name, height, width))
        return lambda: image

    def describe(self, name: str) -> Camera:
        """Return a camera without geometry, which `render()` does not reveal."""
        return Camera(signal=f"image/{name}")

    def close(self) -> None:
        """Do nothing: the environment closes its own window."""


def resize(image: Array, height: int, width: int) -> NDArray[np.uint8]:
    """Scale an image (H, W, C) by averaging the area that each new pixel covers."""
    if image.shape[:2] == (height, width):
        return np.array(image, np.uint8)
    rows, columns = _area_weights(image.shape[0], height), _area_weights(image.shape[1], width)
    scaled = np.einsum("hH,HWc,wW->hwc", rows, image.astype(np.float32), columns, optimize=True)
    return np.rint(scaled).astype(np.uint8)


def to_color(image: Array) -> NDArray[np.uint8]:
    """Convert an image (H, W, C) to (H, W, 3) for people: its first three channels, or grey."""
    return image[..., :3] if image.shape[-1] >= 3 else image[..., :1].repeat(3, -1)


def _area_weights(size: int, new_size: int) -> NDArray[np.float32]:
    """Return (new_size, size): the share of each old pixel in each new one; rows sum to 1."""
    edges = np.linspace(0.0, size, new_size + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(overlap, 0.0, None) * new_size / size).astype(np.float32)
