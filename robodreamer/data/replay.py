"""Replay: sequences of the newest records, for training.

A batch is served from two sources (DreamerV3, "Experience replay"). First the online queue: the
stream of every environment is cut into chunks of L steps, and every chunk is served once, oldest
first, unless it was overwritten before; so new experience is learned from at once. The rest is
uniform over all sequences held. Sequences cross episode ends; the agent resets itself where
`is_first` is set, so that episodes may be shorter than sequences.

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

from robodreamer.data.ring_buffer import Block, Field, RingBuffer, Snapshot
from robodreamer.learning.agent import Agent
from robodreamer_deploy.contract import Contract

__all__ = ["Batch", "Field", "Replay", "close_broken_episodes", "has_room", "make_replay"]

FLAGS = ("is_first", "is_last", "is_terminal")


class Batch(NamedTuple):
    """Sampled sequences, and the places in the replay that they come from."""

    data: dict[str, Tensor]
    """Every field and latent, (B, L, ...), on the replay's device."""
    env: Int64[np.ndarray, " B"]
    """Environment of each sequence."""
    start: Int64[np.ndarray, " B"]
    """Number of its first step, counted since the first one ever added."""


class Replay:
    """Buffer of the newest records with an online queue and latents that training renews.

    Several threads may use it at once.

    Args:
        fields: Entries of a record that never change, by name.
        latents: Entries that `write_latents` renews, by name.
        num_envs: Environments N, which step together.
        capacity: Records held of all environments together; rounded down to a multiple of N.
        sequence_length: Records L of a sequence, context included.
        seed: Seed of the uniform draws.
        device: Device that holds the records and on which batches appear.

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
        self._ring = RingBuffer(
            self.fields | self.latents, num_envs, capacity // num_envs, torch.device(device)
        )
        self._rng = np.random.default_rng(seed)
        self._served = 0  # chunks of the online queue so far; chunk p is of environment p mod N

    @property
    def num_envs(self) -> int:
        """Environments N."""
        return self._ring.num_envs

    @property
    def device(self) -> torch.device:
        """Device that holds the records."""
        return self._ring.device

    @property
    def bytes_per_step(self) -> int:
        """Memory of one record of one environment."""
        return sum(field.num_bytes for field in self._ring.fields.values())

    @property
    def num_steps(self) -> int:
        """Records ever added, of all environments together."""
        return self._ring.stop * self.num_envs

    def __len__(self) -> int:
        """Return the number of records held, of all environments together."""
        return len(self._ring.steps) * self.num_envs

    @property
    def is_ready(self) -> bool:
        """True once there is a sequence to sample."""
        return len(self._ring.steps) >= self.sequence_length

    def add(self, step: Mapping[str, NDArray[Any] | Tensor]) -> None:
        """Append one record per environment: every field and latent, (N, ...). Copies them.

        Raises:
            ValueError: A key is missing or unknown, or a value has another shape or type. Then
                nothing is added.
        """
        encoded = self._ring.encode(step, self._ring.fields, (self.num_envs,))
        with self._ring.lock:
            self._ring.append(encoded)

    def sample(self, batch_size: int) -> Batch:
        """Return the oldest sequences of the online queue, filled up with uniform draws.

        Raises:
            ValueError: There is nothing to sample yet; see `is_ready`.
        """
        with self._ring.lock:
            if not self.is_ready:
                raise ValueError(
                    f"replay holds {len(self._ring.steps)} steps of every environment; "
                    f"a sequence needs {self.sequence_length}"
                )
            env, start = self._draw(batch_size)
            steps = start[:, None] + np.arange(self.sequence_length)
            data = self._ring.read(self._ring.rows(env[:, None], steps))
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
        encoded = self._ring.encode(latents, self.latents, (len(batch.env), num_steps))
        if offset < 0 or offset + num_steps > self.sequence_length:
            raise ValueError(
                f"{num_steps} latents from record {offset} on do not fit sequences of "
                f"{self.sequence_length}"
            )
        steps = batch.start[:, None] + np.arange(offset, offset + num_steps)
        with self._ring.lock:
            held = np.flatnonzero(steps >= self._ring.steps.start)
            rows = self._ring.rows(batch.env[:, None], steps)[held]
            # Where sequences overlap, `unique` keeps the first one, so it looks from the end.
            rows, from_end = np.unique(rows[::-1], return_index=True)
            chosen = torch.from_numpy(held[::-1][from_end]).to(self._ring.device)
            flat = {name: value.flatten(0, 1) for name, value in encoded.items()}
            self._ring.write(rows, {name: value[chosen] for name, value in flat.items()})

    def snapshot(self) -> tuple[Snapshot, dict[str, Any]]:
        """Return the present records, to be closed after use, and everything else as JSON values.

        The two are of the same moment and stay what they are while training goes on.
        """
        with self._ring.lock:
            state = {
                "settings": self._settings(),
                "stop": self._ring.stop,
                "served": self._served,
                "rng": self._rng.bit_generator.state,
            }
            return self._ring.snapshot(), state

    def restore(self, state: Mapping[str, Any], blocks: Iterable[Block]) -> None:
        """Replace the content by a snapshot's; see `RingBuffer.restore` for the blocks.

        Raises:
            ValueError: The snapshot has other settings, then nothing is changed; or records are
                missing, then nothing is held.
        """
        for name, ours in self._settings().items():
            if (theirs := state["settings"].get(name)) != ours:
                raise ValueError(f"the replay was saved with {name} {theirs}, this run has {ours}")
        with self._ring.lock:
            self._ring.restore(state["stop"], blocks)
            self._served = state["served"]
            self._rng.bit_generator.state = state["rng"]

    def _draw(self, batch_size: int) -> tuple[Int64[np.ndarray, " B"], Int64[np.ndarray, " B"]]:
        """Choose environments and first steps: from the online queue, then uniformly."""
        length, steps, num_envs = self.sequence_length, self._ring.steps, self.num_envs
        oldest_whole = -(-steps.start // length)  # rounded up: the chunk before is overwritten
        self._served = max(self._served, oldest_whole * num_envs)
        complete = steps.stop // length * num_envs
        chunks = np.arange(self._served, min(self._served + batch_size, complete))
        self._served += len(chunks)
        num_starts = len(steps) - length + 1
        drawn = self._rng.integers(num_starts * num_envs, size=batch_size - len(chunks))
        start = np.concatenate([chunks // num_envs * length, steps.start + drawn // num_envs])
        return np.concatenate([chunks, drawn]) % num_envs, start

    def _settings(self) -> dict[str, Any]:
        """Return the settings that a saved replay has to share, as plain JSON values."""
        fields = {
            name: [list(field.shape), str(field.dtype), field.onehot]
            for name, field in self._ring.fields.items()
        }
        return {
            "num_envs": self.num_envs,
            "steps_per_env": self._ring.steps_per_env,
            "sequence_length": self.sequence_length,
            "fields": fields,
        }


def close_broken_episodes(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a replayed batch (B, L, ...) in which episodes that broke off have a last step too.

    When a simulator breaks down and is restarted (`on_crash`), no record ends its episode; the
    next one begins another. Without a last step, returns would flow back over that boundary.
    """
    breaks_off = batch["is_first"].roll(-1, dims=1)
    breaks_off[:, -1] = False  # the step after the sequence is unknown
    return {**batch, "is_last": batch["is_last"] | breaks_off}


