"""What the models of a process have in common, in memory once.

Every environment has a MuJoCo model of its own, for tasks write into theirs. But most of a model is
meshes, their search trees and textures, the same in all: 8 of fetch_reach's 9 MB, 12 of a walker's
13. Here the pages of such arrays are replaced by private mappings of one copy. They read as before,
and a page that is written to becomes the writer's own (copy on write), so nobody can tell.

Such pages must not go back to an allocator that takes them for its own. So this is for a worker's
process, in which large blocks are told to be mapped each by itself and unmapped when freed. Where
that is not possible (another allocator, no Linux) nothing is shared.
"""

import ctypes
import hashlib
import mmap
import os
import sys

import mujoco
import numpy as np

from robodreamer_deploy.contract import Array

LARGE = 1 << 18
"""Bytes from which an array is worth a mapping, and the allocator maps a block by itself:
so also every model that holds such an array."""
MALLOC_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's mallopt
HEADER = 16
"""Bytes from the beginning of a mapping to glibc's block in it."""
FIXED = 0x10  # MAP_FIXED, which Python's mmap does not name


class SharedPages:
    """The large arrays of all models so far, by their content."""

    def __init__(self) -> None:
        self._files: dict[bytes, int] = {}
        self._libc = _libc_that_maps_blocks()

    def share(self, model: mujoco.MjModel) -> None:
        """Let a model read its large arrays from pages that equal models share."""
        if self._libc is None:
            return
        for name in dir(model):
            array = getattr(model, name)
            if isinstance(array, np.ndarray) and array.nbytes >= LARGE and not array.flags.owndata:
                self._share_pages(array)

    def _share_pages(self, array: Array) -> None:
        """Map the whole pages of an array; what it shares a page with stays as it is."""
        assert self._libc is not None, "it was asked for"
        begin, end = array.ctypes.data, array.ctypes.data + array.nbytes
        begin, end = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end & -mmap.PAGESIZE
        content = (ctypes.c_char * (end - begin)).from_address(begin)
        digest = hashlib.sha256(content).digest()
        if digest not in self._files:
            self._files[digest] = os.memfd_create("robodreamer-model")
            with open(self._files[digest], "wb", closefd=False) as file:
                file.write(content)
        protection, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | FIXED
        file = self._files[digest]
        mapped = self._libc.mmap(begin, end - begin, protection, kind, file, 0)
        assert mapped == begin, os.strerror(ctypes.get_errno())

    def close(self) -> None:
        """Forget what was shared; those who share it keep it."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()


def _libc_that_maps_blocks() -> ctypes.CDLL | None:
    """Let the allocator map large blocks by themselves; return None where it does not."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    libc.malloc.restype = libc.mmap.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    ]  # fmt: skip
    if not hasattr(libc, "mallopt") or not libc.mallopt(MALLOC_THRESHOLD, LARGE):
        return None
    block = libc.malloc(2 * LARGE)
    is_mapped = block % mmap.PAGESIZE == HEADER
    libc.free(block)
    return libc if is_mapped else None
