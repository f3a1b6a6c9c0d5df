"""Camera dropout: which camera frames the agent does without while it learns.

Robots lose frames one at a time and in bursts: an exposure that took too long, a full bus, a link
that needs a moment to come back. So every camera follows a Markov chain of two states of its own,
as in Gilbert's model of a channel with bursts of errors (Bell System Technical Journal 39, 1960):
gaps have geometric lengths, and in the long run a given share of the frames is lost.

Frames are lost in both places where the agent filters what it learns from, drawn anew each time:

- While collecting it acts without them, so that the replay holds what a robot runs into that sees
  nothing for a moment.
- In an update it goes without them over the replayed sequence. The replay keeps every frame and no
  mark of what was lost: what is sampled twice is learnt with other gaps, and the decoder has to
  draw the true picture also where none was seen.

The latents in the replay, which start later sequences, are of a filter that lost frames at this
rate, whether acting filed them or an update renewed them; so none of them has seen more than acting
may. Evaluations, films and the viewer lose nothing.

Every draw comes from the generator of the run. A chain begins anew with every episode, so that a
checkpoint, which no episode outlives, need not keep it, and a resumed run repeats its gaps.

Shapes: B batch, T time, N environments, C cameras.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from robodreamer.config import AlgorithmConfig
from robodreamer.models.distributions import Draw


@dataclass(frozen=True, kw_only=True)
class CameraDropout:
    """Draws gaps in the frames of some cameras."""

    names: tuple[str, ...]
    """Of the cameras' bits, `is_valid/<camera>`."""
    share: float
    """Of the frames that are lost, above 0."""
    gap: float
    """Mean length of a gap in steps, 1 or more."""

    @classmethod
    def of(cls, names: Sequence[str], algorithm: AlgorithmConfig) -> "CameraDropout | None":
        """Return what the settings ask for; None if no frame is to be lost."""
        if not algorithm.camera_dropout:
            return None
        if not names:
            raise ValueError("--algorithm.camera-dropout: this agent sees no camera")
        return cls(names=tuple(names), share=algorithm.camera_dropout, gap=algorithm.camera_gap)

    def draw_sequence(
        self, is_first: Bool[Tensor, "B T"], draw: Draw
    ) -> dict[str, Bool[Tensor, "B T"]]:
        """Return the bits of a sequence; True where the frame is there."""
        begins_chain = is_first.clone()
        begins_chain[:, 0] = True
        nothing = is_first.new_zeros(is_first.shape[0], len(self.names))
        return self.bits(self._draw(nothing, begins_chain, draw))

    def draw_step(
        self, is_lost: Bool[Tensor, "N C"] | None, is_first: Bool[Tensor, " N"], draw: Draw
    ) -> Bool[Tensor, "N C"]:
        """Return which frames are lost now, given which ones were a step ago.

        Of what was before a first step nothing matters, and None will do.
        """
        if is_lost is None:
            is_lost = is_first.new_zeros(is_first.shape[0], len(self.names))
        return self._draw(is_lost, is_first.unsqueeze(1), draw)[:, 0]

    def bits(self, is_lost: Bool[Tensor, "*batch C"]) -> dict[str, Bool[Tensor, "*batch"]]:
        """Return the cameras' bits by name."""
        return dict(zip(self.names, (~is_lost).unbind(-1), strict=True))

    def _draw(
        self, is_lost: Bool[Tensor, "B C"], begins_chain: Bool[Tensor, "B T"], draw: Draw
    ) -> Bool[Tensor, "B T C"]:
        """Follow the chains for T steps from what was lost before them."""
        begin_gap = self.share / ((1 - self.share) * self.gap)
        stay_lost = 1 - 1 / self.gap
        chances = torch.tensor([self.share, begin_gap, stay_lost], device=is_lost.device)
        probs = torch.stack([1 - chances, chances], -1)
        shape = (*begins_chain.shape, len(self.names), *probs.shape)
        first, after_frame, after_gap = draw.category(probs.expand(shape)).bool().unbind(-1)
        steps: list[Tensor] = []
        for step, begins in enumerate(begins_chain.unsqueeze(-1).unbind(1)):
            follows = torch.where(is_lost, after_gap[:, step], after_frame[:, step])
            is_lost = torch.where(begins, first[:, step], follows)
            steps.append(is_lost)
        return torch.stack(steps, 1)
