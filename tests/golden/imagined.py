"""Everything the reference reports about imagined steps, from our actor, critics and losses."""

import math
from typing import NamedTuple

from torch import Tensor

from robodreamer.learning.actor_critic import ActorCritic, Imagined, ImaginedRewards
from robodreamer.models.action_distributions import ActionDistribution, Categorical
from robodreamer.models.sampling import ModeSampler


class ImaginedReport(NamedTuple):
    """Losses (N, H), what they are made of, and metrics by the reference's names."""

    losses: dict[str, Tensor]
    returns: Tensor
    policy: ActionDistribution
    parts: dict[str, Tensor]
    metrics: dict[str, Tensor]


def report(
    actor_critic: ActorCritic, imagined: Imagined, predicted: ImaginedRewards
) -> ImaginedReport:
    """Compute the losses of imagined trajectories, which moves the range of returns."""
    losses, returns, metrics = actor_critic.imagined_losses(imagined, predicted, ModeSampler())
    feature = imagined.states.feature
    policy = actor_critic.actor(feature)
    value = actor_critic.critic.mean(actor_critic.critic(feature))
    slow_value = actor_critic.slow_critic.mean(actor_critic.slow_critic(feature))
    parts = {
        "policy_loss": losses["policy"],
        "value_loss": losses["value"],
        "ret": returns,
        "val": value,
        "slowval": slow_value,
        "weight": predicted.continuation.cumprod(1),
        "adv": (returns - value[:, :-1]) / actor_critic.return_range.scale,
        "logp": policy.log_prob(imagined.actions),
        "ent": policy.entropy(ModeSampler()),
    }
    ours = {
        "tar": metrics["return"],
        "val": metrics["value"],
        "rew": metrics["imagined_reward"],
        "adv_mag": metrics["advantage_magnitude"],
        "con": predicted.continuation.mean(),
        "slowval": slow_value.mean(),
        "weight": parts["weight"].mean(),
        "adv": parts["adv"].mean(),
        "adv_std": parts["adv"].std(correction=0),
    }
    return ImaginedReport(
        losses, returns, policy, parts, ours | _entropy(policy) | _normalised(actor_critic, returns)
    )


def _entropy(policy: ActionDistribution) -> dict[str, Tensor]:
    """Return the mean entropy over the first H steps, and as a share of the largest possible."""
    entropy = policy.entropy(ModeSampler())[:, :-1].mean()
    if not isinstance(policy, Categorical):
        return {"ent/action": entropy}
    return {"ent/action": entropy, "rand/action": entropy / math.log(policy.log_probs.shape[-1])}


def _normalised(actor_critic: ActorCritic, returns: Tensor) -> dict[str, Tensor]:
    """Describe the returns as they lie in their running range."""
    scaled = (returns - actor_critic.return_range.low) / actor_critic.return_range.scale
    return {
        "ret": scaled.mean(),
        "ret_min": scaled.min(),
        "ret_max": scaled.max(),
        "ret_rate": (scaled.abs() >= 1).float().mean(),
    }
