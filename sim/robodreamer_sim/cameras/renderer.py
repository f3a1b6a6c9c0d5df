"""Drawing: one GL renderer that the environments of a process share.

A renderer holds a GL context and the model's meshes and textures, 25 to 100 MB; all else it draws
with (poses, colours, lights, cameras) comes from the environment's own model and data at each
frame. So every environment of a process whose model has the same meshes and textures can use the
same renderer, and `Renderers` hands it to them.

Drawing never changes the simulation: a run that is rendered equals one that is not, to the bit.
"""

import atexit
import hashlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_sim.cameras.gl_backend import (
    WARP,
    GLContext,
    graphics_error,
    make_gl_context,
    renderer_name,
    settled_back_end,
)
from robodreamer_sim.cameras.images import Picture, Taking
from robodreamer_sim.cameras.mesh_thinning import thin
from robodreamer_sim.options import LEAN, NUM_GROUPS, Appearance, Look

MAX_GEOMS = 10_000
SHADOW_SIZE = 512
"""Pixels along a side of the shadow map in the look `shadows`; the models ask for 4096 or so."""
UNDRAWN: Mapping[Look, tuple[mujoco.mjtRndFlag, ...]] = {
    "lean": (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION),
    "shadows": (mujoco.mjtRndFlag.mjRND_REFLECTION,),
    "reference": (),
}
ASSETS = ("mesh_vert", "mesh_face", "mesh_normal", "mesh_texcoord", "tex_data", "hfield_size")
WARP_ASSETS = (
    *ASSETS, "hfield_data", "geom_type", "geom_dataid", "geom_matid", "geom_group", "site_type",
    "site_matid", "site_group", "tendon_group", "wrap_type", "mat_texid", "mat_texuniform",
    "mat_emission", "mat_specular", "mat_shininess", "light_type", "light_castshadow",
    "light_attenuation", "light_cutoff", "light_exponent",
)  # fmt: skip
"""What is taken once from a model: by OpenGL, and by Warp."""


class View(NamedTuple):
    """What is drawn, and from where."""

    model: mujoco.MjModel
    data: mujoco.MjData
    camera: mujoco.MjvCamera


class AnyRenderer(Protocol):
    """Draws models that share their meshes and textures, by whatever means."""

    @property
    def name(self) -> str:
        """What draws: a GPU, or software."""
        ...

    def stage(self, view: View, height: int, width: int, *, has_depth: bool = False) -> Taking:
        """Hold on to what is seen now; return what returns the picture of it, top row first."""
        ...

    def close(self) -> None:
        """Free what is drawn with."""
        ...


