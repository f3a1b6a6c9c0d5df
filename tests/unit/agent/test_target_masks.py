"""Target masks: unknown rewards and signals train nothing, known ones train as always."""

import pytest
import torch
from torch import Tensor

from robodreamer.config import OptimizerConfig
from robodreamer.learning.agent import Agent
from robodreamer.learning.learner import Learner
from robodreamer.models.sampling import RandomSampler
from robodreamer_deploy.contract import Signal
from toy_agent import SIGNALS, make_agent, make_batch, make_contract

PRIVILEGED_CLASS = Signal(
    name="privileged/contact", shape=(2,), dtype="int32", num_classes=3, unit=""
)
CONTRACT = make_contract((*SIGNALS, PRIVILEGED_CLASS))
OBJECT = "privileged/object_position"


def updated(batch: dict[str, Tensor], *, has_unknown: bool) -> tuple[Agent, dict[str, Tensor]]:
    agent = make_agent(CONTRACT)
    learner = Learner(agent, OptimizerConfig(learning_rate=1e-3, warmup=0), replay_context=1)
    learner.has_unknown = has_unknown
    metrics, _ = learner.update(batch, RandomSampler(torch.Generator().manual_seed(1)))
    return agent, metrics


def moved(agent: Agent) -> set[str]:
    before = make_agent(CONTRACT).state_dict()
    after = agent.state_dict()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_where_all_is_known_looking_changes_no_bit() -> None:
    batch = make_batch(make_agent(CONTRACT))
    plain, _ = updated(batch, has_unknown=False)
    looked, _ = updated(batch, has_unknown=True)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, looked.state_dict()[name]), name


def test_without_rewards_only_the_world_model_learns() -> None:
    batch = make_batch(make_agent(CONTRACT))
    batch["reward"] = torch.full_like(batch["reward"], torch.nan)
    agent, metrics = updated(batch, has_unknown=True)
    assert all(value.isfinite().all() for value in metrics.values())
    parts = {name for name in moved(agent) if "slow_critic" not in name}  # it follows the critic
    learned = {"world_model.encoder", "world_model.rssm", "world_model.decoder"}
    assert all(any(part.startswith(p) for part in parts) for p in learned)
    idle = ("actor_critic", "world_model.reward", "world_model.continuation")
    assert not any(part.startswith(idle) for part in parts)
    for name in ("policy", "value", "replay_value", "reward", "continuation"):
        assert metrics[f"loss/{name}"] == 0, name


@pytest.mark.parametrize("known_rows", [1, 2])
def test_steps_with_a_reward_teach_as_if_the_others_were_not_there(known_rows: int) -> None:
    """Rewards, ends and values of unknown rows can be anything: no gradient depends on them."""
    batch = make_batch(make_agent(CONTRACT))
    batch["reward"][known_rows:] = torch.nan
    other = {name: value.clone() for name, value in batch.items()}
    other["is_terminal"][known_rows:] ^= True
    one, metrics = updated(batch, has_unknown=True)
    two, _ = updated(other, has_unknown=True)
    assert metrics["loss/reward"] > 0
    assert metrics["loss/policy"] != 0
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    assert one.actor_critic.return_range.high != 0  # known rows still set the scale


def test_an_unknown_privileged_signal_is_no_target() -> None:
    batch = make_batch(make_agent(CONTRACT))
    batch[OBJECT] = torch.full_like(batch[OBJECT], torch.nan)
    batch[PRIVILEGED_CLASS.name] = torch.full_like(batch[PRIVILEGED_CLASS.name], -1)
    agent, metrics = updated(batch, has_unknown=True)
    assert all(value.isfinite().all() for value in metrics.values())
    vectors = agent.world_model.decoder.vectors
    assert vectors is not None
    names = [signal.name for signal in vectors.signals]
    for name in names:
        prefix = f"world_model.decoder.vectors.outputs.{names.index(name)}"
        has_moved = any(key.startswith(prefix) for key in moved(agent))
        assert has_moved == (not name.startswith("privileged")), name
        assert (metrics[f"loss/{name}"] == 0) == name.startswith("privileged")


def test_one_unknown_element_makes_the_signal_of_its_step_unknown() -> None:
    batch = make_batch(make_agent(CONTRACT))
    known = updated(batch, has_unknown=True)[1][f"loss/{OBJECT}"]
    batch[OBJECT][0, 2, 1] = torch.nan
    partly = updated(batch, has_unknown=True)[1][f"loss/{OBJECT}"]
    assert 0 < partly < known
