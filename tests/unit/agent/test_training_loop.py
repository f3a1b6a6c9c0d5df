"""Training loop: one round's use of the replay, and saving and restoring around it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robodreamer.config import named_config
from robodreamer.data.collector import Collector, ReplayRatio
from robodreamer.data.replay import make_replay
from robodreamer.learning.agent import Agent
from robodreamer.learning.learner import Learner
from robodreamer.models.sampling import RandomSampler, Sampler
from robodreamer.runs.checkpoint import Checkpoints
from robodreamer.training.progress import Progress
from robodreamer.training.reporter import Reporter
from robodreamer.training.schedule import Schedule
from robodreamer.training.train import Session, advance, restore, save
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.vector_env import VectorEnv

CPU = torch.device("cpu")
TASK = "gym:toy_env:Toy-v0"  # episodes of three steps
CONFIG = replace(named_config(TASK, "debug", "dreamer_v3", "debug"), observe="proprio")
LENGTH = CONFIG.data.replay_context + CONFIG.data.batch_length
NEW = 100.0  # what new latents are counted from; those of collection are within [-1, 1]


class Student(Learner):
    """A learner that learns nothing: it keeps its batches, and numbers the latents it returns."""

    batches: list[Mapping[str, Tensor]]

    def update(
        self, batch: Mapping[str, Tensor], sampler: Sampler
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        del sampler
        self.batches.append(batch)
        self.num_updates += 1
        context = self.replay_context
        latents = {name: batch[name][:, context:].clone() for name in ("deter", "stoch")}
        position = torch.arange(context, LENGTH, dtype=torch.float32)
        latents["deter"] = (NEW + position).view(1, -1, 1).expand_as(latents["deter"]).clone()
        return {}, latents


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    options = EnvOptions(observe="proprio")
    data = CONFIG.data
    with VectorEnv(TASK, options, num_envs=data.num_envs, num_workers=0, seed=3) as envs:
        agent = Agent(envs.contract, CONFIG.network, CONFIG.algorithm)
        replay = make_replay(
            envs.contract, agent, num_envs=data.num_envs, capacity=100, sequence_length=LENGTH,
            seed=0, device=CPU,
        )  # fmt: skip
        sampler = RandomSampler(torch.Generator().manual_seed(0))
        learner = Student(agent, CONFIG.algorithm.optimizer, replay_context=data.replay_context)
        learner.batches = []
        yield Session(
            config=CONFIG,
            learner=learner,
            collector=Collector(envs, agent, replay, sampler, CPU),
            replay=replay,
            sampler=sampler,
            ratio=ReplayRatio(0.5, 1, start=LENGTH * data.num_envs),
            schedule=Schedule(CONFIG),
            checkpoints=Checkpoints(tmp_path),
            reporter=Reporter(CONFIG, tmp_path, Progress("toy")),
        )


def batches_of(session: Session) -> list[Mapping[str, Tensor]]:
    assert isinstance(session.learner, Student)
    return session.learner.batches


def held(session: Session, name: str) -> Any:
    """Return what the replay holds of a field or latent, (steps, N, ...)."""
    (block,) = session.replay.snapshot()[0].blocks([name])
    return block.values[name].unflatten(0, (-1, session.replay.num_envs)).numpy()


def advance_to(session: Session, num_updates: int) -> None:
    while session.updates < num_updates:
        advance(session)


def test_the_latents_of_an_update_take_the_place_of_those_it_was_made_from(
    session: Session,
) -> None:
    context = session.config.data.replay_context
    advance_to(session, 1)  # the online queue serves the first sequence of each environment
    latents = held(session, "deter")
    assert (abs(latents[:context]) <= 1).all(), "the context's are not renewed"
    renewed = [NEW + position for position in range(context, LENGTH)]
    np.testing.assert_array_equal(latents[context:LENGTH, 0, 0], renewed)


def test_a_later_update_begins_with_the_latents_that_an_earlier_one_left(session: Session) -> None:
    advance_to(session, 30)
    starts = [float(batch["deter"][row, 0, 0]) for batch in batches_of(session) for row in (0, 1)]
    assert any(start >= NEW for start in starts)


def test_no_value_flows_back_over_the_place_where_an_episode_broke_off(session: Session) -> None:
    envs = session.collector.envs
    for _ in range(2):
        advance(session)
    envs.recv()
    envs.start(first_episodes=[5] * envs.num_envs)  # in mid-episode, as after a crash
    advance_to(session, 4)
    assert not held(session, "is_last")[1].any(), "no record says that the episode is over"
    seen = 0
    for batch in batches_of(session):
        breaks = batch["is_first"][:, 1:]
        assert (batch["is_last"][:, :-1] >= breaks).all()
        seen += int(breaks.sum())
    assert seen > 0


def test_a_run_goes_on_after_the_episodes_that_broke_off(session: Session) -> None:
    for _ in range(3):
        advance(session)
    collector = session.collector
    assert collector.untouched_episodes == [1, 1], "the first are going on"
    advance(session)  # receives their ends, and asks for the next ones
    assert collector.untouched_episodes == [2, 2], "the second may not even begin"
    save(session, wait=True, first_episodes=collector.untouched_episodes)
    newest = session.checkpoints.latest()
    assert newest is not None
    loaded = session.checkpoints.load(newest)
    assert loaded.state["first_episodes"] == [2, 2]
    restore(session, loaded)
    assert session.collector.num_steps == newest.step
