"""Run folder: the files of one training run, and loading its agent from them.

config.json         settings, and the release, commit and packages that made the run
contract.json       observations and actions of the task
metrics.jsonl       figures over time, see `metrics`; events.out.* are the same for TensorBoard
checkpoints/        agent, optimizer and counters, see `checkpoint`
replay/             records that the checkpoints share, see `checkpoint`
best/               agent that evaluated best, see `best_checkpoint`
videos/ plots/      films of episodes, pictures of metrics
faults/             last transition of environments that failed
"""

import contextlib
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robodreamer import config as config_module
from robodreamer.config import TrainConfig
from robodreamer.learning.agent import Agent
from robodreamer.runs.best_checkpoint import BestStates, Evaluated
from robodreamer.runs.checkpoint import Checkpoint, CheckpointError, Checkpoints
from robodreamer.runs.files import write_json_atomic
from robodreamer.runs.metrics import read_metrics
from robodreamer.version import __version__
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.utils.atomic_write import write_atomic
from robodreamer_sim.utils.cores import num_usable_cores

RUN_VERSION = 3
NEWEST, BEST = "newest", "best"
"""Words that are accepted in place of a checkpoint's name."""
PACKAGES = (
    "torch", "numpy", "mujoco", "dm-control", "gymnasium", "gymnasium-robotics", "safetensors",
    "tensorboard", "onnx", "onnxscript", "onnxruntime",
)  # fmt: skip
"""Packages whose versions a run records, because its numbers may depend on them."""
CPU_INFO = Path("/proc/cpuinfo")


class RunRecord(NamedTuple):
    """Settings, contract and provenance that a run folder was begun with."""

    config: TrainConfig
    contract: Contract
    provenance: dict[str, Any]
    """Release, commit, machine and packages that made the run."""


class LoadedRun(NamedTuple):
    """Trained agent with the record and the checkpoint that it came from."""

    agent: Agent
    config: TrainConfig
    contract: Contract
    checkpoint: Checkpoint
    provenance: dict[str, Any]


def make_agent(config: TrainConfig, contract: Contract) -> Agent:
    """Build the agent of a run; its weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Agent(contract, config.network, config.algorithm, config.data.decode_fraction)


def require_new(folder: Path) -> None:
    """Refuse a folder that a new run would overwrite.

    Raises:
        ValueError: It holds a run already, or the rest of one.
    """
    if (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds a run already; resume it (--resume), or choose another --run"
        )
    if left := [name for name in ("checkpoints", "metrics.jsonl") if (folder / name).exists()]:
        raise ValueError(
            f"{folder} holds {' and '.join(left)} of a run whose config.json is missing; "
            "choose another --run"
        )


def write_run(
    folder: Path,
    config: TrainConfig,
    contract: Contract,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write a new run's records, after `require_new`; config.json comes last, it makes the run.

    Args:
        folder: Run folder.
        config: Settings of the run.
        contract: Contract of its task.
        origin: Facts about weights that were learned elsewhere, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "contract.json", contract.to_json().encode())
    write_json_atomic(
        folder / "config.json",
        {
            "run_version": RUN_VERSION,
            "robodreamer": __version__,
            "commit": git_commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "machine": describe_machine(),
            "packages": installed_packages(),
            **(origin or {}),
            "config": config_module.to_dict(config),
        },
    )


def read_run(folder: Path) -> RunRecord:
    """Read settings, contract and provenance of a run.

    Raises:
        ValueError: The folder holds no run, half of one, or one of another version.
    """
    config_path, contract_path = folder / "config.json", folder / "contract.json"
    for path in (config_path, contract_path):
        if not path.is_file():
            raise ValueError(f"{folder} is not a run folder: {path.name} is missing")
    try:
        record = json.loads(config_path.read_text())
        _require_version(record)
        config = config_module.from_dict(record.pop("config"))
        contract = Contract.from_json(contract_path.read_text())
    except ValueError as error:
        raise ValueError(f"{folder} cannot be used: {error}") from error
    return RunRecord(config, contract, record)


def _require_version(record: Any) -> None:
    is_complete = isinstance(record, dict) and isinstance(record.get("config"), dict)
    if not is_complete:
        raise ValueError("config.json is not that of a run")
    if (found := record.get("run_version")) != RUN_VERSION:
        raise ValueError(f"it has run format {found!r}, this release reads {RUN_VERSION}")


def load_run(folder: Path, checkpoint: str | None = None) -> LoadedRun:
    """Load the agent of a run, on the CPU, from its newest checkpoint or another one.

    Args:
        folder: Run folder.
        checkpoint: Name of a checkpoint, `newest` (as None), or `best`, which evaluated best.

    Raises:
        ValueError: The folder holds no run or no checkpoint, or one that is damaged.
    """
    config, contract, provenance = read_run(folder)
    chosen, weights = _load_weights(folder, checkpoint)
    agent = make_agent(config, contract)
    load_weights(agent, weights, chosen.path)
    return LoadedRun(agent.eval(), config, contract, chosen, provenance)


def load_weights(agent: Agent, weights: Mapping[str, Tensor], source: Path) -> None:
    """Copy the weights of a checkpoint into an agent.

    Raises:
        CheckpointError: They are those of another agent; the message names the first that differs.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name, tensor in agent.state_dict().items():
        if shapes.get(name) != (expected := tuple(tensor.shape)):
            raise CheckpointError(
                f"{source} holds another agent than the settings of its run: {name} has shape "
                f"{shapes.get(name)}, expected is {expected}"
            )
    if unknown := sorted(shapes.keys() - agent.state_dict().keys()):
        raise CheckpointError(
            f"{source} holds another agent than the settings of its run: it has {unknown[0]}"
        )
    agent.load_state_dict(weights)


