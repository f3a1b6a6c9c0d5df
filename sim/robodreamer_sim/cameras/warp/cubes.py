"""Cube textures, which MuJoCo Warp would map as if they were flat.

A cube texture is six images, stored one above the other; the direction from the centre of the shape
selects one. Boxes, spheres and ellipsoids that have one become meshes here, and meshes get texture
coordinates, so that every triangle lies in one of the six. Shapes of other types are drawn in the
mean colour of the texture.

V corners, F triangles.
"""

from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array

BOX, MESH = int(mujoco.mjtGeom.mjGEOM_BOX), int(mujoco.mjtGeom.mjGEOM_MESH)
SPHERE, ELLIPSOID = int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_ELLIPSOID)
CUBE = int(mujoco.mjtTexture.mjTEXTURE_CUBE)
COLOR_ROLE = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
ROUND_PIECES = 12
"""Squares along an edge of the cube that is blown up into a sphere."""
FACES = np.array(
    [  # outwards, and along rows and columns of its image: +x, -x, +y, -y, +z, -z, as in OpenGL
        [[1, 0, 0], [0, 0, -1], [0, -1, 0]],
        [[-1, 0, 0], [0, 0, 1], [0, -1, 0]],
        [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
        [[0, -1, 0], [1, 0, 0], [0, 0, -1]],
        [[0, 0, 1], [1, 0, 0], [0, -1, 0]],
        [[0, 0, -1], [-1, 0, 0], [0, -1, 0]],
    ],
    np.float64,
)


class Mesh(NamedTuple):
    """Triangle mesh of a shape."""

    points: NDArray[np.float32]
    """(V, 3)"""
    normals: NDArray[np.float32]
    """(V, 3)"""
    coordinates: NDArray[np.float32]
    """(V, 2), in the stored texture."""
    triangles: NDArray[np.int32]
    """(F, 3) corners, counter-clockwise as seen from outside."""


def cubic_materials(model: mujoco.MjModel) -> NDArray[np.int64]:
    """Return the materials that have a cube texture."""
    textures = model.mat_texid[:, COLOR_ROLE]
    is_cube = [i >= 0 and model.tex_type[i] == CUBE for i in textures]
    return np.flatnonzero(is_cube)


def as_mesh(kind: int, size: Array, texture_width: int) -> Mesh:
    """Return a box, sphere or ellipsoid of half lengths `size` (3,) as a mesh."""
    grid = np.linspace(-1.0, 1.0, 2 if kind == BOX else ROUND_PIECES + 1)
    rows, columns = (axis.ravel() for axis in np.meshgrid(grid, grid, indexing="ij"))
    pieces: list[tuple[Array, Array, Array]] = []
    for place, (outwards, across, down) in enumerate(FACES):
        cube = outwards + columns[:, None] * across + rows[:, None] * down
        points = cube if kind == BOX else cube / np.linalg.norm(cube, axis=1, keepdims=True)
        normals = np.broadcast_to(outwards, cube.shape) if kind == BOX else points / size
        normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        pieces.append((points * size, normals, _coordinates(columns, rows, place, texture_width)))
    points, normals, coordinates = (np.concatenate(part) for part in zip(*pieces, strict=True))
    triangles = _triangles(len(grid))
    return Mesh(
        points.astype(np.float32),
        normals.astype(np.float32),
        coordinates.astype(np.float32),
        np.concatenate([triangles + len(rows) * face for face in range(len(FACES))]),
    )


def coordinates_of_triangles(points: Array, texture_width: int) -> NDArray[np.float32]:
    """Return texture coordinates (F, 3, 2) for triangles (F, 3, 3) of a mesh.

    The centre of a triangle selects one of the six images for all of it.
    """
    middles = points.mean(axis=1)
    faces = np.argmax(middles @ FACES[:, 0].T, axis=1)
    outwards, across, down = (FACES[faces, i] for i in range(3))
    depth = np.maximum(np.einsum("fcx,fx->fc", points, outwards), 1e-6)
    columns = np.einsum("fcx,fx->fc", points, across) / depth
    rows = np.einsum("fcx,fx->fc", points, down) / depth
    return _coordinates(columns, rows, faces[:, None], texture_width).astype(np.float32)


def mean_color(model: mujoco.MjModel, texture: int) -> Array:
    """Return the mean (3,) of a texture, from 0 to 1."""
    channels, begin = int(model.tex_nchannel[texture]), int(model.tex_adr[texture])
    number = int(model.tex_width[texture]) * int(model.tex_height[texture]) * channels
    pixels = model.tex_data[begin : begin + number].reshape(-1, channels)
    return pixels[:, :3].mean(axis=0) / 255.0


def _coordinates(columns: Array, rows: Array, face: Array | int, width: int) -> Array:
    """Convert (column, row) of one of the six images, from -1 to 1, to texture coordinates.

    They stay half a pixel inside: at the rim Warp would mix in the neighbouring image.
    """
    inner = 1.0 - 1.0 / width
    across, down = ((np.clip(axis, -inner, inner) + 1.0) / 2.0 for axis in (columns, rows))
    return np.stack([across, (face + down) / len(FACES)], axis=-1)


def _triangles(number: int) -> NDArray[np.int32]:
    """Return the triangles of a square grid of corners, counter-clockwise from outside."""
    corners = np.arange(number * number).reshape(number, number)
    upper_left, upper_right = corners[:-1, :-1].ravel(), corners[:-1, 1:].ravel()
    lower_left, lower_right = corners[1:, :-1].ravel(), corners[1:, 1:].ravel()
    first = np.stack([upper_left, lower_left, upper_right], axis=1)
    second = np.stack([upper_right, lower_left, lower_right], axis=1)
    return np.concatenate([first, second]).astype(np.int32)
