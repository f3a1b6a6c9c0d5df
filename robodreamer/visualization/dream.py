"""Open-loop dreams: the model watches the beginning of an episode and imagines the rest.

While it watches, states come from the posterior, as in acting. From then on only the actions that
were really taken go in, and states come from the prior. The difference to what happened shows how
far the model can be trusted to plan. A reconstruction watches all of the episode: what it misses,
the latent states do not hold or the decoder cannot draw.

Shapes: T steps, K of them observed, A action.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from robodreamer.learning.agent import Agent
from robodreamer.models.rssm import State, stack_time
from robodreamer.models.sampling import ModeSampler
from robodreamer.visualization.episodes import Footage
from robodreamer_deploy.contract import Array, Signal

CONTEXT = 5
HORIZON = 95
"""Imagined steps at most; what comes later is not looked at."""


class Dream(NamedTuple):
    """Truth and the model's version of it, in the same units.

    Pictures are float32 in [0, 1], measurements in their own unit, classes int64.
    """

    context: int
    """Steps K that were observed; the others are imagined. T for a reconstruction."""
    truth: dict[str, Array]
    """Every decoded signal by name, (T, ...)."""
    model: dict[str, Array]
    """As `truth`."""

    @property
    def num_steps(self) -> int:
        """T."""
        return len(next(iter(self.truth.values())))

    @property
    def cameras(self) -> list[str]:
        """Names of the signals that are pictures."""
        return [name for name, value in self.truth.items() if value.ndim == 4]

    @property
    def errors(self) -> dict[str, Array]:
        """Error of every signal at every step, (T,); see `step_errors`."""
        return {name: step_errors(self.truth[name], self.model[name]) for name in self.truth}

    @property
    def still_errors(self) -> dict[str, Array]:
        """As `errors`, for a model to which the last observed value stays; 0 while observed."""
        held = np.minimum(np.arange(self.num_steps), self.context - 1)
        return {name: step_errors(value, value[held]) for name, value in self.truth.items()}


def dream(agent: Agent, footage: Footage, context: int = CONTEXT, horizon: int = HORIZON) -> Dream:
    """Observe `context` steps of an episode, imagine up to `horizon` more, and decode all of them.

    At least one step is imagined: of a short episode less is observed.
    """
    num_steps = min(footage.num_steps, context + horizon)
    assert num_steps >= 2, f"{num_steps} steps are too few to imagine one"
    context = min(context, num_steps - 1)
    seen = {s.name: footage.observations[s.name][:context] for s in agent.contract.inputs}
    states = imagine_from(agent, seen, footage.actions[: num_steps - 1])
    return Dream(context, truth(agent, footage, slice(num_steps)), decode(agent, states))


def reconstruct(agent: Agent, footage: Footage, num_steps: int = CONTEXT + HORIZON) -> Dream:
    """Observe up to `num_steps` steps of an episode, all of them, and decode their states."""
    num_steps = min(footage.num_steps, num_steps)
    states = watch(agent, footage, num_steps)
    return Dream(num_steps, truth(agent, footage, slice(num_steps)), decode(agent, states))


def watch(agent: Agent, footage: Footage, num_steps: int) -> State:
    """Return the posterior states (T, ...) of an episode's first T steps."""
    seen = {s.name: footage.observations[s.name][:num_steps] for s in agent.contract.inputs}
    return imagine_from(agent, seen, footage.actions[: num_steps - 1])


@torch.no_grad()
def decode(agent: Agent, states: State) -> dict[str, Array]:
    """Return every decoded signal of states with any leading axes, in the units of a `Dream`."""
    decoder = agent.world_model.decoder
    decoded = decoder.in_units(decoder(states))
    return {name: decoded[name].cpu().numpy() for name in decoder.signals}


def truth(agent: Agent, footage: Footage, steps: slice) -> dict[str, Array]:
    """Return what happened at some steps to every signal that is decoded, in the same units."""
    signals = agent.world_model.decoder.signals
    return {name: _truth(footage.observations[name][steps], s) for name, s in signals.items()}


@torch.no_grad()
def imagine_from(agent: Agent, observations: Mapping[str, Array], actions: Array) -> State:
    """Return the states (T, ...) of an episode of which only the beginning is shown.

    Args:
        agent: Has the model.
        observations: The first K of every input, (K, ...).
        actions: What was done after each step but the last, (T - 1, A).
    """
    model, sampler = agent.world_model, ModeSampler()
    device = model.rssm.initial(1).deter.device
    done = torch.from_numpy(actions).to(device).unsqueeze(0)
    shown = {name: torch.from_numpy(v).to(device) for name, v in observations.items()}
    tokens = model.encoder(shown).unsqueeze(0)
    context = tokens.shape[1]
    is_first = torch.arange(context, device=device).unsqueeze(0) == 0
    before = torch.cat([done.new_zeros(1, 1, done.shape[-1]), done[:, : context - 1]], 1)
    observed, _ = model.rssm.observe(model.rssm.initial(1), before, tokens, is_first, sampler)
    states = [State(*(value[:, i] for value in observed)) for i in range(context)]
    weights = model.rssm.core.cut_weights()
    for action in done[:, context - 1 :].unbind(1):
        states.append(model.rssm.imagine_step(states[-1], action, sampler, weights))
    return State(*(value[0] for value in stack_time(states)))


def step_errors(truth: Array, model: Array) -> Array:
    """Return the root of the mean squared difference per step; of classes the share that differ."""
    flat_truth, flat_model = (value.reshape(len(value), -1) for value in (truth, model))
    if truth.dtype == np.int64:
        return (flat_truth != flat_model).mean(1)
    return np.sqrt(np.square(flat_truth.astype(np.float64) - flat_model).mean(1))


def _truth(values: Array, signal: Signal) -> Array:
    if signal.is_image:
        return values.astype(np.float32) / 255.0
    return values.astype(np.int64 if signal.num_classes else np.float32)
