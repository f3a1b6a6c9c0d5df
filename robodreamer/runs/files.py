"""Files that survive a crash: written durably, appearing complete or not at all, checked on read.

Tensors are kept as safetensors, everything else as JSON; neither executes anything on load.
"""

import fcntl
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from robodreamer_deploy.utils.atomic_write import write_atomic, write_durable


class FolderInUseError(ValueError):
    """Another process works in a folder that only one may change at a time."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same folder out, until this one is done or dead.

    Raises:
        FolderInUseError: Another process is in it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    """Lock an open folder, until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FolderInUseError(f"another process is at work in {folder}; stop it first") from error
    # Deleted and made again since it was opened, it has another lock, which others ask for.
    if not folder.exists() or not os.path.samestat(os.fstat(descriptor), folder.stat()):
        raise FolderInUseError(f"another process has just deleted {folder}; try again")


def write_json_atomic(path: Path, data: Any) -> None:
    """Write JSON text to a file, all of it or nothing.

    Raises:
        ValueError: A number is NaN or infinite, which JSON does not know.
    """
    write_atomic(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def write_checked(path: Path, content: bytes) -> int:
    """Write a file and wait until the disk has it; return the checksum for `read_checked`."""
    write_durable(path, content)
    return zlib.crc32(content)


def read_checked(path: Path, checksum: int | None = None) -> bytes:
    """Return the content of a file.

    Raises:
        ValueError: It cannot be read, or is not what `checksum` was taken of.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if checksum is not None and zlib.crc32(content) != checksum:
        raise ValueError(f"{path} is damaged: its checksum differs")
    return content


def read_tensors(path: Path, checksum: int | None = None) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        ValueError: It cannot be read or is damaged.
    """
    try:
        return safetensors.torch.load(read_checked(path, checksum))
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def copy_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies where the tensors lie, each with memory of its own, as safetensors needs."""
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a safetensors file; tensors share no memory."""
    return safetensors.torch.save({name: tensor.cpu() for name, tensor in tensors.items()})
