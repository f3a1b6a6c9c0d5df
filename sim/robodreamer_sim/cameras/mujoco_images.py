"""Pictures of a MuJoCo model, drawn by our renderer, with depth."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Camera
from robodreamer_sim.cameras.drawn_geoms import require_geoms
from robodreamer_sim.cameras.images import Taking
from robodreamer_sim.cameras.pose import nominal_pose
from robodreamer_sim.cameras.renderer import AnyRenderer, Renderers, View
from robodreamer_sim.options import Appearance


class MujocoPictures:
    """The cameras of a MuJoCo model, and the renderer behind them.

    Args:
        model: What is drawn.
        data: Its state.
        views: The cameras, by name.
        appearance: How they are drawn.
        renderers: Shared among the environments of a process; None makes some of its own.
        while_drawing: Entered around every picture, for what has to be put in place for it.

    Raises:
        ValueError: The groups of geoms to be drawn have none.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        views: Mapping[str, mujoco.MjvCamera],
        appearance: Appearance,
        renderers: Renderers | None = None,
        while_drawing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        require_geoms(model, appearance.geom_groups)
        self.names = tuple(views)
        self._views = {name: View(model, data, camera) for name, camera in views.items()}
        self._model = model
        self._appearance = appearance
        self._renderers = renderers or Renderers()
        self._owns_renderers = renderers is None
        self._renderer: AnyRenderer | None = None
        self._terrain = np.empty(0, np.float32)
        self._while_drawing = while_drawing

    def draw(self, name: str, height: int, width: int) -> NDArray[np.uint8]:
        """Return what a camera sees, uint8 (height, width, 3)."""
        return self.stage(name, height, width, has_depth=False)().color

    def stage(self, name: str, height: int, width: int, *, has_depth: bool) -> Taking:
        """Hold on to what a camera sees now; Warp draws all that is staged together."""
        view, renderer = self._view(name), self._get_renderer(height, width)
        with self._while_drawing():
            return renderer.stage(view, height, width, has_depth=has_depth)

    def describe(self, name: str) -> Camera:
        """Return the geometry of a camera, as the contract records it."""
        model, camera = self._model, self._view(name).camera
        is_of_model = camera.type == mujoco.mjtCamera.mjCAMERA_FIXED.value
        fovy_deg = model.cam_fovy[camera.fixedcamid] if is_of_model else model.vis.global_.fovy
        body = int(model.cam_bodyid[camera.fixedcamid]) if is_of_model else 0
        pose = nominal_pose(model, camera)
        return Camera(
            signal=f"image/{name}",
            fovy_rad=math.radians(float(fovy_deg)),
            mount=model.body(body).name if body else "",
            **(pose._asdict() if pose is not None else {}),
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

    def _get_renderer(self, height: int, width: int) -> AnyRenderer:
        terrain = self._model.hfield_data
        if self._renderer is None or not np.array_equal(terrain, self._terrain):
            self._terrain = terrain.copy()  # which an episode may bring
            self._renderer = self._renderers.get(self._model, self._appearance, height, width)
        return self._renderer
