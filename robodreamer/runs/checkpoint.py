"""Checkpoints: everything that a run needs to go on, on disk, each complete or absent.

    RUN/checkpoints/step-000012000/   agent.safetensors, ..., latents-*.safetensors, state.json
    RUN/replay/segment-*.safetensors  fields of the records, which never change once added

Fields are appended: a checkpoint adds the records since the one before and lists all segments that
it needs. Latents, which training renews, are written whole each time. A checkpoint is prepared in
a hidden folder, made durable, and renamed: the rename is the commit, and a failure before it leaves
the older checkpoints valid. Every file has a checksum in `state.json`, which has its own.

The caller waits only while weights are copied; a background thread reads the replay and writes the
files while training goes on. Loading executes nothing: tensors are safetensors, the rest is JSON.
"""

import concurrent.futures
import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robodreamer.data.replay import Replay
from robodreamer.data.ring_buffer import Block, Snapshot
from robodreamer.runs.checkpoint_format import (
    SEGMENT,
    STATE,
    Part,
    parts_of,
    read_manifest,
    seal,
    sort_key,
    write_block,
)
from robodreamer.runs.files import copy_tensors, read_tensors, tensor_bytes, write_checked
from robodreamer_deploy.utils.atomic_write import replacing, sync, write_durable

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint cannot be written or read; the message names the file and the reason."""


class Checkpoint(NamedTuple):
    """Place of a complete checkpoint on disk."""

    step: int
    """Step that was given to `save`."""
    path: Path


class LoadedCheckpoint(NamedTuple):
    """Content of a checkpoint, read and verified; the replay's records are read on demand."""

    checkpoint: Checkpoint
    tensors: dict[str, dict[str, Tensor]]
    """Tensors by name, per group such as `agent` and `optimizer`."""
    manifest: Mapping[str, Any]

    @property
    def state(self) -> dict[str, Any]:
        """Counters and states of random generators, as given to `save`."""
        return self.manifest["state"]


