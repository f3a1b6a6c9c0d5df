"""How a task is shown: cameras by name, drawn by our renderer or by the environment's own.

`Pictures` draws any camera at any size, for people as for policies; what a policy sees of it, and
how often, is the rig's (`rig`).
"""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import mujoco
import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array, Camera
from robodreamer_sim.faults import GraphicsError
from robodreamer_sim.options import Look
from robodreamer_sim.rendering import Renderer, Renderers, View

RENDERED = "camera"
"""The view that an environment's own `render()` shows."""


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

    def describe(self, name: str) -> Camera:
        """Return the geometry of a camera."""
        ...

    def close(self) -> None:
        """Free what drawing needs."""
        ...


@runtime_checkable
class DepthPictures(Pictures, Protocol):
    """Cameras that also measure how far things are."""

    def draw_with_depth(
        self, name: str, height: int, width: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return what a camera sees, and how far it is: float32 (height, width), metres."""
        ...

    def usual_depth_m(self, name: str) -> float:
        """Return a distance behind which little that matters is seen."""
        ...


class MujocoPictures:
    """The cameras of a MuJoCo model, and the renderer behind them.

    Args:
        model: What is drawn.
        data: Its state.
        views: The cameras, by name.
        look: Quality of the pictures.
        renderers: Shared among the environments of a process; None makes some of its own.
        while_drawing: Entered around every picture, for what has to be put in place for it.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        views: Mapping[str, mujoco.MjvCamera],
        look: Look,
        renderers: Renderers | None = None,
        while_drawing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.names = tuple(views)
        self._views = {name: View(model, data, camera) for name, camera in views.items()}
        self._model = model
        self._look: Look = look
        self._renderers = renderers or Renderers()
        self._owns_renderers = renderers is None
        self._renderer: Renderer | None = None
        self._while_drawing = while_drawing

    def draw(self, name: str, height: int, width: int) -> NDArray[np.uint8]:
        """Return what a camera sees, uint8 (height, width, 3)."""
        view = self._view(name)
        with self._while_drawing():
            return self._get_renderer(height, width).draw(view, height, width)

    def draw_with_depth(
        self, name: str, height: int, width: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return what a camera sees, and how far it is: float32 (height, width), metres."""
        view = self._view(name)
        with self._while_drawing():
            return self._get_renderer(height, width).draw_with_depth(view, height, width)

    def describe(self, name: str) -> Camera:
        """Return the geometry of a camera, as the contract records it."""
        model, camera = self._model, self._view(name).camera
        if camera.type != mujoco.mjtCamera.mjCAMERA_FIXED.value:
            return Camera(signal=f"image/{name}", fovy_rad=math.radians(model.vis.global_.fovy))
        body = int(model.cam_bodyid[camera.fixedcamid])
        return Camera(
            signal=f"image/{name}",
            fovy_rad=math.radians(float(model.cam_fovy[camera.fixedcamid])),
            mount=model.body(body).name if body else "",
        )

    def usual_depth_m(self, name: str) -> float:
        """Return twice the distance from the camera to the model's centre, as the model stands.

        For a camera on a body that is the body's place in the initial configuration.
        """
        model, camera = self._model, self._view(name).camera
        if camera.type != mujoco.mjtCamera.mjCAMERA_FIXED.value:
            return round(2.0 * float(camera.distance), 3)
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        offset = data.cam_xpos[camera.fixedcamid] - model.stat.center
        return round(2.0 * float(np.linalg.norm(offset)), 3)

    def close(self) -> None:
        """Free the renderer, unless it is shared."""
        if self._owns_renderers:
            self._renderers.close()
        self._renderer = None

    def _view(self, name: str) -> View:
        if name not in self._views:
            raise ValueError(f"no camera {name!r}; there are {', '.join(self.names)}")
        return self._views[name]

    def _get_renderer(self, height: int, width: int) -> Renderer:
        if self._renderer is None:
            self._renderer = self._renderers.get(self._model, self._look, height, width)
        return self._renderer


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

    def describe(self, name: str) -> Camera:
        """Return what is known of the camera: its name."""
        return Camera(signal=f"image/{name}")

    def close(self) -> None:
        """Nothing is held here; the environment closes its own window."""


def resize(image: Array, height: int, width: int) -> NDArray[np.uint8]:
    """Scale a picture (H, W, 3) by averaging the area that each new pixel covers."""
    rows, columns = _area_weights(image.shape[0], height), _area_weights(image.shape[1], width)
    scaled = np.einsum("hH,HWc,wW->hwc", rows, image.astype(np.float32), columns, optimize=True)
    return np.rint(scaled).astype(np.uint8)


def _area_weights(size: int, new_size: int) -> NDArray[np.float32]:
    """Return (new_size, size): the share of each old pixel in each new one; rows sum to 1."""
    edges = np.linspace(0.0, size, new_size + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(overlap, 0.0, None) * new_size / size).astype(np.float32)
