"""Replay: sequences of the newest records, for training.

A batch is served from two sources. First the online queue: the stream of every environment is cut
into pieces of L steps, and every piece is handed out once, oldest first, unless it was overwritten
before. The rest is uniform over all sequences held. Sequences cross episode ends; the agent resets
itself where `is_first` is set, so that episodes may be shorter than sequences.

Letters: B batch, L sequence length (context included), T steps whose latents are renewed,
N environments.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from robodreamer.data.ring_buffer import Field, Piece, Records, Snapshot

__all__ = ["Batch", "Field", "Replay"]


class Batch(NamedTuple):
    """Sequences, and where they were found."""

    data: dict[str, Tensor]
    """Every field and latent, (B, L, ...), on the replay's device."""
    env: Int64[np.ndarray, " B"]
    start: Int64[np.ndarray, " B"]
    """Number of the first step, counted since the first one ever added."""


class Replay:
    """The newest records, with an online queue and latents that can be renewed.

    Several threads may use it at once.

    Args:
        fields: What a record holds and never changes.
        latents: What a record holds and `write_latents` renews.
        num_envs: Environments N, which step together.
        capacity: Records held of all environments together; rounded down to a multiple of N.
        sequence_length: Records L of a sequence, context included.
        seed: Of the uniform draws.
        device: Where the records lie and batches appear.

    Raises:
        ValueError: Settings that do not fit each other, or more memory than there is.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        latents: Mapping[str, Field],
        *,
        num_envs: int,
        capacity: int,
        sequence_length: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if both := fields.keys() & latents.keys():
            raise ValueError(f"both a field and a latent: {sorted(both)}")
        if capacity // num_envs < sequence_length:
            raise ValueError(
                f"a replay of {capacity} records holds {capacity // num_envs} steps of each of "
                f"{num_envs} environments; a sequence needs {sequence_length}"
            )
        self.fields = dict(fields)
        self.latents = dict(latents)
        self.sequence_length = sequence_length
        self._records = Records(
            self.fields | self.latents, num_envs, capacity // num_envs, torch.device(device)
        )
        self._rng = np.random.default_rng(seed)
        self._served = 0  # pieces of the online queue that are gone; piece p is of p mod N

    @property
    def num_envs(self) -> int:
        """Environments N."""
        return self._records.num_envs

    @property
    def device(self) -> torch.device:
        """Where the records lie."""
        return self._records.device

    @property
    def bytes_per_step(self) -> int:
        """Memory of one record of one environment."""
        return sum(field.num_bytes for field in self._records.fields.values())

    @property
    def num_steps(self) -> int:
        """Records ever added, of all environments together."""
        return self._records.stop * self.num_envs

    def __len__(self) -> int:
        """Return the number of records held, of all environments together."""
        return len(self._records.steps) * self.num_envs

    @property
    def is_ready(self) -> bool:
        """There is at least one sequence to sample."""
        return len(self._records.steps) >= self.sequence_length

    def add(self, step: Mapping[str, NDArray[Any] | Tensor]) -> None:
        """Append one record per environment: every field and latent, (N, ...). Copies them.

        Raises:
            ValueError: A key is missing or unknown, or a value has another shape or type. Then
                nothing is added.
        """
        encoded = self._records.encode(step, self._records.fields, (self.num_envs,))
        with self._records.lock:
            self._records.append(encoded)

    def sample(self, batch_size: int) -> Batch:
        """Return the oldest sequences of the online queue, filled up with uniform draws.

        Raises:
            ValueError: There is nothing to sample yet; see `is_ready`.
        """
        with self._records.lock:
            if not self.is_ready:
                raise ValueError(
                    f"replay holds {len(self._records.steps)} steps of every environment; "
                    f"a sequence needs {self.sequence_length}"
                )
            env, start = self._draw(batch_size)
            steps = start[:, None] + np.arange(self.sequence_length)
            data = self._records.read(self._records.rows(env[:, None], steps))
        shape = (batch_size, self.sequence_length)
        return Batch({key: value.unflatten(0, shape) for key, value in data.items()}, env, start)

    def write_latents(self, batch: Batch, latents: Mapping[str, Tensor], offset: int) -> None:
        """Replace the latents of a batch by newer ones, (B, T, ...).

        Element t belongs to record `offset + t` of its sequence. Records that are no longer held
        are skipped; where sequences overlap, the last one of the batch wins.

        Raises:
            ValueError: A latent is missing, unknown or of another shape or type, or T is too long.
        """
        num_steps = max((value.shape[1] for value in latents.values()), default=0)
        encoded = self._records.encode(latents, self.latents, (len(batch.env), num_steps))
        if offset < 0 or offset + num_steps > self.sequence_length:
            raise ValueError(
                f"{num_steps} latents from record {offset} on do not fit sequences of "
                f"{self.sequence_length}"
            )
        steps = batch.start[:, None] + np.arange(offset, offset + num_steps)
        with self._records.lock:
            held = np.flatnonzero(steps >= self._records.steps.start)
            rows = self._records.rows(batch.env[:, None], steps)[held]
            rows, from_end = np.unique(rows[::-1], return_index=True)
            chosen = torch.from_numpy(held[::-1][from_end]).to(self._records.device)
            flat = {name: value.flatten(0, 1) for name, value in encoded.items()}
            self._records.write(rows, {name: value[chosen] for name, value in flat.items()})

    def snapshot(self) -> tuple[Snapshot, dict[str, Any]]:
        """Return the present records, to be closed after use, and everything else as JSON values.

        The two are of the same moment and stay what they are while training goes on.
        """
        with self._records.lock:
            state = {
                "settings": self._settings(),
                "stop": self._records.stop,
                "served": self._served,
                "rng": self._rng.bit_generator.state,
            }
            return self._records.snapshot(), state

    def restore(self, state: Mapping[str, Any], pieces: Iterable[Piece]) -> None:
        """Become the replay that a snapshot was taken of; see `Records.restore` for the pieces.

        Raises:
            ValueError: Taken with other settings, which changes nothing, or records are missing,
                which leaves nothing held.
        """
        for name, ours in self._settings().items():
            if (theirs := state["settings"].get(name)) != ours:
                raise ValueError(f"the replay was saved with {name} {theirs}, this run has {ours}")
        with self._records.lock:
            self._records.restore(state["stop"], pieces)
            self._served = state["served"]
            self._rng.bit_generator.state = state["rng"]

    def _draw(self, batch_size: int) -> tuple[Int64[np.ndarray, " B"], Int64[np.ndarray, " B"]]:
        """Choose environments and first steps: from the online queue, then uniformly."""
        length, steps, num_envs = self.sequence_length, self._records.steps, self.num_envs
        oldest_whole = -(-steps.start // length)
        self._served = max(self._served, oldest_whole * num_envs)
        complete = steps.stop // length * num_envs
        pieces = np.arange(self._served, min(self._served + batch_size, complete))
        self._served += len(pieces)
        num_starts = len(steps) - length + 1
        drawn = self._rng.integers(num_starts * num_envs, size=batch_size - len(pieces))
        start = np.concatenate([pieces // num_envs * length, steps.start + drawn // num_envs])
        return np.concatenate([pieces, drawn]) % num_envs, start

    def _settings(self) -> dict[str, Any]:
        """Return what a saved replay must agree on, as plain JSON values."""
        fields = {
            name: [list(field.shape), str(field.dtype), field.onehot]
            for name, field in self._records.fields.items()
        }
        return {
            "num_envs": self.num_envs,
            "steps_per_env": self._records.steps_per_env,
            "sequence_length": self.sequence_length,
            "fields": fields,
        }
