"""Traces of the agent in torch: every input and output of its steps, in float32 on the CPU.

The export compares its graphs with them. Nothing here has been through ONNX.

Shapes: n or N steps, A action, D deter, E tokens, S stoch variables.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from robodreamer.evaluation.policies import AgentPolicy
from robodreamer.export.graphs import GivenNoise
from robodreamer.learning.agent import Agent, Carry
from robodreamer.models.action_distributions import Categorical
from robodreamer.models.sampling import RandomSampler
from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy.comparison import lead
from robodreamer_deploy.policy.golden import Golden
from robodreamer_deploy.policy.noise import Noise
from robodreamer_sim.vector.vector_env import VectorEnv

RECORDED_STEPS = 260
SEGMENT = 52
"""Steps after which a recording can be cut, so that long episodes have several starts too."""
RECORDING_SEED = 0


class Recording(NamedTuple):
    """Consecutive observations of one environment, and the actions that followed them."""

    observations: Mapping[str, Array]
    """By signal name, (n, ...)."""
    is_first: Array
    """First steps of the task's episodes, bool (n,); the first one is set."""
    executed: Array
    """Action that was executed after each step, (n, A)."""

    def rows(self, rows: slice) -> "Recording":
        """Return some of the steps."""
        observations = {name: values[rows] for name, values in self.observations.items()}
        return Recording(observations, self.is_first[rows], self.executed[rows])

    def in_one_go(self) -> "Recording":
        """Return the same observations with no start but the first: errors build up over all."""
        return self._replace(is_first=np.arange(len(self.is_first)) == 0)

    def in_segments(self) -> "Recording":
        """Return the same observations with starts every `SEGMENT` steps of an episode too."""
        steps = np.arange(len(self.is_first))
        since_start = steps - np.maximum.accumulate(np.where(self.is_first, steps, 0))
        return self._replace(is_first=since_start % SEGMENT == 0)


class Trace(NamedTuple):
    """Inputs and the agent's outputs of n steps."""

    golden: Golden

    @property
    def action_lead(self) -> Array:
        """By how much each choice leads over the second best, (n,); infinite if continuous."""
        if self.golden.action_logits is None:
            return np.full(len(self.golden), np.inf, np.float32)
        return lead(self.golden.action_logits + self.golden.noise_action)

    @property
    def latent_lead(self) -> Array:
        """By how much each latent's class leads the second best, (n, S); infinite of numbers."""
        return self.golden.latents.lead(self.golden.posterior, self.golden.noise_stoch)


Columns = Mapping[str, Array]
"""Fields of `Golden` by name, (N, ...)."""


def record(agent: Agent, envs: VectorEnv, num_steps: int = RECORDED_STEPS) -> Recording:
    """Let the agent act, drawing at random; return `num_steps` of the first environment."""
    sampler = RandomSampler(torch.Generator().manual_seed(RECORDING_SEED))
    policy = AgentPolicy(agent, envs.num_envs, sampler)
    names = [*(s.name for s in agent.contract.inputs), "is_first"]
    shown: list[dict[str, Array]] = []
    envs.start()
    for _ in range(num_steps):
        record = envs.recv()
        action = policy.act(record, record["is_first"])
        shown.append({name: record[name][0].copy() for name in names})
        shown[-1]["executed"] = action[0].clip(-1.0, 1.0)
        envs.send(action)
    envs.recv()
    stacked = {name: np.stack([step[name] for step in shown]) for name in shown[0]}
    return Recording(
        is_first=stacked.pop("is_first"), executed=stacked.pop("executed"), observations=stacked
    )


@torch.no_grad()
def trace(agent: Agent, recording: Recording, noise: Noise) -> Trace:
    """Run the agent over a recording; every step goes on from the state that the last one left.

    The action before each step is the one that was executed then, as on a robot, where it belongs
    to what the next observation shows.
    """
    carry = agent.initial_carry(1)
    steps: list[Columns] = []
    for i in range(len(recording.is_first)):
        rows = slice(i, i + 1)
        step, carry = agent_step(agent, recording.rows(rows), carry, noise_rows(noise, rows))
        carry = carry._replace(action=torch.from_numpy(recording.executed[rows]))
        steps.append(step)
    return join(agent, recording, noise, steps)


def agent_step(agent: Agent, shown: Recording, carry: Carry, noise: Noise) -> tuple[Columns, Carry]:
    """Act as `Agent.act` does in N environments; return all that it computes on the way."""
    model = agent.world_model
    noises = [torch.from_numpy(values) for values in noise]
    sampler = GivenNoise(*noises)
    observation = {name: torch.from_numpy(value) for name, value in shown.observations.items()}
    is_first = torch.from_numpy(shown.is_first)
    tokens = model.encoder(observation)
    state, posterior = model.rssm.observe_step(carry.state, carry.action, tokens, is_first, sampler)
    distribution = agent.actor_critic.actor(state.feature)
    action = distribution.sample(sampler).clamp(-1.0, 1.0)
    columns = {
        "action_previous": carry.action,
        "deter": carry.state.deter,
        "stoch": carry.state.stoch,
        "tokens": tokens,
        "deter_next": state.deter,
        "stoch_next": state.stoch,
        "prior": model.rssm.prior_parameters(state.deter),
        "posterior": posterior,
        "action": action,
    }
    arrays = {name: value.numpy() for name, value in columns.items()}
    if isinstance(distribution, Categorical):
        arrays["action_logits"] = distribution.log_probs.numpy()
    return arrays, Carry(state, action)


def join(agent: Agent, recording: Recording, noise: Noise, steps: Sequence[Columns]) -> Trace:
    """Return a trace of an agent's steps: their outputs, and what they were computed from."""
    columns = {name: np.concatenate([step[name] for step in steps]) for name in steps[0]}
    golden = Golden(
        family=agent.world_model.rssm.latent.family,
        observations=recording.observations,
        is_first=recording.is_first,
        noise_stoch=noise.stoch,
        noise_action=noise.action,
        **columns,
    )
    return Trace(golden)


def noise_rows(noise: Noise, rows: slice) -> Noise:
    """Return the noise of some steps."""
    return Noise(noise.stoch[rows], noise.action[rows])
