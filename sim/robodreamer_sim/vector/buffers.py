"""Records of all environments side by side in one piece of memory that processes can share.

Two buffers take turns: while the workers fill one, the other is still being read.
N environments, A action size.
"""

import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from robodreamer_deploy.contract import Array, Contract

FLAGS = ("is_first", "is_last", "is_terminal", "success")
REQUEST = ("action", "begins", "episode", "seed", "start_seed")
"""Entries that VectorEnv writes and a shard reads; the shard writes all others."""
ALIGNMENT = 64  # a cache line, so that two workers seldom write to the same one


class RecordBuffers:
    """Two buffers of N records each, over any memory of `size_for` bytes.

    A record holds every signal of the contract, reward, the flags, and what led to it: the request
    of VectorEnv to its shard. Either an episode `begins`, whose number is `episode` and whose seed
    is `seed` (`start_seed` is the environment's, for all its episodes), or the one of that number
    goes on with `action` (A,).
    """

    def __init__(self, contract: Contract, num_envs: int, memory: Any) -> None:
        self.num_envs = num_envs
        self._buffers: list[dict[str, Array]] = []
        offset = 0
        for _ in range(2):
            arrays: dict[str, Array] = {}
            for name, (shape, dtype) in _fields(contract).items():
                arrays[name] = np.ndarray((num_envs, *shape), dtype, memory, offset)
                offset += _padded(arrays[name].nbytes)
            self._buffers.append(arrays)

    @staticmethod
    def size_for(contract: Contract, num_envs: int) -> int:
        """Return how many bytes both buffers need."""
        sizes = [num_envs * _count(s) * d.itemsize for s, d in _fields(contract).values()]
        return 2 * sum(_padded(size) for size in sizes)

    def __getitem__(self, index: int) -> dict[str, Array]:
        """Return buffer 0 or 1: arrays (N, ...)."""
        return self._buffers[index]

    def rows(self, index: int, environments: Sequence[int]) -> dict[str, Array]:
        """Return the records of consecutive environments in buffer 0 or 1, as views."""
        rows = slice(environments[0], environments[-1] + 1)
        return {name: array[rows] for name, array in self._buffers[index].items()}


def open_shared_file(size: int) -> int:
    """Return a descriptor of nameless memory, which is gone when the last process closes it.

    It has no name that a killed run could leave behind, and is not bound to the size of /dev/shm.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("robodreamer")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def map_shared_file(descriptor: int) -> mmap.mmap:
    """Map all of a shared file. The descriptor may be closed; the map lives while arrays use it."""
    return mmap.mmap(descriptor, 0)


def _fields(contract: Contract) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and type of every entry of one record."""
    fields = {s.name: (s.shape, np.dtype(s.dtype)) for s in contract.observations}
    fields |= {flag: ((), np.dtype(np.bool_)) for flag in FLAGS}
    fields["reward"] = ((), np.dtype(np.float32))
    fields["action"] = ((contract.action.size,), np.dtype(np.float32))
    fields["begins"] = ((), np.dtype(np.bool_))
    fields["episode"] = ((), np.dtype(np.int64))
    fields["seed"] = fields["start_seed"] = ((), np.dtype(np.uint32))
    return fields


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
