"""Errors of other people's code, reported as one sentence."""

import re
import sys
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from robodreamer_sim.errors import EnvironmentFault, GraphicsError

OURS = ("robodreamer_sim", "robodreamer_deploy", "robodreamer")
CARRIERS = ("numpy", "gymnasium", "contextlib", *sys.stdlib_module_names)
"""Packages that raise on behalf of their callers."""
LONGEST = 400


@contextmanager
def told_in_a_sentence(task: str, hint: str = "") -> Iterator[None]:
    """Convert any error raised inside to a `ValueError` that names the task and the package.

    Our own sentences pass as they are, as do the failures that somebody reacts to.

    Args:
        task: Name of the task.
        hint: What else the sentence says about a `TypeError`, which wrong arguments end in.

    Raises:
        ValueError: Names the task, what was raised, and the package that raised it.
    """
    try:
        yield
    except (GraphicsError, EnvironmentFault):
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ValueError) and _raising_packages(error)[-1] in OURS:
            raise
        sentence = describe(error)
        more = f"; {hint}" if hint and isinstance(error, TypeError) else ""
        raise ValueError(f"{task}: {sentence}{more}") from error


def describe(error: BaseException) -> str:
    """Return an error in one line: its type, message, and the package that raised it."""
    text = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    name = type(error).__name__
    where = [package for package in _raising_packages(error) if package not in OURS]
    specific = [package for package in where if package not in CARRIERS] or where
    raised_by = f" (raised in {specific[-1]})" if specific else ""
    return textwrap.shorten(f"{name}: {text}" if text else name, LONGEST) + raised_by


def _raising_packages(error: BaseException) -> list[str]:
    """Return the top-level package of every call that led to an error, the innermost last."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [str(frame.f_globals.get("__name__", "")) for frame in frames]
    return [name.partition(".")[0] for name in names]
