"""Agents of the golden files 09a and 09b: built from their settings, filled, and fed."""

import torch.nn.functional as F
from torch import Tensor
from vectors import Case, contract

from robodreamer.learning.agent import Agent
from robodreamer.models.heads import DiscreteActor
from robodreamer.models.rssm import State
from robodreamer.models.sampling import ModeSampler
from robodreamer.reference import config_from_reference, load_parameters

FILES = ("09a_agent_continuous.npz", "09b_agent_discrete.npz")

LOSSES = {
    "dyn": "dynamics",
    "rep": "representation",
    "rew": "reward",
    "con": "continuation",
    "policy": "policy",
    "value": "value",
    "repval": "replay_value",
}


class Offset(ModeSampler):
    """The mode of latents, and actions a share of their standard deviation off the mean."""

    def __init__(self, share: float) -> None:
        self.share = share

    def normal(self, mean: Tensor, std: Tensor) -> Tensor:
        """Return mean + share * std."""
        return mean + self.share * std


def make_agent(case: Case, *, filled: bool = True) -> Agent:
    """Build the agent of a file from its settings, and load its parameters."""
    network, algorithm = config_from_reference(case.options["config"])
    agent = Agent(contract(case.options), network, algorithm)
    if filled:
        load_parameters(agent, case.section("param") | case.section("state"))
    return agent


def loss_names(agent: Agent) -> dict[str, str]:
    """Return our name of every loss of the reference."""
    return LOSSES | {name.partition("/")[2]: name for name in agent.world_model.decoder.signals}


def vector_actions(agent: Agent, actions: Tensor) -> Tensor:
    """Return the reference's actions as vectors; classes become one-hot."""
    if agent.contract.action.kind == "discrete":
        return F.one_hot(actions.long(), agent.contract.action.size).float()
    return actions


def observation(agent: Agent, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what a file observes, by the names of our signals."""
    names = [signal.name for signal in agent.contract.observations]
    return {name: values[name.partition("/")[2]] for name in names}


def replayed(case: Case, agent: Agent) -> dict[str, Tensor]:
    """Return the replayed batch of a file, (B, K + T, ...), as a learner takes it."""
    data = case.tensors("in/data")
    flags = ("reward", "is_first", "is_last", "is_terminal")
    return (
        observation(agent, data)
        | {name: data[name] for name in flags}
        | {"action": vector_actions(agent, data["action"])}
        | {name.partition("/")[2]: v for name, v in data.items() if name.startswith("dyn/")}
    )


def policy_outputs(agent: Agent, state: State) -> Tensor:
    """Return the logits of a discrete policy, the mean of a continuous one."""
    actor = agent.actor_critic.actor
    if isinstance(actor, DiscreteActor):
        return actor.output(actor.mlp(state.feature))
    return actor(state.feature).mean
