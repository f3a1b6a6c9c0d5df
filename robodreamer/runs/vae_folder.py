"""Folder of an autoencoder: `vae.safetensors`, and `vae.json` with settings and figures."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from robodreamer.config.vae import VaeConfig
from robodreamer.models.vae import VAE
from robodreamer.runs.files import copy_tensors, read_tensors, tensor_bytes, write_json_atomic
from robodreamer.runs.run_folder import git_commit
from robodreamer.version import __version__
from robodreamer_deploy.utils.atomic_write import write_atomic

VAE_VERSION = 1
WEIGHTS, RECORD = "vae.safetensors", "vae.json"


class LoadedVae(NamedTuple):
    """Trained autoencoder with its settings."""

    model: VAE
    config: VaeConfig
    shape: tuple[int, int, int]
    """Height, width and channels of its pictures."""


def require_new(folder: Path) -> None:
    """Refuse a folder that holds an autoencoder.

    Raises:
        ValueError: It does.
    """
    if (folder / RECORD).exists() or (folder / WEIGHTS).exists():
        raise ValueError(f"{folder} holds an autoencoder already; choose another --out")


def write_vae(folder: Path, vae: LoadedVae, figures: Mapping[str, float]) -> None:
    """Write weights and record; the record comes last, it makes the folder."""
    weights = copy_tensors(vae.model.state_dict())
    write_atomic(folder / WEIGHTS, tensor_bytes(weights))
    record = {
        "vae_version": VAE_VERSION,
        "robodreamer": __version__,
        "commit": git_commit(),
        "shape": list(vae.shape),
        "figures": dict(figures),
        "config": dataclasses.asdict(vae.config),
    }
    write_json_atomic(folder / RECORD, record)


def load_vae(folder: Path) -> LoadedVae:
    """Load an autoencoder, on the CPU.

    Raises:
        ValueError: The folder holds none, one of another version, or a damaged one.
    """
    path = folder / RECORD
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no autoencoder: {RECORD} is missing; `robodreamer vae` makes one"
        )
    try:
        record = json.loads(path.read_text())
        config, shape = _read_config(record), tuple(record["shape"])
        model = VAE(shape, config.network, config.latent)
        model.load_state_dict(_known(read_tensors(folder / WEIGHTS), model))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} cannot be used: {error}") from error
    return LoadedVae(model.eval(), config, shape)


def _read_config(record: Any) -> VaeConfig:
    if (found := record.get("vae_version")) != VAE_VERSION:
        raise ValueError(f"it has format {found!r}, this release reads {VAE_VERSION}")
    settings: Any = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record["config"].items()
    }
    return VaeConfig(**settings)


def _known(weights: dict[str, Tensor], model: VAE) -> dict[str, Tensor]:
    """Return weights after a check of their names and shapes."""
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if expected != {name: tensor.shape for name, tensor in weights.items()}:
        raise ValueError(f"{WEIGHTS} does not fit {RECORD}")
    return weights
