"""Meshes with fewer triangles, for pictures only, as those of CAD programs have too many.

Where OpenGL is software a picture takes as long as the model has triangles, whatever its size:
SO-101's arm has 398,884 of them, a picture of 64x64 has 4,096 pixels. The vertices of a mesh are
gathered in the cells of a grid, each becomes the mean of its cell, and of the triangles those stay
whose corners lie in three cells (Rossignac and Borrel, 1993). They keep their normals and texture
coordinates, so shading stays that of the fine surface. The model that is simulated is not touched.

V vertices of a mesh, F triangles.
"""

import copy

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array

MAX_FACES = 2000
"""Triangles that are left of a mesh. With 2,000 a link that fills a picture of 64x64 still has one
for every two pixels; fewer were hardly faster (SO-101, Panda), and with 500 small parts frayed."""
CELLS = (48, 40, 32, 28, 24, 20, 17, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1)
"""Cells along the longest side of a mesh; the finest grid that leaves few enough is taken."""


def thin(model: mujoco.MjModel) -> mujoco.MjModel:
    """Return a copy of a model to draw with; its meshes have at most `MAX_FACES` triangles.

    Its arrays keep their sizes and places: a mesh merely says that it has fewer triangles.
    """
    thinned = copy.copy(model)
    for mesh in np.flatnonzero(model.mesh_facenum > MAX_FACES):
        start, number = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
        first, total = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        vertices = thinned.mesh_vert[start : start + number]
        faces = thinned.mesh_face[first : first + total]
        vertices[:], kept = cluster(vertices.copy(), faces.copy(), MAX_FACES)
        for field in ("mesh_face", "mesh_facenormal", "mesh_facetexcoord"):
            rows = getattr(thinned, field)
            rows[first : first + len(kept)] = rows[first : first + total][kept]
        thinned.mesh_facenum[mesh] = len(kept)
    return thinned


def cluster(vertices: Array, faces: Array, max_faces: int) -> tuple[Array, NDArray[np.intp]]:
    """Gather vertices in the finest of the grids that leaves at most `max_faces` triangles.

    Args:
        vertices: (V, 3)
        faces: Indices of the corners, (F, 3).
        max_faces: Triangles that may be left; at least one grid, of a single cell, leaves none.

    Returns:
        The places that the vertices move to, (V, 3), and which triangles stay, ascending.
    """
    corner = vertices.min(axis=0)
    length = float(np.ptp(vertices, axis=0).max())
    areas = np.linalg.norm(np.cross(*(_sides(vertices, faces))), axis=1)
    largest_first = np.argsort(-areas, kind="stable")
    moved, kept = vertices, np.arange(len(faces))
    for cells in CELLS:
        places = np.minimum((vertices - corner) * (cells / max(length, 1e-12)), cells - 1e-3)
        _, cell = np.unique(places.astype(np.int64) @ (cells**2, cells, 1), return_inverse=True)
        sizes = np.bincount(cell)
        means = np.stack([np.bincount(cell, axis) / sizes for axis in vertices.T], axis=1)
        moved, kept = means[cell], _distinct(cell[faces], largest_first)
        if len(kept) <= max_faces:
            break
    return moved, kept


def _sides(vertices: Array, faces: Array) -> tuple[Array, Array]:
    corners = vertices[faces]
    return corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]


def _distinct(cells: Array, order: Array) -> NDArray[np.intp]:
    """Return which triangles, given by the cells of their corners (F, 3), stay.

    Those with corners in three cells do, and of several in the same three the first in `order`. The
    two sides of a thin sheet differ in the direction of rotation and stay both: OpenGL draws a
    triangle from its front only.
    """
    a, b, c = cells[order].T
    order = order[(a != b) & (b != c) & (c != a)]
    if not len(order):
        return order
    turned = np.argmin(cells[order], axis=1)[:, None] + np.arange(3)
    rotated = np.take_along_axis(cells[order], turned % 3, axis=1)
    size = int(cells.max()) + 1
    _, firsts = np.unique(rotated @ np.array([size**2, size, 1]), return_index=True)
    return np.sort(order[firsts])
