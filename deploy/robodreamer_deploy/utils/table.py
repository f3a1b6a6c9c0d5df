"""Rows of text tables for terminals of 80 columns."""

import textwrap
from collections.abc import Sequence

WIDTH = 80


def format_row(cells: Sequence[str], columns: Sequence[int], width: int = WIDTH) -> str:
    """Return the cells of a row side by side, on as many lines as the last cell needs.

    A first cell that fills its column stands on a line of its own, above the others.

    Args:
        cells: Texts from left to right.
        columns: Widths of all cells but the last, in characters; each ends with a space.
        width: Characters of a line. A longer word is not broken: it may be a path to be copied.
    """
    first, *others = cells
    if len(first) >= columns[0]:
        return "\n".join(filter(str.strip, [first, format_row(["", *others], columns, width)]))
    head = "".join(f"{cell:<{column}}" for cell, column in zip(cells, columns, strict=False))
    text = textwrap.fill(
        cells[-1],
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return text or head.rstrip()
