"""Names close to an unknown one, and other people's text, in messages to users."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str]) -> str:
    """Return all known names, those like `name` first, separated by commas; empty without any."""
    names = list(known)
    return ", ".join(get_close_matches(name, names, n=len(names) or 1, cutoff=0.0))


def similar(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that resemble `name`, the closest first."""
    return get_close_matches(name, list(known), n=3, cutoff=0.4)  # 0.6, the default, is too strict


def printable(text: str) -> str:
    r"""Return `text` with every character escaped that a terminal would act on instead of showing.

    A task's name, a robot's error or a log is other people's text. Escape sequences in it could
    rewrite what stands on the screen, a line break could forge a line of ours, a mark of direction
    could show a word backwards, and half a surrogate pair cannot be encoded at all. Each of them
    becomes its escape, such as `\x1b`.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def printable_lines(text: str) -> str:
    """Return `text` as `printable` does, line by line: of its own, only the line breaks stay."""
    return "\n".join(printable(line) for line in text.split("\n"))
