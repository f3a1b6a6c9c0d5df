"""Masks of known targets: rewards and privileged signals that a robot's log may lack.

In the replay an unknown number is NaN, an unknown class -1. Only runs that imported such steps pay
for looking for them; losses are zero where their target is unknown.

Shapes: B batch, T time.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from robodreamer_deploy.contract import Signal

UNKNOWN_CLASS = -1


class TargetMasks(NamedTuple):
    """Masks of steps whose reward and privileged signals are known."""

    reward: Bool[Tensor, "B T"]
    """True where reward and end are known; from other steps only the world model learns."""
    signals: Mapping[str, Bool[Tensor, "B T"]]
    """True where all elements are known, for every signal that may be unknown, by name."""


def mask_targets(
    observation: Mapping[str, Tensor], reward: Float[Tensor, "B T"], signals: Iterable[Signal]
) -> tuple[dict[str, Tensor], Float[Tensor, "B T"], TargetMasks]:
    """Return observation and reward with zeros for unknown elements, and the masks of known steps.

    Args:
        observation: Every signal, (B, T, ...).
        reward: NaN where it is unknown.
        signals: The signals that may be unknown.
    """
    filled, known = dict(observation), {}
    for signal in signals:
        value = observation[signal.name]
        each = value != UNKNOWN_CLASS if signal.num_classes else ~value.isnan()
        known[signal.name] = each.flatten(2).all(-1) if each.dim() > 2 else each
        # A NaN target would make the gradient NaN even where its loss is masked: 0 * NaN is NaN.
        filled[signal.name] = torch.where(each, value, torch.zeros_like(value))
    has_reward = ~reward.isnan()
    return filled, reward.nan_to_num(), TargetMasks(has_reward, known)


def mask_losses(losses: Mapping[str, Tensor], target_masks: TargetMasks) -> dict[str, Tensor]:
    """Return losses (B, T) by name, zero where their target is unknown."""
    masks = {"reward": target_masks.reward, "continuation": target_masks.reward}
    for name, mask in target_masks.signals.items():
        masks[name] = masks[f"auxiliary/{name}"] = mask
    return {
        name: torch.where(masks[name], loss, 0.0) if name in masks else loss
        for name, loss in losses.items()
    }
