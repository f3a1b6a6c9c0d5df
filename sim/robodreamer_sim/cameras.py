"""Cameras: added to a model by name, and drawn by one renderer that environments share.

A renderer holds a GL context and the model's meshes and textures, 25 to 100 MB; all else it draws
with (poses, colours, lights, cameras) comes from the environment's own model and data at each
frame. So every environment of a process whose model has the same meshes and textures can use the
same renderer, and `Renderers` hands it to them.

Drawing never changes the simulation: a run that is rendered equals one that is not, to the bit.
"""

import atexit
import hashlib
import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array, Camera, Signal
from robodreamer_sim.compat import GLContext, graphics_error, make_gl_context, renderer_name
from robodreamer_sim.options import Look

MAX_GEOMS = 10_000
SHADOW_FLAGS = (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION)
ASSETS = ("mesh_vert", "mesh_face", "mesh_normal", "mesh_texcoord", "tex_data", "hfield_size")


class Renderer:
    """Draws models that share their meshes and textures. For the thread that first draws."""

    def __init__(self, model: mujoco.MjModel, look: Look, height: int, width: int) -> None:
        self._gl: GLContext | None = make_gl_context(width, height)
        with _visual_quality(model, look, height, width):
            self._context = _make_context(model)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        if look == "lean":
            for flag in SHADOW_FLAGS:
                self._scene.flags[flag] = False
        self._option = mujoco.MjvOption()
        # MuJoCo ends EGL at exit; handlers run last first, so this one frees the context before.
        atexit.register(_close_if_alive, weakref.ref(self))

    def draw(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        camera: mujoco.MjvCamera,
        height: int,
        width: int,
    ) -> NDArray[np.uint8]:
        """Return what `camera` sees now, uint8 (height, width, 3), top row first."""
        assert self._gl is not None, "the renderer is closed"
        self._gl.make_current()
        if height > self._context.offHeight or width > self._context.offWidth:
            mujoco.mjr_resizeOffscreen(
                max(width, self._context.offWidth),
                max(height, self._context.offHeight),
                self._context,
            )
        for index in range(model.nhfield):  # an episode may bring its own terrain
            mujoco.mjr_uploadHField(model, self._context, index)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(model, data, self._option, None, camera, everything, self._scene)
        pixels = np.empty((height, width, 3), np.uint8)
        rectangle = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(pixels, None, rectangle, self._context)
        return np.ascontiguousarray(pixels[::-1])  # OpenGL counts rows from the bottom

    @property
    def name(self) -> str:
        """What draws: a GPU, or software."""
        assert self._gl is not None, "the renderer is closed"
        self._gl.make_current()
        return renderer_name()

    def close(self) -> None:
        """Free the GL context; drawing afterwards is an error. May be called twice."""
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
        self._gl = None


