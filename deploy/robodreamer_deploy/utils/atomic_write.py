"""Files and folders that appear complete or not at all, even if the computer loses power.

A new version is written under another name beside the old one, flushed to the disk, and renamed: a
rename within a folder is atomic (POSIX). The folder is flushed last, which makes the name durable.
"""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Generator[Path, None, None]:
    """Yield the path of a draft, which takes the place of `path` if the block ends without error.

    The block makes the draft, a file or a folder. If it fails, the draft is deleted and the old
    version stays. Files within a draft that is a folder are flushed by whoever writes them, see
    `write_durable`.

    Raises:
        OSError: The disk is full or failed; the old version stays.
    """
    draft = path.with_name(f".{path.name}.tmp")
    _delete(draft)  # left by a process that was killed
    try:
        yield draft
        sync(draft)
        if path.is_dir():
            shutil.rmtree(path)  # a rename replaces a file, but no folder with files in it
        draft.replace(path)
    except BaseException:
        _delete(draft)
        raise
    sync(path.parent)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file; readers, and whoever comes after a crash, see the old or the new content.

    Raises:
        OSError: The disk is full or failed; the old file stays.
    """
    with replacing(path) as draft:
        draft.write_bytes(content)


def write_durable(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it.

    The name is durable only after `sync` of the folder, and a crash may leave a part of the file.

    Raises:
        OSError: The disk is full or failed.
    """
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until the disk has a file's content, or the names in a folder.

    Raises:
        OSError: The disk failed.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        path.unlink()
