"""Image sources of Gymnasium environments: our renderer for MuJoCo, else their own `render()`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np

from robodreamer_sim.cameras.camera_spec import fixed_camera
from robodreamer_sim.cameras.images import RENDERED, ImageSource, RenderedImages
from robodreamer_sim.cameras.mujoco_images import MujocoImages
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.options import Appearance


def image_source_of(
    env: Any, appearance: Appearance, renderers: RendererPool | None
) -> ImageSource:
    """Return the best image source for a Gymnasium environment.

    With MuJoCo these are the model's cameras, after the view that `render()` would show.

    Raises:
        ValueError: The environment draws itself and cannot follow the drawing options.
    """
    base = env.unwrapped
    model: Any = getattr(base, "model", None)
    if not isinstance(model, mujoco.MjModel):
        if appearance.geom_groups is not None or appearance.meshes != "full":
            raise ValueError(
                "this environment draws itself by render(), which knows neither geom_groups nor "
                "meshes: leave them as they are"
            )
        return RenderedImages(env)
    named = [model.camera(i).name for i in range(model.ncam)]
    cameras: dict[str, str | mujoco.MjvCamera] = {RENDERED: _default_view(base, named)}
    return MujocoImages(
        lambda: (model, base.data),
        cameras | {name: name for name in named if name},
        appearance,
        renderers,
        while_drawing=lambda: _markers_placed(base),
    )


@contextmanager
def _markers_placed(base: Any) -> Iterator[None]:
    """Let gymnasium-robotics place its goal markers, and undo all other changes by that.

    It runs the dynamics once more to do so, after which the next step would differ in its
    last bits from that of a run without images.
    """
    callback = getattr(base, "_render_callback", None)
    if callback is None:
        yield
        return
    model, data = base.model, base.data
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
