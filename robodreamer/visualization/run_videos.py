"""Films of a run, in RUN/videos: episodes, and what the model dreams of them.

Training leaves some at every evaluation, `robodreamer dream` makes more of any checkpoint:

    step-000012000-episode.mp4 .png    what the policy does
    step-000012000-dream.mp4 .png      truth, model and error of every camera; first part observed
    step-000012000-signals.png         the same of the vectors, as lines
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

import robodreamer_sim
from robodreamer.evaluation.evaluate import require_unchanged
from robodreamer.evaluation.policies import VectorPolicy
from robodreamer.learning.agent import Agent
from robodreamer.models.sampling import ModeSampler, RandomSampler, Sampler
from robodreamer.runs.run_folder import LoadedRun, load_run
from robodreamer.visualization.dream import CONTEXT, HORIZON, Dream, dream
from robodreamer.visualization.dream_plot import plot_signals
from robodreamer.visualization.episodes import Footage, Recorder, film_episode
from robodreamer.visualization.video import (
    Pictures,
    enlarge,
    to_rgb,
    write_mp4,
    write_png,
    write_webp,
)
from robodreamer.visualization.video_layout import (
    dream_frames,
    dream_sheet,
    episode_frames,
    episode_sheet,
    strip_frames,
)
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.utils.streams import Say
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions

DREAM_FPS = 10.0
"""Dreams are never shown faster, so that one can compare."""
PAUSE_S = 0.8
"""Seconds for which an episode's last picture stays."""
SHORT, LARGE, SMALL = 200, (360, 480), (240, 320)
"""Episodes of at most so many steps are drawn large, longer ones small, to spare memory."""
EPISODE_SIDE = 360
"""Small pictures of an episode are enlarged to at most this height."""


class Films(NamedTuple):
    """Films of a run, and the dream that one of them shows."""

    files: list[Path]
    """Videos and pictures, in the order they were written."""
    dream: Dream | None
    """Arrays of what happened and what the model imagined; None of an episode of one step."""


def prepare_films(
    run: Path,
    checkpoint: str | None,
    episodes: int,
    context: int,
    say: Say,
    *,
    is_sampling: bool = False,
    strip: Path | None = None,
) -> Callable[[], Films]:
    """Load a run and make its task; return what films it.

    Args:
        run: Its folder.
        checkpoint: Name of a checkpoint; the newest if None.
        episodes: Number of evaluation episodes in the film.
        context: Steps that the model watches before it dreams.
        say: Takes lines about what was written.
        is_sampling: Whether actions are drawn at random instead of the most likely ones.
        strip: WebP file of all episodes side by side, each above the model's dream of it.

    Raises:
        ValueError: No such run or checkpoint, the task is gone or another one, or a strip of a run
            without cameras.
    """
    loaded = load_run(run, checkpoint)
    if strip and not any(signal.is_image for signal in loaded.contract.observations):
        raise ValueError("a strip shows what a camera sees, and this run has none")
    options = EnvOptions.from_dict(loaded.contract.options)
    env = robodreamer_sim.make(loaded.contract.task, options)
    require_unchanged(loaded.contract, env.contract)
    seed = torch.Generator().manual_seed(loaded.config.seed)
    sampler = RandomSampler(seed) if is_sampling else ModeSampler()
    return lambda: _film(run, loaded, env, sampler, episodes, context, strip, say)


def _film(
    run: Path,
    loaded: LoadedRun,
    env: TaskEnv,
    sampler: Sampler,
    episodes: int,
    context: int,
    strip: Path | None,
    say: Say,
) -> Films:
    """Let the agent act in evaluation episodes and dream of the first; write all films.

    Raises:
        GraphicsError: The cameras that the agent needs cannot be drawn on this machine.
    """
    agent, contract = loaded.agent, loaded.contract
    size = LARGE if (contract.max_episode_steps or SHORT + 1) <= SHORT else SMALL
    stem = film_stem(run, loaded.checkpoint.step)
    dreams: list[Dream] = []

    def film(number: int) -> Footage:
        footage = film_episode(agent, env, number, size, sampler)
        say(f"episode {number + 1} of {episodes}: return {footage.rewards.sum():.1f}")
        if footage.num_steps > 1 and (number == 0 or strip):
            dreams.append(dream(agent, footage, context))
        return footage

    try:
        first = film(0)
        others = (film(number) for number in range(1, episodes))
        written = _save_episodes(stem, first, others, episodes, contract)
    finally:
        env.close()
    if dreams:
        written += _save_dream(stem, dreams[0], contract, dream_stills(dreams[0], contract))
        for line in describe_errors(dreams[0], contract):
            say(line)
        if strip:
            frames = strip_frames(dreams, dreams[0].cameras[0], contract.control_dt_s)
            write_webp(strip, frames, 1 / contract.control_dt_s)
            written.append(strip)
    for path in written:
        say(f"wrote {path}")
    return Films(written, dreams[0] if dreams else None)


