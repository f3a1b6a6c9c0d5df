"""Collection: stored records, counted episodes, and the number of updates."""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from robodreamer.config import PRESETS, SIZES
from robodreamer.data.collector import Collector, ReplayRatio, TrainingDivergedError
from robodreamer.data.replay import Replay, close_broken_episodes, has_room, make_replay
from robodreamer.learning.agent import Agent
from robodreamer.models.sampling import RandomSampler
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.vector_env import VectorEnv

CPU = torch.device("cpu")
TOY_STEPS = 3  # episodes of the toy end after so many


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector over two toy environments, and an agent with random weights."""
    options = EnvOptions(observe="proprio")
    task = "gym:toy_env:Toy-v0"
    with VectorEnv(task, options, num_envs=2, num_workers=0, seed=3) as envs:
        torch.manual_seed(0)
        agent = Agent(envs.contract, SIZES["debug"], PRESETS["dreamer_v3"])
        replay = make_replay(
            envs.contract, agent, num_envs=2, capacity=200, sequence_length=4, seed=0, device=CPU
        )
        sampler = RandomSampler(torch.Generator().manual_seed(0))
        yield Collector(envs, agent, replay, sampler, CPU)


def records(replay: Replay) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Return all records (steps, N, ...) of a replay that has not wrapped."""
    names = (*replay.fields, *replay.latents)
    (block,) = replay.snapshot()[0].blocks(names)
    return {k: v.unflatten(0, (-1, replay.num_envs)).numpy() for k, v in block.values.items()}


def test_an_episode_is_reported_with_its_return_and_length(collector: Collector) -> None:
    episodes = [episode for _ in range(9) for episode in collector.step()]
    assert len(episodes) == 2 * 2  # nine records are two episodes of four, and one more start
    held = records(collector.replay)
    for number, episode in enumerate(episodes):
        first, env = 4 * (number // 2), number % 2
        assert held["is_first"][first, env]
        assert held["is_last"][first + TOY_STEPS, env]
        rewards = held["reward"][first : first + TOY_STEPS + 1, env]
        assert episode.episode_return == pytest.approx(rewards.sum())
        assert episode.length == TOY_STEPS
        assert not episode.success


def test_a_record_holds_the_action_taken_after_it(collector: Collector) -> None:
    for _ in range(4):
        collector.step()
    held = records(collector.replay)
    action, reward = held["action"][:, :, 0], held["reward"]
    scaled = 1 + 3 * action.clip(-1, 1)  # the toy takes actions from -2 to 4 and rewards them
    np.testing.assert_allclose(reward[1:], scaled[:-1], rtol=1e-5)
    assert (reward[0] == 0).all()


def test_ended_episodes_leave_nothing_in_the_simulators(collector: Collector) -> None:
    collector.step()
    assert collector.step(end_episodes=True) == []
    assert collector.step() == []  # both were cut, which counts as no episode
    assert collector.next_episodes == [1, 1]
    collector.step()
    held = records(collector.replay)
    assert held["is_last"].tolist() == [[False] * 2, [False] * 2, [True] * 2, [False] * 2]
    assert held["is_first"].tolist() == [[True] * 2, [False] * 2, [False] * 2, [True] * 2]
    assert not held["is_terminal"].any()


def test_an_episode_after_a_cut_counts_from_its_own_start(collector: Collector) -> None:
    collector.step(end_episodes=True)
    collector.step()
    episodes = [episode for _ in range(4) for episode in collector.step()]
    assert [episode.length for episode in episodes] == [TOY_STEPS] * 2


def test_the_latest_record_is_the_last_one_filed(collector: Collector) -> None:
    for _ in range(3):
        collector.step()
    held = records(collector.replay)
    assert {"action", "reward", "is_first", "success"} <= collector.latest.keys()
    for name in ("action", "reward", "proprio/observation"):
        np.testing.assert_array_equal(collector.latest[name], held[name][-1])


def test_an_agent_that_has_diverged_is_not_let_near_the_environment(collector: Collector) -> None:
    collector.step()
    with torch.no_grad():
        for parameter in collector.agent.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(TrainingDivergedError, match="not finite at step 2"):
        collector.step()


@example(rounds=[100], ratio=29.0, batch_steps=100, start=0, stop=9)  # 100 * (29 / 100) < 29
@given(
    rounds=st.lists(st.integers(1, 40), max_size=50),
    ratio=st.integers(0, 2000).map(lambda n: n / 4),
    batch_steps=st.integers(1, 2000),
    start=st.integers(0, 500),
    stop=st.integers(0, 50),
)
def test_the_number_of_updates_follows_the_ratio_at_any_time_also_across_resume(
    rounds: list[int], ratio: float, batch_steps: int, start: int, stop: int
) -> None:
    rule = ReplayRatio(ratio, batch_steps, start)
    steps = updates = 0
    for number, added in enumerate(rounds):
        if number == stop:
            rule = ReplayRatio(ratio, batch_steps, start)
        steps += added
        updates += rule.due(steps, updates)
        earned = max(0, steps - start) * Fraction(ratio) / batch_steps
        assert updates == math.floor(earned)


@pytest.mark.parametrize(("num_bytes", "expected"), [(4_000, True), (4_001, False)])
def test_a_gpu_keeps_as_much_memory_for_learning_as_the_replay_takes(
    num_bytes: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (8_000, 80_000))
    assert has_room(num_bytes, torch.device("cuda")) == expected
    assert has_room(num_bytes, CPU)


def test_an_episode_that_broke_off_ends_where_the_next_begins() -> None:
    is_first = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0]]).bool()
    is_last = torch.tensor([[0, 0, 1, 0, 0], [0, 0, 0, 0, 1]]).bool()
    batch = {"is_first": is_first, "is_last": is_last, "reward": torch.ones(2, 5)}
    closed = close_broken_episodes(batch)
    assert closed["is_last"].tolist() == [
        [False, False, True, False, False],
        [True, False, False, False, True],
    ]
    assert torch.equal(close_broken_episodes(closed)["is_last"], closed["is_last"])
    assert torch.equal(batch["is_last"], is_last)
    assert closed["reward"] is batch["reward"]
