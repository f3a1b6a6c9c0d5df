"""A model with geoms in four groups and one mesh as fine as those of CAD programs."""

import mujoco
import numpy as np

from robodreamer_sim.cameras.camera_spec import CameraPose, add_camera

PARTS = """
<mujoco>
  <visual><headlight ambient=".3 .3 .3" diffuse=".6 .6 .6"/></visual>
  <asset><mesh name="small" vertex="-.2 -.2 0 .2 -.2 0 0 .2 0 0 0 .5"/></asset>
  <worldbody>
    <geom name="hull" size=".4" pos="0 0 0" rgba="1 0 0 1" group="0"/>
    <geom name="skin" type="box" size=".2 .2 .5" rgba="0 1 0 1" group="1"/>
    <geom name="frame" size=".1" pos="0 .7 0" rgba="0 0 1 1" group="4"/>
    <geom name="small" type="mesh" mesh="small" pos="0 -.8 0" group="2"/>
  </worldbody>
</mujoco>
"""


def lump(num_rings: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and triangles of an egg with a waist, fine as those of CAD programs are."""
    height, angle = np.meshgrid(
        np.linspace(0.0, np.pi, num_rings), np.linspace(0, 2 * np.pi, num_rings), indexing="ij"
    )
    radius = np.sin(height) * (0.3 + 0.1 * np.cos(4 * height))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.6 * np.cos(height)], -1)
    corner = np.arange(num_rings**2).reshape(num_rings, num_rings)
    a, b, c, d = corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    return points.reshape(-1, 3), triangles.reshape(-1, 3)


def scene() -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Return a model with parts in four groups, beside them the lump, and a camera `eye`."""
    spec = mujoco.MjSpec.from_string(PARTS)
    vertices, triangles = lump()
    spec.add_mesh(name="lump", uservert=vertices.ravel(), userface=triangles.ravel())
    spec.worldbody.add_geom(
        name="lump",
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname="lump",
        pos=(0, 0.8, 0),
        group=2,
        rgba=(1, 0.8, 0.2, 1),
    )
    add_camera(spec, "eye", CameraPose((3, 0.1, 0.6), (0, 0, 0), 45))
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data
