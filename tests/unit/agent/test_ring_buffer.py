"""Ring buffer: memory is not taken before it is used, and snapshots do not change."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from replay_records import (
    FIELDS,
    LATENTS,
    assert_equal,
    content,
    fill,
    make_replay,
    newer_latents,
    read_all,
    record,
)
from robodreamer.data.ring_buffer import Block, Field, RingBuffer

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
CPU = torch.device("cpu")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_memory_is_taken_only_as_records_come(is_deterministic: bool) -> None:
    torch.use_deterministic_algorithms(is_deterministic)  # then torch.empty writes everywhere
    try:
        before = resident_bytes()
        fields = {"image/front": Field((1000, 1000, 1), torch.uint8)}
        records = RingBuffer(fields, num_envs=2, steps_per_env=1000, device=CPU)
        image = torch.ones(2, 1000, 1000, 1, dtype=torch.uint8)
        for _ in range(10):
            records.append({"image/front": image})
        taken = resident_bytes() - before
    finally:
        torch.use_deterministic_algorithms(mode=False)
    assert 20e6 < taken < 60e6  # of 2 GB


def test_more_memory_than_there_is_is_refused_in_words() -> None:
    fields = {"image/front": Field((1000, 1000, 1), torch.uint8)}
    with pytest.raises(ValueError, match=r"1,000,000,000 records takes 1000000.0 GB, which cpu"):
        RingBuffer(fields, num_envs=1, steps_per_env=1_000_000_000, device=CPU)


@given(st.integers(1, 255), st.data())
def test_a_one_hot_comes_back_exactly_from_one_byte(num_classes: int, data: st.DataObject) -> None:
    field = Field((4, num_classes), torch.float32, onehot=True)
    places = data.draw(st.lists(st.integers(0, num_classes), min_size=4, max_size=4))
    value = torch.nn.functional.one_hot(torch.tensor(places), num_classes + 1)[None, :, 1:].float()
    stored = field.encode(value)
    assert (stored.dtype, tuple(stored.shape)) == (torch.uint8, (1, 4))
    assert_equal({"stoch": field.decode(stored)}, {"stoch": value})


def test_a_one_hot_of_more_classes_than_a_byte_counts_is_refused() -> None:
    fields = {"stoch": Field((2, 256), torch.float32, onehot=True)}
    with pytest.raises(ValueError, match="stoch: 256 classes; a one-hot has up to 255"):
        RingBuffer(fields, num_envs=1, steps_per_env=1, device=CPU)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=2 * settings().max_examples)
@given(
    added=st.integers(4, 30),
    changes=st.lists(st.integers(0, 5), max_size=12),
    read_first=st.integers(0, 3),
)
def test_a_snapshot_does_not_change_while_records_are_overwritten(
    device: str, added: int, changes: list[int], read_first: int
) -> None:
    replay = fill(make_replay(steps_per_env=7, device=device), range(added))
    expected, _ = content(replay)
    snapshot, _ = replay.snapshot()
    names = (*FIELDS, *LATENTS)
    blocks = snapshot.blocks(names, block_bytes=80)
    found = [next(blocks) for _ in range(min(read_first, 2))]
    for version, change in enumerate(changes, start=1):
        if change:
            fill(replay, range(replay.num_steps // 2, replay.num_steps // 2 + change))
        batch = replay.sample(3)
        replay.write_latents(batch, newer_latents(batch, 0, 4, version), 0)
    found += blocks
    whole = {name: torch.cat([block.values[name] for block in found]) for name in names}
    assert_equal(whole, expected)


def test_pieces_are_small_and_follow_each_other() -> None:
    replay = fill(make_replay(steps_per_env=7), range(17))
    snapshot, _ = replay.snapshot()
    blocks = [(p.start, p.stop) for p in snapshot.blocks(FIELDS, 11, block_bytes=2 * 2 * 25)]
    assert blocks == [(11, 13), (13, 14), (14, 16), (16, 17)]  # the ring begins anew at 14


def test_a_closed_snapshot_keeps_nothing() -> None:
    replay = fill(make_replay(steps_per_env=7), range(7))
    snapshot, _ = replay.snapshot()
    fill(replay, range(7, 9))
    assert sum(len(kept) for kept in snapshot._aside.values()) == 2 * len(snapshot._aside)
    snapshot.close()
    fill(replay, range(9, 11))
    assert not snapshot._aside


def test_a_new_snapshot_ends_the_one_before() -> None:
    replay = fill(make_replay(steps_per_env=7), range(7))
    old, _ = replay.snapshot()
    new, _ = replay.snapshot()
    expected = read_all(new)
    fill(replay, range(7, 9))
    assert not old._aside
    assert_equal(read_all(new), expected)


def blocks_of(steps: range, names: dict[str, Field]) -> Block:
    """Return a block of the records of two environments."""
    rows = [record(env, step) for step in steps for env in range(2)]
    values = {
        name: field.encode(torch.stack([row[name] for row in rows]))
        for name, field in names.items()
    }
    return Block(steps.start, steps.stop, values)


def restored(stop: int, blocks: list[Block]) -> dict[str, Tensor]:
    records = RingBuffer(FIELDS | LATENTS, num_envs=2, steps_per_env=6, device=CPU)
    records.restore(stop, blocks)
    with records.lock:
        return read_all(records.snapshot())


def test_pieces_from_before_the_oldest_record_are_passed_over() -> None:
    parts = [range(4), range(4, 9), range(9, 13), range(13, 14)]
    fields = [blocks_of(part, FIELDS) for part in parts]
    latents = [blocks_of(part, LATENTS) for part in parts[1:]]
    replay = fill(make_replay(steps_per_env=6), range(14))
    assert_equal(restored(14, fields + latents), content(replay)[0])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([range(7), range(9, 14)], "the steps from 8 to 14 are missing"),
        ([range(8, 9), range(10, 14)], "the steps from 9 to 14 are missing"),
        ([range(8, 13)], "the steps from 13 to 14 are missing"),
    ],
)
def test_a_gap_is_refused(parts: list[range], message: str) -> None:
    blocks = [blocks_of(part, FIELDS | LATENTS) for part in parts]
    with pytest.raises(ValueError, match=message):
        restored(14, blocks)


def test_a_piece_of_another_shape_is_refused() -> None:
    block = blocks_of(range(6), FIELDS | LATENTS)
    block.values["reward"] = torch.zeros(12, 2)
    with pytest.raises(ValueError, match=r"reward: shape \(12, 2\), expected \(12,\)"):
        restored(6, [block])


def test_records_lie_step_after_step() -> None:
    records = RingBuffer(FIELDS, num_envs=3, steps_per_env=5, device=CPU)
    rows = records.rows(np.arange(3), np.array([[6], [7]]))
    assert rows.tolist() == [3, 4, 5, 6, 7, 8]
