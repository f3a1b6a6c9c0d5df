"""Layout of dreams, futures and interpolations, as film frames and as sheets.

Blue marks what the model observed, orange what it imagined. Errors are drawn from black (none) to
bright (half the range of a pixel, or more). Vectors grow as lines below the pictures; a run without
a camera has the lines alone.

Shapes: T steps, N futures, H height, W width; pictures are uint8 red-green-blue.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from robodreamer.visualization.dream import Dream
from robodreamer.visualization.futures import Futures
from robodreamer.visualization.interpolation import Interpolation
from robodreamer.visualization.panels import GrowingPlot
from robodreamer.visualization.video import (
    BLUE,
    GREEN,
    ORANGE,
    Pictures,
    draw_text,
    enlarge,
    resize_smoothly,
    to_rgb,
)
from robodreamer.visualization.video_layout import (
    GAP,
    LINE,
    Row,
    arrange,
    framed,
    header_line,
    sheet,
    timeline,
    to_bytes,
    whole_scale,
)

FILM_SIDE, STRIP_SIDE = 256, 224
"""Pictures are enlarged by the largest whole factor that keeps both their sides within this."""
FUTURE_SIDES = {2: 256, 6: 192, 12: 128}
"""Size of a picture among so many at most; more are as small as the last."""
FUTURE_COLUMNS = 6
MOST_FUTURES, MOST_FUTURE_ROWS = 8, 4
"""Futures whose pictures are shown in a film and on a sheet; the lines show all of them."""
FILM_WIDTH = 800
"""Width in pixels of a film that has lines alone, and of the lines below narrower pictures."""
OBSERVED_COLUMNS, IMAGINED_COLUMNS, SHEET_COLUMNS = 3, 7, 9
WORST_ERROR = 0.5
"""Difference of a pixel, in shares of its range, that is drawn brightest."""
FADED = 0.35
"""Opacity of the last picture of an episode that is over while its futures go on."""


def dream_frames(dream: Dream, plot: GrowingPlot | None, control_dt_s: float) -> Iterator[Pictures]:
    """Yield truth, model and error side by side, one row per camera, for every step.

    Args:
        dream: Open loop, or a reconstruction.
        plot: Vectors over seconds, of the film's width; None without vectors.
        control_dt_s: Seconds of a step.
    """
    body = None
    if dream.cameras:
        columns = [truth_model_error(dream, name) for name in dream.cameras]
        body = _rows([[_enlarged(film, FILM_SIDE) for film in films] for films in columns])
    width = film_width(dream)
    header = header_line(["what happened", "what the model expected", "difference"], width)
    captions = {
        BLUE: draw_text("observing", width, LINE, color="white", background=BLUE),
        ORANGE: draw_text(
            "imagining, without any sensor", width, LINE, color="white", background=ORANGE
        ),
    }
    for step in range(dream.num_steps):
        color = _color(step, dream)
        parts = [header, _padded(body[step], width)] if body is not None else []
        parts += [plot.at(step * control_dt_s)] if plot else []
        bar = timeline(width, step + 1, dream.num_steps, color)
        yield np.concatenate([*parts, captions[color], bar])


def film_width(shown: Dream | Interpolation) -> int:
    """Return the width of a film with a picture of each camera in three columns, in pixels."""
    sizes = [value.shape[1:3] for value in shown.truth.values() if value.ndim == 4]
    widest = max((w * max(1, FILM_SIDE // max(h, w)) for h, w in sizes), default=0)
    return 3 * (widest + GAP) if widest else FILM_WIDTH


def dream_sheet(dream: Dream, control_dt_s: float) -> Pictures:
    """Lay out truth, model and error at chosen steps, three rows per camera."""
    steps = _chosen_steps(dream.context, dream.num_steps)
    rows = []
    for name in dream.cameras:
        truth, model, error = (p[steps] for p in truth_model_error(dream, name))
        camera = name.partition("/")[2]
        rows += [Row(camera, truth), Row("model", model), Row("error", error)]
    imagined = dream.num_steps - dream.context
    return sheet(
        f"Blue: the model watches {dream.context} steps. Orange: it imagines the next {imagined} "
        "from the actions alone."
        if imagined
        else f"Reconstruction: the model watches all {dream.num_steps} steps.",
        rows,
        [f"{step * control_dt_s:.2f} s" for step in steps],
        [_color(step, dream) for step in steps],
    )


def strip_frames(dreams: Sequence[Dream], name: str, control_dt_s: float) -> list[Pictures]:
    """Lay out one camera of several episodes: above what it saw, below the model's dream of it.

    The frames end with the shortest dream. Borders are blue while the model watches.
    """
    films = [truth_model_error(dream, name)[:2] for dream in dreams]
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


def future_frames(
    futures: Futures, pictures: Pictures | None, plot: GrowingPlot, control_dt_s: float
) -> Iterator[Pictures]:
    """Yield what happened and every future side by side, for every step.

    Args:
        futures: N of them.
        pictures: Frames of `future_pictures`; None without a camera.
        plot: Vectors over seconds, of the width of `pictures`.
        control_dt_s: Seconds of a step.
    """
    width = pictures.shape[2] if pictures is not None else FILM_WIDTH
    text = "imagining under the actor, without any sensor"
    captions = {
        BLUE: draw_text("start: a real state", width, LINE, color="white", background=BLUE),
        ORANGE: draw_text(text, width, LINE, color="white", background=ORANGE),
    }
    for step in range(futures.num_steps):
        color = ORANGE if step else BLUE
        parts = [pictures[step]] if pictures is not None else []
        bar = timeline(width, step + 1, futures.num_steps, color)
        yield np.concatenate([*parts, plot.at(step * control_dt_s), captions[color], bar])


def future_pictures(futures: Futures) -> Pictures | None:
    """Lay out all cameras of what happened and of up to `MOST_FUTURES`, (T, H, W, 3)."""
    shown = min(MOST_FUTURES, len(futures.rewards))
    side = next((s for most, s in FUTURE_SIDES.items() if shown < most), min(FUTURE_SIDES.values()))
    columns = math.ceil((shown + 1) / math.ceil((shown + 1) / FUTURE_COLUMNS))
    rows = []
    for name in futures.cameras:
        happened = _held(to_bytes(to_rgb(futures.truth[name])), futures.num_steps)
        films = {"what happened": happened}
        for number in range(shown):
            title = f"future {number + 1}" if len(futures.rewards) > 1 else "fantasy"
            films[title] = to_bytes(to_rgb(futures.model[name][number]))
        cells = [
            _titled(_enlarged(film, side), title, GREEN if number == 0 else ORANGE)
            for number, (title, film) in enumerate(films.items())
        ]
        rows += [cells[i : i + columns] for i in range(0, len(cells), columns)]
    if not rows:
        return None
    body = _rows(rows)
    missing = max(0, FILM_WIDTH - body.shape[2])  # lines below need some width, too
    return np.pad(body, ((0, 0), (0, 0), (0, missing), (0, 0)), constant_values=255)


def future_sheet(futures: Futures, control_dt_s: float) -> Pictures:
    """Lay out what happened, and below it every future that is shown, at chosen steps."""
    steps = np.unique(np.linspace(0, futures.num_steps - 1, SHEET_COLUMNS).round().astype(int))
    rows = []
    for name in futures.cameras:
        happened = _held(to_bytes(to_rgb(futures.truth[name])), futures.num_steps)
        rows.append(Row(name.partition("/")[2], happened[steps]))
        for number, film in enumerate(futures.model[name][:MOST_FUTURE_ROWS], 1):
            label = f"future {number}" if len(futures.rewards) > 1 else "fantasy"
            rows.append(Row(label, to_bytes(to_rgb(film[steps]))))
    return sheet(
        "Above: what happened, faded once it is over. Below: imagined under the actor, "
        "from the same state (blue).",
        rows,
        [f"{step * control_dt_s:.2f} s" for step in steps],
        [ORANGE if step else BLUE for step in steps],
    )


def interpolation_frames(
    found: Interpolation, plot: GrowingPlot | None, control_dt_s: float
) -> Iterator[Pictures]:
    """Yield for every share what the model decodes, beside the two pictures mixed by pixels."""
    width = film_width(found)
    body = None
    if found.cameras:
        body = _rows(
            [[_enlarged(film, FILM_SIDE) for film in _decoded_mixed_ends(found, name)]
             for name in found.cameras]
        )  # fmt: skip
    header = header_line(["decoded between", "pixels mixed", "the nearer real picture"], width)
    first, second = (step * control_dt_s for step in found.steps)
    for number, share in enumerate(found.shares.tolist()):
        text = f"{1 - share:.0%} the state at {first:.2f} s, {share:.0%} that at {second:.2f} s"
        caption = draw_text(text, width, LINE, color="white", background=ORANGE)
        parts = [header, _padded(body[number], width)] if body is not None else []
        parts += [plot.at(share)] if plot else []
        bar = timeline(width, number + 1, len(found.shares), ORANGE)
        yield np.concatenate([*parts, caption, bar])


def interpolation_sheet(found: Interpolation, control_dt_s: float) -> Pictures:
    """Lay out decoded mixtures above the pictures mixed by pixels, at chosen shares."""
    chosen = np.unique(np.linspace(0, len(found.shares) - 1, SHEET_COLUMNS).round().astype(int))
    rows = []
    for name in found.cameras:
        decoded, mixed, _ = _decoded_mixed_ends(found, name)
        camera = name.partition("/")[2]
        rows += [Row(f"{camera}, decoded", decoded[chosen]), Row("pixels mixed", mixed[chosen])]
    first, second = (step * control_dt_s for step in found.steps)
    return sheet(
        f"Between the states at {first:.2f} s and {second:.2f} s: decoded from mixed latents, "
        "and the real pictures mixed.",
        rows,
        [f"{found.shares[i]:.0%}" for i in chosen],
        [BLUE if share in {0, 1} else ORANGE for share in found.shares[chosen].tolist()],
    )


def truth_model_error(dream: Dream, name: str) -> tuple[Pictures, Pictures, Pictures]:
    """Return three films (T, H, W, 3) of one camera."""
    from matplotlib import colormaps

    truth, model = dream.truth[name], dream.model[name]
    difference = np.abs(truth - model).mean(-1) / WORST_ERROR
    error = colormaps["inferno"](difference.clip(0, 1), bytes=True)[..., :3]
    return to_bytes(to_rgb(truth)), to_bytes(to_rgb(model)), error


def _decoded_mixed_ends(found: Interpolation, name: str) -> tuple[Pictures, Pictures, Pictures]:
    """Return three films (M, H, W, 3): decoded, mixed by pixels, and the nearer real picture."""
    nearer = found.truth[name][(found.shares >= 0.5).astype(int)]
    films = found.model[name], found.mixed_pictures(name), nearer
    decoded, mixed, ends = (to_bytes(to_rgb(film)) for film in films)
    return decoded, mixed, ends


def _rows(cells: Sequence[Sequence[Pictures]]) -> Pictures:
    """Put rows of films (T, H, W, 3) below each other, padded with white to the same width."""
    bands = arrange(cells)
    width = max(band.shape[2] for band in bands)
    padded = [
        np.pad(band, ((0, 0), (0, 0), (0, width - band.shape[2]), (0, 0)), constant_values=255)
        for band in bands
    ]
    return np.concatenate(padded, axis=1)


def _padded(picture: Pictures, width: int) -> Pictures:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)


def _enlarged(pictures: Pictures, side: int) -> Pictures:
    return enlarge(pictures, whole_scale(pictures, side))


def _titled(film: Pictures, title: str, color: str) -> Pictures:
    """Put a title on a coloured ground above every frame."""
    count, _, width, _ = film.shape
    line = draw_text(title, width, LINE, color="white", background=color)
    return np.concatenate([np.broadcast_to(line, (count, *line.shape)), film], axis=1)


def _held(film: Pictures, count: int) -> Pictures:
    """Return `count` frames: a film that is shorter ends with its last picture, faded."""
    rest = count - len(film)
    if rest == 0:
        return film
    last = (255 - FADED * (255 - film[-1].astype(np.float32))).round().astype(np.uint8)
    return np.concatenate([film, np.broadcast_to(last, (rest, *last.shape))])


def _strip_cell(picture: Pictures, color: str) -> Pictures:
    return framed(resize_smoothly(picture, STRIP_SIDE), color)


def _chosen_steps(context: int, num_steps: int) -> list[int]:
    """Return a few observed steps, and evenly spaced imagined ones, the first and last included."""
    columns = SHEET_COLUMNS if context == num_steps else OBSERVED_COLUMNS
    observed = np.linspace(0, context - 1, columns)
    imagined = np.linspace(context, num_steps - 1, IMAGINED_COLUMNS if context < num_steps else 0)
    return np.unique(np.concatenate([observed, imagined]).round().astype(int)).tolist()


def _color(step: int, dream: Dream) -> str:
    return BLUE if step < dream.context else ORANGE
