"""Actor and critic, learned from trajectories that the world model imagines.

    A_t = sg(R_t - v_t) / max(1, range(R))                                 advantage
    actor:   maximise  A log pi  +  entropy                                REINFORCE
    critic:  cross-entropy to R, and to the slow critic's prediction

Source: DreamerV3 (Hafner et al., 2025), "Critic learning" and "Actor learning"; R is the
lambda-return of `returns`.

Shapes: N imagined trajectories, H horizon, B batch, T time, A action, F feature.
"""

import copy
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.learning.returns import ReturnRange, lambda_return
from robodreamer.models.distributions import Categorical, Normal
from robodreamer.models.heads import Actor, TwoHotHead, make_actor
from robodreamer.models.rssm import RSSM, State
from robodreamer.models.sampling import Sampler
from robodreamer_deploy.contract import ActionSpec


class Imagined(NamedTuple):
    """Imagined trajectories: H + 1 states, the first of them replayed, and an action in each."""

    states: State
    actions: Float[Tensor, "N H1 A"]

    @property
    def feature(self) -> Float[Tensor, "H1 N F"]:
        """Input of the heads, time first, so that any run of steps lies in one piece of memory."""
        deter, stoch = self.states.deter.transpose(0, 1), self.states.stoch.transpose(0, 1)
        return torch.cat([deter, stoch.flatten(-2)], -1)


class ImaginedRewards(NamedTuple):
    """The world model's predictions for imagined states; they carry no gradients."""

    reward: Float[Tensor, "N H1"]
    continuation: Float[Tensor, "N H1"]
    """Probability that the episode goes on after the step, discount included."""


def reinforce(
    policy: Normal | Categorical,
    actions: Float[Tensor, "*batch A"],
    advantage: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Return log pi(a) A, which makes better actions than expected likelier (Williams, 1992)."""
    return policy.log_prob(actions) * advantage


ACTOR_GRADIENTS = {"reinforce": reinforce}
"""Objectives that the actor maximises, entropy aside, by `AlgorithmConfig.actor_gradient`."""


class ActorCritic(nn.Module):
    """Actor, critic, the critic's slowly moving copy, and the range of returns."""

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
    def imagine(self, rssm: RSSM, start: State, sampler: Sampler) -> Imagined:
        """Let the actor drive the model for H steps from N states, then choose one more action.

        The states lie in memory time first, as `Imagined.feature` reads them.
        """
        weights = rssm.core.cut_weights()
        states, actions = [start], []
        for _ in range(self.config.horizon):
            actions.append(self.actor(states[-1].feature).sample(sampler))
            states.append(rssm.imagine_step(states[-1], actions[-1], sampler, weights))
        actions.append(self.actor(states[-1].feature).sample(sampler))
        deter, stoch = (torch.stack(values).transpose(0, 1) for values in zip(*states, strict=True))
        return Imagined(State(deter, stoch), torch.stack(actions, 1))

    def imagined_losses(
        self,
        imagined: Imagined,
        predicted: ImaginedRewards,
        is_known: Bool[Tensor, " N"] | None = None,
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """Return the losses `policy` and `value` (N, H), the lambda-returns (N, H) and metrics.

        Only actor and critic receive gradients. Where `is_known` is given, they learn from the
        trajectories marked in it alone.
        """
        feature = imagined.feature.detach()
        value_logits = self.critic(feature)
        value = self.critic.mean(value_logits.detach()).T  # bootstraps from the fast critic
        returns = lambda_return(
            predicted.reward, predicted.continuation, value, self.config.return_lambda
        )
        # Steps count by the probability that the episode gets there; the start's own is included,
        # as in the reference, so that starts in terminal states count little.
        weight = predicted.continuation.cumprod(1)[:, :-1]
        # Trajectories whose start is unknown must not set the scale for the others either.
        counted = returns if is_known is None else returns[is_known]
        scale = self.return_range.update(counted) if len(counted) else self.return_range.scale
        magnitude = counted.abs() if len(counted) else returns.new_zeros(1)
        # Divided by the range of returns, so that one entropy scale suits all tasks.
        advantage = (returns - value[:, :-1]) / scale
        value_loss = self._value_loss(
            feature[:-1], value_logits[:-1], returns.T, self.config.slow_critic_scale
        ).T
        policy = self.actor(feature[:-1])
        actions = imagined.actions[:, :-1].transpose(0, 1)
        objective = self.actor_gradient(policy, actions, advantage.T)
        objective = (objective + self.config.entropy_scale * policy.entropy()).T
        losses = {"policy": -weight * objective, "value": weight * value_loss}
        if is_known is not None:
            losses = {k: torch.where(is_known[:, None], loss, 0.0) for k, loss in losses.items()}
        metrics = {
            "return": returns.mean(),
            "value": value.mean(),
            "advantage_magnitude": advantage.abs().mean(),
            "imagined_reward": predicted.reward.mean(),
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
        """Return the critic's loss along real rewards (B, T - 1).

        Its gradient also reaches the world model through `feature` (DreamerV3, "Critic learning").

        Args:
            feature: Posterior states of a replayed sequence.
            reward: Received on arriving at each step.
            is_last: (B, T), steps that end an episode; they have no loss.
            is_terminal: (B, T), steps after which no reward follows.
            bootstrap: Imagined return from each step.
        """
        goes_on = (~is_terminal).float() * self.discount
        returns = lambda_return(
            reward, goes_on, bootstrap, self.config.replay_lambda, is_last=is_last
        )
        logits = self.critic(feature[:, :-1])
        loss = self._value_loss(
            feature[:, :-1], logits, returns, self.config.replay_slow_critic_scale
        )
        # After a last step comes another episode, so the return of that step means nothing.
        return (~is_last[:, :-1]).float() * loss

    @torch.no_grad()
    def update_slow_critic(self) -> None:
        """Move the slow critic a fraction `slow_critic_rate` of the way to the critic."""
        slow: list[Tensor] = list(self.slow_critic.parameters())
        fast: list[Tensor] = list(self.critic.parameters())
        torch._foreach_lerp_(slow, fast, self.config.slow_critic_rate)

    def _value_loss(
        self, feature: Tensor, logits: Tensor, target: Tensor, slow_scale: float
    ) -> Tensor:
        """Return the critic's loss against `target` and against the slow critic's prediction."""
        with torch.no_grad():
            slow = self.slow_critic.mean(self.slow_critic(feature))
        # Both targets in one call: they share the log-probabilities of the bins.
        loss, slow_loss = self.critic.losses(logits, torch.stack([target, slow], -1)).unbind(-1)
        return loss + slow_scale * slow_loss
