"""Reference steps of the agent in torch, which the exported graphs are compared with.

There are consecutive steps, and probes. The consecutive steps are there twice: in short segments,
and in one go past the ends of episodes, where errors build up.

Probes are single steps from random states and observations. They reach what a short recording of a
trained agent does not: classes that a latent seldom takes, limits, marks for missing values. Their
noise keeps the action where a small error shows, however sure the agent is. Values and noise are of
the kinds that the agent's latents and actions state.

Shapes: n steps, A action, D deter, S stoch variables, K classes.
"""

from typing import NamedTuple

import numpy as np
import torch

from robodreamer.export.graphs import action_noise_kind
from robodreamer.export.torch_trace import (
    Columns,
    Recording,
    Trace,
    agent_step,
    join,
    noise_rows,
    trace,
)
from robodreamer.learning.agent import Agent, Carry
from robodreamer.models.rssm import State
from robodreamer_deploy.contract import Array, Signal
from robodreamer_deploy.policy.comparison import TIE_MARGIN
from robodreamer_deploy.policy.noise import Noise, draw_noise

NUM_PROBES = 512
CHUNK = 64
REFERENCE_SEED = 0
CERTAIN = 50.0
"""Gumbel noise that decides for a class whatever its probability."""
SHARE_OF_FRAMES = 0.5
"""Share of camera frames that a recording keeps, for an agent trained with camera dropout."""
LARGEST_READ = 5.0
"""Largest measurement of a probe, as the network reads it. Networks without norms that read raw
values carry a hundredfold of them on to their latents, where rounding alone exceeds tolerances."""
EDGE = 2 * TIE_MARGIN
"""Lead of a discrete action in a probe: more than a tie, and little enough for an error to show."""


class ReferenceSteps(NamedTuple):
    """Traces of the agent in torch, by how its steps follow each other."""

    sample: Trace
    """Consecutive steps with random draws, in segments."""
    mode: Trace
    """The same observations without noise."""
    free_sample: Trace
    """The same observations in one go, with no start but the first."""
    free_mode: Trace
    """The same without noise."""
    probes: Trace
    """Independent steps from random states and observations."""


def make_reference_steps(agent: Agent, recording: Recording) -> ReferenceSteps:
    """Run the agent, with and without noise, over a recording (cut and whole) and over probes."""
    generator = np.random.default_rng(REFERENCE_SEED)
    recording = lose_frames(agent, recording, generator)
    noise = make_noise(agent, len(recording.is_first), generator)
    silence = Noise(*(np.zeros_like(values) for values in noise))
    return ReferenceSteps(
        sample=trace(agent, recording.in_segments(), noise),
        mode=trace(agent, recording.in_segments(), silence),
        free_sample=trace(agent, recording.in_one_go(), noise),
        free_mode=trace(agent, recording.in_one_go(), silence),
        probes=probe(agent, NUM_PROBES, generator),
    )


def make_noise(agent: Agent, count: int, generator: np.random.Generator) -> Noise:
    """Return the noise of `count` steps, of the kinds that the graphs expect."""
    latent, action_size = agent.world_model.rssm.latent, agent.contract.action.size
    return Noise(
        draw_noise(latent.noise_kind, generator, (count, *latent.noise_shape)),
        draw_noise(action_noise_kind(agent), generator, (count, action_size)),
    )


@torch.no_grad()
def probe(agent: Agent, count: int, generator: np.random.Generator) -> Trace:
    """Take `count` steps that are independent of each other.

    In every other step noise forces a class on every categorical latent, so that the actor sees
    them all.
    """
    shown = lose_frames(agent, random_observations(agent, count, generator), generator)
    noise = make_noise(agent, count, generator)
    if agent.world_model.rssm.latent.is_onehot:
        noise.stoch[::2] = CERTAIN * random_onehot(generator, noise.stoch[::2].shape)
    before = _random_carry(agent, count, generator)
    steps: list[Columns] = []
    for start in range(0, count, CHUNK):
        rows = slice(start, start + CHUNK)
        carry = Carry(State(*(value[rows] for value in before.state)), before.action[rows])
        _, after = agent_step(agent, shown.rows(rows), carry, noise_rows(noise, rows))
        noise.action[rows] = revealing_noise(agent, after.state, generator)
        step, _ = agent_step(agent, shown.rows(rows), carry, noise_rows(noise, rows))
        steps.append(step)
    return join(agent, shown, noise, steps)


