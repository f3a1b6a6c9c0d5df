"""Latents of every family in the replay: written back by an update, saved, restored, to the bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from exported import LATENTS
from robodreamer.data.replay import Replay, make_replay
from robodreamer.learning.agent import Agent
from robodreamer.learning.learner import Learner
from robodreamer.models.sampling import RandomSampler
from robodreamer.runs.checkpoint import CheckpointError, Checkpoints
from toy_agent import ALGORITHM, VECTORS, make_agent, make_batch, make_contract

LENGTH, CONTEXT = 6, 1


def agent_of(latent: str) -> Agent:
    family: Any = {"latent": latent}
    return make_agent(make_contract(VECTORS), algorithm=replace(ALGORITHM, **family))


def empty_replay(agent: Agent) -> Replay:
    """Return a replay with room for one sequence alone, so that every draw is that one."""
    return make_replay(
        agent.contract, agent, num_envs=1, capacity=LENGTH, sequence_length=LENGTH, seed=0,
        device=torch.device("cpu"),
    )  # fmt: skip


def filled_replay(agent: Agent) -> Replay:
    replay, data = empty_replay(agent), make_batch(agent, 1, LENGTH - 1)
    for t in range(LENGTH):
        replay.add({name: values[:, t] for name, values in data.items()})
    return replay


@pytest.mark.parametrize("latent", LATENTS)
def test_what_an_update_writes_back_is_drawn_saved_and_restored_to_the_bit(
    latent: str, tmp_path: Path
) -> None:
    agent = agent_of(latent)
    replay, learner = (
        filled_replay(agent),
        Learner(agent, agent.algorithm.optimizer, replay_context=CONTEXT),
    )
    batch = replay.sample(1)
    sampler = RandomSampler(torch.Generator().manual_seed(0))
    _, latents = learner.update(batch.data, sampler)
    replay.write_latents(batch, latents, CONTEXT)
    drawn = replay.sample(1).data
    for name, values in latents.items():
        assert torch.equal(drawn[name][:, CONTEXT:], values)
        assert torch.equal(drawn[name][:, :CONTEXT], batch.data[name][:, :CONTEXT])
    assert not torch.equal(drawn["stoch"], batch.data["stoch"])
    checkpoints = Checkpoints(tmp_path, 2)
    checkpoints.save(LENGTH, {"agent": agent.state_dict()}, {}, replay, wait=True)
    latest = checkpoints.latest()
    assert latest is not None
    other = empty_replay(agent)
    checkpoints.restore_replay(checkpoints.load(latest), other)
    restored = other.sample(1).data
    assert restored.keys() == drawn.keys()
    for name, values in drawn.items():
        assert torch.equal(restored[name], values), name
        assert restored[name].dtype == values.dtype, name


def test_classes_are_kept_as_bytes_and_a_gaussian_as_floats() -> None:
    fields = {name: empty_replay(agent_of(name)).latents["stoch"] for name in LATENTS}
    variables, classes = fields["categorical"].shape
    assert fields["gumbel"] == fields["categorical"]
    assert fields["categorical"].num_bytes == variables
    assert classes > 1
    assert fields["gaussian"].shape == (variables, 1)
    assert fields["gaussian"].num_bytes == 4 * variables


def test_a_replay_of_another_family_is_refused(tmp_path: Path) -> None:
    agent, other = agent_of("categorical"), agent_of("gaussian")
    checkpoints = Checkpoints(tmp_path, 2)
    checkpoints.save(LENGTH, {"agent": agent.state_dict()}, {}, filled_replay(agent), wait=True)
    latest = checkpoints.latest()
    assert latest is not None
    with pytest.raises(CheckpointError, match="the replay was saved with fields"):
        checkpoints.restore_replay(checkpoints.load(latest), empty_replay(other))
