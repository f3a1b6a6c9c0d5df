"""The process of one shard: takes commands from a pipe, writes records into shared memory.

It ends with its parent, however that ends: a thread waits for the parent's death and leaves at
once, even while the simulator or the GL driver hangs.

Requests are the number of the buffer whose records to advance, or NAME_RENDERER. Answers through
the pipe are `(kind, content)`: ("ready", contract) once, ("done", None or what was asked for) after
each request, ("fault", exception) instead of either.
"""

import os
import pickle
import signal
import threading
import traceback
from multiprocessing import parent_process, reduction
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from robodreamer_sim.faults import EnvironmentFault, GraphicsError
from robodreamer_sim.tasks.registry import require_mujoco
from robodreamer_sim.vector.records import RecordBuffers, map_shared_file
from robodreamer_sim.vector.shard import Shard, ShardSpec, make_shard

if TYPE_CHECKING:
    from robodreamer_sim.native.shard import NativeShard
    from robodreamer_sim.vector.shared_pages import SharedPages

NAME_RENDERER = -1
DONE = pickle.dumps(("done", None))


def run_worker(connection: "Connection[Any, Any]", spec: ShardSpec) -> None:
    """Serve one shard until the parent closes the pipe or dies."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent's to handle, also if all are sent it
    os.environ.setdefault("LP_NUM_THREADS", "0")  # software GL: shards, not threads, use the cores
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        shard = make_shard(spec, _shared_pages())
        connection.send(("ready", shard.contract))
        _serve(connection, spec, shard)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # noqa: BLE001  everything is the parent's to report
        connection.send(("fault", _portable(error)))


def _serve(
    connection: "Connection[Any, Any]", spec: ShardSpec, shard: "Shard | NativeShard"
) -> None:
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


def _shared_pages() -> "SharedPages":
    """Return where models that are alike lie, in a process that maps large blocks from now on."""
    require_mujoco()
    from robodreamer_sim.vector.shared_pages import SharedPages

    return SharedPages()


def _portable(error: Exception) -> Exception:
    """Return an exception that can be pickled; ours and the user's mistakes stay what they are."""
    if type(error) in (EnvironmentFault, GraphicsError, ValueError):
        return error
    return EnvironmentFault("".join(traceback.format_exception(error)))


def _leave_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a worker is always started by a VectorEnv"
    parent.join()
    os._exit(1)
