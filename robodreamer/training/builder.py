"""Puts a training run together: environments, agent, replay, and who reports to whom."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robodreamer.config import TrainConfig, departures
from robodreamer.data.collector import Collector, ReplayRatio, TrainingDivergedError, make_replay
from robodreamer.data.replay import Replay
from robodreamer.learning.agent import Agent, Learner
from robodreamer.models.distributions import Sample
from robodreamer.runs.checkpoint import Checkpoint, CheckpointError, Checkpoints
from robodreamer.runs.files import locked
from robodreamer.runs.run_folder import (
    describe_machine,
    installed_packages,
    make_agent,
    read_run,
    require_new,
    write_run,
)
from robodreamer.training.progress import Progress
from robodreamer.training.reporter import EvaluationFault, Reporter
from robodreamer.training.schedule import Schedule, StopRequest
from robodreamer.training.train import Session, rescue, restore, train
from robodreamer.training.viewer import Viewer, require_display
from robodreamer.utils.memory import Memory, find_shortage, read_memory
from robodreamer_deploy.contract import Contract
from robodreamer_sim.cameras.gl_backend import SOFTWARE_HINT, Choice, is_software
from robodreamer_sim.errors import EnvironmentFault, GraphicsError
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.utils.cores import num_usable_cores
from robodreamer_sim.vector.vector_env import VectorEnv

SMALL_DETER = 256
"""Size of the deterministic state up to which one thread is as fast as several: that of size `cpu`,
4.96 updates per second against 4.59 with two on two idle cores, one of which simulates as well."""


def prepare_training(
    config: TrainConfig, folder: Path, *, resume: bool, view: bool = False
) -> Callable[[], None]:
    """Build a new run in `folder`, or take up its newest checkpoint; return what trains it.

    A run that was interrupted before its first checkpoint begins again.

    Raises:
        ValueError: The folder or the task do not fit what is asked; nothing was overwritten.
    """
    if not resume:
        require_new(folder)
    if view:
        require_display()
    device = prepare_torch(config)
    with ExitStack() as stack:
        if resume:
            stack.enter_context(locked(folder))
        checkpoints = Checkpoints(folder, keep=config.keep_checkpoints)
        checkpoint = checkpoints.latest() if resume else None
        state = _load_state(checkpoints, checkpoint) if checkpoint else {}
        envs = stack.enter_context(make_envs(config, state.get("first_episodes")))
        if resume:
            _check_contract(folder, envs.contract)
        session = _build(config, folder, envs, device, checkpoints)
        stack.callback(session.reporter.close)
        if checkpoint:
            restore(session, checkpoint)
            _check_unfinished(folder, session)
            _tell_other_rounding(folder, session, state)
        if view:
            session.viewer = Viewer(session.learner.agent)
            stack.callback(session.viewer.close)
        _wait_for_simulation(session)  # before there is a run
        if not resume:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder))  # before a byte is written
            require_new(folder)  # again: another process may have begun one since
            write_run(folder, config, envs.contract)
        session.reporter.begin(session.replay.num_steps if resume else None, session.updates)
        resources = stack.pop_all()
    return lambda: _run(session, folder, resources)


def _run(session: Session, folder: Path, resources: ExitStack) -> None:
    """Train; whatever ends it, close everything.

    Raises:
        EnvironmentFault: An environment failed; what it yielded lies in `folder`/faults, what was
            learnt before in a checkpoint.
        TrainingDivergedError: The run cannot go on as it is.
        KeyboardInterrupt: It was told to stop, and has saved; what was to follow it should not.
    """
    with resources:
        try:
            is_finished = train(session)
        except EnvironmentFault as fault:
            saved = _rescue(session)
            kept = _save_fault(folder, session.collector, fault)
            step = session.collector.num_steps
            raise EnvironmentFault(f"after {step:,} steps, {fault}; {saved}; {kept}") from fault
        except (GraphicsError, OSError):  # neither comes from an update: the agent is whole
            session.reporter.say(_rescue(session))
            raise
        except TrainingDivergedError as error:
            newest = session.checkpoints.latest()
            left = f"{newest.path} is from before" if newest else "there is no checkpoint yet"
            raise TrainingDivergedError(
                f"training diverged: {error}; {left}; a smaller "
                "--algorithm.optimizer.learning-rate may help"
            ) from error
    if not is_finished:
        raise KeyboardInterrupt


def _rescue(session: Session) -> str:
    """Save what was learnt before a failure, also when told to stop meanwhile; say what came."""
    with StopRequest(session.reporter.say):
        return rescue(session)


def prepare_torch(config: TrainConfig) -> torch.device:
    """Apply the settings that torch keeps for the whole process; return the device.

    Raises:
        ValueError: The device is not there, or cannot be deterministic.
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
    """Return how a run's environments are made."""
    data = config.data
    return EnvOptions(
        observe=config.observe,
        cameras=config.cameras,
        image_size=(data.image_size, data.image_size),
        action_repeat=data.action_repeat,
        look=data.look,
        geom_groups=data.geom_groups,
        meshes=data.meshes,
        randomize=config.randomize,
        control_dt_s=config.control_dt,
    )


