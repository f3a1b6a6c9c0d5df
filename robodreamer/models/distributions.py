"""Distributions of ends, rewards and values, and the transforms of their numbers.

Shapes: N bins, M targets; `*batch` is any leading axes.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def symlog(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compress large values: sign(x) ln(1 + |x|) (DreamerV3, eq. 9)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Invert `symlog`."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


def bernoulli_loss(
    logit: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Return the negative log-likelihood of a possibly soft target in [0, 1]."""
    return -(target * F.logsigmoid(logit) + (1 - target) * F.logsigmoid(-logit))


def symexp_bins(count: int, limit: float = 20.0) -> Float[Tensor, " N"]:
    """Return `count` bins, spaced evenly in symlog space over [-limit, limit], exactly mirrored.

    An even count has 0 twice in the middle.
    """
    # From one half: computed separately, the two would differ in their last bits, and the mean of
    # uniform probabilities would not be exactly 0.
    half = symexp(torch.linspace(-limit, 0.0, (count + 1) // 2))
    mirrored = -half.flip(0)
    return torch.cat([half, mirrored if count % 2 == 0 else mirrored[1:]])


def twohot_mean(
    logits: Float[Tensor, "*batch N"], bins: Float[Tensor, " N"]
) -> Float[Tensor, "*batch"]:
    """Return the expected bin value; exactly 0 for uniform logits.

    The bins have to be mirrored about 0. Each is summed together with its mirror image: the outer
    bins, of magnitude e^20, would leave their rounding error in a plain sum.
    """
    probs = F.softmax(logits.float(), -1)
    half = bins.shape[0] // 2
    surplus = probs[..., -half:] - probs[..., :half].flip(-1)
    return (surplus * bins[-half:]).sum(-1)


def twohot_loss(
    logits: Float[Tensor, "*batch N"],
    target: Float[Tensor, "*batch"],
    bins: Float[Tensor, " N"],
) -> Float[Tensor, "*batch"]:
    """Return the cross-entropy with `target` spread over its two neighbouring bins.

    The weights are linear in bin values, so that they average to the target; beyond the outer
    bins all weight is on the last one.
    """
    return twohot_losses(logits, target.unsqueeze(-1), bins).squeeze(-1)


def twohot_losses(
    logits: Float[Tensor, "*batch N"],
    targets: Float[Tensor, "*batch M"],
    bins: Float[Tensor, " N"],
) -> Float[Tensor, "*batch M"]:
    """Return `twohot_loss` for each of M targets, at little more than the cost of one."""
    last = bins.shape[0] - 1
    below = torch.searchsorted(bins, targets.contiguous(), right=True) - 1
    above = (below + 1).clamp(max=last)
    below = below.clamp(min=0)
    gap_below = (targets - bins[below]).abs()
    gap_above = (bins[above] - targets).abs()
    # Beyond the outer bins both neighbours are the same one, and the quotient can be 0 / 0.
    share = torch.where(below == above, 0.5, gap_below / (gap_below + gap_above))
    log_probs = F.log_softmax(logits.float(), -1)
    log_below, log_above = log_probs.gather(-1, torch.cat([below, above], -1)).chunk(2, -1)
    return -((1 - share) * log_below + share * log_above)
