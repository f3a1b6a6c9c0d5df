"""Images of a MuJoCo model, drawn by our renderer, with depth."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Camera
from robodreamer_sim.cameras.camera_spec import fixed_camera
from robodreamer_sim.cameras.drawn_geoms import require_geoms
from robodreamer_sim.cameras.images import Image
from robodreamer_sim.cameras.pose import nominal_pose
from robodreamer_sim.cameras.renderer import Renderer, View
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.options import Appearance

Handles = tuple[mujoco.MjModel, mujoco.MjData]


class MujocoImages:
    """Image source of the cameras of a MuJoCo simulation.

    Args:
        handles: Returns the current model and its state. The model may be replaced between
            episodes; every one has the same cameras.
        cameras: Cameras by name: the name or index of a camera of the model, or a free view.
        appearance: Drawing options.
        renderers: Renderers shared by the environments of a process; None creates own ones.
        while_drawing: Context that is entered around every image, such as to place goal markers.

    Raises:
        ValueError: No geom is in the groups to be drawn.
    """

    def __init__(
        self,
        handles: Callable[[], Handles],
        cameras: Mapping[str, str | int | mujoco.MjvCamera],
        appearance: Appearance,
        renderers: RendererPool | None = None,
        while_drawing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        model, _ = handles()
        require_geoms(model, appearance.geom_groups)
        self.names = tuple(cameras)
        self._handles, self._cameras, self._appearance = handles, cameras, appearance
        self._while_drawing = while_drawing
        self._renderers = renderers or RendererPool()
        self._owns_renderers = renderers is None
        self._renderer: Renderer | None = None
        self._model: mujoco.MjModel | None = None
        self._views: dict[str, View] = {}
        self._terrain = np.empty(0, np.float32)
        self._extent_m = float(model.stat.extent)

    def draw(self, name: str, height: int, width: int) -> NDArray[np.uint8]:
        """Return the image of a camera, uint8 (height, width, 3)."""
        return self.stage(name, height, width, has_depth=False)().color

    def stage(self, name: str, height: int, width: int, *, has_depth: bool) -> Callable[[], Image]:
        """Capture a camera's view now; Warp draws all staged views in one call."""
        view = self._view(name)
        renderer = self._renderer_of(view.model, height, width)
        with self._while_drawing():
            return renderer.stage(view, height, width, has_depth=has_depth)

    def describe(self, name: str) -> Camera:
        """Return the geometry of a camera, as the contract records it."""
        model, _, camera = self._view(name)
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

    def default_depth_range_m(self, name: str) -> float:
        """Return twice the distance from the camera to the model's centre, as the model is built.

        A camera on a body is where that body is in the initial configuration.
        """
        model, _, camera = self._view(name)
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
        if name not in self._cameras:
            raise ValueError(f"no camera {name!r}; there are {', '.join(self.names)}")
        model, data = self._handles()
        if model is not self._model:
            # znear and zfar are fractions of the extent, which the compiler takes from where bodies
            # are: for some models, where the last episode left them. The first one's serves all.
            model.stat.extent = self._extent_m
            self._views = {
                key: View(model, data, _mujoco_camera(model, camera))
                for key, camera in self._cameras.items()
            }
            self._model, self._renderer = model, None
        return self._views[name]

    def _renderer_of(self, model: mujoco.MjModel, height: int, width: int) -> Renderer:
        terrain = model.hfield_data
        if self._renderer is None or not np.array_equal(terrain, self._terrain):
            self._terrain = terrain.copy()  # an episode may replace it
            self._renderer = self._renderers.get(model, self._appearance, height, width)
        return self._renderer


def _mujoco_camera(model: mujoco.MjModel, camera: str | int | mujoco.MjvCamera) -> mujoco.MjvCamera:
    return camera if isinstance(camera, mujoco.MjvCamera) else fixed_camera(model, camera)
