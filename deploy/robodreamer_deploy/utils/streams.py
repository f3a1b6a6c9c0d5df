"""Standard input, output and errors, also where whoever started the process has closed them."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

Say = Callable[[str], None]
"""Printer of one line for the user."""


def open_closed_streams() -> None:
    """Open closed standard streams on the null device, before any other file is opened.

    A closed descriptor would be the next file's, and what a library in C complains about would be
    written into it. Child processes inherit what is opened here.
    """
    for descriptor in range(3):
        if not _is_open(descriptor):
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(opened, True)  # noqa: FBT003  positional only
    null = Path(os.devnull)
    sys.stdin = sys.stdin or null.open()
    sys.stdout = sys.stdout or null.open("w")
    sys.stderr = sys.stderr or null.open("w")


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
