"""Files and folders that only their owner can read: a log shows a room, and who was in it."""

import os
from pathlib import Path
from typing import BinaryIO

FILE_MODE, FOLDER_MODE = 0o600, 0o700


def open_new(path: Path) -> BinaryIO:
    """Open a file that does not exist yet; none is ever overwritten, and no link followed.

    Raises:
        OSError: There is one already, or it cannot be made.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb")


def make_folder(path: Path) -> None:
    """Make a folder and those above it; those that are there already stay as they are.

    Raises:
        OSError: One cannot be made.
    """
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(FOLDER_MODE, exist_ok=True)
