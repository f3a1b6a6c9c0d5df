"""Vector environment: W worker processes with K environments each.

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

import math
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.cameras.blank_check import BlankCameraCheck
from robodreamer_sim.cameras.gl_backend import settle_back_end
from robodreamer_sim.errors import EnvironmentFault
from robodreamer_sim.options import DEFAULT_OPTIONS, EnvOptions
from robodreamer_sim.vector.agreement import require_equal
from robodreamer_sim.vector.backends import LocalShard, Made, ShardHandle, WorkerShard
from robodreamer_sim.vector.buffers import REQUEST, RecordBuffers, map_shared_file, open_shared_file
from robodreamer_sim.vector.seeding import episode_seed, start_seed
from robodreamer_sim.vector.shard import ShardSpec

TIMEOUT_S = 120.0
MAX_RESTARTS = 20
OnCrash = Literal["stop", "restart"]

__all__ = ["EnvironmentFault", "OnCrash", "VectorEnv"]


class VectorEnv:
    """Vector environment of N environments of one task.

    A record holds, per environment, every signal of the contract and

        reward        what was received on arriving at this observation; 0 at the first
        is_first      this observation begins an episode
        is_last       this observation ends it; the next `send` begins another, and ignores its
                      action
        is_terminal   it ended by itself, so nothing follows; never set by a time limit
        success       the goal is met now

    With `on_crash="restart"` a worker that fails is replaced, and the episodes that its
    environments were in are dropped: their next records are `is_first`, of the episode after it. No
    record says that a dropped episode ended; what was seen of it did happen and nothing followed.
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
        on_crash: OnCrash = "stop",
        max_restarts: int = MAX_RESTARTS,
    ) -> None:
        """Start the workers and wait until all environments are made.

        Args:
            task: As for `make`.
            options: As for `make`.
            num_envs: N.
            num_workers: W; 0 simulates in this process, inside `recv`.
            seed: Of all environments; see `episode_seed`.
            first_episodes: Number of the episode that each environment begins with; default 0.
            timeout_s: Longest wait until one environment is made, reset, stepped or drawn. Time in
                which this process was stopped does not count.
            on_crash: What becomes of a worker that died, hung, or met a fault of an environment.
            max_restarts: Of all workers together; the fault after that stops them all.

        Raises:
            ValueError: As `make`, or the environments are not all the same.
            EnvironmentFault: A worker failed.
        """
        if not 0.0 < timeout_s < math.inf:
            raise ValueError(f"timeout_s is above 0 s, got {timeout_s}")
        if num_envs < 1 or num_workers < 0:
            raise ValueError(f"cannot share {num_envs} environments among {num_workers} workers")
        self.num_envs, self.num_workers = num_envs, min(num_workers, num_envs)
        self.episodes: NDArray[np.int64] = np.zeros(num_envs, np.int64)
        """Number (N,) of the episode that each environment is in."""
        if first_episodes is not None:
            self.episodes[:] = first_episodes
        self.on_crash: OnCrash = on_crash
        self.faults: list[EnvironmentFault] = []
        """Faults that restarted workers, oldest first."""
        self.dropped_episodes: NDArray[np.int64] = np.zeros(num_envs, np.int64)
        """Number of episodes (N,) that each environment lost in restarts."""
        self._max_restarts = max_restarts
        self._timeout_s = timeout_s
        self._seed, self._first_episodes = seed, self.episodes.copy()
        self._is_over = np.zeros(num_envs, np.bool_)
        self._truncates = False
        self._buffer = 0
        self._is_waiting = False
        self._has_arrived = False
        self._handle = WorkerShard if num_workers else LocalShard
        self.back_end = settle_back_end() if options.uses_cameras else None
        """Back end of the cameras, and the reason; None without cameras. It is settled before
        the workers start, so that one probe serves all of them."""
        groups = np.array_split(np.arange(num_envs), max(self.num_workers, 1))
        self._specs = [
            ShardSpec(task=task, options=options, indices=group.tolist()) for group in groups
        ]
        self._shards: list[ShardHandle] = []
        self._close_descriptor: Callable[[], object] = lambda: None
        with self._closed_on_error():
            for spec in self._specs:
                self._shards.append(self._handle(spec))
            self.contract: Contract
            """Contract of every environment."""
            self.notes: tuple[str, ...]
            """Sentences for people about the task; see `TaskEnv.notes`."""
            self.contract, self.notes = self._wait_until_made()
            self._share_memory()
        self._blank_check = BlankCameraCheck(self.contract)

    def start(
        self, *, seed: int | None = None, first_episodes: Sequence[int] | None = None
    ) -> None:
        """Begin (or restart) the first episode of every environment; then `recv`.

        Args:
            seed: As for the constructor, which sets the default.
            first_episodes: Likewise.
        """
        if seed is not None:
            self._seed = seed
        if first_episodes is not None:
            self._first_episodes[:] = first_episodes
        self._is_over[:] = True
        self._request(self._first_episodes, truncate=False)

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
        self._next_buffer["action"][:] = actions
        self._request(self.episodes + self._is_over, truncate=truncate)

    def wait(self) -> None:
        """Wait until the records of the last `send` are there, and leave them to `recv`.

        Raises:
            EnvironmentFault: An environment or its worker failed; all are closed.
        """
        assert self._is_waiting, "recv follows start or send"
        if self._has_arrived:
            return
        with self._closed_on_error():
            for index in range(len(self._shards)):
                self._wait_for_records(index)
        self._has_arrived = True

    def recv(self) -> dict[str, Array]:
        """Wait for the records (N, ...) of the last `send`; valid until the next `recv` returns.

        Raises:
            EnvironmentFault: An environment or its worker failed, or one of the cameras showed
                nothing in its first frames; all are closed.
        """
        self.wait()
        self._is_waiting = self._has_arrived = False
        self._buffer = 1 - self._buffer
        records = dict(self._buffers[self._buffer])
        request = {name: records.pop(name) for name in REQUEST}
        records["is_last"] |= self._truncates
        self._is_over[:] = records["is_last"]
        self.episodes[:] = request["episode"]
        with self._closed_on_error():
            self._blank_check.add(records)
        return records

    def renderer_name(self) -> str:
        """Return the name of the renderer; follows `wait` or `recv`.

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
        self._close_descriptor()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _next_buffer(self) -> dict[str, Array]:
        return self._buffers[1 - self._buffer]

    def _request(self, episodes: NDArray[np.int64], *, truncate: bool) -> None:
        """Let every environment go on with its episode, or begin it where the last one is over."""
        assert self._shards, "the environments are closed"
        assert not self._is_waiting, "recv the last records first"
        request = self._next_buffer
        request["begins"][:] = False
        request["episode"][:] = episodes
        if self._is_over.any():
            self._begin(np.flatnonzero(self._is_over).tolist())
        self._is_waiting, self._truncates = True, truncate
        for shard in self._shards:
            shard.send(1 - self._buffer)

    def _begin(self, environments: Sequence[int]) -> None:
        """Let these environments begin the episode of the number that is requested."""
        request = self._next_buffer
        for i in environments:
            request["begins"][i] = True
            request["seed"][i] = episode_seed(self._seed, i, int(request["episode"][i]))
            request["start_seed"][i] = start_seed(self._seed, i)

    def _wait_for_records(self, index: int) -> None:
        """Wait for one shard; restart it if `on_crash` is `restart`.

        Raises:
            EnvironmentFault: It failed, and is not to be restarted (again).
        """
        while True:
            try:
                self._shards[index].wait(self._timeout_s)
            except EnvironmentFault as fault:
                if self.on_crash == "stop" or len(self.faults) >= self._max_restarts:
                    raise
                self.faults.append(fault)
                self._restart(index)
            else:
                return

    def _restart(self, index: int) -> None:
        """Replace a failed shard; the new one begins the next episodes."""
        self._shards[index].close()
        environments = self._specs[index].indices
        self.dropped_episodes[environments] += 1
        self._next_buffer["episode"][environments] += 1
        self._begin(environments)
        shard = self._shards[index] = self._handle(self._specs[index])
        try:
            made = shard.wait_until_made(self._timeout_s)
            require_equal(self._specs[index].task, made.contract, environments[0], self.contract)
        except ValueError as error:
            raise EnvironmentFault(f"a restart failed: {error}") from error
        shard.attach(self._buffers, self._descriptor)
        shard.send(1 - self._buffer)

    def _wait_until_made(self) -> Made:
        """Wait for all shards; return their common contract."""
        first: Made | None = None
        for spec, shard in zip(self._specs, self._shards, strict=True):
            made = shard.wait_until_made(self._timeout_s)
            first = first or made
            require_equal(spec.task, made.contract, spec.indices[0], first.contract)
        assert first is not None, "there is at least one shard"
        return first

    def _share_memory(self) -> None:
        self._descriptor = open_shared_file(RecordBuffers.size_for(self.contract, self.num_envs))
        self._close_descriptor = weakref.finalize(self, os.close, self._descriptor)
        memory = map_shared_file(self._descriptor)
        self._buffers = RecordBuffers(self.contract, self.num_envs, memory)
        for shard in self._shards:
            shard.attach(self._buffers, self._descriptor)

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise
