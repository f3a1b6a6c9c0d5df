"""Futures: courses that the model imagines under its own actor, from one state that was real.

The state comes from watching the beginning of an episode. From then on nothing real goes in: the
actor chooses the actions, the prior the next states, as when the actor learns. With the likeliest
action and latents there is one such course, a fantasy; drawn at random, they spread as the model
and the actor are uncertain.

Shapes: N futures, H imagined steps, K observed steps, A action.
"""

from typing import NamedTuple

import numpy as np
import torch

from robodreamer.learning.agent import Agent
from robodreamer.models.rssm import State, stack_time
from robodreamer.models.sampling import Sampler
from robodreamer.visualization.dream import decode, truth, watch
from robodreamer.visualization.episodes import Footage
from robodreamer_deploy.contract import Array


class Futures(NamedTuple):
    """N imagined courses from one state, and the course that the episode took from there."""

    context: int
    """Observed steps K; the state of the last of them is the start."""
    truth: dict[str, Array]
    """Every decoded signal from the start on, in the units of a `Dream`; it ends with the episode,
    after H + 1 steps at most."""
    model: dict[str, Array]
    """The same as imagined, (N, H + 1, ...); the first step is the decoded start."""
    actions: Array
    """Chosen action in every state, (N, H + 1, A)."""
    true_rewards: Array
    """Rewards received with the steps of `truth`."""
    rewards: Array
    """Expected reward of every state, (N, H + 1)."""

    @property
    def cameras(self) -> list[str]:
        """Names of the signals that are pictures."""
        return [name for name, value in self.truth.items() if value.ndim == 4]

    @property
    def num_steps(self) -> int:
        """Number of states H + 1 of every future."""
        return self.rewards.shape[1]

    def step(self, number: int) -> dict[str, Array]:
        """Return every signal of all futures at one step, (N, ...)."""
        return {name: value[:, number] for name, value in self.model.items()}


@torch.no_grad()
def imagine_futures(
    agent: Agent, footage: Footage, context: int, horizon: int, count: int, sampler: Sampler
) -> Futures:
    """Watch the beginning of an episode, then let actor and prior go on by themselves.

    Args:
        agent: Has the model and the actor.
        footage: Episode whose beginning is watched.
        context: Steps K that are watched; all of a shorter episode.
        horizon: Imagined steps H.
        count: Number of futures N.
        sampler: Draws latents and actions; a `ModeSampler` makes all futures the same.
    """
    context = min(context, footage.num_steps)
    model, actor = agent.world_model, agent.actor_critic.actor
    start = watch(agent, footage, context)
    states = [State(*(value[-1:].expand(count, *value.shape[1:]) for value in start))]
    actions = [actor(states[0].feature).sample(sampler)]
    for _ in range(horizon):
        states.append(model.rssm.imagine_step(states[-1], actions[-1], sampler))
        actions.append(actor(states[-1].feature).sample(sampler))
    course = stack_time(states)
    rewards = model.reward.mean(model.reward(course.feature))
    steps = slice(context - 1, context + horizon)
    return Futures(
        context=context,
        truth=truth(agent, footage, steps),
        model=_decode_in_turn(agent, course),
        actions=torch.stack(actions, 1).cpu().numpy(),
        true_rewards=footage.rewards[steps],
        rewards=rewards.cpu().numpy(),
    )


def _decode_in_turn(agent: Agent, course: State) -> dict[str, Array]:
    """Decode one future after the other, because pictures of all at once take much memory."""
    count = len(course.deter)
    parts = [decode(agent, State(*(value[i] for value in course))) for i in range(count)]
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}
