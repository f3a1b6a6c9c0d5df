"""Montages: footage laid out for the eye, as film frames and as one sheet, and their parts.

Shapes: T steps, H height, W width; pictures are uint8 red-green-blue.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from robodreamer.visualization.episodes import Footage
from robodreamer.visualization.video import (
    BLUE,
    DPI,
    GREEN,
    Pictures,
    draw_text,
    enlarge,
    rasterize,
)
from robodreamer_deploy.contract import Array

GAP, BORDER = 6, 3
LINE = 26
"""Height of a line of text in a film, in pixels."""
SHEET_SIDE = 128
"""Pictures of a sheet are enlarged by the largest whole factor that keeps them within this."""


class Row(NamedTuple):
    """A labelled row of a sheet: pictures (columns, H, W, 3)."""

    label: str
    pictures: Pictures


def episode_frames(footages: Iterable[Footage], count: int, pause: int) -> Iterator[Pictures]:
    """Yield frames of `count` episodes, each with its outcome at the end, held for `pause` frames.

    The line below tells time; it is green while the goal is met. One episode is taken at a time.
    """
    for number, footage in enumerate(footages, 1):
        yield from _one_episode(footage, f"episode {number} of {count}", pause)


def episode_sheet(footage: Footage, control_dt_s: float, columns: int = 6) -> Pictures:
    """Lay out evenly spaced pictures of one episode; green where the goal is met."""
    pictures = footage.pictures
    assert pictures is not None, "the footage has pictures for people"
    steps = np.unique(np.linspace(0, len(pictures) - 1, columns).round().astype(int))
    shrink = max(1, round(pictures.shape[1] / (1.5 * SHEET_SIDE)))
    return sheet(
        f"{_outcome(footage)}. Green: the goal is met.",
        [Row("", pictures[steps, ::shrink, ::shrink])],
        [f"{step * control_dt_s:.2f} s" for step in steps],
        [GREEN if footage.success[step] else "#BBBBBB" for step in steps],
    )


def sheet(
    title: str, rows: Sequence[Row], labels: Sequence[str], colors: Sequence[str]
) -> Pictures:
    """Return a grid of pictures with a title, a label per row and column, and borders by column."""
    from matplotlib.figure import Figure

    cells = []
    for row in rows:
        large = enlarge(row.pictures, whole_scale(row.pictures, SHEET_SIDE))
        cells.append([framed(p, c)[np.newaxis] for p, c in zip(large, colors, strict=True)])
    bands = [band[0] for band in arrange(cells)]
    grid = np.concatenate(bands)
    left, top, bottom = 3 * GAP + 9 * max(len(row.label) for row in rows), 30, 24
    height, width = grid.shape[0] + top + bottom, grid.shape[1] + left
    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor="white")
    figure.figimage(grid, left, bottom)
    size = min(10.0, 1.2 * grid.shape[1] / max(1, len(title)))
    figure.text(left / width, 1 - top / 2 / height, title, size=size, va="center")
    for column, label in enumerate(labels):
        x = left + (column + 0.5) * grid.shape[1] / len(labels) - GAP / 2
        figure.text(x / width, bottom / 2 / height, label, size=8, ha="center", va="center")
    below = height - top
    for row, band in zip(rows, bands, strict=True):
        y = below - (band.shape[0] - GAP) / 2
        figure.text((left - GAP) / width, y / height, row.label, size=9, ha="right", va="center")
        below -= band.shape[0]
    return rasterize(figure)


def to_bytes(pictures: Array) -> Pictures:
    """Return pictures in [0, 1] as bytes."""
    return (pictures.clip(0, 1) * 255).round().astype(np.uint8)


def _one_episode(footage: Footage, name: str, pause: int) -> Iterator[Pictures]:
    pictures = footage.pictures
    assert pictures is not None, "the footage has pictures for people"
    last, width = len(pictures) - 1, pictures.shape[2]
    captions = [draw_text(text, width, LINE) for text in (name, f"{name}: {_outcome(footage)}")]
    for step in [*range(last + 1), *[last] * pause]:
        bar = timeline(width, step + 1, last + 1, GREEN if footage.success[step] else BLUE)
        yield np.concatenate([captions[int(step == last)], pictures[step], bar])


def _outcome(footage: Footage) -> str:
    """Return how an episode ended; failure is not told, for there are tasks without success."""
    text = f"return {footage.rewards.sum():.1f}"
    return f"{text}, success" if footage.success[-1] else text


def whole_scale(pictures: Array, side: int) -> int:
    """Return the largest whole factor by which both sides stay within `side` pixels, at least 1."""
    return max(1, side // max(pictures.shape[-3:-1]))


def framed(picture: Pictures, color: str) -> Pictures:
    """Put a coloured border around a picture (H, W, 3)."""
    height, width, _ = picture.shape
    framed = filled(height + 2 * BORDER, width + 2 * BORDER, color)
    framed[BORDER:-BORDER, BORDER:-BORDER] = picture
    return framed


def timeline(width: int, step: int, num_steps: int, color: str) -> Pictures:
    """Return a bar that has grown to step / num_steps of the width."""
    bar = filled(LINE // 3, width, "#DDDDDD")
    bar[:, : round(width * step / num_steps)] = filled(1, 1, color)
    return bar


def header_line(titles: Sequence[str], width: int) -> Pictures:
    """Return titles over equally wide columns, (LINE, width, 3)."""
    edges = np.linspace(0, width, len(titles) + 1).round().astype(int)
    columns = zip(titles, np.diff(edges).tolist(), strict=True)
    return np.concatenate([draw_text(title, size, LINE) for title, size in columns], 1)


def filled(height: int, width: int, color: str) -> Pictures:
    """Return a picture (height, width, 3) of one colour."""
    from matplotlib.colors import to_rgb as rgb_of

    filled = np.empty((height, width, 3), np.uint8)
    filled[:] = np.round(np.array(rgb_of(color)) * 255)
    return filled


def arrange(cells: Sequence[Sequence[Pictures]]) -> list[Pictures]:
    """Put the films (T, H, W, 3) of every row side by side, in columns of the same width.

    Every cell has a white gap to its right and below; narrow ones are centred.
    """
    width = max(films.shape[2] for row in cells for films in row)
    bands = []
    for row in cells:
        height = max(films.shape[1] for films in row)
        bands.append(np.concatenate([_centred(films, height, width) for films in row], axis=2))
    return bands


def _centred(films: Pictures, height: int, width: int) -> Pictures:
    """Pad films to a size with white, plus a gap to the right and below."""
    rows, columns = height - films.shape[1], width - films.shape[2]
    pad = ((0, 0), (rows // 2, rows - rows // 2 + GAP),
           (columns // 2, columns - columns // 2 + GAP), (0, 0))  # fmt: skip
    return np.pad(films, pad, constant_values=255)
