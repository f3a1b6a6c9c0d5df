"""Thinning of meshes for images, because meshes of CAD programs have too many triangles.

Where OpenGL is software, the time for an image is proportional to the model's triangles, at any
image size: SO-101's arm has 398,884, a 64x64 image has 4,096 pixels. Vertices are clustered in the
cells of a grid, each moves to the mean of its cell, and the triangles whose corners lie in three
cells stay (Rossignac and Borrel, 1993). They keep their normals and texture coordinates, so shading
stays that of the fine surface. The simulated model is not touched.

V vertices of a mesh, F triangles.
"""

import copy

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array

MAX_FACES = 2000
"""Triangles that a mesh keeps. With 2,000, a link that fills a 64x64 image still has one for every
two pixels; fewer were hardly faster (SO-101, Panda), and at 500 small parts frayed."""
CELLS = (48, 40, 32, 28, 24, 20, 17, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1)
"""Cells along the longest side of a mesh; the finest grid that leaves few enough is taken."""


def thin(model: mujoco.MjModel) -> mujoco.MjModel:
    """Return a copy of a model for drawing; its meshes have at most `MAX_FACES` triangles.

    Arrays keep their sizes and addresses: only `mesh_facenum` is lowered.
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
    """Cluster vertices in the finest of the grids that leaves at most `max_faces` triangles.

    Args:
        vertices: (V, 3)
        faces: Indices of the corners, (F, 3).
        max_faces: Triangles that may be left. The coarsest grid, a single cell, leaves none.

    Returns:
        The new positions of the vertices, (V, 3), and the indices of the kept triangles, ascending.
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
    """Return the triangles that stay, given the cells of their corners (F, 3).

    They have corners in three cells; of several in the same three the first in `order` stays. Both
    sides of a thin sheet stay, because their direction of rotation differs: OpenGL draws a triangle
    from its front only.
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
