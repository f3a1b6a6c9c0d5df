"""Records whose every value tells where they belong, for the tests of replay and checkpoints."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robodreamer.data.replay import Batch, Replay
from robodreamer.data.ring_buffer import Field, Snapshot

NUM_CLASSES = 3
FIELDS = {
    "image/front": Field((2, 2, 3), torch.uint8),
    "proprio/place": Field((2,), torch.int32),
    "reward": Field((), torch.float32),
    "is_first": Field((), torch.bool),
}
LATENTS = {
    "deter": Field((2,), torch.float32),
    "stoch": Field((2, NUM_CLASSES), torch.float32, onehot=True),
}


def make_replay(
    *,
    num_envs: int = 2,
    steps_per_env: int = 12,
    length: int = 4,
    seed: int = 0,
    device: str = "cpu",
) -> Replay:
    return Replay(
        FIELDS,
        LATENTS,
        num_envs=num_envs,
        capacity=num_envs * steps_per_env,
        sequence_length=length,
        seed=seed,
        device=device,
    )


def latents_of(env: int, step: int, version: int) -> dict[str, Tensor]:
    """Return latents of one record; version 0 was added, others were written later."""
    stoch = torch.zeros(2, NUM_CLASSES)
    for variable in range(2):
        place = (env + step + version + variable) % (NUM_CLASSES + 1)
        if place < NUM_CLASSES:  # else all zero, as before the first observation
            stoch[variable, place] = 1.0
    return {"deter": torch.tensor([env + 10.0 * step, float(version)]), "stoch": stoch}


def record(env: int, step: int, version: int = 0, episode_length: int = 5) -> dict[str, Tensor]:
    """Return the record of one environment."""
    return {
        "image/front": (torch.arange(12) + 31 * env + 7 * step).to(torch.uint8).view(2, 2, 3),
        "proprio/place": torch.tensor([env, step], dtype=torch.int32),
        "reward": torch.tensor(env + step / 8),
        "is_first": torch.tensor(step % episode_length == 0),
        **latents_of(env, step, version),
    }


def step_of_all(step: int, num_envs: int) -> dict[str, np.ndarray | Tensor]:
    """Return one step of all environments: arrays, as from a simulator, and torch's latents."""
    records = [record(env, step) for env in range(num_envs)]
    stacked = {key: torch.stack([one[key] for one in records]) for key in records[0]}
    return {key: value if key in LATENTS else value.numpy() for key, value in stacked.items()}


def fill(replay: Replay, steps: range) -> Replay:
    for step in steps:
        replay.add(step_of_all(step, replay.num_envs))
    return replay


def newer_latents(batch: Batch, offset: int, num_steps: int, version: int) -> dict[str, Tensor]:
    """Return latents (B, T, ...) of one version for a batch."""
    rows = [
        [latents_of(env, start + offset + t, version) for t in range(num_steps)]
        for env, start in zip(batch.env.tolist(), batch.start.tolist(), strict=True)
    ]
    return {
        name: torch.stack([torch.stack([one[name] for one in row]) for row in rows])
        for name in LATENTS
    }


def read_all(snapshot: Snapshot, names: Any = (*FIELDS, *LATENTS)) -> dict[str, Tensor]:
    """Return everything a snapshot holds, in small blocks put together."""
    blocks = list(snapshot.blocks(names, block_bytes=200))
    return {name: torch.cat([block.values[name] for block in blocks]) for name in names}


def content(replay: Replay) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return everything a replay is made of."""
    snapshot, state = replay.snapshot()
    records = read_all(snapshot) if len(replay) else {}
    snapshot.close()
    return records, state


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare to the bit, types included."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, key
        assert torch.equal(found[key].cpu(), value), key
