"""The policy bundle: a folder that holds all a robot needs to run one policy.

    encoder.onnx rssm_step.onnx actor.onnx    the step as the modules end
    core.onnx prior.onnx posterior.onnx       the same, cut where a robot has to wait
    policy.onnx                               the same as one graph
    initial.npz                               deter (1, D), stoch (1, S, K), action (1, A)
    golden.npz                                a recorded sequence, see golden.py
    manifest.json                             what the rest means, see manifest.py

Whatever comes from such a folder is untrusted until `load_bundle` has checked it: version, fields
and their types, file names, sizes and hashes, and that every graph carries the same manifest. What
is used later is read by `Bundle.read`, which compares the bytes that it returns once more, so that
nothing is ever read that the manifest does not list.

Letters: D deter, S stoch, K classes, A action.
"""

import dataclasses
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.graph_spec import GRAPHS
from robodreamer_deploy.policy.manifest import MANIFEST, METADATA, FileRecord, Manifest
from robodreamer_deploy.policy.onnx_file import read_onnx
from robodreamer_deploy.utils.atomic_write import write_atomic
from robodreamer_deploy.utils.strict_json import first_difference, parse_json
from robodreamer_deploy.utils.suggest import closest

REQUIRED_FILES = (*GRAPHS, "initial.npz", "golden.npz")
MAX_MANIFEST_BYTES = 4 << 20
NPY_HEADER_BYTES = 1 << 12  # more than numpy writes before an array


class Carry(NamedTuple):
    """Recurrent state that a policy carries from one step to the next; no batch axis."""

    deter: Array  # float32 (D,)
    stoch: Array  # float32 (S, K), values of the latents, see `latents`
    action: Array  # float32 (A,), the action that was really executed


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle whose manifest and files have been checked."""

    folder: Path
    manifest: Manifest
    initial: Carry
    """State at the start of every episode."""
    is_sealed: bool = True
    """True if the manifest lists the files; false only while a policy is being exported."""

    @property
    def contract(self) -> Contract:
        """Contract of the policy."""
        return self.manifest.contract

    def read(self, name: str) -> bytes:
        """Return a file's content, which is the one that the manifest vouches for.

        Raises:
            BundleError: The manifest does not list it, or it is not what was listed.
        """
        if not self.is_sealed:
            return (self.folder / name).read_bytes()
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder / MANIFEST} lists no {name}")
        return _read_file(self.folder, name, self.manifest.files[name])


def load_bundle(folder: Path) -> Bundle:
    """Check everything about a bundle that can be checked without running it.

    Raises:
        BundleError: No such folder, a malformed manifest, or a file that is missing, of another
            size or content than recorded, or outside the folder.
    """
    manifest = _read_manifest(folder)
    if missing := [name for name in REQUIRED_FILES if name not in manifest.files]:
        raise BundleError(f"{folder / MANIFEST} lists no {', '.join(missing)}")
    contents = {name: _read_file(folder, name, record) for name, record in manifest.files.items()}
    stamped = manifest.to_stamp()
    for name in GRAPHS:
        _check_graph(folder / name, contents[name], stamped)
    shapes = {**manifest.state.shapes, "action": (manifest.contract.action.size,)}
    arrays = read_arrays(
        folder / "initial.npz",
        contents["initial.npz"],
        {name: ((1, *shape), "float32") for name, shape in shapes.items()},
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
    write_atomic(folder / MANIFEST, sealed.to_json().encode())
    return sealed


def read_arrays(
    path: Path, content: bytes, expected: Mapping[str, tuple[tuple[int, ...], str]]
) -> dict[str, Array]:
    """Read the npz file `content` that must hold exactly `expected`: name -> shape and type.

    The path is for errors.

    Raises:
        BundleError: Unreadable, or an array is missing, unknown, of another shape or type, or not
            finite.
    """
    size = sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in expected.values())
    try:
        file = io.BytesIO(content)
        require_size(file, size + len(expected) * NPY_HEADER_BYTES)
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


def require_size(file: BinaryIO, most: int, member: str | None = None) -> None:
    """Refuse a zip file, or one file in it, that unpacks to more than `most` bytes.

    Nothing is unpacked before.

    Raises:
        ValueError: It would.
        zipfile.BadZipFile: It is no zip file.
        KeyError: It has no such member.
    """
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist() if member is None else [archive.getinfo(member)]
        size = sum(info.file_size for info in infos)
    if size > most:
        raise ValueError(f"it unpacks to {size} bytes, {most} are expected at most")
    file.seek(0)


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


def _read_file(folder: Path, name: str, record: FileRecord) -> bytes:
    """Return a file's content, if it is the recorded one."""
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{path} is missing")
    if path.resolve().parent != folder.resolve():
        raise BundleError(f"{path} leads out of the folder, to {path.resolve()}")
    if path.stat().st_size != record.size:
        raise BundleError(
            f"{path} has {path.stat().st_size} bytes, the manifest says {record.size}"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise BundleError(f"{path} has been changed: its sha256 is not the manifest's")
    return content


def _check_graph(path: Path, content: bytes, stamped: str) -> None:
    """Refuse a graph that reads other files or never ends, or that carries another manifest."""
    try:
        metadata = read_onnx(content).metadata
    except ValueError as error:
        raise BundleError(f"{path} cannot be loaded: {error}") from error
    if METADATA not in metadata:
        raise BundleError(f"{path} carries no manifest; `robodreamer export` writes it into each")
    if metadata[METADATA] == stamped:
        return
    try:
        difference = first_difference(parse_json(stamped), parse_json(metadata[METADATA]))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} carries a manifest that cannot be read: {error}") from error
    if difference is not None:
        where, ours, theirs = difference
        raise BundleError(
            f"{path.parent / MANIFEST} says that {where} is {ours}, {path.name} was exported with "
            f"{theirs}; one of them has been changed: export the run again"
        )


def _fingerprint(path: Path) -> FileRecord:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return FileRecord(size=path.stat().st_size, sha256=digest.hexdigest())


def _neighbours(folder: Path) -> str:
    """Say which policies lie beside a folder that does not exist, closest name first."""
    if not folder.parent.is_dir():
        return ""
    names = sorted(path.parent.name for path in folder.parent.glob(f"*/{MANIFEST}"))
    return f"; {folder.parent} has {closest(folder.name, names)}" if names else ""