def revealing_noise(agent: Agent, state: State, generator: np.random.Generator) -> Array:
    """Return noise (n, A) with which errors of the actor show in its action.

    A continuous action lands inside its limits, uniformly. A discrete choice is a close one, taken
    in turns by every class, so that it falls when any probability is a little off.
    """
    count, size = len(state.deter), agent.contract.action.size
    if agent.contract.action.kind == "discrete":
        wanted = EDGE * np.eye(size, dtype=np.float32)[np.arange(count) % size]
    else:
        wanted = generator.uniform(-0.9, 0.9, (count, size)).astype(np.float32)
    distribution = agent.actor_critic.actor(state.feature)
    return distribution.noise_for(torch.from_numpy(wanted)).numpy()


def random_observations(agent: Agent, count: int, generator: np.random.Generator) -> Recording:
    """Return random observations; every eighth lacks a value, another eighth are first steps."""
    rows = np.arange(count)
    observations = {
        s.name: _random_values(agent, s, generator, is_missing=rows % 8 == 7)
        for s in agent.contract.inputs
    }
    nothing = np.zeros((count, agent.contract.action.size), np.float32)  # a probe has no next step
    return Recording(observations, rows % 8 == 3, nothing)


def lose_frames(agent: Agent, shown: Recording, generator: np.random.Generator) -> Recording:
    """Return the same steps, half of them without their frames if the agent is told of that."""
    bits = {
        bit: generator.random(len(shown.is_first)) < SHARE_OF_FRAMES
        for bit in agent.world_model.encoder.validity.values()
    }
    return shown._replace(observations={**shown.observations, **bits})


def random_onehot(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return one-hot vectors along the last axis, float32."""
    classes = generator.integers(0, shape[-1], shape[:-1])
    return np.eye(shape[-1], dtype=np.float32)[classes]


def _random_values(
    agent: Agent, signal: Signal, generator: np.random.Generator, *, is_missing: Array
) -> Array:
    """Return values (n, ...); a vector carries the encoder's mark if missing.

    A measurement is uniform in the scale that the network reads: where that is compressed it takes
    any magnitude, where it is raw some times the signal's range.
    """
    shape = (len(is_missing), *signal.shape)
    if signal.dtype == "uint8":
        return generator.integers(0, 256, shape).astype(np.uint8)
    is_marked = is_missing.reshape(-1, *[1] * len(signal.shape))
    if signal.num_classes:
        classes = generator.integers(0, signal.num_classes, shape)
        return np.where(is_marked, -1, classes).astype(np.int32)
    read = generator.uniform(-LARGEST_READ, LARGEST_READ, shape).astype(np.float32)
    scale = agent.world_model.encoder.scale_of(signal.name)
    values = scale.inverse(torch.from_numpy(read)).numpy()
    return np.where(is_marked, -np.inf, values).astype(np.float32)


def _random_carry(agent: Agent, count: int, generator: np.random.Generator) -> Carry:
    rssm, action = agent.world_model.rssm, agent.contract.action
    deter = generator.uniform(-1, 1, (count, rssm.deter_size)).astype(np.float32)
    shape = (count, *rssm.latent.shape)
    if rssm.latent.is_onehot:
        stoch = random_onehot(generator, shape)
    else:
        stoch = generator.normal(size=shape).astype(np.float32)
    if action.kind == "discrete":
        previous = random_onehot(generator, (count, action.size))
    else:
        previous = generator.uniform(-1.5, 1.5, (count, action.size)).astype(np.float32)
    return Carry(
        State(torch.from_numpy(deter), torch.from_numpy(stoch)), torch.from_numpy(previous)
    )
