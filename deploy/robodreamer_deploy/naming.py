"""Names in what users are told."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str]) -> str:
    """Return all known names, those like `name` first, separated by commas; empty without any."""
    names = list(known)
    return ", ".join(get_close_matches(name, names, n=len(names) or 1, cutoff=0.0))
