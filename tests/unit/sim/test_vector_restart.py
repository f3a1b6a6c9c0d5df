"""Workers that are restarted: what broke off, what the others see, and how often it may happen."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robodreamer_sim.errors import EnvironmentFault
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.gymnasium_adapter import GymnasiumVectorEnv
from robodreamer_sim.vector.seeding import episode_seed
from robodreamer_sim.vector.vector_env import VectorEnv
from toy_env import SPARED

Record = dict[str, NDArray[Any]]

PROPRIO = EnvOptions(observe="proprio")
STEPS = 10
BREAK = 6  # of an episode that begins with record 4; its second step fails
SEED = next(
    seed
    for seed in range(1000)
    if [
        (environment, episode)
        for environment in range(4)
        for episode in range(4)
        if np.random.default_rng(episode_seed(seed, environment, episode)).random() >= SPARED
    ]
    == [(1, 1)]
)
"""With it, only the second episode of environment 1 fails."""


def run(
    task: str, *, num_workers: int, truncate_at: int = -1, **settings: Any
) -> tuple[list[Record], VectorEnv]:
    """Return copies of all records and the closed environments."""
    with VectorEnv(
        f"gym:toy_env:{task}-v0", PROPRIO, num_envs=4, num_workers=num_workers, **settings
    ) as environments:
        environments.start()
        records = [{key: value.copy() for key, value in environments.recv().items()}]
        for step in range(1, STEPS):
            action = np.full((4, 1), 0.3, np.float32)
            environments.send(action, truncate=step == truncate_at)
            records.append({key: value.copy() for key, value in environments.recv().items()})
    return records, environments


def of(records: list[Record], *environments: int) -> list[Record]:
    """Return the records of some environments."""
    return [{k: v[list(environments)] for k, v in record.items()} for record in records]


def assert_equal(left: list[Record], right: list[Record]) -> None:
    for step, (one, other) in enumerate(zip(left, right, strict=True)):
        for key, value in one.items():
            np.testing.assert_array_equal(value, other[key], err_msg=f"{key} at step {step}")


@pytest.mark.parametrize(
    ("task", "num_workers", "words"),
    [
        ("ToyMayRaise", 0, "environment 1, episode 1, step 2: OverflowError: the toy broke"),
        ("ToyMayDie", 2, "the worker of environments 0 to 1 died with exit code 7"),
    ],
)
def test_a_restarted_worker_goes_on_with_the_next_episode(
    task: str, num_workers: int, words: str
) -> None:
    healthy, _ = run("Toy", num_workers=0, seed=SEED)
    records, environments = run(task, num_workers=num_workers, seed=SEED, on_crash="restart")
    broken = [0, 1] if num_workers else [0, 1, 2, 3]
    others = [i for i in range(4) if i not in broken]
    assert_equal(records[:BREAK], healthy[:BREAK])
    assert_equal(of(records, *others), of(healthy, *others))
    after, _ = run("Toy", num_workers=0, seed=SEED, first_episodes=[2] * 4)
    assert_equal(of(records[BREAK:], *broken), of(after[: STEPS - BREAK], *broken))
    assert [words in str(fault) for fault in environments.faults] == [True]
    assert environments.dropped_episodes.tolist() == [int(i in broken) for i in range(4)]


def test_a_broken_episode_does_not_look_like_one_that_ended() -> None:
    records, _ = run("ToyMayRaise", num_workers=0, seed=SEED, on_crash="restart")
    before, at = records[BREAK - 1], records[BREAK]
    assert not before["is_first"].any()
    assert not (before["is_last"] | before["is_terminal"]).any()
    assert at["is_first"].all()
    assert not (at["is_last"] | at["is_terminal"] | at["success"]).any()
    assert not at["reward"].any()


def test_a_cut_is_kept_where_a_worker_breaks_at_the_same_step() -> None:
    records, environments = run(
        "ToyMayRaise", num_workers=0, seed=SEED, on_crash="restart", truncate_at=BREAK
    )
    assert len(environments.faults) == 1
    assert records[BREAK]["is_first"].all()
    assert records[BREAK]["is_last"].all()
    assert not records[BREAK]["is_terminal"].any()
    assert records[BREAK + 1]["is_first"].all()
    assert environments.episodes.tolist() == [3] * 4


@pytest.mark.slow
def test_a_worker_that_hangs_is_restarted_too() -> None:
    records, environments = run(
        "ToyMayHang", num_workers=4, seed=SEED, on_crash="restart", timeout_s=8.0
    )
    assert "did not answer for 8 s" in str(environments.faults[0])
    assert environments.dropped_episodes.tolist() == [0, 1, 0, 0]
    assert records[BREAK]["is_first"].tolist() == [False, True, False, False]


def test_starting_again_begins_the_same_episodes_also_after_a_restart() -> None:
    with VectorEnv(
        "gym:toy_env:ToyRaises-v0",
        PROPRIO,
        num_envs=1,
        num_workers=0,
        seed=0,
        on_crash="restart",
    ) as environments:
        environments.start()
        first = environments.recv()["proprio/observation"].copy()
        for _ in range(2):
            environments.send(np.zeros((1, 1), np.float32))
            environments.recv()
        assert environments.episodes.tolist() == [1]
        environments.start()
        np.testing.assert_array_equal(environments.recv()["proprio/observation"], first)


def test_a_fault_that_comes_again_and_again_stops_everything() -> None:
    environments = VectorEnv(
        "gym:toy_env:ToyRaises-v0",
        PROPRIO,
        num_envs=2,
        num_workers=0,
        seed=0,
        on_crash="restart",
        max_restarts=3,
    )
    environments.start()
    for _ in range(8):  # every second record was to be the one that is not yielded
        environments.recv()
        environments.send(np.zeros((2, 1), np.float32))
    with pytest.raises(EnvironmentFault, match="environment 0, episode 3, step 2: OverflowError"):
        environments.recv()
    assert len(environments.faults) == 3
    assert environments.dropped_episodes.tolist() == [3, 3]
    with pytest.raises(AssertionError, match="the environments are closed"):
        environments.start()


def test_gymnasium_is_not_shown_an_episode_that_breaks_off() -> None:
    with (
        VectorEnv(
            "gym:toy_env:Toy-v0", PROPRIO, num_envs=1, num_workers=0, seed=0, on_crash="restart"
        ) as environments,
        pytest.raises(ValueError, match="Gymnasium has no word for an episode that breaks off"),
    ):
        GymnasiumVectorEnv(environments)
