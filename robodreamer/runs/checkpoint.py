"""Checkpoints: everything a run needs to go on, on disk, at any moment complete or absent.

    RUN/checkpoints/step-000012000/   agent.safetensors, ..., latents-*.safetensors, state.json
    RUN/replay/segment-*.safetensors  fields of the records, which never change once added

Fields are appended: a checkpoint adds the records since the one before and lists all segments that
it needs. Latents, which training renews, are written whole each time. A checkpoint is prepared in
a hidden folder, made durable, and renamed: its name is the commit. Whatever fails before that
leaves the older checkpoints valid. Every file has a checksum in `state.json`, which has its own.

The caller waits only while weights are copied; the replay is read, and files are written, by a
background thread while training goes on. Nothing here is executed on load: tensors are
safetensors, the rest is JSON.
"""

import concurrent.futures
import json
import logging
import re
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robodreamer.data.replay import Replay
from robodreamer.data.ring_buffer import Piece, Snapshot
from robodreamer.runs.files import (
    copy_tensors,
    read_checked,
    read_tensors,
    tensor_bytes,
    write_checked,
)
from robodreamer_deploy.utils.atomic_write import replacing, sync, write_durable

logger = logging.getLogger(__name__)

FORMAT = 1
FOLDER = re.compile(r"step-(\d{9,})(?:\.(\d+))?")
SEGMENT = re.compile(r"segment-\d+-\d+\.safetensors")


class CheckpointError(ValueError):
    """A checkpoint cannot be written or read; the message names the file and the reason."""


class Checkpoint(NamedTuple):
    """A complete checkpoint on disk."""

    step: int
    """As given to `save`."""
    path: Path


class Part(NamedTuple):
    """A file with the records of the steps [start, stop)."""

    file: str
    start: int
    stop: int
    checksum: int


