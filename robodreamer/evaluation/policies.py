"""Policies that act in N environments at once: an agent in torch, an exported policy, a blind one.

Shapes: N environments, A action.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from robodreamer.learning.agent import Agent
from robodreamer.models.sampling import Sampler
from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.manifest import ActionSelection
from robodreamer_deploy.policy.policy import Policy


@runtime_checkable
class VectorPolicy(Protocol):
    """Policy for N environments with a memory of each, which `is_first` resets."""

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """Return actions (N, A) float32 for observations (N, ...)."""
        ...


class AgentPolicy:
    """Policy of an agent in torch."""

    def __init__(self, agent: Agent, num_envs: int, sampler: Sampler) -> None:
        self.agent, self.sampler = agent, sampler
        self.carry = agent.initial_carry(num_envs)
        self._device = self.carry.action.device

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """Return actions (N, A)."""
        inputs = {
            signal.name: torch.from_numpy(observation[signal.name]).to(self._device)
            for signal in self.agent.contract.inputs
        }
        first = torch.from_numpy(is_first).to(self._device)
        self.carry = self.agent.act(self.carry, inputs, first, self.sampler)
        return self.carry.action.cpu().numpy()


class OnnxPolicy:
    """Exported policy: one controller per environment, all on the same graphs.

    Args:
        policy: The loaded graphs.
        num_envs: Environments N.
        draw: Selection of latents and actions.
        seed: Seed of the first environment's noise; the next ones count up from it.
    """

    def __init__(self, policy: Policy, num_envs: int, draw: ActionSelection, seed: int) -> None:
        self.controllers = [Controller(policy, draw=draw, seed=seed + i) for i in range(num_envs)]
        self.surprise: list[float] = []
        """Surprise in nats of every step taken so far."""

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """Return actions (N, A)."""
        names = [signal.name for signal in self.controllers[0].policy.bundle.contract.inputs]
        steps = [
            controller.step({name: observation[name][i] for name in names}, is_first=bool(first))
            for i, (controller, first) in enumerate(zip(self.controllers, is_first, strict=True))
        ]
        self.surprise.extend(step.surprise for step in steps)
        return np.stack([step.action for step in steps])


class BlankedCameras:
    """Policy that sees black in place of some of its cameras' pictures."""

    def __init__(self, policy: VectorPolicy, signals: Sequence[str]) -> None:
        self.policy = policy
        self.signals = tuple(signals)

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """Return actions (N, A)."""
        black = {name: np.zeros_like(observation[name]) for name in self.signals}
        return self.policy.act({**observation, **black}, is_first)
