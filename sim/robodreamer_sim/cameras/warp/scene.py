"""Input of MuJoCo Warp's camera: arrays of shapes, lights and a view, made from a model's state.

Warp draws geoms only. Sites, which have the same shapes, and tendons, as chains of capsules, are
appended to the geoms in the same arrays. MuJoCo's headlight becomes one more light, at the camera.

R images (rows), S shapes, L lights, M materials.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array
from robodreamer_sim.cameras.drawn_geoms import USUAL_GROUPS, is_drawn
from robodreamer_sim.cameras.renderer import View
from robodreamer_sim.cameras.warp.cubes import (
    BOX,
    COLOR_ROLE,
    ELLIPSOID,
    MESH,
    SPHERE,
    Mesh,
    as_mesh,
    coordinates_of_triangles,
    cubic_materials,
    mean_color,
)
from robodreamer_sim.cameras.warp.meshes import triangles_of
from robodreamer_sim.errors import GraphicsError

CAPSULE = int(mujoco.mjtGeom.mjGEOM_CAPSULE)
MATERIALS_COLOR = (0.5, 0.5, 0.5, 1.0)
"""Colour of shapes that have none of their own and are drawn in that of their material."""
PULLEY = -2
"""Value of `wrap_obj` where a tendon leaves a pulley and a new branch begins."""

Row = Mapping[str, Array]
"""Input of one image, by field name of MuJoCo Warp."""


class Scene:
    """Shapes and lights of models that differ only in places, sizes and colours.

    Args:
        model: One of these models.
        geom_groups: Geom groups that are drawn; None takes `USUAL_GROUPS`, as do sites and tendons.
    """

    def __init__(self, model: mujoco.MjModel, geom_groups: Sequence[int] | None = None) -> None:
        self._tendons = [i for i in range(model.ntendon) if _is_drawn_tendon(model, i)]
        num_capsules = 2 * model.nwrap if self._tendons else 0
        self._num_geoms, self._num_solids = model.ngeom, model.ngeom + model.nsite
        self.types = np.concatenate(
            [model.geom_type, model.site_type, np.full(num_capsules, CAPSULE)]
        ).astype(np.int32)
        """(S,)"""
        none = np.full(num_capsules, -1)
        self.materials = np.concatenate([model.geom_matid, model.site_matid, none]).astype(np.int32)
        """(S,), -1 where there is none. A tendon has a colour instead."""
        self.meshes = np.append(model.geom_dataid, np.full(model.nsite + num_capsules, -1))
        """(S,), -1 where there is none."""
        are_drawn = np.concatenate(
            [
                is_drawn(model, geom_groups),
                np.isin(model.site_group, USUAL_GROUPS),
                np.full(num_capsules, fill_value=True),
            ]
        )
        self.drawn = np.flatnonzero(are_drawn).astype(np.int32)
        """Indices of the drawn shapes."""
        self._model = model
        self._dress_cubes()
        self._lens = mujoco.MjvScene(model, maxgeom=1)

    def make_rows(self, number: int) -> dict[str, Array]:
        """Create arrays for R images, (R, ...) each."""
        model, shapes = self._model, len(self.types)
        lights = model.nlight + 1
        sizes = {
            "geom_xpos": (shapes, 3),
            "geom_xmat": (shapes, 3, 3),
            "geom_size": (shapes, 3),
            "geom_rgba": (shapes, 4),
            "mat_rgba": (model.nmat + len(self.plain), 4),
            "mat_texrepeat": (model.nmat + len(self.plain), 2),
            "light_xpos": (lights, 3),
            "light_xdir": (lights, 3),
            "light_ambient": (lights, 3),
            "light_diffuse": (lights, 3),
            "light_specular": (lights, 3),
            "cam_xpos": (1, 3),
            "cam_xmat": (1, 3, 3),
            "cam_fovy": (1,),
        }
        rows: dict[str, Array] = {k: np.zeros((number, *v), np.float32) for k, v in sizes.items()}
        return rows | {"light_active": np.zeros((number, lights), np.bool_)}

    def write(self, view: View, row: Row) -> None:
        """Write a view as it is now into a row.

        Raises:
            GraphicsError: The camera is not a plain perspective one.
        """
        model, data = view.model, view.data
        geoms, solids = slice(self._num_geoms), slice(self._num_geoms, self._num_solids)
        for part, kind in ((geoms, "geom"), (solids, "site")):
            row["geom_xpos"][part] = getattr(data, f"{kind}_xpos")
            row["geom_xmat"][part] = getattr(data, f"{kind}_xmat").reshape(-1, 3, 3)
            row["geom_size"][part] = getattr(model, f"{kind}_size")
            row["geom_rgba"][part] = getattr(model, f"{kind}_rgba")
        if self._tendons:
            self._write_tendons(view, row)
        materials = slice(model.nmat)
        row["mat_rgba"][materials] = model.mat_rgba
        row["mat_texrepeat"][materials] = model.mat_texrepeat
        row["mat_texrepeat"][self._cubic] = 1.0
        if len(self.plain):
            row["mat_rgba"][model.nmat :] = model.mat_rgba[self.plain] * self._tints
            row["geom_rgba"][self._painted] *= self._paints
        self._write_camera(view, row)
        _write_lights(view, row)

    def _dress_cubes(self) -> None:
        """Replace shapes whose texture is a cube; see `cubes`."""
        model = self._model
        self._cubic = cubic_materials(model)
        self.added_meshes: list[Mesh] = []
        """Meshes that are appended to those of the model."""
        self.coordinates: dict[int, Array] = {}
        """Texture coordinates (triangles, 3, 2) for meshes of the model, by index."""
        plain: list[int] = []
        painted: dict[int, int] = {}
        colors = np.concatenate([model.geom_rgba, model.site_rgba])
        sizes = np.concatenate([model.geom_size, model.site_size])
        for shape in self.drawn[self.drawn < self._num_solids]:
            material = int(self.materials[shape])
            if material not in self._cubic:
                continue
            width = int(model.tex_width[model.mat_texid[material, COLOR_ROLE]])
            kind, mesh = int(self.types[shape]), int(self.meshes[shape])
            if kind in (BOX, SPHERE, ELLIPSOID):
                size = np.full(3, sizes[shape][0]) if kind == SPHERE else sizes[shape]
                self.meshes[shape] = model.nmesh + len(self.added_meshes)
                self.types[shape] = MESH
                self.added_meshes.append(as_mesh(kind, size, width))
            elif kind == MESH and model.mesh_texcoordadr[mesh] < 0:
                self.coordinates[mesh] = coordinates_of_triangles(triangles_of(model, mesh), width)
            elif kind != MESH:
                if not np.array_equal(colors[shape], MATERIALS_COLOR):
                    painted[int(shape)] = len(plain)
                self.materials[shape] = model.nmat + len(plain)
                plain.append(material)
        self.plain = np.array(plain, np.intp)
        """Materials that are repeated without their texture, after all others."""
        textures = model.mat_texid[self.plain, COLOR_ROLE]
        tints = [(*mean_color(model, texture), 1.0) for texture in textures]
        self._tints = np.array(tints).reshape(-1, 4)
        self._painted = np.array([*painted], np.intp)
        """Shapes with a colour of their own and such a material; `_paints` is the factor."""
        self._paints = self._tints[[*painted.values()]].astype(np.float32)

    def _write_tendons(self, view: View, row: Row) -> None:
        capsules = slice(self._num_solids, None)
        row["geom_rgba"][capsules] = 0.0  # which is not drawn
        place = self._num_solids
        for tendon in self._tendons:
            for start, end in _segments(view.data, tendon):
                offset = end - start
                length = float(np.linalg.norm(offset))
                if length == 0.0:
                    continue
                row["geom_xpos"][place] = (start + end) / 2
                row["geom_xmat"][place] = _turned_to(offset / length)
                row["geom_size"][place] = view.model.tendon_width[tendon], length / 2, 0.0
                row["geom_rgba"][place] = _tendon_color(view.model, tendon)
                place += 1

    def _write_camera(self, view: View, row: Row) -> None:
        """Write the camera; MuJoCo computes one for each eye, and the mean is used."""
        mujoco.mjv_updateCamera(view.model, view.data, view.camera, self._lens)
        left, right = self._lens.camera
        if left.orthographic or left.frustum_center:
            raise GraphicsError(
                "MuJoCo Warp draws perspective cameras whose axis meets the centre of the picture; "
                "this one is orthographic or off centre: MUJOCO_GL=egl draws it"
            )
        row["cam_xpos"][0] = (left.pos + right.pos) / 2
        across = np.cross(left.forward, left.up)
        row["cam_xmat"][0] = np.stack([across, left.up, -left.forward], axis=1)
        half_angle = math.atan2(left.frustum_top, left.frustum_near)
        row["cam_fovy"][0] = math.degrees(2 * half_angle)


def _write_lights(view: View, row: Row) -> None:
    """Write the model's lights, then the headlight, which shines along the view."""
    model, data, headlight = view.model, view.data, view.model.vis.headlight
    row["light_xpos"][:-1], row["light_xdir"][:-1] = data.light_xpos, data.light_xdir
    row["light_xpos"][-1], row["light_xdir"][-1] = row["cam_xpos"][0], -row["cam_xmat"][0, :, 2]
    row["light_active"][:-1], row["light_active"][-1] = model.light_active, headlight.active
    for color in ("ambient", "diffuse", "specular"):
        row[f"light_{color}"][:-1] = getattr(model, f"light_{color}")
        row[f"light_{color}"][-1] = getattr(headlight, color)


