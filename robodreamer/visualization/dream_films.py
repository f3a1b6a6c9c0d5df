"""Files of dreams: each function writes what shows one thing of a model, and returns the files.

`stem` is what all names begin with, such as RUN/videos/step-000012000.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from robodreamer.visualization.dream import Dream
from robodreamer.visualization.dream_layout import (
    FILM_WIDTH,
    dream_frames,
    dream_sheet,
    film_width,
    future_frames,
    future_pictures,
    future_sheet,
    interpolation_frames,
    interpolation_sheet,
)
from robodreamer.visualization.dream_plot import (
    COLUMNS,
    DREAM_KEY,
    FUTURES_KEY,
    INTERPOLATION_KEY,
    future_panels,
    interpolation_panels,
    plot_errors,
    plot_signals,
    signal_panels,
)
from robodreamer.visualization.futures import Futures
from robodreamer.visualization.horizon_errors import HorizonErrors, write_errors
from robodreamer.visualization.interpolation import Interpolation
from robodreamer.visualization.panels import (
    GrowingPlot,
    Line,
    Panel,
    plot_panels,
    stack_pictures,
)
from robodreamer.visualization.video import Pictures, write_mp4, write_png
from robodreamer_deploy.contract import Contract

DREAM_FPS = 10.0
"""Dreams are never shown faster, so that one can compare."""
MOST_PANELS = 6
"""Vectors below the pictures of a film; the stills have all."""
SHARE = "share of the second state"


def dream_stills(imagined: Dream, contract: Contract) -> dict[str, Pictures]:
    """Return the sheet of the cameras and the plot of the vectors, those that there are."""
    stills = {}
    if imagined.cameras:
        stills["dream"] = dream_sheet(imagined, contract.control_dt_s)
    if (plot := plot_signals(imagined, contract)) is not None:
        stills["signals"] = plot
    return stills


def save_dream(
    stem: str, imagined: Dream, contract: Contract, stills: Mapping[str, Pictures]
) -> list[Path]:
    """Write a dream's film, and its stills under their names."""
    written = [_write_still(f"{stem}-{name}.png", picture) for name, picture in stills.items()]
    return [*written, _save_dream_film(f"{stem}-dream.mp4", imagined, contract)]


def save_reconstruction(stem: str, watched: Dream, contract: Contract) -> list[Path]:
    """Write film and still of a dream that watches every step."""
    still = stack_pictures(list(dream_stills(watched, contract).values()))
    return [
        _write_still(f"{stem}-reconstruction.png", still),
        _save_dream_film(f"{stem}-reconstruction.mp4", watched, contract),
    ]


def save_futures(stem: str, name: str, futures: Futures, contract: Contract) -> list[Path]:
    """Write film and still of futures, under `name`."""
    panels = future_panels(futures, contract)
    pictures = future_pictures(futures)
    width = FILM_WIDTH if pictures is None else pictures.shape[2]
    # The reward comes last, and a film always has it.
    plot = GrowingPlot([*panels[:-1][: MOST_PANELS - 1], panels[-1]], width, FUTURES_KEY)
    title = f"Imagined under the actor from the state at step {futures.context}, and what happened."
    stills = [future_sheet(futures, contract.control_dt_s)] if futures.cameras else []
    stills.append(plot_panels(panels, COLUMNS, title=title, key=FUTURES_KEY))
    frames = future_frames(futures, pictures, plot, contract.control_dt_s)
    return [
        _write_still(f"{stem}-{name}.png", stack_pictures(stills)),
        _write_film(f"{stem}-{name}.mp4", frames, contract),
    ]


def save_interpolation(stem: str, found: Interpolation, contract: Contract) -> list[Path]:
    """Write film and still of an interpolation."""
    panels = interpolation_panels(found, contract)
    stills = [interpolation_sheet(found, contract.control_dt_s)] if found.cameras else []
    if panels:
        stills.append(
            plot_panels(panels, COLUMNS, key=INTERPOLATION_KEY, xlabel=SHARE,
                        title="Signals decoded between two states.")
        )  # fmt: skip
    plot = _growing(panels, film_width(found), INTERPOLATION_KEY, SHARE)
    frames = interpolation_frames(found, plot, contract.control_dt_s)
    return [
        _write_still(f"{stem}-interpolation.png", stack_pictures(stills)),
        _write_film(f"{stem}-interpolation.mp4", frames, contract),
    ]


def save_errors(stem: str, errors: HorizonErrors, contract: Contract) -> list[Path]:
    """Write plot and table of errors by horizon."""
    plot, table = Path(f"{stem}-errors.png"), Path(f"{stem}-errors.csv")
    _write_still(str(plot), plot_errors(errors, contract))
    write_errors(table, errors, contract)
    return [plot, table]


def _save_dream_film(path: str, imagined: Dream, contract: Contract) -> Path:
    panels = signal_panels(imagined, contract)
    plot = _growing(panels, film_width(imagined), DREAM_KEY, "time (s)")
    return _write_film(path, dream_frames(imagined, plot, contract.control_dt_s), contract)


def _growing(
    panels: Sequence[Panel], width: int, key: Sequence[Line], xlabel: str
) -> GrowingPlot | None:
    return GrowingPlot(panels[:MOST_PANELS], width, key, xlabel) if panels else None


def _write_still(path: str, picture: Pictures) -> Path:
    target = Path(path)
    target.parent.mkdir(exist_ok=True)
    write_png(target, picture)
    return target


def _write_film(path: str, frames: Iterable[Pictures], contract: Contract) -> Path:
    write_mp4(Path(path), frames, min(DREAM_FPS, 1 / contract.control_dt_s))
    return Path(path)
