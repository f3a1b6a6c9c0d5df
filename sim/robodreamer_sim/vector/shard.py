"""Shard: the environments of one process, stepped one after the other.

It writes their observations into records, arrays (K, ...) of the caller, and checks every value
against the contract, so that a NaN is reported at its source.

K environments in this shard, A action size.
"""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import SignalError
from robodreamer_sim.compat import import_mujoco
from robodreamer_sim.errors import EnvironmentFault, GraphicsError
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.vector.agreement import require_equal
from robodreamer_sim.vector.progress import Progress

if TYPE_CHECKING:
    from robodreamer_sim.env import TaskEnv

Records = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class ShardSpec:
    """Specification of a shard, which is sent to its process."""

    task: str
    options: EnvOptions
    indices: Sequence[int]
    """Indices of its environments among all."""


class Shard:
    """Shard of K environments that share one renderer."""

    def __init__(self, spec: ShardSpec, progress: Progress | None = None) -> None:
        import_mujoco()
        progress = progress or Progress()
        self._renderers = None
        if spec.options.uses_cameras:
            from robodreamer_sim.cameras.renderer_pool import RendererPool

            self._renderers = RendererPool()
        self._slots: list[_Slot] = []
        for index in spec.indices:
            progress.begin(index, "made")
            env = make(spec.task, spec.options, self._renderers)
            self._slots.append(_Slot(env, index, progress))
            require_equal(spec.task, env.contract, index, self.contract)

    @property
    def contract(self) -> Contract:
        """Contract of every environment."""
        return self._slots[0].env.contract

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for people about the task."""
        env = self._slots[0].env
        if env.mujoco_handles is None:
            return env.notes
        from robodreamer_sim.cameras.drawn_geoms import drawn_faces  # which loads MuJoCo

        faces = drawn_faces(env.contract, env.mujoco_handles[0])
        return (*env.notes, str(faces)) if faces.are_many else env.notes

    @property
    def renderer_name(self) -> str:
        """Name of the renderer; empty if nothing was drawn."""
        return self._renderers.name if self._renderers is not None else ""

    def step(self, records: Records) -> None:
        """Advance every environment by one step, or begin an episode where that is requested.

        Args:
            records: Holds the request (see `RecordBuffers`); all else is written, (K, ...) each.

        Raises:
            EnvironmentFault: An environment raised, or yielded what its contract forbids.
        """
        for row, slot in enumerate(self._slots):
            if records["begins"][row]:
                slot.begin(records, row)
            else:
                slot.step(records, row)
        for slot in self._slots:  # all are staged first, so that they are drawn together
            slot.stage_images()
        for row, slot in enumerate(self._slots):
            slot.observe(records, row)

    def close(self) -> None:
        """Close the environments and their renderer."""
        for slot in self._slots:
            slot.env.close()
        if self._renderers is not None:
            self._renderers.close()


class _Slot:
    """Environment of a shard, with its episode and step."""

    def __init__(self, env: "TaskEnv", index: int, progress: Progress) -> None:
        self.env = env
        self._index = index
        self._progress = progress
        self._episode = 0
        self._step = 0
        self._action: Array | None = None

    def begin(self, records: Records, row: int) -> None:
        """Begin the requested episode and write its first reward and flags."""
        self._progress.begin(self._index, "reset")
        self._episode, self._step, self._action = int(records["episode"][row]), 0, None
        with self._faults_reported():
            options = {"start_seed": int(records["start_seed"][row])}
            self.env.begin_episode(seed=int(records["seed"][row]), options=options)
        records["reward"][row] = 0.0
        self._write_flags(records, row, is_first=True)

    def step(self, records: Records, row: int) -> None:
        """Advance by the record's action and write reward and flags."""
        self._progress.begin(self._index, "stepped")
        self._step += 1
        action = self._action = records["action"][row].copy()
        with self._faults_reported():
            reward, is_terminal, is_truncated, success = self.env.take_action(action)
        records["reward"][row] = reward
        self._write_flags(
            records,
            row,
            is_last=is_terminal or is_truncated,
            is_terminal=is_terminal,
            success=success,
        )

    def stage_images(self) -> None:
        """Stage the images of the next observation."""
        self._progress.begin(self._index, "drawn")
        with self._faults_reported():
            self.env.stage_images()

    def observe(self, records: Records, row: int) -> None:
        """Write the observation after checking it against the contract."""
        self._progress.begin(self._index, "drawn")
        with self._faults_reported():
            observation = self.env.observe()
        try:
            self.env.contract.check(observation)
        except SignalError as error:
            raise self._fault(str(error), error.key, observation) from error
        if not np.isfinite(records["reward"][row]):
            reward = float(records["reward"][row])
            raise self._fault(f"reward is {reward}", "reward", observation)
        for key, value in observation.items():
            records[key][row] = value

    @contextmanager
    def _faults_reported(self) -> Iterator[None]:
        """Report errors with the environment, episode and step."""
        try:
            yield
        except GraphicsError:
            raise
        except (Exception, SystemExit) as error:  # some simulators end the process
            raise self._fault(_with_traceback(error)) from error

    @staticmethod
    def _write_flags(
        records: Records,
        row: int,
        *,
        is_first: bool = False,
        is_last: bool = False,
        is_terminal: bool = False,
        success: bool = False,
    ) -> None:
        records["is_first"][row] = is_first
        records["is_last"][row] = is_last
        records["is_terminal"][row] = is_terminal
        records["success"][row] = success

    def _fault(
        self, reason: str, key: str | None = None, observation: dict[str, Array] | None = None
    ) -> EnvironmentFault:
        return EnvironmentFault(
            f"environment {self._index}, episode {self._episode}, step {self._step}: {reason}",
            environment=self._index,
            key=key,
            episode=self._episode,
            step=self._step,
            observation=observation,
            action=self._action,
        )


def _with_traceback(error: BaseException) -> str:
    """Return an exception as text with its traceback, which cannot be pickled."""
    return f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error))}"
