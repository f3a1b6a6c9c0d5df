"""Flags of a record, for every way in which an episode can end."""

from itertools import product

import numpy as np
import pytest

from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.gymnasium_adapter import GymnasiumVectorEnv
from robodreamer_sim.vector.vector_env import VectorEnv
from toy_env import EPISODE_STEPS

TASKS = {
    (False, False): "ToyEndless",
    (False, True): "Toy",
    (True, False): "ToyTerminates",
    (True, True): "ToyBoth",
}
"""True if a toy terminates, and is truncated, at its third step."""
ACTION = np.ones((2, 1), np.float32)


def make(task: str) -> VectorEnv:
    options = EnvOptions(observe="proprio")
    return VectorEnv(f"gym:toy_env:{task}-v0", options, num_envs=2, num_workers=0, seed=0)


@pytest.mark.parametrize(
    ("terminates", "is_late", "is_cut"), list(product([False, True], repeat=3))
)
def test_the_truth_table_of_ends(*, terminates: bool, is_late: bool, is_cut: bool) -> None:
    is_last = terminates or is_late or is_cut
    with make(TASKS[terminates, is_late]) as environments:
        environments.start()
        environments.recv()
        for _ in range(EPISODE_STEPS - 1):
            environments.send(ACTION)
            before = environments.recv()
            assert not (before["is_first"] | before["is_last"] | before["is_terminal"]).any()
        environments.send(ACTION, truncate=is_cut)
        record = environments.recv()
        assert record["is_first"].tolist() == [False] * 2
        assert record["is_last"].tolist() == [is_last] * 2
        assert record["is_terminal"].tolist() == [terminates] * 2
        assert record["reward"].tolist() == [4.0] * 2, "also what the last action brought counts"
        environments.send(ACTION)
        after = environments.recv()
        assert after["is_first"].tolist() == [is_last] * 2
        assert not (after["is_last"] | after["is_terminal"]).any()
        step_number = 0 if is_last else EPISODE_STEPS + 1
        assert after["proprio/observation"][:, 1].tolist() == [step_number] * 2
        assert after["reward"].tolist() == [0.0 if is_last else 4.0] * 2, "a new one ignores it"
        assert environments.episodes.tolist() == [int(is_last)] * 2


@pytest.mark.parametrize(("terminates", "is_late"), list(product([False, True], repeat=2)))
def test_gymnasiums_words_for_the_same(*, terminates: bool, is_late: bool) -> None:
    environments = GymnasiumVectorEnv(make(TASKS[terminates, is_late]))
    environments.reset()
    for step in range(1, 2 * EPISODE_STEPS + 3):
        _, reward, is_terminated, is_truncated, _ = environments.step(ACTION)
        is_end = step % (EPISODE_STEPS + 1) == EPISODE_STEPS
        is_new = (terminates or is_late) and step % (EPISODE_STEPS + 1) == 0
        assert is_terminated.tolist() == [terminates and is_end] * 2
        assert is_truncated.tolist() == [is_late and not terminates and is_end] * 2
        assert reward.tolist() == [0.0 if is_new else 4.0] * 2
    environments.close()
