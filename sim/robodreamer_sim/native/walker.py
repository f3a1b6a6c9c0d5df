"""dm_control's walker, many at once.

Its own task computes observations and rewards: `BatchedWalker` answers like the `Physics` of the
suite, but for all simulations in one array each.

K simulations.
"""

import mujoco
import numpy as np
from mujoco.batch import Batch

from robodreamer_deploy.contract import Array

XX, XZ, ZZ = 0, 2, 8
"""Places in a rotation matrix that is stored row by row."""


class BatchedWalker:
    """What the walker's task asks of its physics; current after `Batch.step(stage=mjSTAGE_VEL)`."""

    def __init__(self, batch: Batch, model: mujoco.MjModel) -> None:
        self._torso = model.body("torso").id
        self._velocity_sensor = int(model.sensor("torso_subtreelinvel").adr[0])
        self._position, self._rotation = batch.bind("xpos"), batch.bind("xmat")
        self._velocity, self._sensors = batch.bind("qvel"), batch.bind("sensordata")

    def torso_upright(self) -> Array:
        """Return (K,): how far the torso's z axis points upwards."""
        return self._rotation[:, self._torso, ZZ]

    def torso_height(self) -> Array:
        """Return (K,), metres."""
        return self._position[:, self._torso, 2]

    def horizontal_velocity(self) -> Array:
        """Return (K,): that of the centre of mass, m/s."""
        return self._sensors[:, self._velocity_sensor]

    def orientations(self) -> Array:
        """Return (K, 14): two elements of the rotation of every body but the world."""
        rotation = self._rotation[:, 1:, [XX, XZ]]
        return rotation.reshape(len(rotation), -1)

    def velocity(self) -> Array:
        """Return (K, 9): joint velocities."""
        return np.asarray(self._velocity)
