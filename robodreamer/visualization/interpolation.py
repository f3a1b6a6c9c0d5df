"""Interpolation through the latent space, from one state that was real to another one, decoded.

Where the latent space is smooth, what lies between two states could have been seen as well: a robot
halfway, and not two faint robots. `deter` and `stoch` are mixed linearly; between one-hot choices
lie shares of classes, which the decoder never saw while it learned.

Shapes: M states from the first to the second, K observed steps.
"""

from typing import NamedTuple

import numpy as np
import torch

from robodreamer.learning.agent import Agent
from robodreamer.models.rssm import State
from robodreamer.visualization.dream import decode, truth, watch
from robodreamer.visualization.episodes import Footage
from robodreamer_deploy.contract import Array

NUM_STATES = 41
"""States M of an interpolation, the two real ones included."""


class Interpolation(NamedTuple):
    """Two moments of an episode, and what the model decodes between their states."""

    steps: tuple[int, int]
    """The two moments, in steps of the episode."""
    shares: Array
    """Share of the second state in each mixture, (M,), from 0 to 1."""
    truth: dict[str, Array]
    """Every decoded signal at the two moments, (2, ...), in the units of a `Dream`."""
    model: dict[str, Array]
    """The same as decoded from the mixtures, (M, ...)."""

    @property
    def cameras(self) -> list[str]:
        """Names of the signals that are pictures."""
        return [name for name, value in self.truth.items() if value.ndim == 4]

    def mixed_pictures(self, name: str) -> Array:
        """Return the two real pictures mixed pixel by pixel, (M, H, W, C), for comparison."""
        first, second = self.truth[name]
        share = self.shares[:, None, None, None]
        return ((1 - share) * first + share * second).astype(np.float32)


@torch.no_grad()
def interpolate(
    agent: Agent, footage: Footage, context: int, num_states: int = NUM_STATES
) -> Interpolation:
    """Decode mixtures of the state after `context` steps and the state most unlike it.

    The other state is that of the same episode whose features lie farthest from the first one's.
    """
    first = min(context, footage.num_steps) - 1
    states = watch(agent, footage, footage.num_steps)
    distances = (states.feature - states.feature[first]).norm(dim=-1)
    steps = first, int(distances.argmax())
    shares = torch.linspace(0, 1, num_states, device=states.deter.device)
    mixtures = State(*(_mix(value[list(steps)], shares) for value in states))
    ends = [truth(agent, footage, slice(step, step + 1)) for step in steps]
    return Interpolation(
        steps=steps,
        shares=shares.cpu().numpy(),
        truth={name: np.concatenate([end[name] for end in ends]) for name in ends[0]},
        model=decode(agent, mixtures),
    )


def _mix(ends: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Return mixtures (M, ...) of the two `ends` (2, ...)."""
    first, second = ends
    return torch.stack([torch.lerp(first, second, share) for share in shares])
