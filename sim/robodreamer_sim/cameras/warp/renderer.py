"""Renderer without OpenGL: MuJoCo Warp's ray-cast camera, on CUDA if there is a device, else CPU.

MuJoCo simulates, Warp draws: it gets the poses, colours and lights of every image (`scene`). All
views that are staged before the first image is asked for, such as those of a shard's environments,
are drawn in one call.

It draws no reflections, no haze, no skins and no flexible bodies, and draws transparent shapes
solid. Conventions are OpenGL's: rows from the top, depth in metres along the viewing direction.
"""

import dataclasses
import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array
from robodreamer_sim.cameras.drawn_geoms import USUAL_GROUPS
from robodreamer_sim.cameras.gl_backend import WARP_PACKAGE, has_warp
from robodreamer_sim.cameras.images import Image
from robodreamer_sim.cameras.mesh_thinning import thin
from robodreamer_sim.cameras.renderer import View
from robodreamer_sim.cameras.warp.batch import Batch, Toolkit
from robodreamer_sim.cameras.warp.meshes import tables_of
from robodreamer_sim.cameras.warp.scene import Scene
from robodreamer_sim.errors import GraphicsError
from robodreamer_sim.options import Appearance, RenderQuality

NOT_INSTALLED = (
    "MuJoCo Warp's camera is not installed; `pip install robodreamer[warp]` brings it (392 MB)"
)


