"""Puts a training run together: environments, agent, replay, and who reports to whom."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robodreamer.agent import Agent, Learner
from robodreamer.checkpoint import Checkpoint, CheckpointError, Checkpoints
from robodreamer.collect import Collector, ReplayRatio, make_replay
from robodreamer.config import TrainConfig
from robodreamer.distributions import Sample
from robodreamer.progress import Progress
from robodreamer.replay import Replay
from robodreamer.reporter import Reporter
from robodreamer.run import make_agent, read_run, write_run
from robodreamer.schedule import Schedule
from robodreamer.train import Session, restore, train
from robodreamer_deploy.contract import Contract
from robodreamer_sim.faults import EnvironmentFault
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector import VectorEnv


def prepare_training(config: TrainConfig, folder: Path, *, resume: bool) -> Callable[[], None]:
    """Build a new run in `folder`, or take up its newest checkpoint; return what trains it.

    Raises:
        ValueError: The folder or the task do not fit what is asked; nothing was overwritten.
    """
    device = prepare_torch(config)
    checkpoints = Checkpoints(folder, keep=config.keep_checkpoints)
    checkpoint = _newest(checkpoints) if resume else None
    state = checkpoints.load(checkpoint)[1] if checkpoint else {}
    with ExitStack() as stack:
        envs = stack.enter_context(make_envs(config, state.get("first_episodes")))
        if resume:
            _check_contract(folder, envs.contract)
        else:
            write_run(folder, config, envs.contract)
        session = _build(config, folder, envs, device, checkpoints)
        stack.callback(session.reporter.close)
        if checkpoint:
            restore(session, checkpoint)
        resumed_step = session.replay.num_steps if checkpoint else None
        session.reporter.begin(resumed_step, session.updates)
        resources = stack.pop_all()
    return lambda: _run(session, folder, resources)


def _run(session: Session, folder: Path, resources: ExitStack) -> None:
    """Train; whatever ends it, close everything.

    Raises:
        EnvironmentFault: An environment failed; what it yielded lies in `folder`/faults.
    """
    with resources:
        try:
            train(session)
        except EnvironmentFault as fault:
            path = _save_fault(folder, session.collector.num_steps, fault)
            raise EnvironmentFault(f"{fault}; see {path}") from fault


def prepare_torch(config: TrainConfig) -> torch.device:
    """Apply the settings that torch keeps for the whole process; return the device."""
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(config.deterministic)
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no GPU; use --device cpu, or install torch with CUDA")
    return torch.device(config.device)


def env_options(config: TrainConfig) -> EnvOptions:
    """Return how a run's environments are made."""
    data = config.data
    return EnvOptions(
        observe=config.observe,
        cameras=config.cameras,
        image_size=(data.image_size, data.image_size),
        action_repeat=data.action_repeat,
        look=data.look,
    )


def make_envs(config: TrainConfig, first_episodes: list[int] | None) -> VectorEnv:
    """Start the environments of training."""
    return VectorEnv(
        config.task,
        env_options(config),
        num_envs=config.data.num_envs,
        num_workers=config.num_workers,
        seed=config.seed,
        first_episodes=first_episodes,
    )


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
        agent, data.optimizer, replay_context=data.replay_context, compute_dtype=precision
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
    reporter = Reporter(config, folder, Progress(f"{config.task} in {folder}"), device)
    reporter.say(_describe(config, agent, replay, device))
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
            start=max(batch_steps, replay.sequence_length * data.num_envs),
        ),
        schedule=Schedule(config),
        checkpoints=checkpoints,
        reporter=reporter,
    )


def _newest(checkpoints: Checkpoints) -> Checkpoint:
    checkpoint = checkpoints.latest()
    if checkpoint is None:
        raise CheckpointError(f"{checkpoints.folder} holds no checkpoint to resume from")
    return checkpoint


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
    return (
        f"{config.task}: sees {signals}; {agent.contract.action.size} actions\n"
        f"size {config.size} ({parameters / 1e6:.1f} M parameters) on {device}, "
        f"replay of {config.data.replay_capacity:,} steps takes up to {memory:.1f} GB"
    )


def _save_fault(folder: Path, step: int, fault: EnvironmentFault) -> Path:
    """Keep the offending transition for a closer look."""
    path = folder / "faults" / f"step-{step:09d}-env-{fault.environment}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {key.replace("/", "."): v for key, v in fault.observation.items()}
    if fault.action is not None:
        arrays["action"] = fault.action
    np.savez(path, **arrays)
    return path