class Renderer:
    """Draws models that share their meshes and textures. For the thread that first draws."""

    def __init__(
        self, model: mujoco.MjModel, appearance: Appearance, height: int, width: int
    ) -> None:
        self._gl: GLContext | None = make_gl_context(width, height)
        self._context = _make_context(model, appearance, height, width)
        self._exact: mujoco.MjrContext | None = None
        """Without multisampling, for depth; None where `_context` is, or before it is needed."""
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        for flag in UNDRAWN[appearance.look]:
            self._scene.flags[flag] = False
        self._option = _option(appearance.geom_groups)
        # MuJoCo ends EGL at exit; handlers run last first, so this one frees the context before.
        atexit.register(_close_if_alive, weakref.ref(self))

    def stage(self, view: View, height: int, width: int, *, has_depth: bool = False) -> Taking:
        """Draw what is seen now; return what returns the picture of it, top row first."""
        picture = (
            Picture(*self.draw_with_depth(view, height, width))
            if has_depth
            else Picture(self.draw(view, height, width))
        )
        return lambda: picture

    def draw(self, view: View, height: int, width: int) -> NDArray[np.uint8]:
        """Return what is seen now, uint8 (height, width, 3), top row first."""
        rectangle = self._render(self._context, view, height, width)
        color = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(color, None, rectangle, self._context)
        return np.ascontiguousarray(color[::-1])  # OpenGL counts rows from the bottom

    def draw_with_depth(
        self, view: View, height: int, width: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the picture and how far each pixel is, float32 (height, width).

        Depth is in metres along the viewing direction, not along the ray; the sky is as far as the
        model's far plane.
        """
        color, depth = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.float32)
        rectangle = self._render(self._context, view, height, width)
        if self._context.offSamples:  # depth between two surfaces is that of neither
            mujoco.mjr_readPixels(color, None, rectangle, self._context)
            if self._exact is None:
                self._exact = _make_context(view.model, LEAN, height, width)
            self._render(self._exact, view, height, width)
            mujoco.mjr_readPixels(None, depth, rectangle, self._exact)
        else:
            mujoco.mjr_readPixels(color, depth, rectangle, self._context)
        near = view.model.vis.map.znear * view.model.stat.extent
        far = view.model.vis.map.zfar * view.model.stat.extent
        metres = (near * far / (far - depth.astype(np.float64) * (far - near))).astype(np.float32)
        return np.ascontiguousarray(color[::-1]), np.ascontiguousarray(metres[::-1])

    def _render(
        self, context: mujoco.MjrContext, view: View, height: int, width: int
    ) -> mujoco.MjrRect:
        """Draw into the offscreen buffer; return the part of it that was drawn to."""
        assert self._gl is not None, "the renderer is closed"
        self._gl.make_current()
        if height > context.offHeight or width > context.offWidth:
            mujoco.mjr_resizeOffscreen(
                max(width, context.offWidth), max(height, context.offHeight), context
            )
        for index in range(view.model.nhfield):  # an episode may bring its own terrain
            mujoco.mjr_uploadHField(view.model, context, index)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(
            view.model, view.data, self._option, None, view.camera, everything, self._scene
        )
        rectangle = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(rectangle, self._scene, context)
        return rectangle

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
            if self._exact is not None:
                self._exact.free()
            self._gl.free()
        self._gl = None


class Renderers:
    """The renderers of one process, one for each set of meshes and textures and appearance."""

    def __init__(self) -> None:
        self._renderers: dict[tuple[str, Appearance], Renderer] = {}
        # One is made for every terrain, and goes when no environment has that any more.
        self._warp_renderers: weakref.WeakValueDictionary[tuple[str, Appearance], AnyRenderer]
        self._warp_renderers = weakref.WeakValueDictionary()

    def get(
        self, model: mujoco.MjModel, appearance: Appearance, height: int, width: int
    ) -> AnyRenderer:
        """Return the renderer that can draw `model`, made at its first use."""
        if settled_back_end() == WARP:
            key = _digest(model, WARP_ASSETS), appearance
            renderer = self._warp_renderers.get(key) or _make_warp_renderer(model, appearance)
            self._warp_renderers[key] = renderer
            return renderer
        key = _digest(model, ASSETS), appearance
        if key not in self._renderers:
            self._renderers[key] = Renderer(model, appearance, height, width)
        return self._renderers[key]

    @property
    def name(self) -> str:
        """What draws; empty if nothing was drawn."""
        return next((renderer.name for renderer in self._all()), "")

    def close(self) -> None:
        """Close them all."""
        for renderer in self._all():
            renderer.close()
        self._renderers.clear()

    def _all(self) -> list[AnyRenderer]:
        return [*self._renderers.values(), *self._warp_renderers.values()]


@contextmanager
def _visual_quality(model: mujoco.MjModel, look: Look, height: int, width: int) -> Iterator[None]:
    """Set buffer size and quality for a context that is made meanwhile; then set them back."""
    quality, buffer = model.vis.quality, model.vis.global_
    saved = quality.shadowsize, quality.offsamples, buffer.offheight, buffer.offwidth
    buffer.offheight, buffer.offwidth = height, width
    if look != "reference":
        quality.offsamples = 0
        quality.shadowsize = 0 if look == "lean" else SHADOW_SIZE
    try:
        yield
    finally:
        quality.shadowsize, quality.offsamples, buffer.offheight, buffer.offwidth = saved


def _make_warp_renderer(model: mujoco.MjModel, appearance: Appearance) -> AnyRenderer:
    from robodreamer_sim.cameras.warp.renderer import WarpRenderer

    return WarpRenderer(model, appearance)


def _digest(model: mujoco.MjModel, assets: tuple[str, ...]) -> str:
    """Return a hash of what a renderer takes from a model once, such as meshes and textures."""
    digest = hashlib.sha256()
    for name in assets:
        digest.update(np.ascontiguousarray(getattr(model, name)).tobytes())
    return digest.hexdigest()


def _make_context(
    model: mujoco.MjModel, appearance: Appearance, height: int, width: int
) -> mujoco.MjrContext:
    """Upload a model; what only seemed to start, as GLFW without a display, fails here."""
    drawn = thin(model) if appearance.meshes == "thin" else model
    with _visual_quality(drawn, appearance.look, height, width):
        try:
            context = mujoco.MjrContext(drawn, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except mujoco.FatalError as error:
            raise graphics_error(error) from error
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
    return context


def _option(geom_groups: Sequence[int] | None) -> mujoco.MjvOption:
    """Return MuJoCo's settings of what is drawn, with these groups of geoms."""
    option = mujoco.MjvOption()
    if geom_groups is not None:
        option.geomgroup[:] = [group in geom_groups for group in range(NUM_GROUPS)]
    return option


def _close_if_alive(reference: "weakref.ref[Renderer]") -> None:
    renderer = reference()
    if renderer is not None:
        renderer.close()
