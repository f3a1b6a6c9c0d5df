"""`robodreamer vae`: an autoencoder of a task's pictures, or of a folder's."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from robodreamer.cli.parsing import Job, parse, say
from robodreamer.config import folder_name
from robodreamer.config.vae import VaeConfig

Source = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]


@dataclass(frozen=True, kw_only=True)
class VaeArguments(VaeConfig):
    """Compress pictures into a few numbers, and draw pictures from such numbers.

    Sheets in the output folder show reconstructions, samples, interpolations and single numbers.
    """

    source: Source = ""
    out: Path | None = None
    """Output folder; runs/vae_SOURCE by default."""


def vae(words: Sequence[str]) -> Job:
    """Prepare an autoencoder."""
    arguments = parse(VaeArguments, "vae", words)
    if not arguments.source:
        raise ValueError(
            "name a task with a camera, such as gym:CarRacing-v3, or a folder of pictures"
        )
    fields = {f.name: getattr(arguments, f.name) for f in dataclasses.fields(VaeConfig)}
    from robodreamer.vae.train import prepare_vae

    name = folder_name(Path(arguments.source).name or arguments.source)
    out = arguments.out or Path("runs") / f"vae_{name}"
    return prepare_vae(VaeConfig(**fields), out, say)
