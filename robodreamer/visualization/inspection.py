"""Inspection of an agent: what its parts hold and how far they can be trusted, on new episodes.

The agent acts as in training, without the noise of exploration; then its model watches every
episode again, from the beginning.

Shapes: T steps of an episode, N steps of all episodes together.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from robodreamer.evaluation.calibration import Calibration, Followed, follow_values, join
from robodreamer.evaluation.latent_usage import LatentUsage, measure_usage
from robodreamer.evaluation.module_sizes import ModuleSize, module_sizes
from robodreamer.learning.agent import Agent
from robodreamer.learning.intrinsic import Arrivals
from robodreamer.models.rssm import State
from robodreamer.models.sampling import Sampler
from robodreamer.models.world_model import REWARD_TRANSFORMS
from robodreamer.visualization.episodes import Footage
from robodreamer_deploy.contract import Array

GRADIENT = "grad_norm"
"""Name of the metric of the norm of all gradients, and of what groups of them begin with."""
CHUNK = 256
"""Steps whose pictures are encoded at once; more would take much memory."""


class Gradients(NamedTuple):
    """Gradient norms of one group of networks over a run."""

    steps: Array
    """Environment steps of the reports, (R,)."""
    norms: Array
    """Mean norm before clipping since the report before, (R,)."""


class Inspection(NamedTuple):
    """Figures of an agent, of as many steps as were recorded."""

    num_episodes: int
    num_steps: int
    """N."""
    modules: Sequence[ModuleSize]
    latents: LatentUsage
    episode_starts: Array
    """First of the N steps of every episode."""
    reward: Calibration
    """Reward head, against what was received; the first step of an episode has no reward."""
    value: Calibration | None
    """Critic, against the returns that followed; None if no episode is long enough."""
    bootstrapped: float
    """Mean share of the critic's own last value in those returns."""
    return_range: tuple[float, float] | None
    """Running percentiles of imagined returns, which divide the actor's advantages; None where
    they are not divided."""
    gradients: Mapping[str, Gradients]
    """Gradient norms by group; empty for a run that has no metrics."""

    @property
    def kl_by_time(self) -> list[Array]:
        """KL of every step, (T,) for each episode."""
        return np.split(self.latents.kl_steps, self.episode_starts[1:])


class _Watched(NamedTuple):
    """One episode as the model has filtered it."""

    posterior: Tensor
    """(T, S, P)."""
    prior: Tensor
    reward: Calibration
    value: Followed | None


@torch.no_grad()
def inspect_agent(
    agent: Agent,
    episodes: Sequence[Footage],
    sampler: Sampler,
    lines: Sequence[Mapping[str, Any]] = (),
) -> Inspection:
    """Measure an agent on recorded episodes.

    Args:
        agent: Has the model.
        episodes: In which it acted, one or more.
        sampler: Draws latents while the model watches.
        lines: Metrics of the run.
    """
    watched = [_watch(agent, episode, sampler) for episode in episodes]
    posterior, prior = (
        torch.cat([getattr(part, k) for part in watched]) for k in _Watched._fields[:2]
    )
    followed = [part.value for part in watched if part.value is not None]
    returns = agent.actor_critic.return_range
    lengths = [episode.num_steps for episode in episodes]
    return Inspection(
        num_episodes=len(episodes),
        num_steps=sum(lengths),
        modules=module_sizes(agent),
        latents=measure_usage(agent.world_model.rssm.latent, posterior, prior),
        episode_starts=np.cumsum([0, *lengths[:-1]]),
        reward=join([part.reward for part in watched]),
        value=join([part.values for part in followed]) if followed else None,
        bootstrapped=float(np.concatenate([p.bootstrapped for p in followed] or [[0.0]]).mean()),
        return_range=(float(returns.low), float(returns.high)) if returns.rate else None,
        gradients=dict(gradient_norms(lines)),
    )


def gradient_norms(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Gradients]]:
    """Yield each group's gradient norms in a run's metrics; one optimizer has one group, `all`."""
    names = dict.fromkeys(k for line in lines for k in line if k.split("/")[0] == GRADIENT)
    for name in names:
        found = [(line["step"], line[name]) for line in lines if name in line]
        steps, norms = (np.array(column, dtype=float) for column in zip(*found, strict=True))
        yield name.partition("/")[2] or "all", Gradients(steps, norms)


def _watch(agent: Agent, episode: Footage, sampler: Sampler) -> _Watched:
    """Filter one episode, and compare what is predicted along it with what came."""
    states, previous, posterior = _filter(agent, episode, sampler)
    model, critic = agent.world_model, agent.actor_critic.critic
    feature = states.feature
    received = torch.from_numpy(episode.rewards).to(feature)
    received = REWARD_TRANSFORMS[agent.algorithm.reward_transform](received)
    predicted = model.reward.mean(model.reward(feature))
    paid = received
    if agent.intrinsic is not None:  # the critic learns the sum
        arrivals = Arrivals(feature.unsqueeze(0), previous.unsqueeze(0))
        paid = received + agent.intrinsic(arrivals, learns=False)[0]
    value = critic.mean(critic(feature))
    return _Watched(
        posterior=posterior,
        prior=model.rssm.prior_parameters(states.deter),
        reward=Calibration(predicted[1:].cpu().numpy(), received[1:].cpu().numpy()),
        value=follow_values(agent.actor_critic, value, paid, is_terminal=episode.is_terminal),
    )


def _filter(agent: Agent, episode: Footage, sampler: Sampler) -> tuple[State, Tensor, Tensor]:
    """Return posterior states (T, ...), the actions that led to them, and posterior parameters."""
    model = agent.world_model
    device = model.rssm.initial(1).deter.device
    done = torch.from_numpy(episode.actions).to(device)
    previous = torch.cat([torch.zeros_like(done[:1]), done[:-1]])
    tokens = []
    for begin, end in pairwise([*range(0, episode.num_steps, CHUNK), episode.num_steps]):
        seen = {s.name: episode.observations[s.name][begin:end] for s in agent.contract.inputs}
        tokens.append(model.encoder({k: torch.from_numpy(v).to(device) for k, v in seen.items()}))
    is_first = torch.arange(episode.num_steps, device=device).unsqueeze(0) == 0
    states, posterior = model.rssm.observe(
        model.rssm.initial(1),
        previous.unsqueeze(0),
        torch.cat(tokens).unsqueeze(0),
        is_first,
        sampler,
    )
    return State(*(value[0] for value in states)), previous, posterior[0]
