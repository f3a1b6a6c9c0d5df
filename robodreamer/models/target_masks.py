"""What replayed steps do not tell: rewards and privileged signals that a robot does not measure.

In the replay an unknown number is NaN, an unknown class -1. Only a run that has such steps pays for
looking; its losses are masked where their target is unknown.

Shapes: B batch, T time.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from robodreamer_deploy.contract import Signal

UNKNOWN_CLASS = -1


class Known(NamedTuple):
    """Which steps tell what."""

    reward: Bool[Tensor, "B T"]
    """Whether reward and end are known; from steps without, only the world model learns."""
    signals: Mapping[str, Bool[Tensor, "B T"]]
    """The same for every signal that may be unknown."""


def separate(
    observation: Mapping[str, Tensor], reward: Float[Tensor, "B T"], signals: Iterable[Signal]
) -> tuple[dict[str, Tensor], Float[Tensor, "B T"], Known]:
    """Return observation and reward with zeros for what is unknown, and what is known.

    Args:
        observation: Of every signal, (B, T, ...).
        reward: NaN where it is unknown.
        signals: Those that may be unknown.
    """
    filled, known = dict(observation), {}
    for signal in signals:
        value = observation[signal.name]
        each = value != UNKNOWN_CLASS if signal.num_classes else ~value.isnan()
        known[signal.name] = each.flatten(2).all(-1) if each.dim() > 2 else each
        filled[signal.name] = torch.where(each, value, torch.zeros_like(value))
    has_reward = ~reward.isnan()
    return filled, reward.nan_to_num(), Known(has_reward, known)


def masked(losses: Mapping[str, Tensor], known: Known) -> dict[str, Tensor]:
    """Return losses (B, T) by name, without those whose target is unknown."""
    masks = {"reward": known.reward, "continuation": known.reward}
    for name, mask in known.signals.items():
        masks[name] = masks[f"auxiliary/{name}"] = mask
    return {
        name: torch.where(masks[name], loss, 0.0) if name in masks else loss
        for name, loss in losses.items()
    }
