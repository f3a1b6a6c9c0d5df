"""Format of a checkpoint's files: names, the sealed `state.json`, and blocks of records."""

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from robodreamer.data.ring_buffer import Block
from robodreamer.runs.files import read_checked, tensor_bytes, write_checked

FORMAT = 1
FOLDER = re.compile(r"step-(\d{9,})(?:\.(\d+))?")
SEGMENT = re.compile(r"segment-\d+-\d+\.safetensors")
STATE = "state.json"


class Part(NamedTuple):
    """File with the records of the steps [start, stop)."""

    file: str
    start: int
    stop: int
    checksum: int


def sort_key(path: Path) -> tuple[int, int] | None:
    """Return step and rank among checkpoints of the same step; None for any other folder."""
    match = FOLDER.fullmatch(path.name)
    return (int(match[1]), int(match[2] or 0)) if match else None


def write_block(folder: Path, kind: str, block: Block) -> Part:
    """Write a block of records durably, under a name that holds its steps."""
    file = f"{kind}-{block.start:09d}-{block.stop:09d}.safetensors"
    checksum = write_checked(folder / file, tensor_bytes(block.values))
    return Part(file, block.start, block.stop, checksum)


def parts_of(manifest: Mapping[str, Any], kind: str) -> list[Part]:
    """Return the files that a manifest lists as `segments` or `latents`."""
    return [Part(*part) for part in manifest[kind]]


def seal(manifest: Mapping[str, Any]) -> bytes:
    """Return JSON text with its format and a checksum over the rest."""
    body = json.dumps(manifest, sort_keys=True, allow_nan=False)
    checksum = zlib.crc32(body.encode())
    return f'{{"format": {FORMAT}, "checksum": {checksum}, "data": {body}}}\n'.encode()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint's folder.

    Raises:
        ValueError: It cannot be read, has another format, or was altered.
    """
    path = folder / STATE
    try:
        sealed = json.loads(read_checked(path).decode())
        version, checksum, data = (sealed[key] for key in ("format", "checksum", "data"))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error
    if version != FORMAT:
        raise ValueError(f"{path} has format {version!r}, this release reads format {FORMAT}")
    if checksum != zlib.crc32(json.dumps(data, sort_keys=True).encode()):
        raise ValueError(f"{path} is damaged: its checksum differs")
    return data
