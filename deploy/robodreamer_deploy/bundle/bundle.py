"""The policy bundle: a folder that holds all a robot needs to run one policy.

    encoder.onnx rssm_step.onnx actor.onnx    the graphs; `policy.Policy` names their tensors
    initial.npz                               deter (1, D), stoch (1, S, K), action (1, A)
    golden.npz                                a recorded sequence, see golden.py
    manifest.json                             this module's `Manifest`: what the rest means

Whatever comes from such a folder is untrusted until `load_bundle` has checked it: version, fields
and their types, file names, sizes and hashes. Letters: D deter, S stoch, K classes, E tokens,
A action.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.records import parse_json, read_object, read_record

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
GRAPHS = ("encoder.onnx", "rssm_step.onnx", "actor.onnx")
REQUIRED_FILES = (*GRAPHS, "initial.npz", "golden.npz")
MAX_MANIFEST_BYTES = 4 << 20
MAX_ELEMENTS = 1 << 26  # of any one signal or state; far above the largest policy

Draw = Literal["mode", "sample"]
DRAWS: tuple[Draw, ...] = ("mode", "sample")


class BundleError(ValueError):
    """The folder holds no policy that may drive a robot; the message says why."""


class Carry(NamedTuple):
    """What a recurrent policy remembers from one step to the next; no batch axis."""

    deter: Array  # float32 (D,)
    stoch: Array  # float32 (S, K), one-hot along K
    action: Array  # float32 (A,), the action that was really executed


@dataclass(frozen=True, kw_only=True)
class StateShapes:
    """Shapes of the recurrent state, without the batch axis of 1."""

    deter: tuple[int]
    stoch: tuple[int, int]

    def __post_init__(self) -> None:
        """Refuse empty and absurd shapes."""
        for name, shape in {"deter": self.deter, "stoch": self.stoch}.items():
            if min(shape) < 1 or max(shape) > MAX_ELEMENTS:
                raise ValueError(f"{name} of shape {shape}")


@dataclass(frozen=True, kw_only=True)
class DrawResult:
    """What one way of drawing achieved in closed loop when the policy was exported."""

    num_episodes: int
    return_mean: float
    return_std: float
    success_rate: float | None
    """None if the task does not know success."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """Fingerprint of one file of the bundle."""

    size: int
    """In bytes."""
    sha256: str
    """In lower-case hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that is known about an exported policy; `manifest.json` holds exactly this."""

    format_version: int
    """Version of the bundle's layout."""
    robodreamer_version: str
    created: str
    """When it was exported, ISO 8601 in UTC."""
    run: str
    """Name of the training run."""
    commit: str
    """Commit of the code that trained it."""
    contract: Contract
    """Signals, action and rate; privileged signals may be listed, the graphs do not read them."""
    preprocessing_version: int
    """Version of what the encoder graph does to raw signals: scaling, symlog, order of keys."""
    state: StateShapes
    token_size: int
    """Elements E of the encoder's output."""
    draws: Mapping[str, DrawResult]
    """Closed-loop result by draw, `mode` and `sample`; empty if not measured."""
    default_draw: Draw
    """The draw that achieved more."""
    surprise_quantiles: Mapping[str, float]
    """Surprise in nats seen in evaluation, by quantile such as `0.99`; empty if not measured."""
    files: Mapping[str, FileRecord]
    """Every other file of the bundle, by name."""

    def __post_init__(self) -> None:
        """Refuse values that no exported policy has."""
        if self.format_version != FORMAT_VERSION:
            raise ValueError(
                f"bundle format {self.format_version}; this release reads {FORMAT_VERSION}"
            )
        if not 1 <= self.token_size <= MAX_ELEMENTS:
            raise ValueError(f"token_size is {self.token_size}")
        for signal in self.contract.inputs:
            if signal.num_elements > MAX_ELEMENTS:
                raise ValueError(f"{signal.name} of shape {signal.shape}")
        if unknown := sorted(set(self.draws) - set(DRAWS)):
            raise ValueError(f"unknown draws {unknown}; there are {', '.join(DRAWS)}")
        for name in self.files:
            if name == MANIFEST or not _is_plain_name(name):
                raise ValueError(f"file name {name!r} leaves the bundle")

    def to_json(self) -> str:
        """Return the manifest as JSON text. Floats are written by repr and read back exactly."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Rebuild a manifest from its JSON text; every field must be there, and no other.

        Raises:
            ValueError: Another version, or a missing, unknown or malformed field.
        """
        data = dict(read_object(parse_json(text), "manifest"))
        version = data.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"bundle format {version!r}; this release reads {FORMAT_VERSION}")
        if "contract" in data:
            data["contract"] = Contract.from_dict(read_object(data["contract"], "contract"))
        return read_record(cls, data, "manifest")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle whose manifest and files have been checked."""

    folder: Path
    manifest: Manifest
    initial: Carry
    """Where every episode starts."""

    @property
    def contract(self) -> Contract:
        """What the policy reads and sends."""
        return self.manifest.contract


def load_bundle(folder: Path) -> Bundle:
    """Check everything about a bundle that can be checked without running it.

    Raises:
        BundleError: No such folder, a malformed manifest, or a file that is missing, of another
            size or content than recorded, or outside the folder.
    """
    manifest = _read_manifest(folder)
    if missing := [name for name in REQUIRED_FILES if name not in manifest.files]:
        raise BundleError(f"{folder / MANIFEST} lists no {', '.join(missing)}")
    for name, record in manifest.files.items():
        _check_file(folder, name, record)
    shapes = {**dataclasses.asdict(manifest.state), "action": (manifest.contract.action.size,)}
    arrays = read_arrays(
        folder / "initial.npz", {name: ((1, *shape), "float32") for name, shape in shapes.items()}
    )
    initial = Carry(**{name: array[0] for name, array in arrays.items()})
    return Bundle(folder=folder, manifest=manifest, initial=initial)


def write_initial(folder: Path, initial: Carry) -> None:
    """Write `initial.npz`, with the batch axis of 1 that the graphs expect."""
    np.savez(folder / "initial.npz", **{k: v[None] for k, v in initial._asdict().items()})


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Seal a bundle: record every file in `folder`, then write `manifest.json`.

    To be called last; `manifest.files` is replaced. The manifest appears whole or not at all.

    Returns:
        The manifest as written.

    Raises:
        BundleError: A file that every bundle has is missing.
    """
    names = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
    if missing := [name for name in REQUIRED_FILES if name not in names]:
        raise BundleError(f"{folder} lacks {', '.join(missing)}")
    files = {name: _fingerprint(folder / name) for name in names}
    sealed = dataclasses.replace(manifest, files=files)
    unfinished = folder / f"{MANIFEST}.tmp"
    unfinished.write_text(sealed.to_json(), encoding="utf-8")
    unfinished.replace(folder / MANIFEST)
    return sealed


