"""Geoms of a model that are drawn, and the number of triangles of their meshes."""

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Contract
from robodreamer_sim.cameras.mesh_thinning import thin
from robodreamer_sim.options import NUM_GROUPS, EnvOptions

USUAL_GROUPS = (0, 1, 2)
"""Groups that are drawn by default, as in MuJoCo's own viewer."""
MANY_FACES = 20.0
"""Triangles per pixel above which they are reported. llvmpipe draws a 64x64 image in 1 ms, and in
11 ms with 31 triangles per pixel (Panda)."""
MESH = int(mujoco.mjtGeom.mjGEOM_MESH)


def is_drawn(model: mujoco.MjModel, groups: Sequence[int] | None) -> NDArray[np.bool_]:
    """Return a mask (geoms,) of the geoms in the groups to be drawn; None takes `USUAL_GROUPS`."""
    return np.isin(_groups(model), USUAL_GROUPS if groups is None else groups)


def require_geoms(model: mujoco.MjModel, groups: Sequence[int] | None) -> None:
    """Check that some geom is in the groups to be drawn.

    Raises:
        ValueError: There is none; lists the groups that have geoms.
    """
    if groups is None or not model.ngeom or is_drawn(model, groups).any():
        return
    found, numbers = np.unique(_groups(model), return_counts=True)
    has = ", ".join(f"{number} in group {g}" for g, number in zip(found, numbers, strict=True))
    raise ValueError(f"geom_groups {tuple(groups)} have no geom; the model has {has}")


def count_faces(model: mujoco.MjModel, groups: Sequence[int] | None) -> int:
    """Count the triangles of all drawn meshes, once for each geom."""
    meshes = model.geom_dataid[is_drawn(model, groups) & (model.geom_type == MESH)]
    return int(model.mesh_facenum[meshes].sum())


class DrawnFaces(NamedTuple):
    """Number of drawn mesh triangles, beside the pixels of the largest observed image."""

    num_faces: int
    num_pixels: int
    is_thin: bool

    @property
    def are_many(self) -> bool:
        """True if there are so many triangles per pixel that thin meshes would look the same."""
        return not self.is_thin and self.num_faces > MANY_FACES * self.num_pixels > 0

    def __str__(self) -> str:
        """Return a sentence for people, with advice where there are many."""
        share = self.num_faces / max(1, self.num_pixels)
        each = f"{share:,.0f}" if share >= 10.0 else f"{share:.1f}"
        text = f"{self.num_faces:,} triangles are drawn, {each} for each pixel"
        if not self.are_many:
            return text
        return (
            f"{text}, which costs most of a picture that no GPU draws: --data.meshes thin draws "
            "fewer, and docs/your-task.md says what else helps"
        )


def drawn_faces(contract: Contract, model: mujoco.MjModel | None) -> DrawnFaces:
    """Count what is drawn of a task's model; 0 where MuJoCo does not simulate it."""
    options = EnvOptions.from_dict(contract.options)
    is_thin = options.meshes == "thin"
    images = [signal.shape for signal in contract.inputs if signal.is_image]
    num_pixels = max((height * width for height, width, *_ in images), default=0)
    if model is None or not num_pixels:
        return DrawnFaces(0, num_pixels, is_thin)
    drawn = thin(model) if is_thin else model
    return DrawnFaces(count_faces(drawn, options.geom_groups), num_pixels, is_thin)


def _groups(model: mujoco.MjModel) -> NDArray[np.int32]:
    return np.clip(model.geom_group, 0, NUM_GROUPS - 1)
