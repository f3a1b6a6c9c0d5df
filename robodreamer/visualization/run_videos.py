"""Films of a run, in RUN/videos: episodes, and what the model dreams of them.

Training leaves the first three at every evaluation, `robodreamer dream` makes more of any
checkpoint; of a run without cameras a film has the vectors' lines alone:

    step-000012000-episode.mp4 .png          what the policy does
    step-000012000-dream.mp4 .png            truth, model and error; first part observed
    step-000012000-signals.png               the same of the vectors, as lines
    step-000012000-reconstruction.mp4 .png   the same, every step observed
    step-000012000-fantasy.mp4 .png          the actor in the model, from a real state
    step-000012000-futures.mp4 .png          several such courses, drawn at random
    step-000012000-interpolation.mp4 .png    decoded between two real states
    step-000012000-errors.png .csv           error of predictions by horizon, over many starts
"""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import robodreamer_sim
from robodreamer.evaluation.evaluate import require_unchanged
from robodreamer.evaluation.policies import VectorPolicy
from robodreamer.learning.agent import Agent
from robodreamer.runs.run_folder import LoadedRun, load_run
from robodreamer.visualization.dream import CONTEXT, HORIZON, dream
from robodreamer.visualization.dream_films import dream_stills, save_dream
from robodreamer.visualization.dream_layout import strip_frames
from robodreamer.visualization.episodes import Footage, Recorder, film_episode
from robodreamer.visualization.video import (
    Pictures,
    enlarge,
    to_rgb,
    write_mp4,
    write_png,
    write_webp,
)
from robodreamer.visualization.video_layout import episode_frames, episode_sheet
from robodreamer.visualization.views import (
    DreamOptions,
    Films,
    Views,
    describe_films,
    make_sampler,
    save_views,
)
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.utils.streams import Say
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions

PAUSE_S = 0.8
"""Seconds for which an episode's last picture stays."""
SHORT, LARGE, SMALL = 200, (360, 480), (240, 320)
"""Episodes of at most so many steps are drawn large, longer ones small, to spare memory."""
EPISODE_SIDE = 360
"""Small pictures of an episode are enlarged to at most this height."""


def prepare_films(
    run: Path, checkpoint: str | None, options: DreamOptions, say: Say
) -> Callable[[], Films]:
    """Load a run and make its task; return what films it.

    Args:
        run: Its folder.
        checkpoint: Name of a checkpoint; the newest if None.
        options: Views, counts and lengths.
        say: Takes lines about what was written.

    Raises:
        ValueError: No such run or checkpoint, the task is gone or another one, or a strip of a run
            without cameras.
    """
    loaded = load_run(run, checkpoint)
    if options.strip and not any(signal.is_image for signal in loaded.contract.observations):
        raise ValueError(
            "a strip shows what a camera sees, and this run has none; leave out --strip: "
            "a film of lines shows its signals"
        )
    env_options = EnvOptions.from_dict(loaded.contract.options)
    env = robodreamer_sim.make(loaded.contract.task, env_options)
    require_unchanged(loaded.contract, env.contract)
    return lambda: _film(run, loaded, env, options, say)


def _film(run: Path, loaded: LoadedRun, env: TaskEnv, options: DreamOptions, say: Say) -> Films:
    """Let the agent act in evaluation episodes, show what was asked for, and write all files.

    Raises:
        GraphicsError: The cameras that the agent needs cannot be drawn on this machine.
    """
    agent, contract, count = loaded.agent, loaded.contract, options.episodes
    size = LARGE if (contract.max_episode_steps or SHORT + 1) <= SHORT else SMALL
    stem = film_stem(run, loaded.checkpoint.step)
    sampler = make_sampler(loaded.config.seed, is_sampling=options.is_sampling)
    views = Views(agent, options)

    def film(number: int) -> Footage:
        footage = film_episode(agent, env, number, size, sampler)
        say(f"episode {number + 1} of {count}: return {footage.rewards.sum():.1f}")
        views.add(footage)
        return footage

    try:
        first = film(0)
        others = (film(number) for number in range(1, count))
        written = _save_episodes(stem, first, others, count, contract)
    finally:
        env.close()
    films = views.films(first, loaded.config.seed)
    written += save_views(stem, films, contract)
    if options.strip and views.dreams:
        name = views.dreams[0].cameras[0]
        frames = strip_frames(views.dreams, name, contract.control_dt_s)
        write_webp(options.strip, frames, 1 / contract.control_dt_s)
        written.append(options.strip)
    for line in describe_films(films, contract):
        say(line)
    for path in written:
        say(f"wrote {path}")
    return films._replace(files=written)


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
    save_dream(stem, imagined, contract, stills)
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
