"""Builder of training runs: environments, agent, replay and reporter, put into one `Session`."""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from robodreamer.config import TrainConfig
from robodreamer.data.collector import Collector, ReplayRatio
from robodreamer.data.replay import make_replay
from robodreamer.learning.learner import Learner
from robodreamer.models.sampling import RandomSampler
from robodreamer.runs.camera_start import start_camera
from robodreamer.runs.checkpoint import CheckpointError, Checkpoints, LoadedCheckpoint
from robodreamer.runs.files import locked
from robodreamer.runs.run_folder import RunRecord, make_agent, require_new, write_run
from robodreamer.runs.vae_folder import load_vae
from robodreamer.training.failures import train_to_end
from robodreamer.training.progress import Progress
from robodreamer.training.reporter import Reporter
from robodreamer.training.schedule import Schedule
from robodreamer.training.startup_messages import (
    describe_learning,
    describe_run,
    describe_simulation,
    memory_warning,
    rounding_warning,
)
from robodreamer.training.train import Session, restore
from robodreamer.training.viewer import Viewer, require_display
from robodreamer.utils.memory import read_memory
from robodreamer_deploy.contract import Contract
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.utils.cores import num_usable_cores
from robodreamer_sim.vector.vector_env import VectorEnv

SMALL_DETER = 256
"""Size of the deterministic state up to which one thread is as fast as several: that of size `cpu`,
4.96 updates per second against 4.59 with two on two idle cores, one of which simulates as well."""


def make_training_job(
    config: TrainConfig,
    folder: Path,
    *,
    resumed: RunRecord | None = None,
    view: bool = False,
    camera_from: Path | None = None,
) -> Callable[[], bool]:
    """Build a new run in `folder`, or restore its newest checkpoint; return the job that trains it.

    The job returns whether the run finished: False if it was told to stop, and has saved.

    A run that was interrupted before its first checkpoint starts again.

    Args:
        config: Settings of the run.
        folder: Run folder.
        resumed: Record of the run that is resumed; None for a new one.
        view: Show the newest policy in MuJoCo's viewer.
        camera_from: Folder of an autoencoder whose encoder a new run's camera starts from.

    Raises:
        ValueError: Folder, task or checkpoint do not fit the settings; nothing was overwritten.
    """
    if resumed is None:
        require_new(folder)
    if view:
        require_display()
    device = configure_torch(config)
    with ExitStack() as stack:
        if resumed is None:
            session = _begin_run(config, folder, device, stack, camera_from)
        else:
            session = _resume_run(config, folder, resumed, device, stack)
        if view:
            session.viewer = Viewer(session.learner.agent)
            stack.callback(session.viewer.close)
        _wait_for_simulation(session)  # before there is a run
        if resumed is None:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder))  # before a byte is written
            require_new(folder)  # again: another process may have begun one since
            origin = {} if camera_from is None else {"camera_from": str(camera_from.resolve())}
            write_run(folder, config, session.learner.agent.contract, origin)
        resumed_step = None if resumed is None else session.replay.num_steps
        session.reporter.begin(resumed_step, session.updates)
        return functools.partial(train_to_end, session, folder, stack.pop_all())


def _begin_run(
    config: TrainConfig,
    folder: Path,
    device: torch.device,
    stack: ExitStack,
    camera_from: Path | None,
) -> Session:
    envs = stack.enter_context(make_envs(config))
    checkpoints = Checkpoints(folder, keep=config.keep_checkpoints)
    session = build_session(config, folder, envs, device, checkpoints, is_new=True)
    stack.callback(session.reporter.close)
    _start_camera(session, camera_from)
    return session


def _resume_run(
    config: TrainConfig, folder: Path, resumed: RunRecord, device: torch.device, stack: ExitStack
) -> Session:
    """Build the session of a run and restore its newest checkpoint, if there is one.

    The checkpoint is read before anything is built: its state holds the episodes with which the
    environments go on, and a damaged one is refused before a simulator starts.
    """
    stack.enter_context(locked(folder))
    checkpoints = Checkpoints(folder, keep=config.keep_checkpoints)
    loaded = _load_newest(checkpoints)
    first_episodes = loaded.state["first_episodes"] if loaded else None
    envs = stack.enter_context(make_envs(config, first_episodes))
    _require_same_task(folder, resumed.contract, envs.contract)
    session = build_session(config, folder, envs, device, checkpoints, is_new=False)
    stack.callback(session.reporter.close)
    if loaded is None and (source := resumed.provenance.get("camera_from")):
        _start_camera(session, Path(source))
    if loaded:
        restore(session, loaded)
        _require_unfinished(folder, session)
        if warning := rounding_warning(config, resumed, loaded.state):
            session.reporter.say(f"warning: {warning}")
    return session


def _start_camera(session: Session, source: Path | None) -> None:
    """Start the camera's encoder from an autoencoder, if there is one."""
    if source is not None:
        encoder = session.learner.agent.world_model.encoder
        start_camera(encoder, session.config.network, load_vae(source))
        session.reporter.say(f"the camera's encoder starts from {source}")


