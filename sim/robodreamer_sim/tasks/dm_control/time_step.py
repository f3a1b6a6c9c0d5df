"""Steps and observations of dm_env's environments: dm_control's suite and its composed tasks."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from robodreamer_deploy.contract import Array, Signal
from robodreamer_sim.env import Transition


class Entry(NamedTuple):
    """Entry of a dm_control observation, and the signal that it becomes."""

    key: str
    signal: Signal


def to_transition(step: Any) -> Transition:
    """Convert a `dm_env.TimeStep` to a transition; it knows no success.

    Reaching the time limit truncates; only a discount of 0 terminates.
    """
    is_terminated = step.last() and step.discount == 0.0
    return Transition(
        reward=float(step.reward),
        is_terminated=is_terminated,
        is_truncated=step.last() and not is_terminated,
        success=False,
    )


def read(entries: Iterable[Entry], observation: Mapping[str, Any]) -> dict[str, Array]:
    """Return the value of every signal, an array of its own."""
    return {
        signal.name: np.array(observation[key], np.float32).reshape(signal.shape)
        for key, signal in entries
    }