class Renderers:
    """The renderers of one process, one for each set of meshes and textures and look."""

    def __init__(self) -> None:
        self._renderers: dict[tuple[str, str], Renderer] = {}

    def get(self, model: mujoco.MjModel, look: Look, height: int, width: int) -> Renderer:
        """Return the renderer that can draw `model`, made at its first use."""
        key = (_assets_digest(model), look)
        if key not in self._renderers:
            self._renderers[key] = Renderer(model, look, height, width)
        return self._renderers[key]

    @property
    def name(self) -> str:
        """What draws; empty if nothing was drawn."""
        return next((renderer.name for renderer in self._renderers.values()), "")

    def close(self) -> None:
        """Close them all."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()


class Cameras:
    """The cameras of one environment, by name, and the renderer behind them."""

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        cameras: Mapping[str, mujoco.MjvCamera],
        look: Look,
        renderers: Renderers | None,
    ) -> None:
        self.views = dict(cameras)
        self._model = model
        self._data = data
        self._look: Look = look
        self._renderers = renderers or Renderers()
        self._owns_renderers = renderers is None
        self._renderer: Renderer | None = None

    def draw(self, name: str, height: int, width: int) -> NDArray[np.uint8]:
        """Return what camera `name` sees, uint8 (height, width, 3).

        Raises:
            ValueError: No such camera.
            GraphicsError: This machine cannot render.
        """
        if name not in self.views:
            raise ValueError(f"no camera {name!r}; there are {', '.join(self.views)}")
        if self._renderer is None:
            self._renderer = self._renderers.get(self._model, self._look, height, width)
        return self._renderer.draw(self._model, self._data, self.views[name], height, width)

    def close(self) -> None:
        """Free the renderer, unless it is shared."""
        if self._owns_renderers:
            self._renderers.close()
        self._renderer = None


def fixed_camera(model: mujoco.MjModel, name_or_index: str | int) -> mujoco.MjvCamera:
    """Return the view of a camera that the model has, by name (or index if it has no name)."""
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value
    camera.fixedcamid = model.camera(name_or_index).id
    return camera


def choose_cameras(
    task: str, names: tuple[str, ...] | None, available: Sequence[str]
) -> tuple[str, ...]:
    """Return the cameras asked for, or the first available one.

    Raises:
        ValueError: A camera that does not exist; lists those that do, closest first.
    """
    for name in names or ():
        if name not in available:
            close = get_close_matches(name, available, n=len(available), cutoff=0.0)
            raise ValueError(f"{task} has no camera {name!r}; it has {', '.join(close)}")
    return names or tuple(available[:1])


def image_signal(camera: str, image_size: tuple[int, int]) -> Signal:
    """Declare the picture of a camera."""
    return Signal(name=f"image/{camera}", shape=(*image_size, 3), dtype="uint8")


def describe_camera(model: mujoco.MjModel, name: str, view: mujoco.MjvCamera) -> Camera:
    """Return the geometry of a camera, as the contract records it."""
    if view.type != mujoco.mjtCamera.mjCAMERA_FIXED.value:
        return Camera(signal=f"image/{name}", fovy_rad=math.radians(model.vis.global_.fovy))
    body = int(model.cam_bodyid[view.fixedcamid])
    return Camera(
        signal=f"image/{name}",
        fovy_rad=math.radians(float(model.cam_fovy[view.fixedcamid])),
        mount=model.body(body).name if body else "",
    )


class Aim(NamedTuple):
    """Where a camera stands and what appears in the centre of its picture, in one frame."""

    position: tuple[float, float, float]
    """Metres."""
    target: tuple[float, float, float]
    """Metres."""
    fovy_deg: float
    """Vertical field of view."""


def add_camera(spec: Any, name: str, aim: Aim, body: str = "") -> None:
    """Add a camera to a model (an `MjSpec`), in the frame of a body or of the world.

    The frame's z axis points upwards in the picture.
    """
    forward = np.subtract(aim.target, aim.position)
    backward = -forward / np.linalg.norm(forward)  # a camera looks along its -z, y is up
    right = np.cross((0.0, 0.0, 1.0), backward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(backward, right), backward], axis=1)
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    mount = spec.body(body) if body else spec.worldbody
    mount.add_camera(name=name, pos=aim.position, quat=quaternion, fovy=aim.fovy_deg)


@contextmanager
def cameras_added(add: Callable[[Any], None]) -> Iterator[None]:
    """Let `add` put cameras into every model (an `MjSpec`) that is loaded from XML meanwhile.

    Third-party environments load their model in their constructor and leave no other way in.
    """
    original = mujoco.MjModel.from_xml_path

    def load(path: str) -> mujoco.MjModel:
        spec = mujoco.MjSpec.from_file(path)
        add(spec)
        return spec.compile()

    mujoco.MjModel.from_xml_path = load
    try:
        yield
    finally:
        mujoco.MjModel.from_xml_path = original


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


@contextmanager
def _visual_quality(model: mujoco.MjModel, look: Look, height: int, width: int) -> Iterator[None]:
    """Set buffer size and quality for a context that is made meanwhile; then set them back."""
    quality, buffer = model.vis.quality, model.vis.global_
    saved = quality.shadowsize, quality.offsamples, buffer.offheight, buffer.offwidth
    buffer.offheight, buffer.offwidth = height, width
    if look == "lean":
        quality.shadowsize = quality.offsamples = 0
    try:
        yield
    finally:
        quality.shadowsize, quality.offsamples, buffer.offheight, buffer.offwidth = saved


def _assets_digest(model: mujoco.MjModel) -> str:
    """Return a hash of what a renderer uploads once: meshes, textures, sizes of height fields."""
    digest = hashlib.sha256()
    for name in ASSETS:
        digest.update(np.ascontiguousarray(getattr(model, name)).tobytes())
    return digest.hexdigest()


def _make_context(model: mujoco.MjModel) -> mujoco.MjrContext:
    """Upload a model; what only seemed to start, as GLFW without a display, fails here."""
    try:
        return mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
    except mujoco.FatalError as error:
        raise graphics_error(error) from error


def _close_if_alive(reference: "weakref.ref[Renderer]") -> None:
    renderer = reference()
    if renderer is not None:
        renderer.close()