class Checkpoints:
    """Store of one run folder's checkpoints, which deletes those that are no longer kept.

    One process at a time may save; any number may read. A run that holds checkpoints can only be
    continued from one of them: saving before `restore_replay` is refused, and the first save after
    it deletes all that is newer than the checkpoint it continues.

    Args:
        run: Run folder; it is made by the first save.
        keep: Number of newest checkpoints that stay.
    """

    def __init__(self, run: Path, keep: int = 2) -> None:
        assert keep >= 1, keep
        self.folder = run / "checkpoints"
        self.replay_folder = run / "replay"
        self.keep = keep
        # The checkpoints that this run descends from, with the segments each needs.
        self._line: list[tuple[Checkpoint, list[Part]]] = []
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: concurrent.futures.Future[None] | None = None

    def history(self) -> list[Checkpoint]:
        """Return all complete checkpoints, oldest first."""
        paths = self.folder.iterdir() if self.folder.is_dir() else ()
        found = sorted((key, path) for path in paths if (key := sort_key(path)) is not None)
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
        """Write a checkpoint; return the seconds for which the caller had to wait.

        It holds the state at the moment of the call; training may go on at once. If the checkpoint
        before is still being written, that is waited for first.

        Args:
            step: Number in the checkpoint's name; if it repeats, the last one saved is the newest.
            tensors: Groups of tensors, such as `agent` and `optimizer`, each a safetensors file.
            state: Counters and states of random generators, as JSON values.
            replay: Replay to save with its latents, its queue and its generator.
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
            torch.cuda.synchronize()  # the background thread reads the copies on another stream
        snapshot, replay_state = replay.snapshot()
        manifest = {"step": step, "state": frozen, "replay": replay_state}
        names = tuple(replay.fields), tuple(replay.latents)
        self._pending = self._executor.submit(self._write, manifest, copies, snapshot, names)
        if wait:
            self.wait()
        return time.perf_counter() - began

    def check(self) -> None:
        """Raise if the last checkpoint could not be written, without waiting for it.

        Raises:
            CheckpointError: As `wait`.
        """
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self, timeout_s: float = 600.0) -> None:
        """Wait until no checkpoint is being written.

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

    def load(self, checkpoint: Checkpoint) -> LoadedCheckpoint:
        """Read a checkpoint's tensors and state, and verify their checksums.

        Raises:
            CheckpointError: Another format, or a file that is missing or damaged.
        """
        self.wait()
        with _as_checkpoint_error(checkpoint):
            manifest = read_manifest(checkpoint.path)
            tensors = {
                name: read_tensors(checkpoint.path / f"{name}.safetensors", checksum)
                for name, checksum in manifest["tensors"].items()
            }
        return LoadedCheckpoint(checkpoint, tensors, manifest)

    def restore_replay(self, loaded: LoadedCheckpoint, replay: Replay) -> None:
        """Restore a checkpoint's replay and continue the run from it. Nothing changes on disk.

        Raises:
            CheckpointError: Records are missing or damaged, or the replay has other settings. The
                replay is unusable then.
        """
        checkpoint, manifest = loaded.checkpoint, loaded.manifest
        with _as_checkpoint_error(checkpoint):
            replay.restore(manifest["replay"], self._blocks(loaded))
            segments = parts_of(manifest, "segments")
            self._line = [*self._line_before(checkpoint), (checkpoint, segments)]

    def _blocks(self, loaded: LoadedCheckpoint) -> Iterator[Block]:
        """Read the records that a checkpoint needs: fields from segments, then its latents."""
        folders = {"segments": self.replay_folder, "latents": loaded.checkpoint.path}
        for kind, folder in folders.items():
            for part in parts_of(loaded.manifest, kind):
                tensors = read_tensors(folder / part.file, part.checksum)
                yield Block(part.start, part.stop, tensors)

    def _line_before(self, checkpoint: Checkpoint) -> list[tuple[Checkpoint, list[Part]]]:
        """Return the readable checkpoints that are older than this one, with their segments."""
        line = []
        for older in self.history():
            if older.path.name == checkpoint.path.name:
                break
            try:
                line.append((older, parts_of(read_manifest(older.path), "segments")))
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
        """Prepare all files durably, then rename the folder; return the segments it needs."""
        fields, latents = names
        segments = self._append_segments(snapshot, fields)
        with replacing(target) as draft:
            draft.mkdir()
            manifest |= {
                "segments": segments,
                "latents": [write_block(draft, "latents", b) for b in snapshot.blocks(latents)],
                "tensors": {
                    name: write_checked(draft / f"{name}.safetensors", tensor_bytes(group))
                    for name, group in tensors.items()
                },
            }
            write_durable(draft / STATE, seal(manifest))
            for folder in (self.replay_folder, self.folder.parent):
                sync(folder)  # the segments have to be there before the checkpoint has its name
        return segments

    def _append_segments(self, snapshot: Snapshot, fields: Iterable[str]) -> list[Part]:
        """Write the records that no segment holds yet; return all segments still needed."""
        before = self._line[-1][1] if self._line else []
        segments = [part for part in before if part.stop > snapshot.steps.start]
        start = segments[-1].stop if segments else 0
        new = snapshot.blocks(fields, start)
        return segments + [write_block(self.replay_folder, "segment", block) for block in new]

    def _free_path(self, step: int) -> Path:
        """Return a path whose name sorts after all checkpoints of the same step."""
        name = f"step-{step:09d}"
        same = [found.path for found in self.history() if found.step == step]
        if same and (key := sort_key(same[-1])):
            name = f"{name}.{key[1] + 1}"
        return self.folder / name

    def _clean(self) -> None:
        """Delete drafts, and checkpoints and segments that this run does not descend from."""
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


@contextmanager
def _as_checkpoint_error(checkpoint: Checkpoint) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path.name} cannot be loaded: {error}") from error


def _remove(path: Path) -> None:
    """Delete a file or a checkpoint; a checkpoint is hidden first, as it is soon incomplete."""
    try:
        if path.is_dir():
            hidden = path.with_name(f".{path.name.lstrip('.')}")
            shutil.rmtree(path.replace(hidden))
        else:
            path.unlink()
    except OSError as error:
        logger.warning("%s could not be deleted: %s", path, error)
