"""Optimizers of an agent: one for all its networks, or one for each group of them.

DreamerV3 has one, with one learning rate. DreamerV1 and V2 have three, each with its learning rate,
and each clips the gradient of its group by its norm.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from robodreamer.config import OptimizerConfig
from robodreamer.learning.agent import Agent
from robodreamer.learning.optim import Adam, LaProp

MODEL = ("model", "intrinsic")
"""Groups that learn from replayed steps."""
BEHAVIOR = ("actor", "critic")
"""Groups that learn from imagined ones."""
ALL = "agent"
"""Name of the one group of all networks."""


class Optimizers:
    """Optimizers by the group of networks that they update."""

    def __init__(self, agent: Agent, config: OptimizerConfig) -> None:
        self.groups = _make_groups(agent, config)

    def step(self, total: Tensor, names: tuple[str, ...] | None = None) -> dict[str, Tensor]:
        """Descend along a loss in some groups, by default all.

        Returns:
            Norm of each group's gradient before clipping, as `grad_norm/GROUP`, or as `grad_norm`
            if there is but one.
        """
        groups = {k: group for k, group in self.groups.items() if names is None or k in names}
        for group in groups.values():
            group.zero_grad()
        total.backward()
        return {
            "grad_norm" if name == ALL else f"grad_norm/{name}": group.step()
            for name, group in groups.items()
        }

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next update, of the first group."""
        return next(iter(self.groups.values())).learning_rate

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state of every group, its name before that of every tensor."""
        return {
            f"{name}.{key}": tensor
            for name, group in self.groups.items()
            for key, tensor in group.state_dict().items()
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        for name, group in self.groups.items():
            mine = {k.partition(".")[2]: v for k, v in tensors.items() if k.startswith(f"{name}.")}
            group.load_state_dict(mine)


def _make_groups(agent: Agent, config: OptimizerConfig) -> dict[str, LaProp | Adam]:
    actor, critic = agent.actor_critic.actor, agent.actor_critic.critic
    if config.method == "laprop" and not agent.algorithm.model_first:
        return {ALL: LaProp(agent.parameters(), config, actor.parameters())}
    modules: dict[str, tuple[nn.Module | None, float | None]] = {
        "model": (agent.world_model, None),
        "intrinsic": (agent.intrinsic, agent.algorithm.intrinsic.learning_rate),
        "actor": (actor, config.actor_learning_rate),
        "critic": (critic, config.critic_learning_rate),
    }
    groups: dict[str, LaProp | Adam] = {}
    for name, (module, rate) in modules.items():
        if module is None:
            continue
        if config.method == "laprop":
            groups[name] = LaProp(
                module.parameters(), config, module.parameters() if name == "actor" else ()
            )
        else:
            groups[name] = Adam(module.parameters(), config, rate or config.learning_rate)
    return groups
