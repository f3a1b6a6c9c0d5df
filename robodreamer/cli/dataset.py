"""`robodreamer import-log` and `import-reference`: what others recorded or trained, into runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from robodreamer.cli.parsing import Folder, Job, parse, say

Logs = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="LOG ...")]


@dataclass(frozen=True, kw_only=True)
class ImportLogArguments:
    """Add what a robot recorded to a run's replay, so that training goes on with it."""

    logs: Logs
    """Logs that `robodreamer-deploy --log` wrote."""
    run: Path
    """Run folder; no process may train it at the same time."""


def import_log(words: Sequence[str]) -> Job:
    """Prepare an import."""
    arguments = parse(ImportLogArguments, "import-log", words)
    if not arguments.logs:
        raise ValueError("name a log, such as drive.mcap")
    from robodreamer.runs.import_episodes import prepare_import

    return prepare_import(arguments.logs, arguments.run, say)


@dataclass(frozen=True, kw_only=True)
class ImportReferenceArguments:
    """Make a run of an agent that was trained with the public JAX code of DreamerV3.

    The run evaluates, dreams and exports. Nothing in the checkpoint is executed.
    """

    checkpoint: Folder
    """Log folder, checkpoint folder or file of the public code, or its parameters as .npz or
    .safetensors. A config.yaml beside it gives the sizes of the networks."""
    out: Path
    """Run folder to write."""
    task: str | None = None
    """Name of the task here; that of config.yaml by default, if it is one of dm_control."""
    size: str | None = None
    """Size of the networks, such as 12m, where there is no config.yaml."""
    observe: Literal["camera", "proprio", "both", "state"] | None = None
    """Families of signals; by default those that the agent has networks for."""
    cameras: tuple[str, ...] | None = None
    """Cameras, as in `train`; the task's own choice by default."""
    image_size: int | None = None
    """Height and width of every camera; as in config.yaml by default, or 64."""
    action_repeat: int | None = None
    """Simulator steps per action; as in config.yaml by default, or 1."""
    key: tuple[str, ...] = ()
    """Signals with another name there, each as OURS=THEIRS, such as proprio/position=pos; several
    cameras in the order in which they were declared there."""


def import_reference(words: Sequence[str]) -> Job:
    """Prepare an import of an agent."""
    arguments = parse(ImportReferenceArguments, "import-reference", words)
    if bad := [word for word in arguments.key if not all(word.partition("="))]:
        raise ValueError(f"--key takes OURS=THEIRS, such as proprio/position=pos, got {bad[0]!r}")
    from robodreamer import api

    return api.import_reference.prepare(
        arguments.checkpoint,
        arguments.out,
        task=arguments.task,
        size=arguments.size,
        observe=arguments.observe,
        cameras=arguments.cameras,
        image_size=arguments.image_size,
        action_repeat=arguments.action_repeat,
        keys={ours: theirs for ours, _, theirs in (word.partition("=") for word in arguments.key)},
        log=say,
    )