def configure_torch(config: TrainConfig) -> torch.device:
    """Apply the settings that torch keeps for the whole process; return the device.

    Raises:
        ValueError: The device is missing, or cannot be deterministic.
    """
    if threads := config.threads or (1 if config.network.deter <= SMALL_DETER else 0):
        torch.set_num_threads(threads)
    # As torch.use_deterministic_algorithms, which would import the compiler, for seconds.
    torch.set_deterministic_debug_mode("error" if config.deterministic else "default")
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise ValueError("torch sees no GPU; use --device cpu, or install torch with CUDA")
    device = torch.device("cuda" if has_gpu and config.device != "cpu" else "cpu")
    if config.deterministic and device.type != "cpu":
        raise ValueError("only a CPU repeats a run to the bit: --deterministic needs --device cpu")
    return device


def env_options(config: TrainConfig) -> EnvOptions:
    """Return the options of a run's environments."""
    data = config.data
    return EnvOptions(
        observe=config.observe,
        cameras=config.cameras,
        image_size=(data.image_size, data.image_size),
        action_repeat=data.action_repeat,
        render_quality=data.render_quality,
        geom_groups=data.geom_groups,
        meshes=data.meshes,
        randomize=config.randomize,
        control_dt_s=config.control_dt,
    )


def make_envs(config: TrainConfig, first_episodes: list[int] | None = None) -> VectorEnv:
    """Start the environments of training, with their first episodes or with the given ones."""
    return VectorEnv(
        config.task,
        env_options(config),
        num_envs=config.data.num_envs,
        num_workers=choose_num_workers(config),
        seed=config.seed,
        first_episodes=first_episodes,
        on_crash=config.on_crash,
        timeout_s=config.env_timeout_s,
    )


def choose_num_workers(config: TrainConfig) -> int:
    """Return the number of processes that simulate: as set, or one per core but the learner's."""
    if config.num_workers is not None:
        return config.num_workers
    return max(1, min(config.data.num_envs, num_usable_cores() - 1))


def build_session(
    config: TrainConfig,
    folder: Path,
    envs: VectorEnv,
    device: torch.device,
    checkpoints: Checkpoints,
    *,
    is_new: bool,
) -> Session:
    """Build everything that `train` needs, at step 0."""
    data = config.data
    agent = make_agent(config, envs.contract).to(device)
    precision = {"float32": torch.float32, "bfloat16": torch.bfloat16}[config.precision]
    replay = make_replay(
        envs.contract,
        agent,
        num_envs=data.num_envs,
        capacity=data.replay_capacity,
        sequence_length=data.replay_context + data.batch_length,
        seed=config.seed,
        device=device,
    )
    sampler = RandomSampler(torch.Generator(device).manual_seed(config.seed))
    reporter = Reporter(config, folder, Progress(f"{config.task} in {folder}"))
    reporter.say(describe_run(config, agent, replay, device))
    if warning := memory_warning(config, replay, read_memory(), is_new=is_new):
        reporter.say(f"warning: {warning}")
    reporter.say(describe_learning(config, agent.contract.control_dt_s))
    batch_steps = data.batch_size * data.batch_length
    return Session(
        config=config,
        learner=Learner(
            agent,
            config.algorithm.optimizer,
            replay_context=data.replay_context,
            compute_dtype=precision,
        ),
        collector=Collector(envs, agent, replay, sampler, device),
        replay=replay,
        sampler=sampler,
        ratio=ReplayRatio(
            data.train_ratio,
            batch_steps,
            # The first batch needs as many steps as it has, and a whole sequence per environment.
            start=max(data.prefill, batch_steps, replay.sequence_length * data.num_envs),
        ),
        schedule=Schedule(config),
        checkpoints=checkpoints,
        reporter=reporter,
    )


def _wait_for_simulation(session: Session) -> None:
    """Wait for the first records, which shows whether tasks can be reset and drawn."""
    envs = session.collector.envs
    envs.wait()
    text = describe_simulation(
        envs.num_envs,
        envs.num_workers,
        envs.renderer_name(),
        envs.back_end,
        has_gpu=torch.cuda.is_available(),
    )
    session.reporter.say("\n".join([text, *(f"note: {note}" for note in envs.notes)]))


def _load_newest(checkpoints: Checkpoints) -> LoadedCheckpoint | None:
    """Load the newest checkpoint; if it is damaged, name the older one that could replace it."""
    newest = checkpoints.latest()
    if newest is None:
        return None
    try:
        return checkpoints.load(newest)
    except CheckpointError as error:
        *_, older = [None, *checkpoints.history()[:-1]]
        hint = f"; delete {newest.path} to go on from {older.path.name}" if older else ""
        raise CheckpointError(f"{error}{hint}") from error


def _require_same_task(folder: Path, saved: Contract, now: Contract) -> None:
    """Refuse to resume a run whose task has changed since it began."""
    if found := now.differences(saved):
        raise ValueError(f"the task has changed since {folder} began: {'; '.join(found)}")


def _require_unfinished(folder: Path, session: Session) -> None:
    """Refuse to resume a run whose steps or minutes are used up."""
    steps = session.replay.num_steps
    if session.schedule.is_over(steps):
        raise ValueError(
            f"{folder} is finished after {steps:,} steps and {session.schedule.seconds / 60:.0f} "
            "minutes; give more --steps or --minutes to go on"
        )
