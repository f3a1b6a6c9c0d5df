"""Behavior: actor and critic, learned from what the world model imagines.

    R_t = r_{t+1} + c_{t+1} ((1 - lambda) v_{t+1} + lambda R_{t+1})        lambda-return
    A_t = sg(R_t - v_t) / max(1, range(R))                                 advantage
    actor:   maximise  A log pi  +  entropy                                REINFORCE
    critic:  cross-entropy to R, and to the slow critic's prediction

Source: DreamerV3 (Hafner et al., 2025), "Critic learning" and "Actor learning".

Shapes: N imagined trajectories, H horizon, B batch, T time, A action, F feature.
"""

import copy
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.models.distributions import Categorical, Draw, Normal
from robodreamer.models.heads import Actor, TwoHotHead, make_actor
from robodreamer.models.rssm import RSSM, State
from robodreamer_deploy.contract import ActionSpec


class Imagined(NamedTuple):
    """Trajectories the model made up: H + 1 states, the first one real, and an action in each."""

    states: State
    actions: Float[Tensor, "N H1 A"]

    @property
    def feature(self) -> Float[Tensor, "H1 N F"]:
        """What heads read, step by step, so that any run of steps lies in one piece."""
        deter, stoch = self.states.deter.transpose(0, 1), self.states.stoch.transpose(0, 1)
        return torch.cat([deter, stoch.flatten(-2)], -1)


class Outlook(NamedTuple):
    """What the model and the critic think of imagined or replayed steps; no gradients."""

    reward: Float[Tensor, "N H1"]
    continuation: Float[Tensor, "N H1"]
    """Probability that the episode goes on after the step, discount included."""


