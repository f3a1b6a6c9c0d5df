"""Tasks to look at: what they exchange, what every camera sees, and a random policy at work."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from robodreamer.config import folder_name
from robodreamer.tasks.costs import Clock, cost_rows, measure_costs
from robodreamer.tasks.table import format_details
from robodreamer.visualization.video import BLUE, Pictures, to_rgb, write_mp4, write_png
from robodreamer.visualization.video_layout import Row, sheet
from robodreamer_sim import EnvOptions, TaskEnv
from robodreamer_sim.cameras.images import resize
from robodreamer_sim.randomization.sheet import randomized_pictures
from robodreamer_sim.registry import make_with_what_it_has
from robodreamer_sim.tasks.gymnasium.foreign_errors import describe
from robodreamer_sim.testing.conformance import random_action

SHEET_SIDE, FILM_SIDE = 128, 256
"""Height and width in pixels in the sheet and in the clip."""
CLIP_S, FASTEST_FPS, HELD_S = 4.0, 25.0, 0.2
SEED = 0
GREY = "#BBBBBB"
COLUMNS = 8
"""Of the sheet of randomised episodes."""

Look = Mapping[str, Pictures]
"""What every camera shows at one moment."""


def prepare_exhibit(
    task: str,
    text: str,
    folder: Path | None,
    say: Callable[[str], None],
    options: EnvOptions,
    clock: Clock = time.perf_counter,
) -> Callable[[], None]:
    """Make a task with what it has; return what tells of it, and shows it if there is a folder.

    Args:
        task: Its name.
        text: What is known of it without making it.
        folder: Where to show it; None tells only.
        say: Tells.
        options: How training would make it, and how the sheet of episodes is randomised.
        clock: Seconds, to tell what a step takes.

    Raises:
        ValueError: There is no such task, or it cannot be drawn.
    """
    randomize = options.randomize
    env = make_with_what_it_has(task, dataclasses.replace(options, randomize="none"))
    if folder and not env.camera_names:
        raise ValueError(f"{task} has no rgb_array rendering and so nothing to show")

    def exhibit() -> None:
        about = env.summary or text
        notes = [*env.notes]
        if options.uses_cameras and not any(s.is_image for s in env.contract.inputs):
            notes.append("it has no picture: train it with --observe proprio")
        costs = _told_costs(env, clock)
        say("\n".join(format_details(env.contract, about, env.all_cameras, notes, costs)))
        if folder:
            for path in show(env, folder):
                say(f"wrote {path}")
            if randomize != "none":
                say(f"wrote {show_randomized(task, options, folder)}")
        env.close()

    return exhibit


def _told_costs(env: TaskEnv, clock: Clock) -> list[tuple[str, str]]:
    """Return what a step takes, or why it cannot be taken: the rest can be told all the same."""
    try:
        return list(cost_rows(measure_costs(env, clock)))
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever somebody's task raises
        return [("step time", f"unknown, because a step raises {describe(error)}")]


def show(env: TaskEnv, folder: Path) -> list[Path]:
    """Write a sheet of every camera, PNG, and a short clip of a random policy, MP4.

    The first column of the sheet has the resolution of a policy's eyes, the others show the first
    and the last moment of the clip.

    Returns:
        The files, in `folder`, which is made if need be.
    """
    task, dt_s = env.contract.task, env.contract.control_dt_s
    stride = max(1, round(1 / (FASTEST_FPS * dt_s)))
    height, width = EnvOptions.from_dict(env.contract.options).image_size
    env.reset(seed=SEED)
    eyes = {name: env.render_camera(name, height, width) for name in env.camera_names}
    film = _film(env, round(CLIP_S / (dt_s * stride)), stride)
    folder.mkdir(parents=True, exist_ok=True)
    png, mp4 = (folder / f"{folder_name(task)}.{ending}" for ending in ("png", "mp4"))
    sheet_of_all = _sheet(task, eyes, film, (len(film) - 1) * stride * dt_s)
    write_png(png, sheet_of_all)
    frames = (np.concatenate(list(look.values()), axis=1) for look in film)
    write_mp4(mp4, frames, 1 / (dt_s * stride))
    return [png, mp4]


def show_randomized(task: str, options: EnvOptions, folder: Path) -> Path:
    """Write a sheet of how episodes begin for the eyes of a policy, PNG; return the file."""
    rows: list[Row] = []
    seen = randomized_pictures(task, options)
    for name, pictures in seen.items():
        lines = np.split(to_rgb(pictures), len(pictures) // COLUMNS)
        rows += [Row(name.partition("/")[2], line) for line in lines]
    title = f"{task}, randomised: the first pictures of {len(rows) * COLUMNS // len(seen)} episodes"
    path = folder / f"{folder_name(task)}-randomised.png"
    write_png(path, sheet(title, rows, [""] * COLUMNS, [GREY] * COLUMNS), num_colors=256)
    return path


def _film(env: TaskEnv, num_frames: int, stride: int) -> list[Look]:
    """Take random actions, each held for a moment, and a picture of each camera now and then."""
    random = np.random.default_rng(SEED)
    held = max(1, round(HELD_S / env.contract.control_dt_s))
    action = random_action(env, random)
    film: list[Look] = []
    for step in range(num_frames * stride):
        if step % stride == 0:
            film.append(_look(env, FILM_SIDE))
        if step % held == 0:
            action = random_action(env, random)
        *_, is_terminated, is_truncated, _ = env.step(action)
        if is_terminated or is_truncated:
            env.reset()
    return film


def _look(env: TaskEnv, side: int) -> Look:
    return {name: env.render_camera(name, side, side) for name in env.camera_names}


def _sheet(task: str, eyes: Look, film: Sequence[Look], length_s: float) -> Pictures:
    """Lay out one row per camera."""
    rows: list[Row] = []
    for name, small in eyes.items():
        moments = [small, film[0][name], film[-1][name]]
        rows.append(Row(name, np.stack([resize(m, SHEET_SIDE, SHEET_SIDE) for m in moments])))
    height, width, _ = next(iter(eyes.values())).shape
    return sheet(
        f"{task}; blue: {height}x{width}, as a policy sees it",
        rows,
        ["0 s", "0 s", f"{length_s:.1f} s"],
        [BLUE, GREY, GREY],
    )
