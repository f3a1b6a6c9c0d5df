"""A shard whose environments are stepped together by `mujoco.batch`.

Episodes begin in dm_control's own environment, whose state is then copied; so the same seeds give
the same ones. Everything after that is computed for all environments at once, but for pictures: for
each of them the state of its simulation is copied to where the cameras look.

K environments in this shard, R of which go on with their episode, A action size.
"""

import math

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError
from numpy.typing import NDArray

from robodreamer_deploy.contract import Contract
from robodreamer_sim.cameras.renderer import Renderers
from robodreamer_sim.errors import EnvironmentFault
from robodreamer_sim.native.walker import BatchedWalker
from robodreamer_sim.tasks.dm_control.suite import DmControlTask
from robodreamer_sim.vector.progress import Progress
from robodreamer_sim.vector.shard import Records, ShardSpec

POSITION_AND_VELOCITY = int(mujoco.mjtStage.mjSTAGE_VEL)

Rows = slice | NDArray[np.int64]
"""Some environments; `slice(None)`, which is fastest, stands for all."""


class NativeShard:
    """K environments in one `Batch`; see the module."""

    def __init__(self, spec: ShardSpec, progress: Progress | None = None) -> None:
        self._indices = spec.indices
        self._progress = progress or Progress()
        self._progress.begin(spec.indices[0], "made")
        self._repeat = spec.options.action_repeat
        self._renderers = Renderers()
        self._env = DmControlTask(spec.task, spec.options, self._renderers)
        self._rigs = [self._env._rig.twin() for _ in spec.indices]  # noqa: SLF001  all in one
        suite = self._env.suite
        self._model, self._data = self._env.mujoco_handles
        self._task = suite.task
        self._limit = math.ceil(suite._step_limit)  # noqa: SLF001  it has no public name
        self._substeps = round(suite.control_timestep() / suite.physics.timestep())
        self._has_pictures = spec.options.uses_cameras
        num_envs = len(spec.indices)
        self._batch = Batch(self._model, num_envs, nthread=spec.num_threads, persistent=True)
        self._control = self._batch.bind("ctrl")
        self._num_warnings = self._batch.warning[:, :, 1]
        self._physics = BatchedWalker(self._batch, self._model)
        self._simulated = np.zeros(num_envs, np.int64)
        """Simulator steps (K,) since each episode began."""
        self._all = np.arange(num_envs)
        self._acted = np.zeros(num_envs, np.int64)
        """Actions (K,) since then."""

    @property
    def contract(self) -> Contract:
        """What every environment of the shard promises."""
        return self._env.contract

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of the task."""
        return self._env.notes

    @property
    def renderer_name(self) -> str:
        """What draws the cameras, as OpenGL calls it; empty if nothing was drawn."""
        return self._renderers.name

    def step(self, records: Records) -> None:
        """Advance every environment by one step, or begin an episode; see `Shard.step`.

        Raises:
            EnvironmentFault: MuJoCo failed or warned.
        """
        begins = records["begins"]
        if not begins.any():
            self._advance(records, slice(None))
            return
        for row in np.flatnonzero(begins):
            self._begin(records, int(row))
        if not begins.all():
            self._advance(records, np.flatnonzero(~begins))

    def close(self) -> None:
        """Close the environment that episodes begin in, and the renderer."""
        self._env.close()
        self._renderers.close()

    def _begin(self, records: Records, row: int) -> None:
        """Let dm_control begin an episode, and take over its state."""
        self._progress.begin(self._indices[row], "reset")
        observation, _ = self._env.reset(seed=int(records["seed"][row]))
        state = self._batch.state[row]
        mujoco.mj_getState(self._model, self._data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        self._simulated[row] = self._acted[row] = 0
        for name, value in (observation | self._rigs[row].capture(0)).items():
            records[name][row] = value
        records["reward"][row] = 0.0
        records["is_first"][row] = True
        for name in ("is_last", "is_terminal", "success"):
            records[name][row] = False

    def _advance(self, records: Records, rows: Rows) -> None:
        """Take the actions (R, A) of some environments and write what they led to."""
        self._control[rows] = self._env.to_controls(records["action"][rows])
        self._simulate(records, rows)
        reward = self._task.get_reward(self._physics)
        for _ in range(self._repeat - 1):
            active = self._all[rows][self._simulated[rows] < self._limit]
            if not len(active):
                break
            self._simulate(records, active)
            reward[active] += self._task.get_reward(self._physics)[active]
        self._acted[rows] += 1
        self._observe(records, rows)
        records["reward"][rows] = reward[rows]
        records["is_last"][rows] = self._simulated[rows] >= self._limit
        for name in ("is_first", "is_terminal", "success"):
            records[name][rows] = False

    def _observe(self, records: Records, rows: Rows) -> None:
        """Write what is measured and what the cameras show."""
        for name, value in self._task.get_observation(self._physics).items():
            if f"proprio/{name}" in records:
                records[f"proprio/{name}"][rows] = value[rows]
        if self._has_pictures:
            going = self._all[rows].tolist()
            for row in going:  # all look before one is drawn, so that they are drawn together
                self._progress.begin(self._indices[row], "drawn")
                self._batch.get_data(row, self._data)
                self._rigs[row].stage(int(self._acted[row]))
            for row in going:
                for name, picture in self._rigs[row].capture(int(self._acted[row])).items():
                    records[name][row] = picture

    def _simulate(self, records: Records, rows: Rows) -> None:
        """Advance some environments by one simulator step."""
        self._progress.begin(self._indices[0], "stepped")
        self._simulated[rows] += 1
        ids = None if isinstance(rows, slice) else rows
        try:
            self._batch.step(ids, nstep=self._substeps, stage=POSITION_AND_VELOCITY)
        except SimulationError as error:
            raise self._fault(records, int(error.ids[0]), str(error)) from error
        has_warned = self._num_warnings.any(axis=1)
        if has_warned.any():
            row = int(np.flatnonzero(has_warned)[0])
            raise self._fault(records, row, "MuJoCo warns; the simulation may be unstable")

    def _fault(self, records: Records, row: int, reason: str) -> EnvironmentFault:
        index, episode = self._indices[row], int(records["episode"][row])
        step = int(self._acted[row]) + 1
        return EnvironmentFault(
            f"environment {index}, episode {episode}, step {step}: {reason}",
            environment=index,
            episode=episode,
            step=step,
            action=records["action"][row].copy(),
        )
