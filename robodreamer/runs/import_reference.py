"""Runs from agents of the public JAX code: evaluated, dreamt with and exported as our own.

The run begins with the imported agent at step 0 and an empty replay; training it further starts
the optimizer's averages afresh.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import robodreamer_sim
from robodreamer.config import PRESETS, PROTOCOLS, SIZES, DataConfig, TrainConfig, choose
from robodreamer.data.replay import make_replay
from robodreamer.learning.agent import Agent
from robodreamer.learning.optimizers import Optimizers
from robodreamer.reference.checkpoints import ReferenceCheckpoint, read_checkpoint
from robodreamer.reference.parameters import load_parameters
from robodreamer.reference.settings import config_from_reference
from robodreamer.runs.checkpoint import Checkpoints
from robodreamer.runs.run_folder import make_agent, require_new, write_run
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.utils.atomic_write import replacing
from robodreamer_deploy.utils.streams import Say
from robodreamer_sim.options import EnvOptions, Observe

PRESET, PROTOCOL = "dreamer_v3", "dmc_vision"
"""Words of an imported run: the published algorithm, and pictures as the published scores."""
OTHER_SIZE = "reference"
"""Word in place of a size for networks that have no name here."""
SUITE = "dmc_"
"""Beginning of the tasks that have the same name there."""
OBSERVED: Mapping[tuple[bool, bool], Observe] = {
    (True, True): "both", (True, False): "camera", (False, True): "proprio",
}  # fmt: skip
"""Families of signals, by whether an agent has a CNN and an MLP to read them."""


@dataclass(frozen=True, kw_only=True)
class ReferenceOptions:
    """What a checkpoint of the public code does not say about its agent."""

    task: str | None = None
    """Our name of the task; that of the settings by default, where it is one of dm_control."""
    size: str | None = None
    """Size of the networks; by default as in the settings."""
    observe: Observe | None = None
    """Families of signals; by default those that the agent has networks for."""
    cameras: tuple[str, ...] | None = None
    """Cameras; the task's own choice by default."""
    image_size: int | None = None
    """Height and width of every camera; by default as in the settings, or 64."""
    action_repeat: int | None = None
    """Simulator steps per action; by default as in the settings, or 1."""
    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    """Signals' names there by those here, where they differ."""


def prepare_import_reference(
    checkpoint: Path, out: Path, options: ReferenceOptions, say: Say
) -> Callable[[], None]:
    """Read a checkpoint of the public code and fit it into an agent; return what writes the run.

    Args:
        checkpoint: File or folder, see `read_checkpoint`.
        out: Run folder to write.
        options: What the checkpoint does not say.
        say: Takes a line about what was read, and one about what was written.

    Raises:
        ValueError: The checkpoint cannot be read or holds more than data, the task is missing, or
            parameters do not fit; the message lists what differs. Nothing was written.
    """
    require_new(out)
    if not out.absolute().parent.is_dir():
        raise ValueError(f"there is no folder {out.absolute().parent} for {out.name}")
    found = read_checkpoint(checkpoint)
    config = _make_config(found, options)
    contract = _contract(config)
    agent = make_agent(config, contract)
    load_parameters(agent, found.parameters, _keys(contract, options.keys))
    for name, tensor in agent.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{found.path} holds NaN or infinity in what becomes {name}")
    steps = "" if found.steps is None else f", trained for {found.steps:,} steps"
    say(
        f"{found.path}: {len(found.parameters):,} arrays{steps}; task {config.task}, {_read(agent)}"
    )
    return lambda: _write(out, config, agent, found, say)


def _make_config(found: ReferenceCheckpoint, options: ReferenceOptions) -> TrainConfig:
    """Return the settings of the run, from those of the checkpoint and the options."""
    settings = found.settings or {}
    if options.size:
        network, algorithm = choose("size", options.size, SIZES), PRESETS[PRESET]
    elif found.settings:
        network, algorithm = config_from_reference(settings["agent"])
    else:
        raise ValueError(
            f"{found.path} has no config.yaml beside it, which would hold the sizes of the "
            f"networks; name them with --size ({', '.join(SIZES)})"
        )
    names = [name for name, size in SIZES.items() if size == network]
    task = options.task or _same_task(found)
    return TrainConfig(
        task=task,
        observe=options.observe or _observed(found),
        cameras=options.cameras,
        size=next(iter(names), OTHER_SIZE),
        preset=PRESET,
        protocol=PROTOCOL,
        network=network,
        algorithm=algorithm,
        data=_data(settings, options),
    )


