"""How a task is shown: cameras by name, drawn by our renderer or by the environment's own.

`Pictures` draws any camera at any size, for people as for policies; what a policy sees of it, and
how often, is the rig's (`rig`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array, Camera
from robodreamer_sim.errors import GraphicsError

RENDERED = "camera"
"""The view that an environment's own `render()` shows."""


class Picture(NamedTuple):
    """What a camera saw."""

    color: NDArray[np.uint8]
    """(H, W, 3); (H, W, C) of a picture that the environment observes itself."""
    depth: NDArray[np.float32] | None = None
    """(H, W), metres along the viewing direction; None where it was not asked for."""


Taking = Callable[[], Picture]
"""Returns a picture of what was seen when it was staged."""


class Pictures(Protocol):
    """Cameras by name; the first is the default."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all cameras; empty if the environment cannot be shown."""
        ...

    def draw(self, name: str, height: int, width: int) -> NDArray[np.uint8]:
        """Return what a camera sees, uint8 (height, width, 3).

        Raises:
            ValueError: No such camera.
            GraphicsError: This machine cannot render.
        """
        ...

    def stage(self, name: str, height: int, width: int, *, has_depth: bool) -> Taking:
        """Hold on to what a camera sees now; several may then be drawn together."""
        ...

    def describe(self, name: str) -> Camera:
        """Return the geometry of a camera."""
        ...

    def close(self) -> None:
        """Free what drawing needs."""
        ...


@runtime_checkable
class DepthPictures(Pictures, Protocol):
    """Cameras that also measure how far things are."""

    def usual_depth_m(self, name: str) -> float:
        """Return a distance behind which little that matters is seen."""
        ...


class RenderedPictures:
    """A Gymnasium environment's own `render()`, scaled."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self.names = (RENDERED,) if env.render_mode == "rgb_array" else ()

    def draw(self, name: str, height: int, width: int) -> NDArray[np.uint8]:  # noqa: ARG002
        """Return what `render()` shows, uint8 (height, width, 3).

        Raises:
            GraphicsError: A library that `render()` needs is not installed.
            ValueError: `render()` returned something else than a picture.
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
        has_depth: bool,  # noqa: ARG002  the rig refuses it
    ) -> Taking:
        """Draw what `render()` shows now."""
        picture = Picture(self.draw(name, height, width))
        return lambda: picture

    def describe(self, name: str) -> Camera:
        """Return what is known of the camera: its name."""
        return Camera(signal=f"image/{name}")

    def close(self) -> None:
        """Nothing is held here; the environment closes its own window."""


def resize(image: Array, height: int, width: int) -> NDArray[np.uint8]:
    """Scale a picture (H, W, C) by averaging the area that each new pixel covers."""
    if image.shape[:2] == (height, width):
        return np.array(image, np.uint8)
    rows, columns = _area_weights(image.shape[0], height), _area_weights(image.shape[1], width)
    scaled = np.einsum("hH,HWc,wW->hwc", rows, image.astype(np.float32), columns, optimize=True)
    return np.rint(scaled).astype(np.uint8)


def to_color(picture: Array) -> NDArray[np.uint8]:
    """Return a picture (H, W, C) as people see it, (H, W, 3): the first three channels, or grey."""
    return picture[..., :3] if picture.shape[-1] >= 3 else picture[..., :1].repeat(3, -1)


def _area_weights(size: int, new_size: int) -> NDArray[np.float32]:
    """Return (new_size, size): the share of each old pixel in each new one; rows sum to 1."""
    edges = np.linspace(0.0, size, new_size + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(overlap, 0.0, None) * new_size / size).astype(np.float32)
