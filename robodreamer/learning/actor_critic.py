"""Actor and critic, learned from trajectories that the world model imagines.

    A_t = sg(R_t - v_t) / S                                            advantage
    actor:   maximise  A log pi  +  entropy                            REINFORCE
             or        R / S     +  entropy                            dynamics backpropagation
    critic:  likelihood of R, and of the slow critic's prediction

Sources: DreamerV3 (Hafner et al., 2025), "Critic learning" and "Actor learning"; DreamerV1 (2020),
eq. 7 and 8; DreamerV2 (2021), eq. 6, which mixes both. R and S are the returns and their range of
`returns`.

Shapes: N imagined trajectories, H horizon, B batch, T time, A action, F feature.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.learning.returns import TARGETS, ReturnRange, Targets, lambda_return
from robodreamer.models.action_distributions import ActionDistribution
from robodreamer.models.heads import Actor, ScalarHead, make_actor, make_scalar_head
from robodreamer.models.rssm import RSSM, State
from robodreamer.models.sampling import Sampler
from robodreamer.utils.freezing import frozen
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
    """The world model's predictions for imagined states.

    They carry gradients to the states where the actor learns through the dynamics.
    """

    reward: Float[Tensor, "N H1"]
    continuation: Float[Tensor, "N H1"]
    """Probability that the episode goes on after the step, discount included."""

    def starting_with(self, continuation: Float[Tensor, " N"]) -> "ImaginedRewards":
        """Return the same with the continuation of the first step replaced."""
        rest = self.continuation[:, 1:]
        return self._replace(continuation=torch.cat([continuation.unsqueeze(1), rest], 1))


class ImaginedActions(NamedTuple):
    """Actions that are judged, the distributions they come from, and their judgement; time first.

    All but the distribution and the action have shape (A, N), of A steps.
    """

    policy: ActionDistribution
    action: Float[Tensor, "A N a"]
    returns: Float[Tensor, "A N"]
    """Returns after the action, divided by their range."""
    advantage: Float[Tensor, "A N"]
    """The same without the baseline; no gradient."""


def reinforce(judged: ImaginedActions) -> Float[Tensor, "A N"]:
    """Return log pi(a) A, which makes better actions than expected likelier (Williams, 1992)."""
    return judged.policy.log_prob(judged.action.detach()) * judged.advantage


def backpropagate(judged: ImaginedActions) -> Float[Tensor, "A N"]:
    """Return the returns themselves, whose gradient runs through the model (DreamerV1, eq. 7)."""
    return judged.returns


def mix(judged: ImaginedActions, share: float) -> Float[Tensor, "A N"]:
    """Return the sum of both, `share` of it backpropagated (DreamerV2, eq. 6).

    As in the reference, the log-probability also has a gradient through a continuous action.
    """
    likelihood = judged.policy.log_prob(judged.action) * judged.advantage
    return share * judged.returns + (1 - share) * likelihood


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
        self.make_targets = TARGETS[algorithm.returns]
        gradient = algorithm.actor_gradient
        if gradient == "auto":
            gradient = "reinforce" if action.kind == "discrete" else "dynamics"
        self.objective = self._objectives()[gradient]
        self.uses_dynamics = gradient != "reinforce"
        """True if the actor's gradient runs through the model."""
        self.actor: Actor = make_actor(feature_size, action, network, algorithm)
        self.critic: ScalarHead = make_scalar_head(
            network.parts.critic, feature_size, network, network.critic_layers
        )
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)  # noqa: FBT003
        self.return_range = ReturnRange(
            algorithm.return_rate,
            (algorithm.return_low, algorithm.return_high),
            algorithm.return_limit,
        )

    def _objectives(self) -> dict[str, Callable[[ImaginedActions], Tensor]]:
        """Return what the actor maximises, entropy aside, by `AlgorithmConfig.actor_gradient`."""
        share = self.config.dynamics_share
        return {
            "reinforce": reinforce,
            "dynamics": backpropagate,
            "both": lambda judged: mix(judged, share),
        }

    def imagine(self, rssm: RSSM, start: State, sampler: Sampler) -> Imagined:
        """Let the actor drive the model for H steps from N states, then choose one more action.

        The states lie in memory time first, as `Imagined.feature` reads them. They carry gradients
        to the actions if the actor learns through the dynamics, never to the model.
        """
        with torch.set_grad_enabled(self.uses_dynamics), frozen(rssm):
            weights = rssm.core.cut_weights()
            states, actions = [start], []
            for _ in range(self.config.horizon):
                actions.append(self._choose(states[-1], sampler))
                states.append(rssm.imagine_step(states[-1], actions[-1], sampler, weights))
            actions.append(self._choose(states[-1], sampler))
            deter, stoch = (torch.stack(v).transpose(0, 1) for v in zip(*states, strict=True))
            return Imagined(State(deter, stoch), torch.stack(actions, 1))

    def imagined_losses(
        self,
        imagined: Imagined,
        predicted: ImaginedRewards,
        sampler: Sampler,
        is_known: Bool[Tensor, " N"] | None = None,
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """Return the losses `policy` (N, A) and `value` (N, C), the returns (N, C) and metrics.

        Only actor and critic receive gradients. Where `is_known` is given, they learn from the
        trajectories marked in it alone.
        """
        feature = imagined.feature
        outputs = self.critic(feature.detach())
        value = self._return_value(feature, outputs)
        targets = self.make_targets(
            predicted.reward, predicted.continuation, value, self.config.return_lambda
        )
        returns = targets.returns.detach()
        # Trajectories whose start is unknown must not set the scale for the others either.
        counted = returns if is_known is None else returns[is_known]
        scale = self.return_range.update(counted)
        magnitude = counted.abs() if len(counted) else returns.new_zeros(1)
        policy_loss, advantage = self._policy_loss(
            feature.detach(), imagined.actions, targets, scale, sampler
        )
        steps = slice(targets.first, targets.first + returns.shape[1])
        value_loss = self._value_loss(
            feature[steps].detach(), outputs[steps], returns.T, self.config.slow_critic_scale
        )
        losses = {"policy": policy_loss, "value": targets.weight * value_loss.T}
        if is_known is not None:
            losses = {k: torch.where(is_known[:, None], loss, 0.0) for k, loss in losses.items()}
        metrics = {
            "return": returns.mean(),
            "value": value.detach().mean(),
            "advantage_magnitude": advantage.abs().mean(),
            "imagined_reward": predicted.reward.detach().mean(),
            "largest_return": magnitude.max(),
            "returns_beyond_bins": (magnitude > self.critic.reach).float().mean(),
        }
        return losses, returns, metrics

    def _choose(self, state: State, sampler: Sampler) -> Float[Tensor, "N A"]:
        """Let the actor act; its gradient does not run back through what it sees."""
        return self.actor(state.feature.detach()).sample(sampler)

    def _return_value(
        self, feature: Float[Tensor, "H1 N F"], outputs: Tensor
    ) -> Float[Tensor, "N H1"]:
        """Return the values that returns and baselines are made with; critics get no gradient."""
        if self.config.return_critic == "slow":
            return self.slow_critic.mean(self.slow_critic(feature)).T
        if not self.uses_dynamics:  # the outputs for the critic's own loss serve here too
            return self.critic.mean(outputs.detach()).T
        with frozen(self.critic):
            return self.critic.mean(self.critic(feature)).T

    def _policy_loss(
        self,
        feature: Float[Tensor, "H1 N F"],
        actions: Float[Tensor, "N H1 a"],
        targets: Targets,
        scale: Tensor,
        sampler: Sampler,
    ) -> tuple[Float[Tensor, "N A"], Float[Tensor, "N A"]]:
        """Return the actor's loss and the advantages, both (N, A)."""
        # Divided by the range of returns, so that one entropy scale suits all tasks.
        advantage = (targets.action_returns - targets.baseline).detach() / scale
        num_steps = advantage.shape[1]
        policy = self.actor(feature[:num_steps])
        chosen = actions[:, :num_steps].transpose(0, 1)
        objective = self.objective(
            ImaginedActions(policy, chosen, targets.action_returns.T / scale, advantage.T)
        )
        if self.config.entropy_scale:
            objective = objective + self.config.entropy_scale * policy.entropy(sampler)
        return -targets.action_weight * objective.T, advantage

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
    def update_slow_critic(self, num_updates: int) -> None:
        """Move the slow critic a fraction `slow_critic_rate` of the way to the critic.

        It moves in every `slow_critic_every`-th update. Where it stands still in between, the first
        move goes all the way, as in DreamerV2.

        Args:
            num_updates: Updates before this one.
        """
        if num_updates % self.config.slow_critic_every:
            return
        is_copy = self.config.slow_critic_every > 1 and num_updates == 0
        slow: list[Tensor] = list(self.slow_critic.parameters())
        fast: list[Tensor] = list(self.critic.parameters())
        torch._foreach_lerp_(slow, fast, 1.0 if is_copy else self.config.slow_critic_rate)

    def _value_loss(
        self, feature: Tensor, logits: Tensor, target: Tensor, slow_scale: float
    ) -> Tensor:
        """Return the critic's loss against `target` and against the slow critic's prediction."""
        if not slow_scale:
            return self.critic.loss(logits, target)
        with torch.no_grad():
            slow = self.slow_critic.mean(self.slow_critic(feature))
        # Both targets in one call: they share the log-probabilities of the bins.
        loss, slow_loss = self.critic.losses(logits, torch.stack([target, slow], -1)).unbind(-1)
        return loss + slow_scale * slow_loss
