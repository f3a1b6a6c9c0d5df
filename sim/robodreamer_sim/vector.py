"""Many environments at once: W worker processes with K environments each.

What an environment does depends on its index and the seed only, never on W, K or the others. The
records appear in memory that the workers share with this process; nothing is copied on the way.

    environments.start()
    records = environments.recv()
    while True:
        environments.send(policy(records))       # returns at once
        learn()                                  # while the workers simulate
        records = environments.recv()

N = W * K environments, A action size.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.faults import EnvironmentFault
from robodreamer_sim.handles import LocalShard, ShardHandle, WorkerShard
from robodreamer_sim.options import DEFAULT_OPTIONS, EnvOptions
from robodreamer_sim.records import RecordBuffers, map_shared_file, open_shared_file
from robodreamer_sim.shard import ShardSpec
from robodreamer_sim.worker import Command

TIMEOUT_S = 120.0

__all__ = ["EnvironmentFault", "VectorEnv"]


class VectorEnv:
    """N environments of one task, stepped together.

    A record holds, per environment, every signal of the contract and

        reward        what was received on arriving at this observation; 0 at the first
        is_first      this observation begins an episode
        is_last       this observation ends it; the next `send` begins another, and ignores its
                      action
        is_terminal   it ended by itself, so nothing follows; never set by a time limit
        success       the goal is met now
    """

    def __init__(
        self,
        task: str,
        options: EnvOptions = DEFAULT_OPTIONS,
        *,
        num_envs: int,
        num_workers: int = 1,
        seed: int,
        first_episodes: Sequence[int] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Start the workers and wait until all environments are made.

        Args:
            task: As for `make`.
            options: As for `make`.
            num_envs: N.
            num_workers: W; 0 simulates in this process, inside `recv`.
            seed: Of all environments; see `episode_seed`.
            first_episodes: Number of the episode that each environment begins with; default 0.
            timeout_s: Longest wait for an answer of one worker.

        Raises:
            ValueError: As `make`.
            EnvironmentFault: A worker failed.
        """
        if num_envs < 1 or num_workers < 0:
            raise ValueError(f"cannot share {num_envs} environments among {num_workers} workers")
        self.num_envs, self.num_workers = num_envs, min(num_workers, num_envs)
        self.episodes: NDArray[np.int64] = np.zeros(num_envs, np.int64)
        """Number (N,) of the episode that each environment is in."""
        if first_episodes is not None:
            self.episodes[:] = first_episodes
        self._timeout_s = timeout_s
        self._buffer = 0
        self._is_waiting = False
        self._has_arrived = False
        self._shards: list[ShardHandle] = []
        with self._closed_on_error():
            handle = WorkerShard if num_workers else LocalShard
            for indices in np.array_split(np.arange(num_envs), min(max(num_workers, 1), num_envs)):
                spec = ShardSpec(
                    task=task,
                    options=options,
                    seed=seed,
                    indices=indices.tolist(),
                    first_episodes=self.episodes[indices].tolist(),
                )
                self._shards.append(handle(spec))
            self.contract: Contract = self._wait_for_contract()
            self._buffers = self._share_memory()

    def start(self) -> None:
        """Begin the first episode of every environment, anew if need be; then `recv`."""
        self._request("start")

    def send(self, actions: Array, *, truncate: bool = False) -> None:
        """Let every environment take its action, or begin a new episode if the last one is over.

        Args:
            actions: (N, A), float32.
            truncate: Every episode ends with this step, also one that has just begun: all the next
                records are `is_last`.

        Raises:
            ValueError: The actions have another shape or are not finite.
        """
        expected = (self.num_envs, self.contract.action.size)
        if actions.shape != expected or not np.isfinite(actions).all():
            raise ValueError(
                f"actions are finite numbers {expected}, got {actions.shape} {actions}"
            )
        self._buffers[1 - self._buffer]["action"][:] = actions
        self._request("truncate" if truncate else "step")

    def wait(self) -> None:
        """Wait until the records of the last `send` are there, and leave them to `recv`.

        Raises:
            EnvironmentFault: An environment or its worker failed; all are closed.
        """
        assert self._is_waiting, "recv follows start or send"
        if self._has_arrived:
            return
        with self._closed_on_error():
            for shard in self._shards:
                shard.wait(self._timeout_s)
        self._has_arrived = True

    def recv(self) -> dict[str, Array]:
        """Wait for the records (N, ...) of the last `send`; valid until the next `recv` returns.

        Raises:
            EnvironmentFault: An environment or its worker failed; all are closed.
        """
        self.wait()
        self._is_waiting = self._has_arrived = False
        self._buffer = 1 - self._buffer
        records = dict(self._buffers[self._buffer])
        del records["action"]
        self.episodes[:] = records.pop("episode")
        return records

    def renderer_name(self) -> str:
        """Return what draws the cameras, as OpenGL calls it; follows `wait` or `recv`.

        It is empty where nothing was drawn yet, or not by MuJoCo.
        """
        assert self._has_arrived or not self._is_waiting, "wait for the records first"
        first, *_ = self._shards
        return first.renderer_name(self._timeout_s)

    def close(self) -> None:
        """End the workers. May be called twice; records stay readable."""
        for shard in self._shards:
            shard.close()
        self._shards = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _request(self, command: Command) -> None:
        assert not self._is_waiting, "recv the last records first"
        assert self._shards, "the environments are closed"
        self._is_waiting = True
        for shard in self._shards:
            shard.send(command, 1 - self._buffer)

    def _wait_for_contract(self) -> Contract:
        first, *_ = [shard.wait_for_contract(self._timeout_s) for shard in self._shards]
        return first

    def _share_memory(self) -> RecordBuffers:
        descriptor = open_shared_file(RecordBuffers.size_for(self.contract, self.num_envs))
        try:
            buffers = RecordBuffers(self.contract, self.num_envs, map_shared_file(descriptor))
            for shard in self._shards:
                shard.attach(buffers, descriptor)
        finally:
            os.close(descriptor)
        return buffers

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise
