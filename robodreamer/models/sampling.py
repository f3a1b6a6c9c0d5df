"""Samplers: the only source of random numbers in the agent, always passed as an argument.

Nothing in the agent is random but what a `Sampler` draws, so a run can be repeated to the bit and
an exported policy compared with the agent number by number.

Shapes: K classes, A action; `*batch` is any leading axes, `*shape` any shape.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

SMALLEST_UNIFORM = 2.0**-25
"""Replacement of a uniform number that is exactly 0, half of the next one in float32."""


@runtime_checkable
class Sampler(Protocol):
    """Source of random numbers."""

    def category(self, probs: Float[Tensor, "*batch K"]) -> Int[Tensor, "*batch"]:
        """Draw a class along the last axis; probabilities need not be normalised."""
        ...

    def normal(
        self, mean: Float[Tensor, "*batch A"], std: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch A"]:
        """Draw from independent normals."""
        ...

    def gumbel(self, like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Draw standard Gumbel noise of a tensor's shape and type."""
        ...

    def uniform(self, like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Draw uniform numbers in (0, 1) of a tensor's shape and type; exactly 0 means the mode."""
        ...

    def subset(self, total: int, count: int) -> Int[Tensor, " count"]:
        """Choose `count` of `total` positions without repetition, in ascending order."""
        ...


class RandomSampler:
    """Sampler with its own generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def category(self, probs: Float[Tensor, "*batch K"]) -> Int[Tensor, "*batch"]:
        """Draw a class by inverting the cumulative distribution; one random number per draw."""
        cumulative = probs.cumsum(-1)
        uniform = torch.empty_like(cumulative[..., :1]).uniform_(generator=self.generator)
        return (cumulative[..., :-1] <= uniform * cumulative[..., -1:]).sum(-1)

    def normal(
        self, mean: Float[Tensor, "*batch A"], std: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch A"]:
        """Draw from independent normals; differentiable in both parameters."""
        noise = torch.empty_like(mean).normal_(generator=self.generator)
        return mean + std * noise

    def gumbel(self, like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Draw standard Gumbel noise, -ln(-ln u)."""
        return -torch.log(-torch.log(self.uniform(like)))

    def uniform(self, like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Draw uniform numbers in (0, 1), which never are the 0 that stands for the mode."""
        drawn = torch.empty_like(like).uniform_(generator=self.generator)
        return drawn.clamp(min=SMALLEST_UNIFORM)

    def subset(self, total: int, count: int) -> Int[Tensor, " count"]:
        """Choose positions uniformly without repetition."""
        device = self.generator.device
        order = torch.randperm(total, generator=self.generator, device=device)
        return order[:count].sort().values


class ModeSampler:
    """Sampler without randomness: the most likely value, and the first positions of a subset."""

    def category(self, probs: Float[Tensor, "*batch K"]) -> Int[Tensor, "*batch"]:
        """Return the most likely class, the first one on ties."""
        return probs.argmax(-1)

    def normal(
        self, mean: Float[Tensor, "*batch A"], std: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch A"]:
        """Return the mean."""
        return mean + 0.0 * std  # keeps std in the graph, so that gradients exist for both

    def gumbel(self, like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return zeros, which leave the likeliest class in front."""
        return torch.zeros_like(like)

    def uniform(self, like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return zeros, which stand for the mode."""
        return torch.zeros_like(like)

    def subset(self, total: int, count: int) -> Int[Tensor, " count"]:
        """Return the first positions."""
        assert count <= total, (count, total)
        return torch.arange(count)
