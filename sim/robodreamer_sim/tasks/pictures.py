"""How a Gymnasium environment is shown: MuJoCo by our renderer, others by their `render()`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import mujoco
import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from robodreamer_deploy.contract import Camera
from robodreamer_sim.cameras import Cameras, Renderers, describe_camera, fixed_camera, resize
from robodreamer_sim.faults import GraphicsError
from robodreamer_sim.options import Look

DEFAULT = "camera"
"""The view that the environment's own `render()` would show."""


class Pictures(Protocol):
    """Cameras by name; the first is the default."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all cameras; empty if the environment cannot be shown."""
        ...

    def draw(self, name: str, height: int, width: int) -> NDArray[np.uint8]:
        """Return what a camera sees, uint8 (height, width, 3)."""
        ...

    def describe(self, name: str) -> Camera:
        """Return the geometry of a camera."""
        ...

    def close(self) -> None:
        """Free what drawing needs."""
        ...


def pictures_of(env: Any, look: Look, renderers: Renderers | None) -> Pictures:
    """Return how a Gymnasium environment is shown best."""
    base = env.unwrapped
    if isinstance(getattr(base, "model", None), mujoco.MjModel):
        return MujocoPictures(base, look, renderers)
    return RenderedPictures(env)


class RenderedPictures:
    """The environment's own `render()`, scaled."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self.names = (DEFAULT,) if env.render_mode == "rgb_array" else ()

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


class MujocoPictures:
    """The model's cameras, and the view that `render()` would show."""

    def __init__(self, base: Any, look: Look, renderers: Renderers | None) -> None:
        self._base = base
        model = base.model
        named = [model.camera(i).name for i in range(model.ncam)]
        views = {DEFAULT: _default_view(base, named)}
        views |= {name: fixed_camera(model, name) for name in named if name}
        self.names = tuple(views)
        self._cameras = Cameras(model, base.data, views, look, renderers)

    def draw(self, name: str, height: int, width: int) -> NDArray[np.uint8]:
        """Return what a camera sees, uint8 (height, width, 3)."""
        with self._render_callback():
            return self._cameras.draw(name, height, width)

    def describe(self, name: str) -> Camera:
        """Return the geometry of a camera."""
        return describe_camera(self._base.model, name, self._cameras.views[name])

    def close(self) -> None:
        """Free the renderer."""
        self._cameras.close()

    @contextmanager
    def _render_callback(self) -> Iterator[None]:
        """Let gymnasium-robotics place its goal markers, and take back what else that changes.

        It runs the dynamics once more to do so, after which the next step would differ in its
        last bits from that of a run without pictures.
        """
        callback = getattr(self._base, "_render_callback", None)
        if callback is None:
            yield
            return
        model, data = self._base.model, self._base.data
        before = mujoco.MjData(model)
        mujoco.mj_copyData(before, model, data)
        callback()
        try:
            yield
        finally:
            mujoco.mj_copyData(data, model, before)


def _default_view(base: Any, named: list[str]) -> mujoco.MjvCamera:
    """Return the camera `track`, else a free one, as Gymnasium's own renderer chooses."""
    if "track" in named:
        return fixed_camera(base.model, "track")
    view = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(base.model, view)
    view.lookat[:] = np.median(base.data.geom_xpos, axis=0)
    settings = getattr(getattr(base, "mujoco_renderer", None), "default_cam_config", None) or {}
    for key, value in settings.items():
        if isinstance(value, np.ndarray):
            getattr(view, key)[:] = value
        else:
            setattr(view, key, value)
    return view
