"""A run folder: what belongs to one training run, and how its agent is brought back.

    config.json contract.json metrics.jsonl events.out.* checkpoints/ replay/ videos/ plots/
"""

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import torch

import robodreamer
from robodreamer import config as config_module
from robodreamer.agent import Agent
from robodreamer.checkpoint import Checkpoint, Checkpoints
from robodreamer.files import write_json_atomic
from robodreamer.config import TrainConfig
from robodreamer_deploy.contract import Contract

RUN_VERSION = 1


class LoadedRun(NamedTuple):
    """A trained agent and where it came from."""

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


def write_run(folder: Path, config: TrainConfig, contract: Contract) -> None:
    """Begin a run folder.

    Raises:
        ValueError: There is a run in it already.
    """
    if (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds a run already; go on with --resume, or choose another --run"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "contract.json").write_text(contract.to_json())
    write_json_atomic(
        folder / "config.json",
        {
            "run_version": RUN_VERSION,
            "robodreamer": robodreamer.__version__,
            "commit": git_commit(),
            "config": config_module.to_dict(config),
        },
    )


def read_run(folder: Path) -> tuple[TrainConfig, Contract, dict[str, Any]]:
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
        if record["run_version"] != RUN_VERSION:
            raise ValueError(
                f"made by run format {record['run_version']}, this release reads {RUN_VERSION}"
            )
        config = config_module.from_dict(record.pop("config"))
        contract = Contract.from_json(contract_path.read_text())
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} cannot be used: {error}") from error
    return config, contract, record


def load_run(folder: Path, checkpoint: str | None = None) -> LoadedRun:
    """Bring back the agent of a run, on the CPU, from its newest checkpoint or a named one.

    Raises:
        ValueError: No run, no checkpoint, or one that is damaged.
    """
    config, contract, provenance = read_run(folder)
    checkpoints = Checkpoints(folder)
    history = {found.path.name: found for found in checkpoints.history()}
    if not history:
        raise ValueError(f"{folder} has no checkpoint yet")
    name = checkpoint or list(history)[-1]
    chosen = config_module.choose("checkpoint", name, history)
    tensors, _ = checkpoints.load(chosen)
    agent = make_agent(config, contract)
    agent.load_state_dict(tensors["agent"])
    return LoadedRun(agent.eval(), config, contract, chosen, provenance)


def git_commit() -> str:
    """Return the commit of the source tree, or an empty string outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip()
