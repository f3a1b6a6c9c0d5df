"""Tables of the meshes that Warp draws: the model's, and those made of shapes with cube textures.

F triangles of all, N normals, T texture coordinates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array
from robodreamer_sim.cameras.warp.cubes import Mesh


@dataclass(frozen=True, kw_only=True)
class MeshTables:
    """Tables of all meshes in common arrays; a mesh begins at its entry in `..._starts`."""

    face_starts: NDArray[np.int32]
    normal_starts: NDArray[np.int32]
    coordinate_starts: NDArray[np.int32]
    """-1 for a mesh without texture coordinates."""
    normals: NDArray[np.float32]
    """(N, 3)"""
    coordinates: NDArray[np.float32]
    """(T, 2)"""
    face_normals: NDArray[np.int32]
    """(F, 3), indices within the mesh."""
    face_coordinates: NDArray[np.int32]
    """(F, 3), indices within the mesh."""


def tables_of(
    model: mujoco.MjModel, added: Sequence[Mesh], coordinates: Mapping[int, Array]
) -> MeshTables:
    """Return the tables of a model's meshes, followed by added ones.

    Args:
        model: The model.
        added: Added meshes.
        coordinates: Texture coordinates (triangles, 3, 2) for meshes of the model, by index.
    """
    face_coordinates = model.mesh_facetexcoord.copy()
    coordinate_starts = model.mesh_texcoordadr.copy()
    all_coordinates = [model.mesh_texcoord]
    place = len(model.mesh_texcoord)
    for mesh, own in coordinates.items():
        first = model.mesh_faceadr[mesh]
        face_coordinates[first : first + len(own)] = np.arange(3 * len(own)).reshape(-1, 3)
        coordinate_starts[mesh] = place
        all_coordinates.append(own.reshape(-1, 2))
        place += 3 * len(own)
    triangles = [mesh.triangles for mesh in added]
    return MeshTables(
        face_starts=_starts(model.mesh_faceadr, model.nmeshface, triangles),
        normal_starts=_starts(
            model.mesh_normaladr, model.nmeshnormal, [mesh.normals for mesh in added]
        ),
        coordinate_starts=_starts(coordinate_starts, place, [mesh.coordinates for mesh in added]),
        normals=np.concatenate([model.mesh_normal, *(mesh.normals for mesh in added)]),
        coordinates=np.concatenate([*all_coordinates, *(mesh.coordinates for mesh in added)]),
        face_normals=np.concatenate([model.mesh_facenormal, *triangles]),
        face_coordinates=np.concatenate([face_coordinates, *triangles]),
    )


def triangles_of(model: mujoco.MjModel, mesh: int) -> Array:
    """Return the corners (F, 3, 3) of a mesh's triangles, in its frame."""
    first, number = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    start, length = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    return model.mesh_vert[start : start + length][model.mesh_face[first : first + number]]


def _starts(known: Array, total: int, added: Sequence[Array]) -> NDArray[np.int32]:
    """Return the first row of every block, if `added` follow `total` rows."""
    lengths = np.array([total, *(len(block) for block in added)])
    return np.append(known, np.cumsum(lengths)[: len(added)]).astype(np.int32)
