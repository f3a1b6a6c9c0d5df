"""Traces: what the agent does in torch, step by step, with every input and output kept.

They are what an export is held against. None of it has been through ONNX: it is the agent itself,
in float32 on the CPU.

Shapes: n or N steps, A action, D deter, E tokens, S stoch variables, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from robodreamer.agent import Agent, Carry
from robodreamer.distributions import Categorical, Sample
from robodreamer.evaluate import AgentPolicy
from robodreamer.onnx_export.graphs import GivenNoise
from robodreamer_deploy.contract import Array
from robodreamer_deploy.golden import Golden
from robodreamer_deploy.policy import Noise
from robodreamer_deploy.selftest import lead
from robodreamer_sim.vector import VectorEnv

RECORDED_STEPS = 260
STRETCH = 52
"""Records after which an episode is cut, so that long episodes have several starts too."""
RECORDING_SEED = 0


class Recording(NamedTuple):
    """Observations of several stretches, one after the other; each begins with `is_first`."""

    observations: Mapping[str, Array]
    """By signal name, (n, ...)."""
    is_first: Array
    """bool (n,)."""

    def rows(self, rows: slice) -> "Recording":
        """Return some of the steps."""
        return Recording({k: v[rows] for k, v in self.observations.items()}, self.is_first[rows])

    def uncut(self) -> "Recording":
        """Return the same observations as one stretch: nothing but the first step starts anew."""
        return self._replace(is_first=np.arange(len(self.is_first)) == 0)


class Trace(NamedTuple):
    """Inputs and the agent's outputs of n steps."""

    golden: Golden
    action_lead: Array
    """(n,), by how much the choice leads over the second best; infinite if continuous."""

    @property
    def latent_lead(self) -> Array:
        """By how much each latent's class leads over the second best, (n, S)."""
        return lead(self.golden.posterior_logits + self.golden.noise_stoch)


Columns = Mapping[str, Array]
"""Fields of `Golden`, and `action_lead`, by name; (N, ...)."""


def record(agent: Agent, envs: VectorEnv, num_steps: int = RECORDED_STEPS) -> Recording:
    """Let the agent act, drawing at random; return `num_steps` or a few more.

    The steps of one environment come after those of another.
    """
    draw = Sample(torch.Generator().manual_seed(RECORDING_SEED))
    policy = AgentPolicy(agent, envs.num_envs, draw)
    names = [*(s.name for s in agent.contract.inputs), "is_first"]
    shown: list[dict[str, Array]] = []
    envs.start()
    while True:
        record = envs.recv()
        shown.append({name: record[name].copy() for name in names})
        if len(shown) * envs.num_envs >= num_steps:
            break
        actions = policy.act(record, record["is_first"])
        envs.send(actions, truncate=(len(shown) + 1) % STRETCH == 0)
    stacked = {name: np.stack([step[name] for step in shown], 1) for name in names}
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in stacked.items()}
    return Recording(is_first=flat.pop("is_first"), observations=flat)


@torch.no_grad()
def trace(agent: Agent, recording: Recording, noise: Noise) -> Trace:
    """Run the agent over a recording; every step goes on from the state that the last one left."""
    carry = agent.initial_carry(1)
    steps: list[Columns] = []
    for i in range(len(recording.is_first)):
        rows = slice(i, i + 1)
        step, carry = agent_step(agent, recording.rows(rows), carry, noise_rows(noise, rows))
        steps.append(step)
    return join(recording, noise, steps)


def agent_step(agent: Agent, shown: Recording, carry: Carry, noise: Noise) -> tuple[Columns, Carry]:
    """Do as `Agent.act` does in N environments; keep what it computes on the way."""
    model = agent.world_model
    noises = [torch.from_numpy(values) for values in noise]
    draw = GivenNoise(*noises)
    observation = {name: torch.from_numpy(value) for name, value in shown.observations.items()}
    is_first = torch.from_numpy(shown.is_first)
    tokens = model.encoder(observation)
    state, posterior = model.rssm.observe_step(carry.state, carry.action, tokens, is_first, draw)
    distribution = agent.behavior.actor(state.feature)
    action = distribution.sample(draw).clamp(-1.0, 1.0)
    columns = {
        "action_previous": carry.action,
        "deter": carry.state.deter,
        "stoch": carry.state.stoch,
        "tokens": tokens,
        "deter_next": state.deter,
        "stoch_next": state.stoch,
        "prior_logits": model.rssm.prior_log_probs(state.deter),
        "posterior_logits": posterior,
        "action": action,
    }
    arrays = {name: value.numpy() for name, value in columns.items()}
    arrays["action_lead"] = np.full(len(action), np.inf, np.float32)
    if isinstance(distribution, Categorical):
        arrays["action_lead"] = lead((distribution.log_probs + noises[1]).numpy())
    return arrays, Carry(state, action)


def join(recording: Recording, noise: Noise, steps: Sequence[Columns]) -> Trace:
    """Put the outputs of consecutive steps together with what they were computed from."""
    columns = {name: np.concatenate([step[name] for step in steps]) for name in steps[0]}
    action_lead = columns.pop("action_lead")
    golden = Golden(
        observations=recording.observations,
        is_first=recording.is_first,
        noise_stoch=noise.stoch,
        noise_action=noise.action,
        **columns,
    )
    return Trace(golden, action_lead)


def noise_rows(noise: Noise, rows: slice) -> Noise:
    """Return the noise of some steps."""
    return Noise(noise.stoch[rows], noise.action[rows])