def _is_drawn_tendon(model: mujoco.MjModel, tendon: int) -> bool:
    is_spatial = model.wrap_type[model.tendon_adr[tendon]] != mujoco.mjtWrap.mjWRAP_JOINT.value
    return bool(is_spatial and model.tendon_group[tendon] in USUAL_GROUPS)


def _segments(data: mujoco.MjData, tendon: int) -> Iterator[tuple[Array, Array]]:
    """Yield both ends of every straight piece of a tendon."""
    first, number = data.ten_wrapadr[tendon], data.ten_wrapnum[tendon]
    points, objects = data.wrap_xpos.reshape(-1, 3), data.wrap_obj.ravel()
    for i in range(first, first + number - 1):
        if PULLEY not in (objects[i], objects[i + 1]):
            yield points[i], points[i + 1]


def _tendon_color(model: mujoco.MjModel, tendon: int) -> Array:
    is_usual = np.array_equal(model.tendon_rgba[tendon], MATERIALS_COLOR)
    material = model.tendon_matid[tendon]
    return model.mat_rgba[material] if material >= 0 and is_usual else model.tendon_rgba[tendon]


def _turned_to(direction: Array) -> NDArray[np.float64]:
    """Return a rotation (3, 3) that takes the z axis to a direction."""
    quaternion, matrix = np.empty(4), np.empty(9)
    mujoco.mju_quatZ2Vec(quaternion, direction)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)
