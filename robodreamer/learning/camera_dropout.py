"""Camera dropout: random gaps in the camera frames that the agent learns from.

Robots lose frames one at a time and in bursts: an exposure that took too long, a full bus, a link
that needs a moment to come back. So every camera follows its own Markov chain of two states, as in
Gilbert's model of a channel with bursts of errors (Bell System Technical Journal 39, 1960): gaps
have geometric lengths, and in the long run a given share of the frames is lost.

Frames are lost in both places where the agent filters observations, with independent draws:

- While it collects: the replay holds the situations that a robot gets into while it sees nothing.
- In an update: the replay keeps every frame and no mark of the lost ones, so a sequence that is
  sampled twice is learned with other gaps, and the decoder has to reconstruct the true picture
  also where the encoder saw none.

Latents in the replay, which start later sequences, come from a filter that lost frames at the same
rate, whether collecting stored them or an update renewed them. Evaluations, films and the viewer
lose no frames.

All draws come from the run's generator. A chain restarts with every episode, so a checkpoint, which
ends all episodes, does not have to hold it, and a resumed run repeats its gaps.

Shapes: B batch, T time, N environments, C cameras.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from robodreamer.config import AlgorithmConfig
from robodreamer.models.sampling import Sampler


@dataclass(frozen=True, kw_only=True)
class CameraDropout:
    """Random process that decides which frames of some cameras are lost."""

    names: tuple[str, ...]
    """Names of the cameras' bits, `is_valid/<camera>`."""
    share: float
    """Share of the frames that are lost in the long run, above 0."""
    gap: float
    """Mean length of a gap in steps, 1 or more."""

    @classmethod
    def of(cls, names: Sequence[str], algorithm: AlgorithmConfig) -> "CameraDropout | None":
        """Return the process that the settings describe; None if they lose no frame.

        Raises:
            ValueError: Frames are to be lost, but there is no camera.
        """
        if not algorithm.camera_dropout:
            return None
        if not names:
            raise ValueError("--algorithm.camera-dropout: this agent sees no camera")
        return cls(names=tuple(names), share=algorithm.camera_dropout, gap=algorithm.camera_gap)

    def draw_sequence(
        self, is_first: Bool[Tensor, "B T"], sampler: Sampler
    ) -> dict[str, Bool[Tensor, "B T"]]:
        """Return the bits of a sequence; True where the frame is there."""
        begins_chain = is_first.clone()
        begins_chain[:, 0] = True
        nothing = is_first.new_zeros(is_first.shape[0], len(self.names))
        return self.bits(self._draw(nothing, begins_chain, sampler))

    def draw_step(
        self, is_lost: Bool[Tensor, "N C"] | None, is_first: Bool[Tensor, " N"], sampler: Sampler
    ) -> Bool[Tensor, "N C"]:
        """Return a mask of the frames that are lost now, given the mask of the step before.

        A first step does not depend on the step before, which may be None then.
        """
        if is_lost is None:
            is_lost = is_first.new_zeros(is_first.shape[0], len(self.names))
        return self._draw(is_lost, is_first.unsqueeze(1), sampler)[:, 0]

    def bits(self, is_lost: Bool[Tensor, "*batch C"]) -> dict[str, Bool[Tensor, "*batch"]]:
        """Return the cameras' bits by name."""
        return dict(zip(self.names, (~is_lost).unbind(-1), strict=True))

    def _draw(
        self, is_lost: Bool[Tensor, "B C"], begins_chain: Bool[Tensor, "B T"], sampler: Sampler
    ) -> Bool[Tensor, "B T C"]:
        """Follow the chains for T steps, from the mask of the step before them."""
        # A gap of mean length g goes on with probability 1 - 1/g. In the long run as many gaps
        # begin as end: (1 - share) begin_gap = share / g.
        begin_gap = self.share / ((1 - self.share) * self.gap)
        stay_lost = 1 - 1 / self.gap
        chances = torch.tensor([self.share, begin_gap, stay_lost], device=is_lost.device)
        probs = torch.stack([1 - chances, chances], -1)
        shape = (*begins_chain.shape, len(self.names), *probs.shape)
        first, after_frame, after_gap = sampler.category(probs.expand(shape)).bool().unbind(-1)
        steps: list[Tensor] = []
        for step, begins in enumerate(begins_chain.unsqueeze(-1).unbind(1)):
            follows = torch.where(is_lost, after_gap[:, step], after_frame[:, step])
            is_lost = torch.where(begins, first[:, step], follows)
            steps.append(is_lost)
        return torch.stack(steps, 1)
