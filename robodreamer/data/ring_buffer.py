"""Ring buffer: the newest records of environments that step together; the replay's storage.

One counter numbers the steps of all environments. The newest C steps are held, and record n of
environment e lies in row

    row(e, n) = (n mod C) * N + e

of every field's flat memory, so that adding a step and copying many are contiguous, and a batch is
one `index_select` per field. Memory is reserved at once, but the operating system hands it out
only as rows are filled.

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

BLOCK_BYTES = 16 << 20  # a snapshot copies this much under the lock, milliseconds of waiting

Rows = Int64[np.ndarray, " R"]


class Field(NamedTuple):
    """Shape and type of one entry of a record, without the axes of environments and time."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    onehot: bool = False
    """At most one element along the last axis is 1, all others are 0; stored as one byte."""

    @property
    def stored(self) -> "Field":
        """Shape and type in memory."""
        return Field(self.shape[:-1], torch.uint8) if self.onehot else self

    @property
    def num_bytes(self) -> int:
        """Memory that the field takes in one record."""
        return math.prod(self.stored.shape) * self.stored.dtype.itemsize

    def encode(self, value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Return `value` as it is stored: of a one-hot the position, from 1, or 0 for none."""
        if not self.onehot:
            return value
        return ((value.argmax(-1) + 1) * value.any(-1)).to(torch.uint8)

    def decode(self, stored: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Invert `encode`, exactly."""
        if not self.onehot:
            return stored
        places = torch.arange(1, self.shape[-1] + 1, dtype=torch.uint8, device=stored.device)
        return (stored.unsqueeze(-1) == places).to(self.dtype)


class Block(NamedTuple):
    """Records of the steps [start, stop) of all environments, copied to main memory."""

    start: int
    stop: int
    values: dict[str, Tensor]
    """Stored values by field, ((stop - start) * N, ...), in the order of the steps."""


class RingBuffer:
    """Fixed memory with the newest records of all environments; callers hold `lock`.

    Args:
        fields: Entries of a record, by name.
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
        """Number of steps ever added, which is also the number of the next one."""
        self.storage = self._reserve()
        self.lock = threading.RLock()
        self._snapshot: Snapshot | None = None

    @property
    def steps(self) -> range:
        """Numbers of the steps held."""
        return range(max(0, self.stop - self.steps_per_env), self.stop)

    def rows(self, env: Int64[np.ndarray, "..."], steps: Int64[np.ndarray, "..."]) -> Rows:
        """Return the rows of records; environments and steps are broadcast, then flattened."""
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
            if is_span:  # some twenty times faster than scattering
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
        """Return the present content, readable while it changes; close the snapshot before it."""
        if self._snapshot is not None:
            self._snapshot.close()
        self._snapshot = Snapshot(self)
        return self._snapshot

    def restore(self, stop: int, blocks: Iterable[Block]) -> None:
        """Replace all records by those of a snapshot taken after `stop` steps.

        Blocks may come in several series, one per set of names, each in order of steps; steps that
        the snapshot no longer held are skipped.

        Raises:
            ValueError: A block does not fit, or records are missing. Then nothing is held.
        """
        self.stop = 0
        reached = dict.fromkeys(self.fields, max(0, stop - self.steps_per_env))
        for block in blocks:
            self._take(block, reached)
        for name, step in reached.items():
            if step != stop:
                raise ValueError(f"{name}: the steps from {step} to {stop} are missing")
        self.stop = stop

    def _take(self, block: Block, reached: dict[str, int]) -> None:
        """Store the part of a block that continues what was `reached`, by name."""
        for name, value in block.values.items():
            stored = self.fields[name].stored
            shape = ((block.stop - block.start) * self.num_envs, *stored.shape)
            if (value.shape, value.dtype) != (shape, stored.dtype):
                raise ValueError(f"{name}: shape {tuple(value.shape)}, expected {shape}")
            begin = reached[name]
            if not block.start <= begin < block.stop:
                continue
            steps = np.arange(begin, block.stop)[:, None]
            new = value[(begin - block.start) * self.num_envs :].to(self.device)
            self.write(self.rows(np.arange(self.num_envs), steps), {name: new})
            reached[name] = block.stop

    def _reserve(self) -> dict[str, Tensor]:
        """Reserve memory without touching it, which `torch.empty` may do and so fill the host."""
        num_rows = self.steps_per_env * self.num_envs
        storage = {}
        try:
            for name, field in self.fields.items():
                if field.onehot and field.shape[-1] > 255:  # a byte, in which 0 means none
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
    """Copy-on-write view of the records at one moment, read by another thread while they change.

    Taking it copies nothing. Rows that are overwritten later are first put aside here, and reading
    restores them in the copy. It has to be closed, or the memory of these rows grows.
    """

    def __init__(self, ring: RingBuffer) -> None:
        self.steps = ring.steps
        """Numbers of the steps that were held."""
        self._ring = ring
        self._aside: dict[str, list[tuple[Rows, Tensor]]] = {name: [] for name in ring.fields}
        device = ring.device
        # A stream runs its work in the order of submission, whichever thread submits; on another
        # stream a copy could overtake the write that it has to see.
        self._stream = torch.cuda.current_stream(device) if device.type == "cuda" else None

    def blocks(
        self, names: Iterable[str], start: int = 0, *, block_bytes: int = BLOCK_BYTES
    ) -> Iterator[Block]:
        """Yield the records from step `start`, or the oldest held, up to the newest."""
        names, ring = tuple(names), self._ring
        record_bytes = sum(ring.fields[name].num_bytes for name in names)
        most = max(1, block_bytes // max(1, record_bytes * ring.num_envs))
        begin = max(start, self.steps.start)
        while begin < self.steps.stop:
            ring_end = (begin // ring.steps_per_env + 1) * ring.steps_per_env
            end = min(begin + most, ring_end, self.steps.stop)
            yield Block(begin, end, {name: self._read(name, begin, end) for name in names})
            begin = end

    def put_aside(self, name: str, rows: Rows, index: Int64[Tensor, " R"]) -> None:
        """Keep the content of `rows` before they are overwritten; the caller holds the lock."""
        if name in self._aside:
            self._aside[name].append((rows, self._ring.storage[name].index_select(0, index)))

    def close(self) -> None:
        """Release the rows put aside; nothing can be read afterwards."""
        with self._ring.lock:
            self._aside.clear()

    def _read(self, name: str, start: int, stop: int) -> Tensor:
        ring = self._ring
        first = start % ring.steps_per_env * ring.num_envs
        last = first + (stop - start) * ring.num_envs
        with ring.lock, torch.cuda.stream(self._stream):
            copy = ring.storage[name][first:last].to("cpu", copy=True)
            for rows, values in reversed(self._aside[name]):  # the oldest one wins
                inside = np.flatnonzero((first <= rows) & (rows < last))
                copy[rows[inside] - first] = values[torch.from_numpy(inside)].cpu()
        return copy