class WarpRenderer:
    """Renderer of models that differ only in places, sizes and colours.

    Raises:
        GraphicsError: Warp is not installed, or cannot draw such a model or look.
    """

    def __init__(self, model: mujoco.MjModel, appearance: Appearance) -> None:
        _refuse_undrawable(model, appearance.render_quality)
        if appearance.meshes == "thin":
            model = thin(model)
        self._toolkit = load_toolkit()
        self._scene = Scene(model, appearance.geom_groups)
        with self._toolkit.warp.ScopedDevice(self._toolkit.device):
            self._context = self._toolkit.mujoco_warp.create_render_context(
                model,
                cam_active=[],  # every image brings its own
                use_shadows=appearance.render_quality == "shadows",
                render_skybox=True,
                use_precomputed_rays=False,
                enabled_geom_groups=list(appearance.geom_groups or USUAL_GROUPS),
            )
            self._tables = tables_of(model, self._scene.added_meshes, self._scene.coordinates)
            self._context = self._with_meshes(self._context)
            self._constants = self._make_constants(model)
        self._far_m = float(model.vis.map.zfar * model.stat.extent)
        self._batches: dict[tuple[int, int, bool], Batch] = {}

    @property
    def name(self) -> str:
        """Name of the device that draws: a GPU, or the processor."""
        return f"MuJoCo Warp on {self._toolkit.device.name}"

    def stage(
        self, view: View, height: int, width: int, *, has_depth: bool = False
    ) -> Callable[[], Image]:
        """Capture a view now; return a function that returns its image, top row first.

        The depth of the sky is that of the model's far plane.
        """
        key = height, width, has_depth
        if key not in self._batches:
            self._batches[key] = self._make_batch(*key)
        return self._batches[key].stage(view)

    def draw(self, view: View, height: int, width: int) -> NDArray[np.uint8]:
        """Return the image of a view, uint8 (height, width, 3), top row first."""
        return self.stage(view, height, width)().color

    def close(self) -> None:
        """Free the batches."""
        self._batches.clear()

    def _make_batch(self, height: int, width: int, has_depth: bool) -> Batch:
        warp = self._toolkit.warp
        with warp.ScopedDevice(self._toolkit.device):
            context = dataclasses.replace(
                self._context,
                nrender=1,
                cam_res=warp.array([(width, height)], dtype=warp.vec2i),
                cam_id_map=_integers(warp, [0]),
                total_rays=height * width,
                rgb_adr=_integers(warp, [0]),
                depth_adr=_integers(warp, [0]),
                seg_adr=_integers(warp, [-1]),
                render_rgb=warp.array([True], dtype=bool),
                render_depth=warp.array([has_depth], dtype=bool),
                render_seg=warp.array([False], dtype=bool),
                headlight_active=False,  # a light like others here
                enabled_geom_ids=_integers(warp, self._scene.drawn),
                bvh_ngeom=len(self._scene.drawn),
                geom_ray_types=tuple(sorted(set(self._scene.types[self._scene.drawn].tolist()))),
            )
        size = height, width
        return Batch(self._toolkit, self._scene, context, self._constants, size, self._far_m)

    def _with_meshes(self, context: Any) -> Any:
        """Return the context with the added meshes of the scene."""
        warp, tables, added = self._toolkit.warp, self._tables, self._scene.added_meshes
        meshes = [
            warp.Mesh(
                points=warp.array(mesh.points, dtype=warp.vec3),
                indices=warp.array(mesh.triangles.ravel(), dtype=warp.int32),
            )
            for mesh in added
        ]
        ids = np.append(context.mesh_bvh_id.numpy(), [np.uint64(mesh.id) for mesh in meshes])
        boxes = np.concatenate(
            [context.mesh_bounds_size.numpy(), *(abs(m.points).max(axis=0)[None] for m in added)]
        )
        return dataclasses.replace(
            context,
            mesh_registry=context.mesh_registry | {mesh.id: mesh for mesh in meshes},
            mesh_bvh_id=warp.array(ids.astype(np.uint64), dtype=warp.uint64),
            mesh_bounds_size=warp.array(boxes.reshape(-1, 3), dtype=warp.vec3),
            mesh_texcoord=warp.array(tables.coordinates, dtype=warp.vec2),
            mesh_texcoord_offsets=_integers(warp, tables.coordinate_starts),
            mesh_facetexcoord=warp.array(tables.face_coordinates, dtype=warp.vec3i),
            mesh_facenormal=warp.array(tables.face_normals, dtype=warp.vec3i),
        )

    def _make_constants(self, model: mujoco.MjModel) -> dict[str, Any]:
        """Return the values that all images share, by the field names of MuJoCo Warp's `Model`."""
        warp, scene = self._toolkit.warp, self._scene

        def array(values: Any, dtype: Any) -> Any:
            return warp.array(np.ascontiguousarray(values), dtype=dtype)

        def with_headlight(field: str, value: Any, dtype: Any) -> Any:
            lights = getattr(model, f"light_{field}")
            return array(np.concatenate([lights, np.array([value], lights.dtype)])[None], dtype)

        directional = int(mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
        materials: dict[str, Any] = {}
        for field, dtype in MATERIAL_FIELDS.items():
            values = getattr(model, f"mat_{field}")
            plain = (
                np.full_like(values[scene.plain], -1) if field == "texid" else values[scene.plain]
            )
            materials[f"mat_{field}"] = array(np.concatenate([values, plain])[None], dtype)
        return dict(
            **materials,
            geom_type=array(scene.types, int),
            geom_dataid=array(scene.meshes[None], int),
            geom_matid=array(scene.materials[None], int),
            cam_projection=array([0], int),
            cam_sensorsize=warp.zeros(1, dtype=warp.vec2),
            cam_intrinsic=warp.zeros((1, 1), dtype=warp.vec4),
            nlight=model.nlight + 1,
            light_type=with_headlight("type", directional, int),
            light_castshadow=with_headlight("castshadow", 0, bool),
            light_attenuation=with_headlight("attenuation", (1.0, 0.0, 0.0), warp.vec3),
            light_cutoff=with_headlight("cutoff", 0.0, float),
            light_exponent=with_headlight("exponent", 0.0, float),
            mesh_faceadr=array(self._tables.face_starts, int),
            mesh_normaladr=array(self._tables.normal_starts, int),
            mesh_normal=array(self._tables.normals, warp.vec3),
            nflex=0,
            flex_vertadr=warp.zeros(0, dtype=int),
            flex_edge=warp.zeros(0, dtype=warp.vec2i),
            flex_radius=warp.zeros(0, dtype=float),
            block_dim=SimpleNamespace(render=BLOCK_SIZE),
        )


MATERIAL_FIELDS = {
    "texid": int,
    "texuniform": bool,
    "emission": float,
    "specular": float,
    "shininess": float,
}
BLOCK_SIZE = 64
"""Threads of a block on a GPU."""


def load_toolkit() -> Toolkit:
    """Import Warp and MuJoCo Warp, which takes some seconds.

    Raises:
        GraphicsError: It is not installed.
    """
    if not has_warp():
        raise GraphicsError(NOT_INSTALLED)
    warp = importlib.import_module("warp")
    warp.config.log_level = warp.LOG_WARNING
    mujoco_warp = importlib.import_module(WARP_PACKAGE)
    bvh = importlib.import_module(f"{WARP_PACKAGE}._src.bvh")
    return Toolkit(warp, mujoco_warp, bvh, warp.get_preferred_device())


def _refuse_undrawable(model: mujoco.MjModel, render_quality: RenderQuality) -> None:
    if render_quality == "reference":
        raise GraphicsError(
            "render_quality=reference has OpenGL's reflections and multisampling, which MuJoCo "
            "Warp does not draw; render_quality=shadows is the closest, or MUJOCO_GL=egl draws it"
        )
    if model.nflex:
        raise GraphicsError(
            "MuJoCo Warp is not told of flexible bodies here; MUJOCO_GL=egl draws them"
        )


def _integers(warp: Any, values: Array | list[int]) -> Any:
    return warp.array(np.asarray(values, np.int32), dtype=int)
