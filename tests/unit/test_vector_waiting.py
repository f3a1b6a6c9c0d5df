"""Vector environments before their first record is taken: faults show, and what draws is known."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robodreamer_sim.cameras.graphics import LIBRARIES, VARIABLE
from robodreamer_sim.faults import EnvironmentFault
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.vector_env import VectorEnv

ACTIONS = np.full((2, 1), 0.5, np.float32)


def local(name: str = "Toy") -> VectorEnv:
    """Return two toy environments in this process."""
    options = EnvOptions(observe="proprio")
    return VectorEnv(f"gym:toy_env:{name}-v0", options, num_envs=2, num_workers=0, seed=0)


def two_records(environments: VectorEnv) -> list[dict[str, NDArray[Any]]]:
    """Return copies of the first two records."""
    environments.start()
    first = {key: value.copy() for key, value in environments.recv().items()}
    environments.send(ACTIONS)
    return [first, {key: value.copy() for key, value in environments.recv().items()}]


def test_records_that_were_waited_for_are_left_to_recv() -> None:
    with local() as environments:
        expected = two_records(environments)
        environments.start()
        for record in expected:
            environments.wait()
            environments.wait()
            seen = environments.recv()
            np.testing.assert_array_equal(seen["is_first"], record["is_first"])
            np.testing.assert_array_equal(
                seen["proprio/observation"], record["proprio/observation"]
            )
            environments.send(ACTIONS)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_draws_is_told_once_something_was_drawn(num_workers: int) -> None:
    options = EnvOptions(observe="camera", image_size=(4, 4))
    task = "dmc_cartpole_balance"
    with VectorEnv(task, options, num_envs=2, num_workers=num_workers, seed=0) as environments:
        assert environments.renderer_name() == ""
        environments.start()
        environments.wait()
        name = environments.renderer_name()
        assert name.strip()
        assert environments.recv()["image/fixed"].any()
        assert environments.renderer_name() == name
    with local() as environments:
        two_records(environments)
        assert environments.renderer_name() == ""


def test_one_probe_answers_for_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    options = EnvOptions(image_size=(4, 4))
    with VectorEnv("gym:toy_env:Toy-v0", options, num_envs=1, seed=0) as environments:
        assert environments.back_end is not None
        assert environments.back_end.name in LIBRARIES
        worker: Any = environments._shards[0]
        inherited = Path(f"/proc/{worker._process.pid}/environ").read_text().split("\0")
        assert f"{VARIABLE}={environments.back_end.name}" in inherited


def test_where_nothing_is_drawn_nothing_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    with local() as environments:
        assert environments.back_end is None
    assert os.environ[VARIABLE] == ""


def test_a_fault_shows_while_waiting() -> None:
    with local("ToyRaises") as environments:
        environments.start()
        for _ in range(2):
            environments.recv()
            environments.send(ACTIONS)
        with pytest.raises(EnvironmentFault, match="the toy broke"):
            environments.wait()
