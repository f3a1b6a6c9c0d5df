"""Pool of the renderers that the environments of a process share.

A renderer can draw every model with the same meshes and textures, so the pool keeps one for each
set of them.
"""

import hashlib
import weakref

import mujoco
import numpy as np

from robodreamer_sim.cameras.gl_backend import WARP, settled_back_end
from robodreamer_sim.cameras.gl_renderer import GLRenderer
from robodreamer_sim.cameras.renderer import Renderer
from robodreamer_sim.options import Appearance

ASSETS = ("mesh_vert", "mesh_face", "mesh_normal", "mesh_texcoord", "tex_data", "hfield_size")
WARP_ASSETS = (
    *ASSETS, "hfield_data", "geom_type", "geom_dataid", "geom_matid", "geom_group", "site_type",
    "site_matid", "site_group", "tendon_group", "wrap_type", "mat_texid", "mat_texuniform",
    "mat_emission", "mat_specular", "mat_shininess", "light_type", "light_castshadow",
    "light_attenuation", "light_cutoff", "light_exponent",
)  # fmt: skip
"""Model arrays that a renderer takes over once: OpenGL's, and Warp's."""


class RendererPool:
    """Pool of the renderers of one process, one per appearance and set of meshes and textures."""

    def __init__(self) -> None:
        self._renderers: dict[tuple[str, Appearance], GLRenderer] = {}
        # Every terrain needs its own, which is dropped with the last environment that has it.
        self._warp_renderers: weakref.WeakValueDictionary[tuple[str, Appearance], Renderer]
        self._warp_renderers = weakref.WeakValueDictionary()

    def get(
        self, model: mujoco.MjModel, appearance: Appearance, height: int, width: int
    ) -> Renderer:
        """Return the renderer that can draw `model`; it is created at first use."""
        if settled_back_end() == WARP:
            key = _digest(model, WARP_ASSETS), appearance
            renderer = self._warp_renderers.get(key) or _make_warp_renderer(model, appearance)
            self._warp_renderers[key] = renderer
            return renderer
        key = _digest(model, ASSETS), appearance
        if key not in self._renderers:
            self._renderers[key] = GLRenderer(model, appearance, height, width)
        return self._renderers[key]

    @property
    def name(self) -> str:
        """Name of the device that draws; empty if nothing was drawn."""
        return next((renderer.name for renderer in self._all()), "")

    def close(self) -> None:
        """Close all renderers."""
        for renderer in self._all():
            renderer.close()
        self._renderers.clear()

    def _all(self) -> list[Renderer]:
        return [*self._renderers.values(), *self._warp_renderers.values()]


def _make_warp_renderer(model: mujoco.MjModel, appearance: Appearance) -> Renderer:
    from robodreamer_sim.cameras.warp.renderer import WarpRenderer

    return WarpRenderer(model, appearance)


def _digest(model: mujoco.MjModel, assets: tuple[str, ...]) -> str:
    """Return a hash of the arrays that a renderer takes over from a model."""
    digest = hashlib.sha256()
    for name in assets:
        digest.update(np.ascontiguousarray(getattr(model, name)).tobytes())
    return digest.hexdigest()
