"""Records of environments that step in lock step, in fixed memory: the storage of the replay.

One counter numbers the records of all environments: step n of environment e. The newest C steps
are held. Every field lies in one flat ring, step after step,

    row(e, n) = (n mod C) * N + e

so that adding a step and copying many are contiguous, and a batch is one `index_select` per field.
Memory is reserved at once but only taken, by the operating system, as rows are filled.

Letters: N environments, C steps held per environment, R rows.
"""

import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor

PIECE_BYTES = 16 << 20  # how much a snapshot copies while the replay has to wait

Rows = Int64[np.ndarray, " R"]


class Field(NamedTuple):
    """One entry of a record: its shape and type without environment, batch and time."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    onehot: bool = False
    """All elements along the last axis are 0, but for at most one 1; stored as one byte."""

    @property
    def stored(self) -> "Field":
        """What lies in memory."""
        return Field(self.shape[:-1], torch.uint8) if self.onehot else self

    @property
    def num_bytes(self) -> int:
        """Memory of one record."""
        return math.prod(self.stored.shape) * self.stored.dtype.itemsize

    def encode(self, value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Return what is stored for `value`: of a one-hot the position, from 1, or 0 for none."""
        if not self.onehot:
            return value
        return ((value.argmax(-1) + 1) * value.any(-1)).to(torch.uint8)

    def decode(self, stored: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Invert `encode`, exactly."""
        if not self.onehot:
            return stored
        places = torch.arange(1, self.shape[-1] + 1, dtype=torch.uint8, device=stored.device)
        return (stored.unsqueeze(-1) == places).to(self.dtype)


class Piece(NamedTuple):
    """The records of the steps [start, stop) of all environments, copied to main memory."""

    start: int
    stop: int
    values: dict[str, Tensor]
    """As stored, ((stop - start) * N, ...), in the order of the steps."""


class Records:
    """The newest records of all environments. Whoever calls a method holds `lock`.

    Args:
        fields: What a record holds.
        num_envs: Environments N that step together.
        steps_per_env: Steps C held of each.
        device: Where the records lie.

    Raises:
        ValueError: More memory than there is, or a one-hot of more than 255 classes.
    """

    def __init__(
        self, fields: Mapping[str, Field], num_envs: int, steps_per_env: int, device: torch.device
    ) -> None:
        self.fields = dict(fields)
        self.num_envs = num_envs
        self.steps_per_env = steps_per_env
        self.device = device
        self.stop = 0
        """Steps ever added, and the number of the next one."""
        self.storage = self._reserve()
        self.lock = threading.RLock()
        self._snapshot: Snapshot | None = None

    @property
    def steps(self) -> range:
        """Numbers of the steps held."""
        return range(max(0, self.stop - self.steps_per_env), self.stop)

    def rows(self, env: Int64[np.ndarray, "..."], steps: Int64[np.ndarray, "..."]) -> Rows:
        """Return where records lie; environments and steps are broadcast, then flattened."""
        return (steps % self.steps_per_env * self.num_envs + env).ravel()

    def read(self, rows: Rows) -> dict[str, Tensor]:
        """Return copies of records, (R, ...)."""
        index = torch.from_numpy(rows).to(self.device)
        return {
            name: field.decode(self.storage[name].index_select(0, index))
            for name, field in self.fields.items()
        }

    def write(self, rows: Rows, encoded: Mapping[str, Tensor]) -> None:
        """Overwrite some fields of records; no row may be named twice."""
        index = torch.from_numpy(rows).to(self.device)
        is_span = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        for name, value in encoded.items():
            if self._snapshot is not None:
                self._snapshot.put_aside(name, rows, index)
            if is_span:  # some twenty times faster
                self.storage[name][rows[0] : rows[-1] + 1].copy_(value)
            else:
                self.storage[name].index_copy_(0, index, value)

    def append(self, encoded: Mapping[str, Tensor]) -> None:
        """Add one step of all environments, (N, ...), over the oldest one if need be."""
        self.write(self.rows(np.arange(self.num_envs), np.asarray(self.stop)), encoded)
        self.stop += 1

    def encode(
        self,
        values: Mapping[str, NDArray[Any] | Tensor],
        names: Iterable[str],
        leading: tuple[int, ...],
    ) -> dict[str, Tensor]:
        """Return values, (*leading, ...), as they are to be stored. Needs no lock.

        Raises:
            ValueError: A key is missing or unknown, or a value has another shape or type.
        """
        fields = {name: self.fields[name] for name in names}
        if values.keys() != fields.keys():
            missing, unknown = sorted(fields.keys() - values), sorted(values.keys() - fields)
            raise ValueError(
                f"a record lacks {missing} and has unknown {unknown}; expected {sorted(fields)}"
            )
        encoded = {}
        for name, field in fields.items():
            tensor = _as_tensor(name, values[name])
            if (tensor.shape, tensor.dtype) != ((*leading, *field.shape), field.dtype):
                raise ValueError(
                    f"{name}: {tensor.dtype} {tuple(tensor.shape)}, "
                    f"expected {field.dtype} {(*leading, *field.shape)}"
                )
            encoded[name] = field.encode(tensor).to(self.device)
        return encoded

    def snapshot(self) -> "Snapshot":
        """Return the present content, readable while it changes. It ends the snapshot before."""
        if self._snapshot is not None:
            self._snapshot.close()
        self._snapshot = Snapshot(self)
        return self._snapshot

    def restore(self, stop: int, pieces: Iterable[Piece]) -> None:
        """Hold what a snapshot held when `stop` steps had been added.

        Pieces may come in several series, one per set of names, each in order of steps; what was
        no longer held is passed over.

        Raises:
            ValueError: A piece does not fit, or records are missing. Then nothing is held.
        """
        self.stop = 0
        reached = dict.fromkeys(self.fields, max(0, stop - self.steps_per_env))
        for piece in pieces:
            self._take(piece, reached)
        for name, step in reached.items():
            if step != stop:
                raise ValueError(f"{name}: the steps from {step} to {stop} are missing")
        self.stop = stop

    def _take(self, piece: Piece, reached: dict[str, int]) -> None:
        """Store the part of a piece that continues what was `reached`, by name."""
        for name, value in piece.values.items():
            stored = self.fields[name].stored
            shape = ((piece.stop - piece.start) * self.num_envs, *stored.shape)
            if (value.shape, value.dtype) != (shape, stored.dtype):
                raise ValueError(f"{name}: shape {tuple(value.shape)}, expected {shape}")
            begin = reached[name]
            if not piece.start <= begin < piece.stop:
                continue
            steps = np.arange(begin, piece.stop)[:, None]
            new = value[(begin - piece.start) * self.num_envs :].to(self.device)
            self.write(self.rows(np.arange(self.num_envs), steps), {name: new})
            reached[name] = piece.stop

    def _reserve(self) -> dict[str, Tensor]:
        """Reserve memory without touching it, which `torch.empty` may do."""
        num_rows = self.steps_per_env * self.num_envs
        storage = {}
        try:
            for name, field in self.fields.items():
                if field.onehot and field.shape[-1] > 255:
                    raise ValueError(f"{name}: {field.shape[-1]} classes; a one-hot has up to 255")
                memory = torch.UntypedStorage(num_rows * field.num_bytes, device=self.device)
                flat = torch.empty(0, dtype=field.stored.dtype, device=self.device)
                storage[name] = flat.set_(memory).view(num_rows, *field.stored.shape)
        except RuntimeError as error:
            gigabytes = num_rows * sum(field.num_bytes for field in self.fields.values()) / 1e9
            raise ValueError(
                f"a replay of {num_rows:,} records takes {gigabytes:.1f} GB, which "
                f"{self.device} does not have; choose a smaller capacity"
            ) from error
        return storage


def _as_tensor(name: str, value: NDArray[Any] | Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    try:
        return torch.tensor(value)  # a copy, because sharing a read-only array would warn
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error


class Snapshot:
    """Records as they were at one moment, to be read by another thread while they change.

    Costs nothing to take. What is overwritten from then on is first put aside here, and reading
    puts it back into the copy. Close it, or this memory grows.
    """

    def __init__(self, records: Records) -> None:
        self.steps = records.steps
        """Numbers of the steps that were held."""
        self._records = records
        self._aside: dict[str, list[tuple[Rows, Tensor]]] = {name: [] for name in records.fields}
        device = records.device
        # Work of one stream is done in the order it was asked for, whichever thread asks.
        self._stream = torch.cuda.current_stream(device) if device.type == "cuda" else None

    def pieces(
        self, names: Iterable[str], start: int = 0, *, piece_bytes: int = PIECE_BYTES
    ) -> Iterator[Piece]:
        """Yield the records from step `start`, or the oldest held, up to the newest."""
        names, records = tuple(names), self._records
        record_bytes = sum(records.fields[name].num_bytes for name in names)
        most = max(1, piece_bytes // max(1, record_bytes * records.num_envs))
        begin = max(start, self.steps.start)
        while begin < self.steps.stop:
            ring_end = (begin // records.steps_per_env + 1) * records.steps_per_env
            end = min(begin + most, ring_end, self.steps.stop)
            yield Piece(begin, end, {name: self._read(name, begin, end) for name in names})
            begin = end

    def put_aside(self, name: str, rows: Rows, index: Int64[Tensor, " R"]) -> None:
        """Keep what `rows` hold before they are overwritten. The caller holds the lock."""
        if name in self._aside:
            self._aside[name].append((rows, self._records.storage[name].index_select(0, index)))

    def close(self) -> None:
        """Put nothing aside any more; nothing can be read from now on."""
        with self._records.lock:
            self._aside.clear()

    def _read(self, name: str, start: int, stop: int) -> Tensor:
        records = self._records
        first = start % records.steps_per_env * records.num_envs
        last = first + (stop - start) * records.num_envs
        with records.lock, torch.cuda.stream(self._stream):
            copy = records.storage[name][first:last].to("cpu", copy=True)
            for rows, values in reversed(self._aside[name]):  # the oldest value wins
                inside = np.flatnonzero((first <= rows) & (rows < last))
                copy[rows[inside] - first] = values[torch.from_numpy(inside)].cpu()
        return copy