class Checkpoints:
    """Writes and reads the checkpoints of one run folder, and deletes those no longer kept.

    One process at a time may save; any number may read. A run that holds checkpoints can only be
    continued from one of them: saving before `load` is refused, and the first save after it
    deletes whatever is newer than the one that was loaded.

    Args:
        run: The run folder; it is made when first saving.
        keep: How many checkpoints stay, the newest ones.
    """

    def __init__(self, run: Path, keep: int = 2) -> None:
        assert keep >= 1, keep
        self.folder = run / "checkpoints"
        self.replay_folder = run / "replay"
        self.keep = keep
        self._line: list[tuple[Checkpoint, list[Part]]] = []  # what this run goes back to
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: concurrent.futures.Future[None] | None = None

    def history(self) -> list[Checkpoint]:
        """Return all complete checkpoints, oldest first."""
        paths = self.folder.iterdir() if self.folder.is_dir() else ()
        found = sorted((key, path) for path in paths if (key := _sort_key(path)) is not None)
        return [Checkpoint(step, path) for (step, _), path in found]

    def latest(self) -> Checkpoint | None:
        """Return the newest complete checkpoint, if there is one."""
        return next(reversed(self.history()), None)

    def save(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, Any],
        replay: Replay,
        *,
        wait: bool = False,
    ) -> float:
        """Write a checkpoint; return the seconds for which the caller was held up.

        Everything is as it was at the call, whatever training does meanwhile. If the checkpoint
        before is still being written, that is waited for first.

        Args:
            step: Names the checkpoint; may repeat, then the last one saved is the newest.
            tensors: One safetensors file per entry, such as `agent` and `optimizer`.
            state: JSON values: counters, states of random generators.
            replay: Saved with its latents, its queue and its generator.
            wait: Return only when the checkpoint is on disk.

        Raises:
            CheckpointError: This checkpoint, if `wait`, or the one before could not be written.
        """
        began = time.perf_counter()
        if self._pending is not None and not self._pending.done():
            logger.warning("waiting until the checkpoint before is on disk; save less often")
        self.wait()
        if not self._line and (other := self.latest()):
            raise CheckpointError(
                f"{other.path} already exists; resume from it or choose another run folder"
            )
        assert not self._line or step >= self._line[-1][0].step, (step, self._line[-1][0])
        frozen = json.loads(json.dumps(state, allow_nan=False))
        copies = {name: copy_tensors(group) for name, group in tensors.items()}
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # another thread reads the copies, on another stream
        snapshot, replay_state = replay.snapshot()
        manifest = {"step": step, "state": frozen, "replay": replay_state}
        names = tuple(replay.fields), tuple(replay.latents)
        self._pending = self._executor.submit(self._write, manifest, copies, snapshot, names)
        if wait:
            self.wait()
        return time.perf_counter() - began

    def check(self) -> None:
        """Complain if the last checkpoint could not be written; wait for nothing.

        Raises:
            CheckpointError: As `wait`.
        """
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self, timeout_s: float = 600.0) -> None:
        """Return when no checkpoint is being written.

        Raises:
            CheckpointError: The last one could not be written, or still is after `timeout_s`.
        """
        if self._pending is None:
            return
        done, _ = concurrent.futures.wait([self._pending], timeout_s)
        if not done:
            raise CheckpointError(
                f"{self.folder}: still writing after {timeout_s:.0f} s; is the disk stuck?"
            )
        pending, self._pending = self._pending, None
        try:
            pending.result()
        except OSError as error:
            latest = self.latest()
            left = f"{latest.path.name} stays the newest" if latest else "there is none before it"
            raise CheckpointError(f"the checkpoint was not written ({error}); {left}") from error

    def load(
        self, checkpoint: Checkpoint, replay: Replay | None = None
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Return tensors and state as they were saved; restore the replay, if one is given.

        With a replay the run goes on from here. Nothing is changed on disk.

        Raises:
            CheckpointError: Another format, a file that is missing or damaged, or a replay with
                other settings. Then use the replay no more.
        """
        self.wait()
        try:
            manifest = _read_manifest(checkpoint)
            tensors = {
                name: read_tensors(checkpoint.path / f"{name}.safetensors", checksum)
                for name, checksum in manifest["tensors"].items()
            }
            if replay is not None:
                replay.restore(manifest["replay"], self._pieces(checkpoint, manifest))
                self._line = [*self._line_before(checkpoint), (checkpoint, _segments(manifest))]
        except ValueError as error:
            raise CheckpointError(f"{checkpoint.path.name} cannot be loaded: {error}") from error
        return tensors, manifest["state"]

    def _pieces(self, checkpoint: Checkpoint, manifest: Mapping[str, Any]) -> Iterator[Piece]:
        """Read the records that a checkpoint needs: fields from segments, then its latents."""
        for part in _segments(manifest):
            tensors = read_tensors(self.replay_folder / part.file, part.checksum)
            yield Piece(part.start, part.stop, tensors)
        for part in (Part(*part) for part in manifest["latents"]):
            tensors = read_tensors(checkpoint.path / part.file, part.checksum)
            yield Piece(part.start, part.stop, tensors)

    def _line_before(self, checkpoint: Checkpoint) -> list[tuple[Checkpoint, list[Part]]]:
        """Return the readable checkpoints that are older than this one, with their segments."""
        line = []
        for older in self.history():
            if older.path.name == checkpoint.path.name:
                break
            try:
                line.append((older, _segments(_read_manifest(older))))
            except ValueError as error:
                logger.warning("%s; the next checkpoint takes its place", error)
        return line

    def _write(
        self,
        manifest: dict[str, Any],
        tensors: Mapping[str, Mapping[str, Tensor]],
        snapshot: Snapshot,
        names: tuple[Iterable[str], Iterable[str]],
    ) -> None:
        """Write one checkpoint and commit it; runs in the background thread."""
        try:
            for folder in (self.folder, self.replay_folder):
                folder.mkdir(parents=True, exist_ok=True)
            self._clean()
            target = self._free_path(manifest["step"])
            segments = self._commit(target, manifest, tensors, snapshot, names)
        except Exception:
            self._clean()
            raise
        finally:
            snapshot.close()
        self._line.append((Checkpoint(manifest["step"], target), segments))
        del self._line[: -self.keep]
        self._clean()

    def _commit(
        self,
        target: Path,
        manifest: dict[str, Any],
        tensors: Mapping[str, Mapping[str, Tensor]],
        snapshot: Snapshot,
        names: tuple[Iterable[str], Iterable[str]],
    ) -> list[Part]:
        """Prepare everything, durably, then give it its name; return the segments it needs."""
        fields, latents = names
        segments = self._append_segments(snapshot, fields)
        with replacing(target) as draft:
            draft.mkdir()
            manifest |= {
                "segments": segments,
                "latents": [_write_piece(draft, "latents", p) for p in snapshot.pieces(latents)],
                "tensors": {
                    name: write_checked(draft / f"{name}.safetensors", tensor_bytes(group))
                    for name, group in tensors.items()
                },
            }
            write_durable(draft / "state.json", _sealed(manifest))
            for folder in (self.replay_folder, self.folder.parent):
                sync(folder)  # the segments have to be there before the checkpoint has its name
        return segments

    def _append_segments(self, snapshot: Snapshot, fields: Iterable[str]) -> list[Part]:
        """Write the records that no segment holds yet; return all segments still needed."""
        before = self._line[-1][1] if self._line else []
        segments = [part for part in before if part.stop > snapshot.steps.start]
        start = segments[-1].stop if segments else 0
        new = snapshot.pieces(fields, start)
        return segments + [_write_piece(self.replay_folder, "segment", piece) for piece in new]

    def _free_path(self, step: int) -> Path:
        """Return a name that sorts after all checkpoints of the same step."""
        name = f"step-{step:09d}"
        same = [found.path for found in self.history() if found.step == step]
        if same and (key := _sort_key(same[-1])):
            name = f"{name}.{key[1] + 1}"
        return self.folder / name

    def _clean(self) -> None:
        """Delete drafts, and checkpoints and segments that this run does not go back to."""
        for draft in self.folder.glob(".step-*"):
            _remove(draft)
        kept = {checkpoint.path for checkpoint, _ in self._line}
        for checkpoint in self.history():
            if checkpoint.path not in kept:
                _remove(checkpoint.path)
        needed = {part.file for _, segments in self._line for part in segments}
        for path in self.replay_folder.glob("segment-*"):
            if SEGMENT.fullmatch(path.name) and path.name not in needed:
                _remove(path)


def _sort_key(path: Path) -> tuple[int, int] | None:
    """Return step and rank among those of the same step; None if it is no checkpoint."""
    match = FOLDER.fullmatch(path.name)
    return (int(match[1]), int(match[2] or 0)) if match else None


def _remove(path: Path) -> None:
    """Delete a file or a checkpoint; a checkpoint loses its name first, being incomplete then."""
    try:
        if path.is_dir():
            hidden = path.with_name(f".{path.name.lstrip('.')}")
            shutil.rmtree(path.replace(hidden))
        else:
            path.unlink()
    except OSError as error:
        logger.warning("%s could not be deleted: %s", path, error)


def _write_piece(folder: Path, kind: str, piece: Piece) -> Part:
    file = f"{kind}-{piece.start:09d}-{piece.stop:09d}.safetensors"
    checksum = write_checked(folder / file, tensor_bytes(piece.values))
    return Part(file, piece.start, piece.stop, checksum)


def _segments(manifest: Mapping[str, Any]) -> list[Part]:
    return [Part(*part) for part in manifest["segments"]]


def _sealed(data: Mapping[str, Any]) -> bytes:
    """Return JSON text with its format and a checksum over the rest."""
    body = json.dumps(data, sort_keys=True, allow_nan=False)
    checksum = zlib.crc32(body.encode())
    return f'{{"format": {FORMAT}, "checksum": {checksum}, "data": {body}}}\n'.encode()


def _read_manifest(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what `_sealed` was given; raise ValueError if it cannot be read or was altered."""
    path = checkpoint.path / "state.json"
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
