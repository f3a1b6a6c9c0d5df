"""Tasks on `mujoco.batch`: the same as dm_control's own, step by step, episode after episode."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robodreamer_sim.errors import EnvironmentFault
from robodreamer_sim.native import WALKERS, is_native
from robodreamer_sim.native.shard import NativeShard
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.buffers import RecordBuffers
from robodreamer_sim.vector.shard import Shard, ShardSpec, make_shard

Array = NDArray[Any]
NUM_ENVS = 3
EXACT = ("is_first", "is_last", "is_terminal", "success")


def make_records(shard: Shard | NativeShard) -> dict[str, Array]:
    """Return one set of records in memory of its own."""
    size = RecordBuffers.size_for(shard.contract, NUM_ENVS)
    return RecordBuffers(shard.contract, NUM_ENVS, bytearray(size))[0]


def make_spec(task: str, **options: Any) -> ShardSpec:
    settings = {"observe": "proprio", **options}
    return ShardSpec(task=task, options=EnvOptions(**settings), indices=[4, 5, 6])


def begin(records: dict[str, Array], rows: Any, episode: int) -> None:
    """Request an episode with a seed of its own."""
    records["begins"][rows] = True
    records["episode"][rows] = episode
    records["seed"][rows] = 100 * episode + np.arange(NUM_ENVS)[rows]


def compare(spec: ShardSpec, steps: int, begin_at: int = -1) -> int:
    """Step dm_control and ours side by side; return how many episodes ended."""
    plain, native = Shard(spec), make_shard(spec)
    assert isinstance(native, NativeShard)
    assert native.contract == plain.contract
    records = [make_records(shard) for shard in (plain, native)]
    rng = np.random.default_rng(3)
    num_ends = 0
    for step in range(steps):
        action = rng.uniform(-1.2, 1.2, records[0]["action"].shape)
        for shard, record in zip((plain, native), records, strict=True):
            record["begins"][:] = False
            begin(record, record["is_last"] if step else slice(None), episode=step)
            if step == begin_at:
                begin(record, 1, episode=step)
            record["action"][:] = action
            shard.step(record)
        assert_close(records[0], records[1], step)
        num_ends += int(records[0]["is_last"].sum())
    for shard in (plain, native):
        shard.close()
    return num_ends


def assert_close(plain: dict[str, Array], native: dict[str, Array], step: int) -> None:
    for name, value in plain.items():
        where = f"{name} at step {step}"
        if name in EXACT or name.startswith("image/"):
            np.testing.assert_array_equal(native[name], value, err_msg=where)
        else:
            np.testing.assert_allclose(native[name], value, rtol=0, atol=1e-6, err_msg=where)


@pytest.mark.parametrize(
    "task",
    [WALKERS[-1], *(pytest.param(task, marks=pytest.mark.slow) for task in WALKERS[:-1])],
)
def test_a_walker_moves_as_dm_controls_does(task: str) -> None:
    assert compare(make_spec(task), steps=60, begin_at=30) == 0


@pytest.mark.parametrize(
    ("observe", "cameras"),
    [
        ("camera", ("side:24x32", "back:16x16@10")),
        pytest.param("both", None, marks=pytest.mark.slow),
    ],
)
def test_its_pictures_are_the_same_to_the_bit(observe: str, cameras: Any) -> None:
    spec = make_spec("dmc_walker_walk", observe=observe, cameras=cameras, image_size=(32, 32))
    assert compare(spec, steps=30, begin_at=11) == 0


@pytest.mark.parametrize("repeat", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_episodes_end_when_dm_controls_do(repeat: int) -> None:
    steps = 1 + -(-1000 // repeat) + 3
    assert compare(make_spec("dmc_walker_run", action_repeat=repeat), steps) == NUM_ENVS


def test_only_walkers_are_batched() -> None:
    assert is_native("dmc_walker_walk", EnvOptions(observe="state", action_repeat=2))
    assert not is_native("dmc_cheetah_run", EnvOptions(observe="proprio"))


def test_a_simulation_that_diverges_is_reported() -> None:
    shard = make_shard(make_spec("dmc_walker_walk"))
    assert isinstance(shard, NativeShard)
    records = make_records(shard)
    begin(records, slice(None), episode=0)
    shard.step(records)
    records["begins"][:] = False
    shard.step(records)
    shard._batch.bind("qvel")[1] = 1e12
    with pytest.raises(
        EnvironmentFault, match="environment 5, episode 0, step 2: MuJoCo warns"
    ) as fault:
        shard.step(records)
    assert fault.value.environment == 5