def _same_task(found: ReferenceCheckpoint) -> str:
    """Return the task of the settings, if it has the same name here."""
    theirs = (found.settings or {}).get("task")
    if isinstance(theirs, str) and theirs.startswith(SUITE):
        return theirs.replace("dmc_cup_", "dmc_ball_in_cup_")
    known = f"config.yaml has {theirs!r}, which has" if theirs else "the checkpoint has"
    raise ValueError(f"{known} no counterpart here by itself; name the task: --task NAME")


def _observed(found: ReferenceCheckpoint) -> Observe:
    names = found.parameters.keys()
    families = ("enc/cnn0/kernel" in names, "enc/mlp0/kernel" in names)
    if families not in OBSERVED:
        raise ValueError(
            f"{found.path} has no encoder (enc/cnn0/kernel, enc/mlp0/kernel): it is no agent of "
            "this release of the public code"
        )
    return OBSERVED[families]


def _data(settings: Mapping[str, Any], options: ReferenceOptions) -> DataConfig:
    """Return how data is collected: pictures and repeated actions as there."""
    suite = str(settings.get("task", "")).split("_")[0]
    env = (settings.get("env") or {}).get(suite) or {}
    height, width = env.get("size", (64, 64))
    if height != width and not (options.image_size or options.cameras):
        raise ValueError(
            f"its pictures are {height} by {width}; name the camera with its size: "
            f"--cameras NAME:{height}x{width}"
        )
    return dataclasses.replace(
        PROTOCOLS[PROTOCOL],
        image_size=options.image_size or height,
        action_repeat=options.action_repeat or env.get("repeat", 1),
        replay_context=settings.get("replay_context", 1),
    )


def _contract(config: TrainConfig) -> Contract:
    """Return the contract of the run's task."""
    options = EnvOptions(
        observe=config.observe,
        cameras=config.cameras,
        image_size=(config.data.image_size, config.data.image_size),
        action_repeat=config.data.action_repeat,
        render_quality=config.data.render_quality,
    )
    env = robodreamer_sim.make(config.task, options)
    env.close()
    return env.contract


def _keys(contract: Contract, given: Mapping[str, str]) -> dict[str, str]:
    """Return the name there of every signal; those that were given come first, in their order."""
    names = {signal.name: signal.name.partition("/")[2] for signal in contract.observations}
    for name in given:
        choose("signal", name, names)
    return {**given, **{name: key for name, key in names.items() if name not in given}}


def _read(agent: Agent) -> str:
    inputs = ", ".join(signal.name for signal in agent.contract.inputs)
    return f"{sum(p.numel() for p in agent.parameters()):,} parameters, observed: {inputs}"


def _write(
    out: Path, config: TrainConfig, agent: Agent, found: ReferenceCheckpoint, say: Say
) -> None:
    """Write the run folder, complete or not at all.

    Raises:
        CheckpointError: The disk is full or failed.
    """
    data = config.data
    replay = make_replay(
        agent.contract,
        agent,
        num_envs=data.num_envs,
        capacity=data.replay_capacity,
        sequence_length=data.replay_context + data.batch_length,
        seed=config.seed,
        device=torch.device("cpu"),
    )
    tensors = {
        "agent": agent.state_dict(),
        "optimizer": Optimizers(agent, config.algorithm.optimizer).state_dict(),
        "random": {"sampler": torch.Generator().manual_seed(config.seed).get_state()},
    }
    imported = {"checkpoint": str(found.path), "steps": found.steps}
    with replacing(out) as draft:
        write_run(draft, config, agent.contract, {"imported": imported})
        (draft / "metrics.jsonl").write_text("")  # nothing was trained here yet
        Checkpoints(draft).save(0, tensors, _first_state(data.num_envs), replay, wait=True)
    say(f"wrote {out}; robodreamer evaluate {out} shows whether it acts as it did")


def _first_state(num_envs: int) -> dict[str, Any]:
    """Return the counters of a run that has not begun; see `robodreamer.training.train.save`."""
    return {
        "updates": 0,
        "seconds": 0.0,
        "first_episodes": [0] * num_envs,
        "episodes": [],
        "has_unknown": False,
        "largest_reward": 0.0,
        "threads": torch.get_num_threads(),
    }
