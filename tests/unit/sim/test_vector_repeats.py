"""Long runs: the same however environments are spread, and no bigger after many episodes."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.vector_env import VectorEnv

NUM_ENVS = 4
STEPS = 200
RESETS = 100
GROWTH_MB = 3.0
"""Less than 30 kB per reset; an MjData, or a picture, that is not given back is more."""


def hashes(task: str, num_workers: int) -> dict[str, str]:
    """Return a hash of all vectors, rewards and flags of a run, one of its pictures, what drew."""
    digests = {"state": hashlib.sha256(), "pictures": hashlib.sha256()}
    rng = np.random.default_rng(0)
    with VectorEnv(
        task,
        EnvOptions(image_size=(24, 32)),
        num_envs=NUM_ENVS,
        num_workers=num_workers,
        seed=11,
    ) as environments:
        environments.start()
        for step in range(STEPS):
            record = environments.recv()
            for name in sorted(record):
                kind = "pictures" if name.startswith("image/") else "state"
                digests[kind].update(record[name].tobytes())
            action = rng.uniform(-1, 1, (NUM_ENVS, environments.contract.action.size))
            environments.send(action.astype(np.float32), truncate=step == STEPS // 2)
        environments.recv()
        drawn_by = environments.renderer_name()
    return {name: digest.hexdigest() for name, digest in digests.items()} | {"by": drawn_by}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["dmc_walker_walk", "dmc_hopper_hop"])
def test_two_hundred_steps_are_the_same_in_one_two_and_four_processes(task: str) -> None:
    one, two, four = (hashes(task, num_workers) for num_workers in (1, 2, 4))
    assert one["state"] == two["state"] == four["state"]
    if "llvmpipe" in one["by"]:  # a GPU does not promise it
        assert one["pictures"] == two["pictures"] == four["pictures"]


def resident_mb(process: int) -> float:
    """Return the memory of a process that is resident now."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.parametrize(
    "task",
    [
        "dmc_hopper_hop",
        pytest.param("dmc_walker_walk", marks=pytest.mark.slow),
        pytest.param("fetch_pick_and_place", marks=pytest.mark.slow),
        pytest.param("gym:Ant-v5", marks=pytest.mark.slow),
    ],
)
def test_memory_stays_flat_over_a_hundred_resets(task: str) -> None:
    options = EnvOptions(image_size=(16, 16))
    with VectorEnv(task, options, num_envs=1, seed=0) as environments:
        worker: Any = environments._shards[0]
        action = np.zeros((1, environments.contract.action.size), np.float32)

        def reset_often(times: int) -> float:
            for _ in range(times):
                environments.start()
                environments.recv()
                environments.send(action)
                environments.recv()
            return resident_mb(worker._process.pid)

        before = reset_often(RESETS // 4)
        assert reset_often(RESETS) - before < GROWTH_MB
