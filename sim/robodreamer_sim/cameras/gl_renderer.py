"""GLRenderer that draws with OpenGL.

It holds a GL context and the model's meshes and textures, 25 to 100 MB; poses, colours, lights and
cameras come from the environment's own model and data at each image. Drawing never changes the
simulation: a run that is rendered equals one that is not, to the bit.
"""

import atexit
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_sim.cameras.gl_backend import (
    GLContext,
    graphics_error,
    make_gl_context,
    renderer_name,
)
from robodreamer_sim.cameras.images import Image
from robodreamer_sim.cameras.mesh_thinning import thin
from robodreamer_sim.cameras.renderer import View
from robodreamer_sim.options import FAST, NUM_GROUPS, Appearance, RenderQuality

MAX_GEOMS = 10_000
SHADOW_SIZE = 512
"""Pixels along a side of the shadow map with `shadows`; models ask for about 4096."""
UNDRAWN: Mapping[RenderQuality, tuple[mujoco.mjtRndFlag, ...]] = {
    "fast": (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION),
    "shadows": (mujoco.mjtRndFlag.mjRND_REFLECTION,),
    "reference": (),
}


class GLRenderer:
    """OpenGL renderer of models that share their meshes and textures; bound to one thread."""

    def __init__(
        self, model: mujoco.MjModel, appearance: Appearance, height: int, width: int
    ) -> None:
        self._gl: GLContext | None = make_gl_context(width, height)
        self._context = _make_context(model, appearance, height, width)
        self._exact: mujoco.MjrContext | None = None
        """Context without multisampling, for depth; None until it is needed."""
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        for flag in UNDRAWN[appearance.render_quality]:
            self._scene.flags[flag] = False
        self._option = _option(appearance.geom_groups)
        # MuJoCo ends EGL at exit; handlers run last first, so this one frees the context before.
        atexit.register(_close_if_alive, weakref.ref(self))

    def stage(
        self, view: View, height: int, width: int, *, has_depth: bool = False
    ) -> Callable[[], Image]:
        """Draw a view now; return a function that returns the image, top row first."""
        image = (
            Image(*self.draw_with_depth(view, height, width))
            if has_depth
            else Image(self.draw(view, height, width))
        )
        return lambda: image

    def draw(self, view: View, height: int, width: int) -> NDArray[np.uint8]:
        """Return the image of a view, uint8 (height, width, 3), top row first."""
        rectangle = self._render(self._context, view, height, width)
        color = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(color, None, rectangle, self._context)
        return np.ascontiguousarray(color[::-1])  # OpenGL counts rows from the bottom

    def draw_with_depth(
        self, view: View, height: int, width: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the image of a view and the depth of each pixel, float32 (height, width).

        Depth is in metres along the viewing direction, not along the ray; the sky is at the model's
        far plane.
        """
        color, depth = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.float32)
        rectangle = self._render(self._context, view, height, width)
        if self._context.offSamples:  # depth between two surfaces is that of neither
            mujoco.mjr_readPixels(color, None, rectangle, self._context)
            if self._exact is None:
                self._exact = _make_context(view.model, FAST, height, width)
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
        """Draw into the offscreen buffer; return the rectangle that was drawn to."""
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
        """Name of the device that draws: a GPU, or software."""
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


@contextmanager
def _visual_quality(
    model: mujoco.MjModel, render_quality: RenderQuality, height: int, width: int
) -> Iterator[None]:
    """Set buffer size and quality of a model while a GL context is created from it."""
    quality, buffer = model.vis.quality, model.vis.global_
    saved = quality.shadowsize, quality.offsamples, buffer.offheight, buffer.offwidth
    buffer.offheight, buffer.offwidth = height, width
    if render_quality != "reference":
        quality.offsamples = 0
        quality.shadowsize = 0 if render_quality == "fast" else SHADOW_SIZE
    try:
        yield
    finally:
        quality.shadowsize, quality.offsamples, buffer.offheight, buffer.offwidth = saved


def _make_context(
    model: mujoco.MjModel, appearance: Appearance, height: int, width: int
) -> mujoco.MjrContext:
    """Upload a model; a back end that only seemed to start (GLFW without a display) fails here."""
    drawn = thin(model) if appearance.meshes == "thin" else model
    with _visual_quality(drawn, appearance.render_quality, height, width):
        try:
            context = mujoco.MjrContext(drawn, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except mujoco.FatalError as error:
            raise graphics_error(error) from error
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
    return context


def _option(geom_groups: Sequence[int] | None) -> mujoco.MjvOption:
    """Return MuJoCo's drawing options with these geom groups."""
    option = mujoco.MjvOption()
    if geom_groups is not None:
        option.geomgroup[:] = [group in geom_groups for group in range(NUM_GROUPS)]
    return option


def _close_if_alive(reference: "weakref.ref[GLRenderer]") -> None:
    renderer = reference()
    if renderer is not None:
        renderer.close()
