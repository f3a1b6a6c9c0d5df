"""Replay: sampled sequences equal the added ones, all can be drawn, the newest come first."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from replay_records import (
    FIELDS,
    LATENTS,
    assert_equal,
    fill,
    make_replay,
    newer_latents,
    record,
    step_of_all,
)
from robodreamer.data.replay import Batch, Replay
from robodreamer.data.ring_buffer import Field

MANY = settings(max_examples=3 * settings().max_examples)  # they are short
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@dataclass
class Model:
    """The replay in plain lists."""

    num_envs: int
    steps_per_env: int
    length: int
    stop: int = 0
    version: dict[tuple[int, int], int] = field(default_factory=dict)
    queue: deque[tuple[int, int]] = field(default_factory=deque)

    @property
    def first(self) -> int:
        return max(0, self.stop - self.steps_per_env)

    def add(self) -> None:
        self.stop += 1
        for env in range(self.num_envs):
            self.version[env, self.stop - 1] = 0
            if self.stop % self.length == 0:
                self.queue.append((env, self.stop - self.length))

    def take_online(self, batch_size: int) -> Iterator[tuple[int, int]]:
        """Yield what the queue contributes to a batch."""
        while self.queue and batch_size:
            env, start = self.queue.popleft()
            if start >= self.first:
                batch_size -= 1
                yield env, start

    def write(self, batch: Batch, offset: int, version: int) -> None:
        for env, start in zip(batch.env.tolist(), batch.start.tolist(), strict=True):
            for step in range(start + offset, start + self.length):
                if step >= self.first:
                    self.version[env, step] = version


def check(batch: Batch, model: Model) -> None:
    """Compare every record of a batch with the model."""
    shapes = {name: tuple(value.shape) for name, value in batch.data.items()}
    leading = (len(batch.env), model.length)
    assert shapes == {name: (*leading, *f.shape) for name, f in (FIELDS | LATENTS).items()}
    for b, (env, start) in enumerate(zip(batch.env.tolist(), batch.start.tolist(), strict=True)):
        assert model.first <= start <= model.stop - model.length
        for t in range(model.length):
            expected = record(env, start + t, model.version[env, start + t])
            assert_equal({name: value[b, t] for name, value in batch.data.items()}, expected)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 7)),
        st.tuples(st.just("sample"), st.integers(1, 6)),
        st.tuples(st.just("write"), st.integers(0, 99)),
    ),
    max_size=25,
)


@pytest.mark.parametrize("device", DEVICES)
@MANY
@given(
    num_envs=st.integers(1, 3),
    length=st.integers(1, 5),
    slack=st.integers(0, 9),
    operations=OPERATIONS,
)
def test_a_batch_holds_the_added_records_with_the_newest_latents(
    device: str, num_envs: int, length: int, slack: int, operations: list[tuple[str, int]]
) -> None:
    steps_per_env = length + slack
    replay = make_replay(
        num_envs=num_envs, steps_per_env=steps_per_env, length=length, device=device
    )
    model = Model(num_envs, steps_per_env, length)
    batches: list[Batch] = []
    for version, (name, number) in enumerate(operations, start=1):
        if name == "add":
            for _ in range(number):
                replay.add(step_of_all(model.stop, num_envs))
                model.add()
        elif name == "sample" and replay.is_ready:
            batch = replay.sample(number)
            online = list(model.take_online(number))
            found = list(zip(batch.env.tolist(), batch.start.tolist(), strict=True))
            assert found[: len(online)] == online
            check(batch, model)
            batches.append(batch)
        elif name == "write" and batches:  # possibly long after the batch was drawn
            batch, offset = batches[number % len(batches)], number % length
            new = newer_latents(batch, offset, length - offset, version)
            replay.write_latents(batch, new, offset)
            model.write(batch, offset, version)
    held = model.stop - model.first
    assert (replay.num_steps, len(replay)) == (model.stop * num_envs, held * num_envs)
    assert replay.is_ready == (held >= length)


@given(num_envs=st.integers(1, 3), length=st.integers(1, 4), added=st.integers(4, 40))
def test_every_sequence_held_can_be_drawn_and_no_other(
    num_envs: int, length: int, added: int
) -> None:
    replay = fill(make_replay(num_envs=num_envs, steps_per_env=10, length=length), range(added))
    drain(replay)
    batch = replay.sample(1000)
    first, last = max(0, added - 10), added - length
    expected = {(env, start) for env in range(num_envs) for start in range(first, last + 1)}
    assert set(zip(batch.env.tolist(), batch.start.tolist(), strict=True)) == expected


def drain(replay: Replay) -> None:
    """Take everything out of the online queue."""
    replay.sample(len(replay))


@pytest.mark.parametrize("added", [9, 57])
def test_draws_are_uniform(added: int) -> None:
    replay = fill(make_replay(num_envs=3, steps_per_env=11, length=4), range(added))
    drain(replay)
    batch = replay.sample(24_000)
    count = np.unique(np.stack([batch.env, batch.start]), axis=1, return_counts=True)[1]
    cells = 3 * (min(added, 11) - 3)
    assert len(count) == cells
    expected = 24_000 / cells
    chi_square = ((count - expected) ** 2 / expected).sum()
    assert chi_square < cells - 1 + 4 * np.sqrt(2 * (cells - 1))


def test_the_online_queue_serves_every_piece_once_and_the_oldest_first() -> None:
    replay = make_replay(num_envs=2, steps_per_env=100, length=4)
    served: list[tuple[int, int]] = []
    for step in range(40):
        fill(replay, range(step, step + 1))
        if step % 8 == 7:  # four new blocks; five places, so that one is drawn
            batch = replay.sample(5)
            served += zip(batch.env.tolist()[:4], batch.start.tolist()[:4], strict=True)
    assert served == [(env, start) for start in range(0, 40, 4) for env in range(2)]


def test_the_online_queue_skips_overwritten_sequences() -> None:
    replay = fill(make_replay(num_envs=1, steps_per_env=9, length=4), range(18))
    assert replay.sample(1).start.tolist() == [12]  # 0, 4 and 8 are gone, at least in part


def test_episodes_shorter_than_a_sequence_are_drawn_across_their_ends() -> None:
    replay = make_replay(num_envs=1, steps_per_env=50, length=8)
    for step in range(50):
        replay.add({k: v[None] for k, v in record(0, step, episode_length=3).items()})
    drain(replay)
    is_first = replay.sample(500).data["is_first"]
    phases = {tuple(row) for row in is_first.int().tolist()}
    assert phases == {tuple(int((p + t) % 3 == 0) for t in range(8)) for p in range(3)}


def test_where_sequences_of_a_batch_overlap_the_last_one_wins() -> None:
    replay = fill(make_replay(num_envs=1, steps_per_env=6, length=4), range(6))
    batch = Batch(replay.sample(2).data, env=np.array([0, 0]), start=np.array([2, 0]))
    versions = torch.arange(8.0).view(2, 4)
    deter = torch.stack([torch.zeros(2, 4), versions], -1)
    replay.write_latents(batch, {"deter": deter, "stoch": torch.zeros(2, 4, 2, 3)}, 0)
    drain(replay)
    seen: dict[int, float] = {}
    drawn = replay.sample(50)
    for start, row in zip(drawn.start.tolist(), drawn.data["deter"][..., 1].tolist(), strict=True):
        seen |= {start + t: version for t, version in enumerate(row)}
    assert seen == {0: 4, 1: 5, 2: 6, 3: 7, 4: 2, 5: 3}


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    draws = []
    for seed in (1, 1, 2):
        replay = fill(make_replay(seed=seed), range(12))
        drain(replay)
        draws.append(replay.sample(20).start.tolist())
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_a_batch_is_a_copy() -> None:
    replay = fill(make_replay(num_envs=1, steps_per_env=4, length=4), range(4))
    batch = replay.sample(1)
    fill(replay, range(4, 8))
    assert batch.data["proprio/place"][0, :, 1].tolist() == [0, 1, 2, 3]


def test_added_records_are_copied() -> None:
    replay = make_replay(num_envs=1, steps_per_env=4, length=1)
    step = {key: np.asarray(value) for key, value in step_of_all(0, 1).items()}
    replay.add(step)
    step["image/front"][:] = 99
    assert_equal({k: v[0, 0] for k, v in replay.sample(1).data.items()}, record(0, 0))


def test_read_only_arrays_are_welcome() -> None:
    replay = make_replay(num_envs=1, steps_per_env=4, length=1)
    step = {key: np.asarray(value) for key, value in step_of_all(0, 1).items()}
    for value in step.values():
        value.flags.writeable = False
    replay.add(step)
    assert_equal({k: v[0, 0] for k, v in replay.sample(1).data.items()}, record(0, 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.zeros(3, np.float32)}, r"reward: torch.float32 \(3,\), expected"),
        ({"reward": np.zeros(2)}, r"reward: torch.float64 \(2,\), expected torch.float32"),
        ({"reward": np.zeros(2, object)}, "reward: can't convert"),
        ({"image/front": np.zeros((2, 2, 2, 3), np.float32)}, "image/front: torch.float32"),
        ({"stoch": torch.zeros(2, 2, 4)}, r"stoch: torch.float32 \(2, 2, 4\)"),
        ({"image/side": np.zeros(2)}, r"unknown \['image/side'\]; expected \['deter', "),
        ({"deter": None}, r"lacks \['deter'\]"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_whole(change: dict[str, Any], message: str) -> None:
    replay = fill(make_replay(length=1), range(3))
    step = {k: v for k, v in (step_of_all(3, 2) | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        replay.add(step)
    assert replay.num_steps == 6


@pytest.mark.parametrize(
    ("change", "offset", "message"),
    [
        ({"stoch": None}, 1, r"lacks \['stoch'\]"),
        ({"deter": torch.zeros(3, 2, 2)}, 1, r"deter: torch.float32 \(3, 2, 2\), expected"),
        ({"deter": torch.zeros(3, 3, 2).bfloat16()}, 1, "deter: torch.bfloat16"),
        ({}, 2, "3 latents from record 2 on do not fit sequences of 4"),
        ({}, -1, "3 latents from record -1"),
    ],
)
def test_latents_that_do_not_fit_are_refused(
    change: dict[str, Any], offset: int, message: str
) -> None:
    replay = fill(make_replay(), range(12))
    batch = replay.sample(3)
    latents = newer_latents(batch, 1, 3, version=1) | change
    with pytest.raises(ValueError, match=message):
        replay.write_latents(batch, {k: v for k, v in latents.items() if v is not None}, offset)


def test_sampling_too_early_raises_an_error_that_names_the_missing_steps() -> None:
    replay = fill(make_replay(length=4), range(3))
    assert not replay.is_ready
    with pytest.raises(ValueError, match="holds 3 steps of every environment; a sequence needs 4"):
        replay.sample(1)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="3 steps of each of 2 environments; a sequence needs 4"):
        make_replay(steps_per_env=3, length=4)
    with pytest.raises(ValueError, match=r"both a field and a latent: \['deter', 'stoch'\]"):
        Replay(LATENTS, LATENTS, num_envs=1, capacity=9, sequence_length=1, seed=0)


def test_bytes_per_step_is_the_memory_of_a_record() -> None:
    one_hot = Field((16, 16), torch.float32, onehot=True)
    assert one_hot.num_bytes == 16
    assert make_replay().bytes_per_step == 12 + 8 + 4 + 1 + 8 + 2
