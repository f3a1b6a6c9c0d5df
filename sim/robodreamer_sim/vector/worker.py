"""Worker process of one shard: requests from a pipe, records into shared memory.

It ends with its parent, however that ends: a thread waits for the parent's death and leaves at
once, even while the simulator or the GL driver hangs. On Linux the kernel ends it, too, also where
it is stopped and no thread of it runs.

Requests are the number of the buffer whose records to advance, or NAME_RENDERER. Answers through
the pipe are `(kind, content)`: ("ready", (contract, notes)) once, ("done", None or what was asked
for) after each request, ("fault", exception) instead of either.
"""

import ctypes
import os
import pickle
import signal
import sys
import threading
import traceback
from multiprocessing import parent_process, reduction
from multiprocessing.connection import Connection
from typing import Any

from robodreamer_sim.errors import EnvironmentFault, GraphicsError, NoPictureError
from robodreamer_sim.vector.buffers import RecordBuffers, map_shared_file
from robodreamer_sim.vector.progress import Progress
from robodreamer_sim.vector.shard import Shard, ShardSpec

NAME_RENDERER = -1
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
PARENTS_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that a terminal or a service manager sends to a whole process group."""
DONE = pickle.dumps(("done", None))


def run_worker(
    connection: "Connection[Any, Any]", spec: ShardSpec, progress: Any, *, is_of_main_thread: bool
) -> None:
    """Serve one shard until the parent closes the pipe or dies.

    Args:
        connection: To the parent.
        spec: Which shard.
        progress: Shared memory in which to note what it is doing; see `Progress`.
        is_of_main_thread: Whether the parent's main thread started it, which lives as long as it.
    """
    for number in PARENTS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent's to handle, also if all are sent it
    os.environ.setdefault("LP_NUM_THREADS", "0")  # software GL: shards, not threads, use the cores
    if is_of_main_thread:
        _be_killed_with_parent()
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        shard = Shard(spec, Progress(progress))
        connection.send(("ready", (shard.contract, shard.notes)))
        _serve(connection, spec, shard)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # noqa: BLE001  everything is the parent's to report
        connection.send(("fault", _portable(error)))


def _serve(connection: "Connection[Any, Any]", spec: ShardSpec, shard: Shard) -> None:
    num_envs: int = connection.recv()
    descriptor = reduction.recv_handle(connection)
    buffers = RecordBuffers(shard.contract, num_envs, map_shared_file(descriptor))
    os.close(descriptor)
    rows = [buffers.rows(index, spec.indices) for index in range(2)]
    while True:
        request: int = connection.recv()
        if request == NAME_RENDERER:
            connection.send(("done", shard.renderer_name))
            continue
        shard.step(rows[request])
        connection.send_bytes(DONE)


def _portable(error: Exception) -> Exception:
    """Return an exception that can be pickled; ours and the user's mistakes stay what they are."""
    if type(error) is EnvironmentFault:
        return error
    if type(error) in (GraphicsError, NoPictureError, ValueError):
        error.add_note("".join(traceback.format_exception(error)))  # which cannot travel itself
        return error
    return EnvironmentFault("".join(traceback.format_exception(error)))


def _be_killed_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends.

    A thread of this process could not leave while the process is stopped.
    """
    parent = parent_process()
    assert parent is not None, "a worker is always started by a VectorEnv"
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:
        os._exit(1)  # it died before


def _leave_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a worker is always started by a VectorEnv"
    parent.join()
    os._exit(1)