def read_arrays(
    path: Path, expected: Mapping[str, tuple[tuple[int, ...], str]]
) -> dict[str, Array]:
    """Read an npz file that must hold exactly `expected`: name -> shape and type.

    Raises:
        BundleError: Unreadable, or an array is missing, unknown, of another shape or type, or not
            finite.
    """
    try:
        with path.open("rb") as file:  # numpy leaves a file open that it cannot read
            npz = np.load(file, allow_pickle=False)
            arrays = {name: cast("Array", npz[name]) for name in npz.files}
    except Exception as error:  # numpy documents no set of errors for a damaged file
        raise BundleError(f"{path} is no readable npz file: {error}") from error
    if arrays.keys() != expected.keys():
        raise BundleError(f"{path} holds {sorted(arrays)}, expected {sorted(expected)}")
    for name, (shape, dtype) in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.dtype(dtype):
            raise BundleError(
                f"{path}: {name} is {array.dtype} {array.shape}, expected {dtype} {shape}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BundleError(f"{path}: {name} is not finite")
    return arrays


def _read_manifest(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise BundleError(f"there is no policy folder {folder}{_neighbours(folder)}")
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} holds no {MANIFEST}, so it is no exported policy")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path} has {path.stat().st_size} bytes; no manifest is that long")
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one
        raise BundleError(f"{path}: {error}") from error


def _check_file(folder: Path, name: str, record: FileRecord) -> None:
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{path} is missing")
    if path.resolve().parent != folder.resolve():
        raise BundleError(f"{path} leads out of the folder, to {path.resolve()}")
    if path.stat().st_size != record.size:
        raise BundleError(
            f"{path} has {path.stat().st_size} bytes, the manifest says {record.size}"
        )
    if _fingerprint(path).sha256 != record.sha256:
        raise BundleError(f"{path} has been changed: its sha256 is not the manifest's")


def _fingerprint(path: Path) -> FileRecord:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return FileRecord(size=path.stat().st_size, sha256=digest.hexdigest())


def _is_plain_name(name: str) -> bool:
    return name not in {"", ".", ".."} and not set(name) & set("/\\\0")


def _neighbours(folder: Path) -> str:
    """Say which policies lie beside a folder that does not exist, closest name first."""
    if not folder.parent.is_dir():
        return ""
    names = sorted(path.parent.name for path in folder.parent.glob(f"*/{MANIFEST}"))
    close = get_close_matches(folder.name, names, n=len(names) or 1)
    listed = close + [name for name in names if name not in close]
    return f"; {folder.parent} has {', '.join(listed)}" if listed else ""
