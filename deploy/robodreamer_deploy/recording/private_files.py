"""Files and folders that only their owner can read: a log shows a room, and who was in it."""

import os
from pathlib import Path
from typing import BinaryIO

FILE_MODE, FOLDER_MODE = 0o600, 0o700


def open_new(path: Path) -> BinaryIO:
    """Create a file and open it for writing; an existing file or link is never written to.

    Raises:
        OSError: The file exists already, or cannot be created.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb")


def make_folder(path: Path) -> None:
    """Create a folder and its parents; those that exist keep their mode.

    Raises:
        OSError: One cannot be created.
    """
    # One by one: `mkdir(parents=True)` gives the parents the umask's mode.
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(FOLDER_MODE, exist_ok=True)