def make_envs(config: TrainConfig, first_episodes: list[int] | None) -> VectorEnv:
    """Start the environments of training."""
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
    """Return how many processes simulate: as set, or one for every core but the learner's."""
    if config.num_workers is not None:
        return config.num_workers
    return max(1, min(config.data.num_envs, num_usable_cores() - 1))


def _build(
    config: TrainConfig,
    folder: Path,
    envs: VectorEnv,
    device: torch.device,
    checkpoints: Checkpoints,
) -> Session:
    """Build everything that `train` needs, at step 0."""
    data = config.data
    agent = make_agent(config, envs.contract).to(device)
    precision = {"float32": torch.float32, "bfloat16": torch.bfloat16}[config.precision]
    learner = Learner(
        agent,
        config.algorithm.optimizer,
        replay_context=data.replay_context,
        compute_dtype=precision,
    )
    replay = make_replay(
        envs.contract,
        agent,
        num_envs=data.num_envs,
        capacity=data.replay_capacity,
        sequence_length=data.replay_context + data.batch_length,
        seed=config.seed,
        device=device,
    )
    draw = Sample(torch.Generator(device).manual_seed(config.seed))
    reporter = Reporter(config, folder, Progress(f"{config.task} in {folder}"))
    reporter.say(_describe(config, agent, replay, device))
    is_new = not (folder / "config.json").exists()
    if warning := check_memory(config, replay, read_memory(), is_new=is_new):
        reporter.say(f"warning: {warning}")
    reporter.say(describe_learning(config, agent.contract.control_dt_s))
    batch_steps = data.batch_size * data.batch_length
    return Session(
        config=config,
        learner=learner,
        collector=Collector(envs, agent, replay, draw, device),
        replay=replay,
        draw=draw,
        ratio=ReplayRatio(
            data.train_ratio,
            batch_steps,
            start=max(data.prefill, batch_steps, replay.sequence_length * data.num_envs),
        ),
        schedule=Schedule(config),
        checkpoints=checkpoints,
        reporter=reporter,
    )


def check_memory(
    config: TrainConfig, replay: Replay, memory: Memory | None, *, is_new: bool
) -> str | None:
    """Return a warning if the replay will take more of the host's memory than is free; else None.

    Raises:
        ValueError: It is more than there can ever be, and the run is new and nothing but its steps
            ends it; one that is resumed has the replay that it has.
    """
    if memory is None or replay.device.type != "cpu":
        return None
    num_steps = min(config.data.replay_capacity, config.steps)
    shortage = find_shortage(replay.bytes_per_step, num_steps, memory)
    if shortage is None:
        return None
    if shortage.is_hopeless and is_new and config.minutes is None:
        raise ValueError(shortage.text)
    return shortage.text


def _wait_for_simulation(session: Session) -> None:
    """Wait for the first records and say what yields them; what cannot be reset or drawn shows."""
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


def _check_unfinished(folder: Path, session: Session) -> None:
    """Refuse to resume what has nothing left to do."""
    steps = session.replay.num_steps
    if session.schedule.is_over(steps):
        raise ValueError(
            f"{folder} is finished after {steps:,} steps and {session.schedule.seconds / 60:.0f} "
            "minutes; give more --steps or --minutes to go on"
        )


def _load_state(checkpoints: Checkpoints, checkpoint: Checkpoint) -> dict[str, Any]:
    """Read a checkpoint's counters; say from which other one a run could go on if it is damaged."""
    try:
        return checkpoints.load(checkpoint)[1]
    except CheckpointError as error:
        *_, older = [None, *checkpoints.history()[:-1]]
        hint = f"; delete {checkpoint.path} to go on from {older.path.name}" if older else ""
        raise CheckpointError(f"{error}{hint}") from error


