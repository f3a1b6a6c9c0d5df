"""Pictures to learn from: filmed by a task's camera, or read from a folder.

Shapes: N pictures, H height, W width, C channels.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robodreamer.config.vae import VaeConfig
from robodreamer.vae.motion import MotionStyle, RandomMotion, motion_style
from robodreamer_sim import EnvOptions, TaskEnv, make
from robodreamer_sim.errors import NoPictureError

ENDINGS = (".png", ".jpg", ".jpeg")
FEWEST = 10
"""Pictures: fewer leave nothing to hold out and to look at."""
FRAME_S = 0.08
"""Time between two pictures that are kept: neighbours that are alike teach little."""
HELD_OUT_SHARE, MOST_HELD_OUT = 0.05, 500

Frames = NDArray[np.uint8]
Tell = Callable[[int, int], None]
"""Receiver of the number of pictures so far, and of how many there will be."""


class FrameSource(NamedTuple):
    """Pictures that can be had, and how."""

    text: str
    """Where they come from, for people."""
    shape: tuple[int, int, int]
    collect: Callable[[Tell], Frames]
    """Returns (N, H, W, C); can be called once."""


class Split(NamedTuple):
    """Pictures for training, and those that figures are about; both (n, H, W, C)."""

    training: Frames
    held_out: Frames


def open_source(config: VaeConfig) -> FrameSource:
    """Return the pictures that the settings name, before any of them is read.

    Raises:
        ValueError: No such task or folder, a task without a camera, or a folder without pictures.
    """
    folder = Path(config.source)
    if folder.is_dir():
        return _open_folder(folder, config)
    if ":" not in config.source and ("/" in config.source or folder.exists()):
        raise ValueError(
            f"{config.source} is not a folder; name a folder of PNG or JPEG pictures, or a task "
            "such as fetch_push"
        )
    return _open_task(config)


def split(frames: Frames) -> Split:
    """Hold out the last pictures: a twentieth, 500 at most."""
    count = min(MOST_HELD_OUT, max(2, round(HELD_OUT_SHARE * len(frames))))
    return Split(frames[:-count], frames[-count:])


def _open_folder(folder: Path, config: VaeConfig) -> FrameSource:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS)
    if len(paths) < FEWEST:
        found = f"{len(paths) or 'no'} PNG or JPEG pictures"
        raise ValueError(f"{folder} holds {found}; at least {FEWEST} are needed")
    order = np.random.default_rng(config.seed).permutation(len(paths))[: config.frames]
    chosen = [paths[i] for i in order]
    height, width = config.size

    def read(tell: Tell) -> Frames:
        frames = np.empty((len(chosen), height, width, 3), np.uint8)
        for number, path in enumerate(chosen):
            frames[number] = read_picture(path, height, width)
            tell(number + 1, len(chosen))
        return frames

    return FrameSource(f"{len(chosen):,} pictures of {folder}", (height, width, 3), read)


def read_picture(path: Path, height: int, width: int) -> Frames:
    """Read a picture as colours (height, width, 3), scaled.

    Raises:
        OSError: The file cannot be read or holds no picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            colors = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    except OSError as error:  # also of what is no picture
        raise OSError(f"{path} cannot be read as a picture: {error}") from error
    return np.asarray(colors)


def _open_task(config: VaeConfig) -> FrameSource:
    cameras = None if config.camera is None else (config.camera,)
    options = EnvOptions(observe="camera", cameras=cameras, image_size=config.size)
    try:
        env = make(config.source, options)
    except NoPictureError as error:
        raise ValueError(
            f"{config.source} has no camera to learn from; name a task with one, such as "
            "fetch_push, or a folder of pictures"
        ) from error
    signal = next(signal for signal in env.contract.inputs if signal.is_image)
    camera = signal.name.partition("/")[2]
    height, width, channels = signal.shape
    style = motion_style(config.source)

    def film(tell: Tell) -> Frames:
        frames = np.empty((config.frames, height, width, channels), np.uint8)
        pictures = film_motion(env, signal.name, style, config.seed)
        for number, picture in enumerate(pictures):
            frames[number] = picture
            tell(number + 1, config.frames)
            if number + 1 == config.frames:
                break
        env.close()
        return frames

    text = f"{config.frames:,} pictures of the camera {camera} of {config.source}, moved at random"
    return FrameSource(text, (height, width, channels), film)


def film_motion(env: TaskEnv, name: str, style: MotionStyle, seed: int) -> Iterator[Frames]:
    """Yield pictures (H, W, C) of one episode after the other, without end."""
    random = np.random.default_rng(seed)
    motion = RandomMotion(env.contract, style, random)
    dt_s = env.contract.control_dt_s
    stride = max(1, round(FRAME_S / dt_s))
    first = round(style.skipped_s / dt_s)
    while True:
        env.begin_episode(seed=int(random.integers(2**31)))
        motion.begin_episode()
        step, is_over = 0, False
        while not is_over and (step - first) * dt_s < style.filmed_s:
            if step >= first and (step - first) % stride == 0:
                yield env.observe()[name]
            transition = env.take_action(motion.next_action())
            is_over = transition.is_terminated or transition.is_truncated
            step += 1