def make_replay(
    contract: Contract,
    agent: Agent,
    *,
    num_envs: int,
    capacity: int,
    sequence_length: int,
    seed: int,
    device: torch.device,
) -> Replay:
    """Build the replay of a task's signals and an agent's latents, on `device` if it has room."""
    dtypes = {"uint8": torch.uint8, "float32": torch.float32, "int32": torch.int32}
    fields = {s.name: Field(s.shape, dtypes[s.dtype]) for s in contract.observations}
    fields |= {name: Field((), torch.bool) for name in FLAGS}
    fields["reward"] = Field((), torch.float32)
    fields["action"] = Field((contract.action.size,), torch.float32)
    rssm = agent.world_model.rssm
    latents = {
        "deter": Field((rssm.deter_size,), torch.float32),
        "stoch": Field(rssm.latent.shape, torch.float32, onehot=rssm.latent.is_onehot),
    }
    num_bytes = capacity * sum(field.num_bytes for field in (fields | latents).values())
    return Replay(
        fields,
        latents,
        num_envs=num_envs,
        capacity=capacity,
        sequence_length=sequence_length,
        seed=seed,
        device=device if has_room(num_bytes, device) else torch.device("cpu"),
    )


def has_room(num_bytes: int, device: torch.device) -> bool:
    """Return whether a device has memory for the replay and as much again for learning.

    A GPU's memory is taken all at once. The host's is taken as the replay fills, so it has room.
    """
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * num_bytes <= free