def _tell_other_rounding(folder: Path, session: Session, state: dict[str, Any]) -> None:
    """Say by what a deterministic run that is resumed will round otherwise than it began."""
    if not session.config.deterministic:
        return
    _, _, record = read_run(folder)
    before = {"threads": state.get("threads"), "machine": record.get("machine")}
    before |= record.get("packages", {})
    now = {"threads": torch.get_num_threads(), "machine": describe_machine()}
    now |= installed_packages()
    changes = [
        f"{name} {before[name]}, now {value}"
        for name, value in now.items()
        if before.get(name) not in (None, value)
    ]
    if changes:
        session.reporter.say(
            "warning: from here on the run is not repeated to the bit, because it was made with "
            + "; ".join(changes)
        )


def _check_contract(folder: Path, contract: Contract) -> None:
    """Refuse to resume when the task has changed since the run began."""
    _, saved, _ = read_run(folder)
    if saved == contract:
        return
    ours, theirs = contract.to_dict(), saved.to_dict()
    changed = sorted(key for key in ours if ours[key] != theirs[key])
    raise ValueError(f"the task has changed since {folder} began: {', '.join(changed)} differ")


def _describe(config: TrainConfig, agent: Agent, replay: Replay, device: torch.device) -> str:
    """Say in two lines what is about to be trained."""
    parameters = sum(p.numel() for p in agent.parameters() if p.requires_grad)
    memory = replay.bytes_per_step * config.data.replay_capacity / 1e9
    signals = ", ".join(s.name for s in agent.contract.inputs)
    place = "" if replay.device.type == device.type else " of the host's memory"
    return (
        f"{config.task}: sees {signals}; {agent.contract.action.size} actions\n"
        f"size {config.size} ({parameters / 1e6:.1f} M parameters) on {_describe_device(device)}, "
        f"replay of {config.data.replay_capacity:,} steps takes up to {memory:.1f} GB{place}"
    )


def describe_learning(config: TrainConfig, control_dt_s: float) -> str:
    """Return what differs from the preset, and how far returns reach in seconds of the task.

    A discount of 1 - 1/n weighs rewards n steps ahead by 1/e; what comes much later does not count.
    """
    horizon = config.algorithm.discount_horizon
    reach = (
        f"returns reach {horizon} steps, {horizon * control_dt_s:.3g} s of the task; where rewards "
        "come later: --algorithm.discount-horizon"
    )
    changed = [f"{name} {ours} (not {theirs})" for name, ours, theirs in departures(config)]
    departs = f", but with {', '.join(changed)}" if changed else ""
    return f"learns as {config.preset}{departs}\n{reach}"


def _describe_device(device: torch.device) -> str:
    if device.type != "cpu":
        return str(device)
    count = torch.get_num_threads()
    return f"{device}, {count} {'thread' if count == 1 else 'threads'}"


def describe_simulation(
    num_envs: int, num_workers: int, renderer: str, back_end: Choice | None, *, has_gpu: bool
) -> str:
    """Say where environments run and what draws their cameras; complain about an idle GPU.

    Args:
        num_envs: Environments.
        num_workers: Processes they share; 0 if they run in the learner's.
        renderer: What OpenGL calls itself; empty where nothing is drawn.
        back_end: Through which back end, and why; None where no camera is wanted.
        has_gpu: Whether there is one that could draw.
    """
    where = f"{num_workers} processes" if num_workers > 1 else "1 process"
    text = f"{num_envs} environments in {where if num_workers else 'the learner'}"
    if renderer:
        text += f"; cameras drawn by {renderer}"
    if renderer and back_end and back_end.name:
        text += f" through {back_end.name} ({back_end.why})"
    if has_gpu and is_software(renderer):
        text += f"\nwarning: {SOFTWARE_HINT}"
    return text


def _save_fault(folder: Path, collector: Collector, fault: EnvironmentFault) -> str:
    """Keep the offending transition for a closer look; say where, or why it could not be kept.

    `before.*` is the last record with the action that answered it, of all environments if a worker
    failed as a whole; `after.*` is what came of it, as far as there is something. Of an evaluation
    the last record is not known.
    """
    env = fault.environment
    name = "all" if env is None else str(env)
    is_training = not isinstance(fault, EvaluationFault)
    kind = "env" if is_training else "evaluation-env"
    path = folder / "faults" / f"step-{collector.num_steps:09d}-{kind}-{name}.npz"
    arrays: dict[str, Any] = {} if fault.action is None else {"before.action": fault.action}
    for key, value in collector.latest.items() if is_training else ():
        arrays[f"before.{key}"] = value if env is None else value[env]
    for key, value in fault.observation.items():
        arrays[f"after.{key}"] = value
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{key.replace("/", "."): value for key, value in arrays.items()})
    except OSError as error:
        return f"what it yielded could not be saved: {error}"
    return f"see {path}"
