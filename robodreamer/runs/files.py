"""Crash-safe files: written durably, visible only when complete, verified when read.

Tensors are stored as safetensors, everything else as JSON; loading either executes nothing.
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
    """Raised when another process holds the lock of a folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock until the block ends or this process dies.

    Raises:
        FolderInUseError: Another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    """Lock an open folder until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FolderInUseError(f"another process is at work in {folder}; stop it first") from error
    # A folder deleted and made again since it was opened has another lock: other processes would
    # not see this one.
    if not folder.exists() or not os.path.samestat(os.fstat(descriptor), folder.stat()):
        raise FolderInUseError(f"another process has just deleted {folder}; try again")


def write_json_atomic(path: Path, data: Any) -> None:
    """Replace a file by JSON text, as `write_atomic` does.

    Raises:
        ValueError: A number is NaN or infinite, which JSON cannot represent.
    """
    write_atomic(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def write_checked(path: Path, content: bytes) -> int:
    """Write a file and wait until the disk has it; return the checksum for `read_checked`."""
    write_durable(path, content)
    return zlib.crc32(content)


def read_checked(path: Path, checksum: int | None = None) -> bytes:
    """Return the content of a file.

    Raises:
        ValueError: It cannot be read, or its checksum differs.
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
    """Return copies on the same devices, each with its own memory, which safetensors requires."""
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors that share no memory as the content of a safetensors file."""
    return safetensors.torch.save({name: tensor.cpu() for name, tensor in tensors.items()})