def make_recorder(policy: VectorPolicy, contract: Contract) -> Recorder:
    """Return a policy that acts the same and remembers what `save_evaluation` needs."""
    return Recorder(policy, contract, max_steps=CONTEXT + HORIZON)


def save_evaluation(run: Path, step: int, agent: Agent, footage: Footage) -> dict[str, Pictures]:
    """Leave films of an evaluation episode and of the dream about it; return the dream's stills.

    The episode is shown as its first camera saw it. Too short a one leaves nothing.
    """
    if footage.num_steps < 2:
        return {}
    contract, stem = agent.contract, film_stem(run, step)
    cameras = [signal.name for signal in contract.observations if signal.is_image]
    if cameras:
        pictures = to_rgb(footage.observations[cameras[0]])
        large = enlarge(pictures, max(1, EPISODE_SIDE // pictures.shape[1]))
        _save_episodes(stem, footage._replace(pictures=large), (), 1, contract)
    imagined = dream(agent, footage)
    stills = dream_stills(imagined, contract)
    _save_dream(stem, imagined, contract, stills)
    return stills


def dream_stills(imagined: Dream, contract: Contract) -> dict[str, Pictures]:
    """Return the sheet of the cameras and the plot of the vectors, those that there are."""
    stills = {}
    if imagined.cameras:
        stills["dream"] = dream_sheet(imagined, contract.control_dt_s)
    if (plot := plot_signals(imagined, contract)) is not None:
        stills["signals"] = plot
    return stills


def film_stem(run: Path, step: int) -> str:
    """Return what the names of all films of a step begin with."""
    return str(run / "videos" / f"step-{step:09d}")


def _save_episodes(
    stem: str, first: Footage, others: Iterable[Footage], count: int, contract: Contract
) -> list[Path]:
    """Write a film of `count` episodes and a sheet of the first, if they have pictures."""
    if first.pictures is None:
        return []
    film, still = Path(f"{stem}-episode.mp4"), Path(f"{stem}-episode.png")
    film.parent.mkdir(exist_ok=True)
    fps = 1 / contract.control_dt_s
    frames = episode_frames(itertools.chain([first], others), count, round(PAUSE_S * fps))
    write_mp4(film, frames, fps)
    write_png(still, episode_sheet(first, contract.control_dt_s))
    return [film, still]


def _save_dream(
    stem: str, imagined: Dream, contract: Contract, stills: Mapping[str, Pictures]
) -> list[Path]:
    """Write the dream's stills, and a film if there is a camera."""
    written = []
    for name, picture in stills.items():
        written.append(Path(f"{stem}-{name}.png"))
        written[-1].parent.mkdir(exist_ok=True)
        write_png(written[-1], picture)
    if imagined.cameras:
        written.append(Path(f"{stem}-dream.mp4"))
        fps = min(DREAM_FPS, 1 / contract.control_dt_s)
        write_mp4(written[-1], dream_frames(imagined), fps)
    return written


def describe_errors(imagined: Dream, contract: Contract) -> list[str]:
    """Return a table: mean error per signal while watching and imagining, in its own unit."""
    lines = [f"{'mean error':<32}{'watched':>9}{'imagined':>10}{'standing still':>16}"]
    still = imagined.still_errors
    for name, errors in imagined.errors.items():
        watched, later = errors[: imagined.context].mean(), errors[imagined.context :].mean()
        stood = still[name][imagined.context :].mean()
        unit = "of range" if contract[name].is_image else contract[name].unit
        lines.append(f"{name:<32}{watched:>9.4f}{later:>10.4f}{stood:>16.4f}  {unit}".rstrip())
    return lines
