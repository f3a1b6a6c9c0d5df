"""Checkpoints of the public JAX code of DreamerV3, read without executing anything in them.

    LOGDIR/config.yaml                           settings of the run
    LOGDIR/ckpt/latest                           name of the newest checkpoint's folder
    LOGDIR/ckpt/TIME-STEP/agent.pkl              {"params": {name: array}, "counters": {...}}
    LOGDIR/ckpt/TIME-STEP/step.pkl, done         number of steps; the mark of a complete checkpoint
    LOGDIR/checkpoint.ckpt                       earlier releases: {"agent": ..., "step": ...}

Sources: elements/checkpoint.py of danijar/elements (b781f90), embodied/jax/agent.py and
dreamerv3/main.py of danijar/dreamerv3. Parameters are taken as `.npz` and `.safetensors` too.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
import yaml
from numpy.typing import NDArray

from robodreamer.reference.pickles import flatten, read_pickle

Array = NDArray[Any]
LATEST, DONE, AGENT, STEP = "latest", "done", "agent.pkl", "step.pkl"
SINGLE = "checkpoint.ckpt"
SETTINGS = "config.yaml"
FOLDERS_UP = 3
"""Folders in which the settings are looked for: the checkpoint's own, `ckpt`, the log's."""


class ReferenceCheckpoint(NamedTuple):
    """Parameters of an agent that was trained with the public code."""

    path: Path
    """File that they came from."""
    parameters: Mapping[str, Array]
    """Arrays by their names there, other state included."""
    steps: int | None
    """Steps it was trained for; None where the file does not tell."""
    settings: Mapping[str, Any] | None
    """Contents of `config.yaml`; None where there is none beside the checkpoint."""


class SettingsLoader(yaml.SafeLoader):
    """Loader of YAML 1.2, in which 4e-05 is a number."""


SettingsLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)


def read_checkpoint(path: Path) -> ReferenceCheckpoint:
    """Read a checkpoint: its file, its folder, the folder of all checkpoints, or the log's.

    Raises:
        ValueError: There is none, it is incomplete or damaged, or it holds more than data.
    """
    file = _find(path)
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    if file.suffix in readers:
        parameters, steps = readers[file.suffix](file), None
    else:
        parameters, steps = _read_pickles(file)
    if not parameters:
        raise ValueError(f"{file} holds no parameters of an agent")
    return ReferenceCheckpoint(file, parameters, steps, _read_settings(file))


def _find(path: Path) -> Path:
    """Return the file of the agent."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"there is no checkpoint {path}")
    newest = (folder / LATEST for folder in (path / "ckpt", path))
    path = next((_follow(link) for link in newest if link.is_file()), path)
    if (path / AGENT).is_file():
        if not (path / DONE).is_file():
            raise ValueError(f"{path} is incomplete: {DONE} is missing, which is written last")
        return path / AGENT
    if (path / SINGLE).is_file():
        return path / SINGLE
    raise ValueError(
        f"{path} holds no checkpoint: there is no {AGENT}, {SINGLE}, {LATEST} or ckpt/{LATEST}"
    )


def _follow(link: Path) -> Path:
    """Return the folder that `latest` names."""
    name = link.read_text().strip()
    if not name or not (link.parent / name).is_dir():
        raise ValueError(f"{link} names {name!r}, and there is no such folder beside it")
    return link.parent / name


def _read_pickles(file: Path) -> tuple[dict[str, Array], int | None]:
    """Return the parameters in a pickle of an agent or of a whole run, and the steps."""
    tree = read_pickle(file)
    tree = tree if isinstance(tree, dict) else {}
    steps = tree.get("step")
    if steps is None and (file.parent / STEP).is_file():
        steps = read_pickle(file.parent / STEP)
    agent = tree.get("agent", tree)
    params = agent.get("params", agent) if isinstance(agent, dict) else {}
    return dict(flatten(params)), steps if isinstance(steps, int) else None


def _read_npz(file: Path) -> dict[str, Array]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error


def _read_safetensors(file: Path) -> dict[str, Array]:
    try:
        return safetensors.numpy.load_file(file)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def _read_settings(file: Path) -> Mapping[str, Any] | None:
    for folder in list(file.resolve().parents)[:FOLDERS_UP]:
        path = folder / SETTINGS
        if not path.is_file():
            continue
        try:
            settings = yaml.load(path.read_text(), SettingsLoader)  # noqa: S506  a SafeLoader
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
        has_agent = isinstance(settings, dict) and isinstance(settings.get("agent"), dict)
        if not has_agent:
            raise ValueError(f"{path} has no section agent: it is of another program or release")
        return settings
    return None
