"""A shard whose environments are stepped together by `mujoco.batch`.

Episodes begin in dm_control's own environment, whose state is then copied; so the same seeds give
the same ones. Everything after that is computed for all environments at once.

K environments in this shard, R of which go on with their episode, A action size.
"""

import math

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError
from numpy.typing import NDArray

from robodreamer_deploy.contract import Contract
from robodreamer_sim.faults import EnvironmentFault
from robodreamer_sim.native.walker import BatchedWalker
from robodreamer_sim.shard import Records, ShardSpec
from robodreamer_sim.tasks.dm_control import DmControlTask

Rows = NDArray[np.int64]


class NativeShard:
    """K environments in one `Batch`; see the module."""

    renderer_name = ""

    def __init__(self, spec: ShardSpec) -> None:
        self._indices = spec.indices
        self._repeat = spec.options.action_repeat
        self._env = DmControlTask(spec.task, "walker", spec.options)
        suite = self._env.suite
        self._model, self._data = self._env.mujoco_handles
        self._task = suite.task
        self._limit = math.ceil(suite._step_limit)  # noqa: SLF001  it has no public name
        self._substeps = round(suite.control_timestep() / suite.physics.timestep())
        num_envs = len(spec.indices)
        # One thread: the shards are the processes that use the cores.
        self._batch = Batch(self._model, num_envs, nthread=1, persistent=True)
        self._control = self._batch.bind("ctrl")
        self._physics = BatchedWalker(self._batch, self._model)
        self._simulated = np.zeros(num_envs, np.int64)
        """Simulator steps (K,) since each episode began."""

    @property
    def contract(self) -> Contract:
        """What every environment of the shard promises."""
        return self._env.contract

    def step(self, records: Records) -> None:
        """Advance every environment by one step, or begin an episode; see `Shard.step`.

        Raises:
            EnvironmentFault: MuJoCo failed or warned.
        """
        for row in np.flatnonzero(records["begins"]):
            self._begin(records, int(row))
        going = np.flatnonzero(~records["begins"])
        if len(going):
            self._advance(records, going)

    def close(self) -> None:
        """Close the environment that episodes begin in."""
        self._env.close()

    def _begin(self, records: Records, row: int) -> None:
        """Let dm_control begin an episode, and take over its state."""
        observation, _ = self._env.reset(seed=int(records["seed"][row]))
        state = self._batch.state[row]
        mujoco.mj_getState(self._model, self._data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        self._simulated[row] = 0
        for name, value in observation.items():
            records[name][row] = value
        records["reward"][row] = 0.0
        records["is_first"][row] = True
        for name in ("is_last", "is_terminal", "success"):
            records[name][row] = False

    def _advance(self, records: Records, rows: Rows) -> None:
        """Take the actions (R, A) of some environments and write what they led to."""
        self._control[rows] = self.contract.action.to_actuators(records["action"][rows])
        reward = np.zeros(len(self._indices))
        active = rows
        for _ in range(self._repeat):
            self._simulate(records, active)
            reward[active] += self._task.get_reward(self._physics)[active]
            active = active[self._simulated[active] < self._limit]
            if not len(active):
                break
        for name, value in self._task.get_observation(self._physics).items():
            records[f"proprio/{name}"][rows] = value[rows]
        records["reward"][rows] = reward[rows]
        records["is_last"][rows] = self._simulated[rows] >= self._limit
        for name in ("is_first", "is_terminal", "success"):
            records[name][rows] = False

    def _simulate(self, records: Records, rows: Rows) -> None:
        """Advance some environments by one simulator step."""
        self._simulated[rows] += 1
        stage = int(mujoco.mjtStage.mjSTAGE_VEL)
        try:
            self._batch.step(rows, nstep=self._substeps, stage=stage)
        except SimulationError as error:
            raise self._fault(records, int(error.ids[0]), str(error)) from error
        num_warnings = self._batch.warning[rows, :, 1].sum(axis=1)
        if num_warnings.any():
            row = int(rows[num_warnings > 0][0])
            raise self._fault(records, row, "MuJoCo warns; the simulation may be unstable")

    def _fault(self, records: Records, row: int, reason: str) -> EnvironmentFault:
        index, episode = self._indices[row], int(records["episode"][row])
        step = -(-int(self._simulated[row]) // self._repeat)
        return EnvironmentFault(
            f"environment {index}, episode {episode}, step {step}: {reason}",
            environment=index,
            episode=episode,
            step=step,
            action=records["action"][row].copy(),
        )
