"""Pictures of tasks: a sheet of all cameras, a clip of a random policy, randomised episodes."""

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
from robodreamer_deploy.utils.streams import Say
from robodreamer_sim import EnvOptions, TaskEnv
from robodreamer_sim.cameras.images import resize
from robodreamer_sim.registry import make_with_what_it_has
from robodreamer_sim.tasks.gymnasium.foreign_errors import describe
from robodreamer_sim.testing.conformance import random_action
from robodreamer_sim.testing.episode_starts import first_images

SHEET_SIDE, CLIP_SIDE = 128, 256
"""Height and width in pixels of a picture in the sheet and in the clip."""
CLIP_S, MAX_FPS, HELD_S = 4.0, 25.0, 0.2
"""Length of the clip, its highest rate, and how long each random action is held: actions that
change with every step cancel each other, and nothing moves."""
SEED = 0
GREY = "#BBBBBB"
COLUMNS = 8
"""Episodes in a row of the sheet of randomised episodes."""

Views = Mapping[str, Pictures]
"""Picture of each camera at one moment, by the camera's name."""


def prepare_task_view(
    task: str,
    text: str,
    folder: Path | None,
    say: Say,
    options: EnvOptions,
    clock: Clock = time.perf_counter,
) -> Callable[[], None]:
    """Make a task; return the function that reports its details and saves its pictures.

    Args:
        task: Name of the task.
        text: Text about it, where the task itself has none.
        folder: Folder for the pictures; None saves none.
        say: Receives each line.
        options: Options of training; `randomize` is applied in the sheet of episodes only.
        clock: Returns seconds, for the duration of a step.

    Raises:
        ValueError: The task does not exist, or pictures are to be saved and it renders none.
    """
    randomize = options.randomize
    env = make_with_what_it_has(task, dataclasses.replace(options, randomize="none"))
    if folder and not env.camera_names:
        raise ValueError(f"{task} has no rgb_array rendering and so nothing to show")

    def view() -> None:
        notes = [*env.notes]
        if options.uses_cameras and not any(s.is_image for s in env.contract.inputs):
            notes.append("it has no picture: train it with --observe proprio")
        costs = _cost_rows(env, clock)
        summary = env.summary or text
        say("\n".join(format_details(env.contract, summary, env.all_cameras, notes, costs)))
        if folder:
            for path in save_pictures(env, folder):
                say(f"wrote {path}")
            if randomize != "none":
                say(f"wrote {save_randomized(task, options, folder)}")
        env.close()

    return view


def _cost_rows(env: TaskEnv, clock: Clock) -> list[tuple[str, str]]:
    """Return rows about the duration of a step, or the error that it raises."""
    try:
        return list(cost_rows(measure_costs(env, clock)))
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever somebody's task raises
        return [("step time", f"unknown, because a step raises {describe(error)}")]


def save_pictures(env: TaskEnv, folder: Path) -> list[Path]:
    """Write a sheet of all cameras, PNG, and a short clip of a random policy, MP4; return both.

    The first column of the sheet has the resolution that a policy observes, the others show the
    first and the last moment of the clip. A missing `folder` is made.
    """
    task, dt_s = env.contract.task, env.contract.control_dt_s
    stride = max(1, round(1 / (MAX_FPS * dt_s)))
    height, width = EnvOptions.from_dict(env.contract.options).image_size
    env.reset(seed=SEED)
    observed = {name: env.render_camera(name, height, width) for name in env.camera_names}
    clip = _record_clip(env, round(CLIP_S / (dt_s * stride)), stride)
    folder.mkdir(parents=True, exist_ok=True)
    png, mp4 = (folder / f"{folder_name(task)}.{ending}" for ending in ("png", "mp4"))
    sheet_of_all = _camera_sheet(task, observed, clip, (len(clip) - 1) * stride * dt_s)
    write_png(png, sheet_of_all)
    frames = (np.concatenate(list(views.values()), axis=1) for views in clip)
    write_mp4(mp4, frames, 1 / (dt_s * stride))
    return [png, mp4]


def save_randomized(task: str, options: EnvOptions, folder: Path) -> Path:
    """Write a sheet of the first pictures of randomised episodes, PNG; return the file."""
    rows: list[Row] = []
    seen = first_images(task, options)
    for name, pictures in seen.items():
        lines = np.split(to_rgb(pictures), len(pictures) // COLUMNS)
        rows += [Row(name.partition("/")[2], line) for line in lines]
    title = f"{task}, randomised: the first pictures of {len(rows) * COLUMNS // len(seen)} episodes"
    path = folder / f"{folder_name(task)}-randomised.png"
    write_png(path, sheet(title, rows, [""] * COLUMNS, [GREY] * COLUMNS), num_colors=256)
    return path


def _record_clip(env: TaskEnv, num_frames: int, stride: int) -> list[Views]:
    """Take random actions and return every `stride`-th step's pictures."""
    random = np.random.default_rng(SEED)
    held = max(1, round(HELD_S / env.contract.control_dt_s))
    action = random_action(env, random)
    clip: list[Views] = []
    for step in range(num_frames * stride):
        if step % stride == 0:
            clip.append(_views(env, CLIP_SIDE))
        if step % held == 0:
            action = random_action(env, random)
        *_, is_terminated, is_truncated, _ = env.step(action)
        if is_terminated or is_truncated:
            env.reset()
    return clip


def _views(env: TaskEnv, side: int) -> Views:
    return {name: env.render_camera(name, side, side) for name in env.camera_names}


def _camera_sheet(task: str, observed: Views, clip: Sequence[Views], length_s: float) -> Pictures:
    """Lay out one row per camera."""
    rows: list[Row] = []
    for name, small in observed.items():
        moments = [small, clip[0][name], clip[-1][name]]
        rows.append(Row(name, np.stack([resize(m, SHEET_SIDE, SHEET_SIDE) for m in moments])))
    height, width, _ = next(iter(observed.values())).shape
    return sheet(
        f"{task}; blue: {height}x{width}, as a policy sees it",
        rows,
        ["0 s", "0 s", f"{length_s:.1f} s"],
        [BLUE, GREY, GREY],
    )