class ReturnRange(nn.Module):
    """Running low and high percentile of imagined returns; scales advantages, never enlarges them.

    Starts at zero and is not corrected for that.
    """

    low: Tensor
    high: Tensor
    quantiles: Tensor

    def __init__(
        self,
        rate: float,
        percentiles: tuple[float, float] = (5.0, 95.0),
        limit: float = 1.0,
    ) -> None:
        super().__init__()
        self.rate = rate
        self.limit = limit
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("quantiles", torch.tensor(percentiles) / 100, persistent=False)

    def update(self, returns: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """Move towards this batch's percentiles; return the new scale."""
        low, high = torch.quantile(returns.detach().flatten(), self.quantiles).unbind()
        self.low.lerp_(low, self.rate)
        self.high.lerp_(high, self.rate)
        return self.scale

    @property
    def scale(self) -> Float[Tensor, ""]:
        """What advantages are divided by: high - low, at least `limit`."""
        return (self.high - self.low).clamp(min=self.limit)


def reinforce(
    policy: Normal | Categorical,
    actions: Float[Tensor, "*batch A"],
    advantage: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Return what makes actions that did better than expected more likely (Williams, 1992)."""
    return policy.log_prob(actions) * advantage


ACTOR_GRADIENTS = {"reinforce": reinforce}
"""How the actor learns from imagined returns: what it is to increase, entropy aside."""


class Behavior(nn.Module):
    """Actor, critic and slow critic."""

    def __init__(
        self,
        feature_size: int,
        action: ActionSpec,
        network: NetworkConfig,
        algorithm: AlgorithmConfig,
    ) -> None:
        super().__init__()
        self.config = algorithm
        self.discount = 1 - 1 / algorithm.discount_horizon
        self.actor_gradient = ACTOR_GRADIENTS[algorithm.actor_gradient]
        self.actor: Actor = make_actor(feature_size, action, network, algorithm)
        self.critic = TwoHotHead(feature_size, network, network.critic_layers)
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)  # noqa: FBT003
        self.return_range = ReturnRange(
            algorithm.return_rate,
            (algorithm.return_low, algorithm.return_high),
            algorithm.return_limit,
        )

    @torch.no_grad()
    def imagine(self, rssm: RSSM, start: State, draw: Draw) -> Imagined:
        """Let the actor drive the model for H steps from N states, then choose one more action.

        The states are stored step by step, which is what `Imagined.feature` needs.
        """
        weights = rssm.core.prepare()
        states, actions = [start], []
        for _ in range(self.config.horizon):
            actions.append(self.actor(states[-1].feature).sample(draw))
            states.append(rssm.imagine_step(states[-1], actions[-1], draw, weights))
        actions.append(self.actor(states[-1].feature).sample(draw))
        deter, stoch = (torch.stack(values).transpose(0, 1) for values in zip(*states, strict=True))
        return Imagined(State(deter, stoch), torch.stack(actions, 1))

    def imagined_losses(
        self, imagined: Imagined, outlook: Outlook, known: Bool[Tensor, " N"] | None = None
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """Return the losses `policy` and `value` (N, H), the lambda-returns (N, H) and metrics.

        Only actor and critic receive gradients, and from `known` trajectories alone if given.
        """
        feature = imagined.feature.detach()
        value_logits = self.critic(feature)
        value = self.critic.mean(value_logits.detach()).T
        returns = lambda_return(
            outlook.reward, outlook.continuation, value, self.config.return_lambda
        )
        weight = outlook.continuation.cumprod(1)[:, :-1]
        counted = returns if known is None else returns[known]
        scale = self.return_range.update(counted) if len(counted) else self.return_range.scale
        magnitude = counted.abs() if len(counted) else returns.new_zeros(1)
        advantage = (returns - value[:, :-1]) / scale
        value_loss = self._value_loss(
            feature[:-1], value_logits[:-1], returns.T, self.config.slow_critic_scale
        ).T
        policy = self.actor(feature[:-1])
        actions = imagined.actions[:, :-1].transpose(0, 1)
        objective = self.actor_gradient(policy, actions, advantage.T)
        objective = (objective + self.config.entropy_scale * policy.entropy()).T
        losses = {"policy": -weight * objective, "value": weight * value_loss}
        if known is not None:
            losses = {k: torch.where(known[:, None], loss, 0.0) for k, loss in losses.items()}
        metrics = {
            "return": returns.mean(),
            "value": value.mean(),
            "advantage_magnitude": advantage.abs().mean(),
            "imagined_reward": outlook.reward.mean(),
            "largest_return": magnitude.max(),
            "returns_beyond_bins": (magnitude > self.critic.reach).float().mean(),
        }
        return losses, returns, metrics

    def replay_loss(
        self,
        feature: Float[Tensor, "B T F"],
        reward: Float[Tensor, "B T"],
        is_last: Tensor,
        is_terminal: Tensor,
        bootstrap: Float[Tensor, "B T"],
    ) -> Float[Tensor, "B T1"]:
        """Return the critic's loss along real rewards (B, T - 1); its gradient shapes the model.

        `bootstrap` is the imagined return from each step.
        """
        goes_on = (~is_terminal).float() * self.discount
        returns = lambda_return(
            reward, goes_on, bootstrap, self.config.replay_lambda, is_last=is_last
        )
        logits = self.critic(feature[:, :-1])
        loss = self._value_loss(
            feature[:, :-1], logits, returns, self.config.replay_slow_critic_scale
        )
        return (~is_last[:, :-1]).float() * loss

    @torch.no_grad()
    def update_slow_critic(self) -> None:
        """Let the slow critic follow the critic."""
        slow: list[Tensor] = list(self.slow_critic.parameters())
        fast: list[Tensor] = list(self.critic.parameters())
        torch._foreach_lerp_(slow, fast, self.config.slow_critic_rate)

    def _value_loss(
        self, feature: Tensor, logits: Tensor, target: Tensor, slow_scale: float
    ) -> Tensor:
        """Return the critic's loss against `target` and against the slow critic's prediction."""
        with torch.no_grad():
            slow = self.slow_critic.mean(self.slow_critic(feature))
        loss, slow_loss = self.critic.losses(logits, torch.stack([target, slow], -1)).unbind(-1)
        return loss + slow_scale * slow_loss


def lambda_return(
    reward: Float[Tensor, "N T"],
    continuation: Float[Tensor, "N T"],
    bootstrap: Float[Tensor, "N T"],
    lambda_: float,
    is_last: Tensor | None = None,
) -> Float[Tensor, "N T1"]:
    """Return lambda-returns of steps 0 .. T - 2; the last step only bootstraps.

    All three inputs belong to the step arrived at: `reward[:, t]` is received on arriving at t,
    `continuation[:, t]` discounts what comes after t. Where `is_last` is set, the return is
    bootstrapped and does not look beyond.
    """
    keep = torch.full_like(reward, lambda_)
    if is_last is not None:
        keep = keep * (~is_last).float()
    steps = reward + continuation * (1 - keep) * bootstrap
    returns = [bootstrap[:, -1]]
    for t in reversed(range(1, reward.shape[1])):
        returns.append(steps[:, t] + continuation[:, t] * keep[:, t] * returns[-1])
    return torch.stack(returns[:0:-1], 1)