def _load_weights(folder: Path, name: str | None) -> tuple[Checkpoint, dict[str, Tensor]]:
    """Return a checkpoint and its agent's weights, also while training writes and deletes some."""
    checkpoints, states = Checkpoints(folder), BestStates(folder)
    while True:
        history = {found.path.name: found for found in checkpoints.history()}
        if name == BEST:
            return _load_best(folder, states)
        if not history:
            raise ValueError(f"{folder} has no checkpoint yet")
        *_, newest = history.values()
        known = history | {NEWEST: newest, BEST: None}
        chosen = config_module.choose("checkpoint", name or NEWEST, known)
        try:
            return chosen, checkpoints.load(chosen).tensors["agent"]
        except CheckpointError:
            if chosen is not newest or chosen.path.exists():
                raise  # it is damaged; otherwise training has deleted it for a newer one


def _load_best(folder: Path, states: BestStates) -> tuple[Checkpoint, dict[str, Tensor]]:
    while (best := states.best()) is not None:
        try:
            return Checkpoint(best.step, states.path(best)), states.load(best)
        except ValueError:
            if states.path(best).exists():
                raise  # as above
    raise ValueError(f"{folder} has not been evaluated yet; --checkpoint {NEWEST} is there")


def newest_evaluation(folder: Path) -> Evaluated | None:
    """Return a run's newest evaluation; None before there is one."""
    path = folder / "metrics.jsonl"
    lines = read_metrics(folder) if path.exists() else []
    evaluations = [line for line in lines if "evaluation/return" in line]
    if not evaluations:
        return None
    line = evaluations[-1]
    figures = {
        name.removeprefix("evaluation/"): float(value)
        for name, value in line.items()
        if name.startswith("evaluation/")
    }
    return Evaluated.of(line["step"], figures)


def better_than_newest(folder: Path) -> str | None:
    """Describe the state of a run that evaluated better than the newest; None if there is none."""
    best, newest = BestStates(folder).best(), newest_evaluation(folder)
    if best is None or newest is None or not best.is_better_than(newest):
        return None
    return f"{best} was better than the newest evaluation, {newest}"


def git_commit() -> str:
    """Return the commit of the source tree, or an empty string outside of one."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip()


def describe_machine() -> str:
    """Return processor, usable cores, and the GPU if there is one."""
    cpu = platform.processor() or platform.machine()
    if CPU_INFO.is_file() and (found := re.search(r"model name\s*: (.+)", CPU_INFO.read_text())):
        cpu = found[1]
    cores = num_usable_cores()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{cpu}, {cores} cores{gpu}"


def installed_packages() -> dict[str, str]:
    """Return the installed version of every package that a run's numbers may depend on."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
