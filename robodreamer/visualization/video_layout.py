"""Montages: how footage and dreams are laid out for the eye, as film frames and as one sheet.

Blue marks what the model observed, orange what it imagined. Errors are drawn from black (none) to
bright (half the range of a pixel, or more).

Shapes: T steps, H height, W width; pictures are uint8 red-green-blue.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from robodreamer.visualization.dream import Dream
from robodreamer.visualization.episodes import Footage
from robodreamer.visualization.video import (
    BLUE,
    DPI,
    GREEN,
    ORANGE,
    Pictures,
    draw_text,
    enlarge,
    rasterize,
    resize_smoothly,
    to_rgb,
)
from robodreamer_deploy.contract import Array

GAP, BORDER = 6, 3
LINE = 26
"""Height of a line of text in a film, in pixels."""
FILM_SIDE, SHEET_SIDE, STRIP_SIDE = 256, 128, 224
"""Pictures are enlarged by the largest whole factor that keeps both their sides within this."""
OBSERVED_COLUMNS, IMAGINED_COLUMNS = 3, 7
WORST_ERROR = 0.5
"""Difference of a pixel, in shares of its range, that is drawn brightest."""


class Row(NamedTuple):
    """A labelled row of a sheet: pictures (columns, H, W, 3)."""

    label: str
    pictures: Pictures


def dream_frames(dream: Dream) -> Pictures:
    """Lay out truth, model and error side by side, one row per camera, for every step."""
    cells = []
    for name in dream.cameras:
        columns = _truth_model_error(dream, name)
        scale = _scale(columns[0], FILM_SIDE)
        cells.append([enlarge(pictures, scale) for pictures in columns])
    body = np.concatenate(_bands(cells), axis=1)
    count, _, width, _ = body.shape
    header = _header(["what happened", "what the model expected", "difference"], width)
    captions = {
        BLUE: draw_text("observing", width, LINE, color="white", background=BLUE),
        ORANGE: draw_text(
            "imagining, without any sensor", width, LINE, color="white", background=ORANGE
        ),
    }
    frames = []
    for step, picture in enumerate(body):
        color = _color(step, dream)
        bar = _timeline(width, step + 1, count, color)
        frames.append(np.concatenate([header, picture, captions[color], bar]))
    return np.stack(frames)


def dream_sheet(dream: Dream, control_dt_s: float) -> Pictures:
    """Lay out truth, model and error at chosen steps, three rows per camera."""
    steps = _chosen_steps(dream.context, dream.num_steps)
    rows = []
    for name in dream.cameras:
        truth, model, error = (p[steps] for p in _truth_model_error(dream, name))
        camera = name.partition("/")[2]
        rows += [Row(camera, truth), Row("model", model), Row("error", error)]
    imagined = dream.num_steps - dream.context
    return sheet(
        f"Blue: the model watches {dream.context} steps. Orange: it imagines the next {imagined} "
        "from the actions alone.",
        rows,
        [f"{step * control_dt_s:.2f} s" for step in steps],
        [_color(step, dream) for step in steps],
    )


def strip_frames(dreams: Sequence[Dream], name: str, control_dt_s: float) -> list[Pictures]:
    """Lay out one camera of several episodes: above what it saw, below the model's dream of it.

    The frames end with the shortest dream. Borders are blue while the model watches.
    """
    films = [_truth_model_error(dream, name)[:2] for dream in dreams]
    count = min(dream.num_steps for dream in dreams)
    context = dreams[0].context
    frames = []
    for step in range(count):
        color = _color(step, dreams[0])
        rows = [
            np.concatenate([_strip_cell(film[row][step], color) for film in films], axis=1)
            for row in (0, 1)
        ]
        width = rows[0].shape[1]
        seconds = (step - context if step >= context else step) * control_dt_s
        text = (
            f"dreamt from the actions alone: {seconds:.1f} s"
            if step >= context
            else f"the model watches: {seconds:.1f} s"
        )
        parts = [
            draw_text("what the camera sees", width, LINE),
            rows[0],
            draw_text(text, width, LINE, color="white", background=color),
            rows[1],
        ]
        frames.append(np.concatenate(parts))
    return frames


def _strip_cell(picture: Pictures, color: str) -> Pictures:
    return _framed(resize_smoothly(picture, STRIP_SIDE), color)


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
        large = enlarge(row.pictures, _scale(row.pictures, SHEET_SIDE))
        cells.append([_framed(p, c)[np.newaxis] for p, c in zip(large, colors, strict=True)])
    bands = [band[0] for band in _bands(cells)]
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


def _truth_model_error(dream: Dream, name: str) -> tuple[Pictures, Pictures, Pictures]:
    """Return three films (T, H, W, 3) of one camera."""
    from matplotlib import colormaps

    truth, model = dream.truth[name], dream.model[name]
    difference = np.abs(truth - model).mean(-1) / WORST_ERROR
    error = colormaps["inferno"](difference.clip(0, 1), bytes=True)[..., :3]
    return _to_bytes(to_rgb(truth)), _to_bytes(to_rgb(model)), error


def _to_bytes(pictures: Array) -> Pictures:
    return (pictures.clip(0, 1) * 255).round().astype(np.uint8)


def _one_episode(footage: Footage, name: str, pause: int) -> Iterator[Pictures]:
    pictures = footage.pictures
    assert pictures is not None, "the footage has pictures for people"
    last, width = len(pictures) - 1, pictures.shape[2]
    captions = [draw_text(text, width, LINE) for text in (name, f"{name}: {_outcome(footage)}")]
    for step in [*range(last + 1), *[last] * pause]:
        bar = _timeline(width, step + 1, last + 1, GREEN if footage.success[step] else BLUE)
        yield np.concatenate([captions[int(step == last)], pictures[step], bar])


def _outcome(footage: Footage) -> str:
    """Return how an episode ended; failure is not told, for there are tasks without success."""
    text = f"return {footage.rewards.sum():.1f}"
    return f"{text}, success" if footage.success[-1] else text


def _chosen_steps(context: int, num_steps: int) -> list[int]:
    """Return a few observed steps, and evenly spaced imagined ones, the first and last included."""
    observed = np.linspace(0, context - 1, OBSERVED_COLUMNS)
    imagined = np.linspace(context, num_steps - 1, IMAGINED_COLUMNS)
    return np.unique(np.concatenate([observed, imagined]).round().astype(int)).tolist()


def _color(step: int, dream: Dream) -> str:
    return BLUE if step < dream.context else ORANGE


def _scale(pictures: Array, side: int) -> int:
    return max(1, side // max(pictures.shape[-3:-1]))


def _framed(picture: Pictures, color: str) -> Pictures:
    """Put a coloured border around a picture (H, W, 3)."""
    height, width, _ = picture.shape
    framed = _filled(height + 2 * BORDER, width + 2 * BORDER, color)
    framed[BORDER:-BORDER, BORDER:-BORDER] = picture
    return framed


def _timeline(width: int, step: int, num_steps: int, color: str) -> Pictures:
    """Return a bar that has grown to step / num_steps of the width."""
    bar = _filled(LINE // 3, width, "#DDDDDD")
    bar[:, : round(width * step / num_steps)] = _filled(1, 1, color)
    return bar


def _header(titles: Sequence[str], width: int) -> Pictures:
    """Return titles over equally wide columns, (LINE, width, 3)."""
    edges = np.linspace(0, width, len(titles) + 1).round().astype(int)
    columns = zip(titles, np.diff(edges).tolist(), strict=True)
    return np.concatenate([draw_text(title, size, LINE) for title, size in columns], 1)


def _filled(height: int, width: int, color: str) -> Pictures:
    from matplotlib.colors import to_rgb as rgb_of

    filled = np.empty((height, width, 3), np.uint8)
    filled[:] = np.round(np.array(rgb_of(color)) * 255)
    return filled


def _bands(cells: Sequence[Sequence[Pictures]]) -> list[Pictures]:
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
