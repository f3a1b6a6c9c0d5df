"""Environments that are not the same are refused before they write into one memory."""

from pathlib import Path

import numpy as np
import pytest

from robodreamer_sim.errors import EnvironmentFault
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.vector_env import VectorEnv

PROPRIO = EnvOptions(observe="proprio")


@pytest.mark.parametrize(("num_workers", "first"), [(0, 0), (1, 0), (2, 0), (2, 1)])
def test_environments_that_differ_are_refused_when_they_are_made(
    num_workers: int, first: int, tmp_path: Path
) -> None:
    counter = tmp_path / "counter"
    counter.write_text("x" * first)
    words = r"environment 1 .*: proprio/observation: shape is \(\d+,\), expected \(\d+,\)"
    with pytest.raises(ValueError, match=words):
        VectorEnv(
            f"foreign_env:Differs?counter={counter}", PROPRIO, num_envs=2, num_workers=num_workers,
            seed=0,
        )  # fmt: skip


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_environment_that_a_restart_makes_differently_is_refused(
    num_workers: int, tmp_path: Path
) -> None:
    task = f"foreign_env:DiffersLater?counter={tmp_path / 'counter'}"
    with VectorEnv(
        task, PROPRIO, num_envs=1, num_workers=num_workers, seed=0, on_crash="restart"
    ) as environments:
        environments.start()
        environments.recv()
        environments.send(np.zeros((1, 2), np.float32))
        with pytest.raises(EnvironmentFault, match=r"a restart failed: .*\(1003,\), expected "):
            environments.recv()
