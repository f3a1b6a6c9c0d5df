"""The geoms of a model that are drawn, and how many triangles their meshes have."""

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_sim.options import NUM_GROUPS

USUAL_GROUPS = (0, 1, 2)
"""Drawn where nothing else is asked for, as by MuJoCo's own viewer."""
MESH = int(mujoco.mjtGeom.mjGEOM_MESH)


def is_drawn(model: mujoco.MjModel, groups: Sequence[int] | None) -> NDArray[np.bool_]:
    """Return which geoms are in the groups to be drawn, (geoms,); None takes `USUAL_GROUPS`."""
    return np.isin(_groups(model), USUAL_GROUPS if groups is None else groups)


def require_geoms(model: mujoco.MjModel, groups: Sequence[int] | None) -> None:
    """Refuse groups without a geom.

    Raises:
        ValueError: The model has no geom in the groups that are asked for; tells where it has.
    """
    if groups is None or not model.ngeom or is_drawn(model, groups).any():
        return
    found, numbers = np.unique(_groups(model), return_counts=True)
    has = ", ".join(f"{number} in group {g}" for g, number in zip(found, numbers, strict=True))
    raise ValueError(f"geom_groups {tuple(groups)} have no geom; the model has {has}")


def count_faces(model: mujoco.MjModel, groups: Sequence[int] | None) -> int:
    """Return the triangles of all meshes that are drawn, of each geom its own."""
    meshes = model.geom_dataid[is_drawn(model, groups) & (model.geom_type == MESH)]
    return int(model.mesh_facenum[meshes].sum())


def _groups(model: mujoco.MjModel) -> NDArray[np.int32]:
    return np.clip(model.geom_group, 0, NUM_GROUPS - 1)
