"""Back ends of a shard: this process, or a worker process."""

import atexit
import ctypes
import multiprocessing
import pickle
import select
import signal
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import reduction, resource_tracker
from typing import Any, NamedTuple, Protocol

from robodreamer_deploy.contract import Contract
from robodreamer_sim.errors import EnvironmentFault
from robodreamer_sim.vector.buffers import RecordBuffers
from robodreamer_sim.vector.progress import NUM_CELLS, Progress
from robodreamer_sim.vector.shard import Records, Shard, ShardSpec
from robodreamer_sim.vector.worker import NAME_RENDERER, PARENTS_SIGNALS, run_worker

CLOSE_TIMEOUT_S = 5.0
SLICE_S = 1.0
"""Longest uninterrupted wait. Only slices are counted: a process that was stopped in one (Ctrl-Z, a
debugger, a paused container) or hardly ran has not waited any longer than that."""
REQUESTS = {request: pickle.dumps(request) for request in (NAME_RENDERER, 0, 1)}
"""Requests, pickled once as `Connection.send` would: one is sent at every step."""


STARTUP_S = 120.0
"""Least time for a process to start and import, before it makes the first environment."""


class Made(NamedTuple):
    """Message of a shard whose environments are made."""

    contract: Contract
    notes: tuple[str, ...]
    """Sentences for people about the task; see `TaskEnv.notes`."""


class ShardHandle(Protocol):
    """Interface of a shard in any process. Every `wait` follows one request."""

    def wait_until_made(self, timeout_s: float) -> Made:
        """Wait until the environments are made; `timeout_s` is for each of them."""
        ...

    def attach(self, buffers: RecordBuffers, descriptor: int) -> None:
        """Give the shard its buffers, or the shared file that holds them."""
        ...

    def send(self, buffer: int) -> None:
        """Send the request in buffer 0 or 1; the shard writes its records there."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Wait until the step is done; `timeout_s` is for each thing that one environment does.

        Raises:
            EnvironmentFault: An environment or its worker failed, or no answer came in time.
        """
        ...

    def renderer_name(self, timeout_s: float) -> str:
        """Return the name of the renderer; empty if nothing was drawn. No request is open."""
        ...

    def close(self) -> None:
        """End it. May be called twice."""
        ...


class LocalShard:
    """Shard in this process, which simulates inside `wait`."""

    def __init__(self, spec: ShardSpec) -> None:
        self._shard = Shard(spec)
        self._rows: list[Records] = []
        self._buffer = 0
        self._spec = spec

    def wait_until_made(self, timeout_s: float) -> Made:  # noqa: ARG002
        """Return the contract and notes of the environments."""
        return Made(self._shard.contract, self._shard.notes)

    def attach(self, buffers: RecordBuffers, descriptor: int) -> None:  # noqa: ARG002
        """Take the rows of this shard."""
        self._rows = [buffers.rows(index, self._spec.indices) for index in range(2)]

    def send(self, buffer: int) -> None:
        """Remember the request."""
        self._buffer = buffer

    def wait(self, timeout_s: float) -> None:  # noqa: ARG002
        """Execute the request."""
        self._shard.step(self._rows[self._buffer])

    def renderer_name(self, timeout_s: float) -> str:  # noqa: ARG002
        """Return the name of the renderer."""
        return self._shard.renderer_name

    def close(self) -> None:
        """Close the environments."""
        self._shard.close()


class WorkerShard:
    """Shard in its own process; always spawned, because GL does not survive a fork."""

    def __init__(self, spec: ShardSpec) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._spec = spec
        memory = context.RawArray(ctypes.c_int64, NUM_CELLS)
        self._progress = Progress(memory)
        is_of_main_thread = threading.current_thread() is threading.main_thread()
        self._process = context.Process(
            target=run_worker,
            args=(theirs, spec, memory),
            kwargs={"is_of_main_thread": is_of_main_thread},
            daemon=True,
        )
        resource_tracker.ensure_running()  # its start lets through what is held back
        with _signals_held_back():
            self._process.start()
        theirs.close()
        self._poll = select.poll()  # `Connection.poll` would make a new one at every step
        self._poll.register(self._connection.fileno(), select.POLLIN)
        # Python's own end of daemonic processes is SIGTERM, which a worker does not hear.
        atexit.register(_close_if_alive, weakref.ref(self))

    def wait_until_made(self, timeout_s: float) -> Made:
        """Wait until the environments are made; return their contract and notes."""
        return Made(*self._answer("ready", timeout_s))

    def attach(self, buffers: RecordBuffers, descriptor: int) -> None:
        """Hand the worker the shared file."""
        assert self._process.pid is not None, "the process was started"
        self._connection.send(buffers.num_envs)
        reduction.send_handle(self._connection, descriptor, self._process.pid)

    def send(self, buffer: int) -> None:
        """Send the request; a worker that has died is noticed by `wait`."""
        try:
            self._connection.send_bytes(REQUESTS[buffer])
        except (BrokenPipeError, ConnectionResetError):
            return

    def wait(self, timeout_s: float) -> None:
        """Wait until the step is done."""
        self._answer("done", timeout_s)

    def renderer_name(self, timeout_s: float) -> str:
        """Ask the worker for the name of the renderer."""
        self.send(NAME_RENDERER)
        return self._answer("done", timeout_s)

    def close(self) -> None:
        """Close the pipe, which ends the worker; kill it if it does not end."""
        self._connection.close()
        self._process.join(CLOSE_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _answer(self, expected: str, timeout_s: float) -> Any:
        try:
            self._wait_for_message(timeout_s)
            kind, content = self._connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self._process.join(CLOSE_TIMEOUT_S)
            raise EnvironmentFault(
                f"{self._name} died with exit code {self._process.exitcode}"
                " (-9: killed, perhaps for want of memory; -11: crash in a library; 1: see the "
                'error above; a script makes environments under `if __name__ == "__main__":` only)'
            ) from error
        if kind == "fault":
            raise content
        assert kind == expected, (kind, expected)
        return content

    def _wait_for_message(self, timeout_s: float) -> None:
        """Wait in slices until the pipe has something to read; begin again at every progress.

        Raises:
            EnvironmentFault: One environment took longer than that for one thing.
        """
        slice_s = min(SLICE_S, timeout_s / 4)
        doing, waited_s = self._progress.read(), 0.0
        while not self._poll.poll(1000 * slice_s):
            waited_s += slice_s
            if (now := self._progress.read()) != doing:
                doing, waited_s = now, 0.0
            elif waited_s >= (max(timeout_s, STARTUP_S) if doing.phase == "started" else timeout_s):
                self._process.kill()  # it would not see the pipe close either
                raise EnvironmentFault(
                    f"{self._name} did not answer for {waited_s:g} s: a simulator step or the "
                    f"graphics driver may hang, or needs longer; {doing}; --env-timeout-s sets how "
                    "long each may take, MUJOCO_GL=osmesa tries another driver"
                )

    @property
    def _name(self) -> str:
        first, last = self._spec.indices[0], self._spec.indices[-1]
        return f"the worker of environments {first} to {last}"


def _close_if_alive(reference: "weakref.ref[WorkerShard]") -> None:
    shard = reference()
    if shard is not None:
        shard.close()


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Block Ctrl-C and similar signals for a process that starts, even while Python is loading.

    Such signals often go to a whole process group, and the parent decides what becomes of workers.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PARENTS_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
