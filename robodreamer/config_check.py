"""Which settings no run could be made with, said before anything is built."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from robodreamer.config import TrainConfig

POSITIVE = {
    "deter", "hidden", "stoch", "classes", "blocks", "units", "depth", "kernel", "decoder_blocks",
    "bins", "bin_limit", "horizon", "discount_horizon", "num_envs", "batch_size", "batch_length",
    "action_repeat", "image_size", "replay_capacity", "decode_fraction", "steps", "minutes",
    "checkpoint_minutes", "checkpoint_steps", "keep_checkpoints", "evaluate_steps",
    "evaluate_episodes", "log_seconds", "log_steps", "dynamics_layers", "prior_layers",
    "posterior_layers", "encoder_layers", "decoder_layers", "reward_layers", "continue_layers",
    "critic_layers", "actor_layers", "camera_gap", "control_dt", "env_timeout_s",
}  # fmt: skip
"""Settings that may not be 0."""


def check_settings(config: TrainConfig) -> None:
    """Refuse settings that no run could be made with.

    Raises:
        ValueError: A number is out of its range, or two do not fit each other.
    """
    _check_numbers(config, "--")
    for complaint in _misfits(config):
        raise ValueError(complaint)


def _misfits(config: TrainConfig) -> Iterator[str]:
    """Say which settings are in their range and still no good, alone or together."""
    network = config.network
    for name in ("blocks", "decoder_blocks"):
        if network.deter % getattr(network, name):
            yield (
                f"--network.deter has to be a multiple of --network.{name.replace('_', '-')}, "
                f"{getattr(network, name)}, got {network.deter}"
            )
    if network.kernel % 2 == 0:
        yield f"--network.kernel has to be odd, got {network.kernel}"
    if min(network.depth_multipliers, default=0) < 1:
        yield "--network.depth-multipliers has to be one number or more, each more than 0"
    if config.data.batch_length == 1:
        yield "--data.batch-length has to be more than 1: returns reach from a step to the next"
    if config.algorithm.imagination_last == 1:
        yield "--algorithm.imagination-last has to be more than 1, or 0 for all steps"
    yield from _impossible_gaps(config.algorithm.camera_dropout, config.algorithm.camera_gap)
    if config.deterministic and config.minutes is not None:
        yield "--deterministic cannot end by --minutes, which differ every time; give --steps"


def _impossible_gaps(share: float, gap: float) -> Iterator[str]:
    """Say why no chain of gaps of that mean length could lose that share of the frames."""
    if gap < 1:
        yield f"--algorithm.camera-gap has to be 1 or more steps, got {gap}"
    elif share > gap / (1 + gap):
        yield (
            f"--algorithm.camera-dropout can be {gap / (1 + gap):g} at most with gaps of "
            f"{gap:g} steps, between which there is a frame, got {share}"
        )


def _check_numbers(settings: Any, prefix: str) -> None:
    for field_ in dataclasses.fields(settings):
        value = getattr(settings, field_.name)
        option = prefix + field_.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            _check_numbers(value, f"{option}.")
        elif isinstance(value, int | float):
            is_zero_refused = field_.name in POSITIVE
            if not 0 <= value < math.inf or (value == 0 and is_zero_refused):
                least = "more than 0" if is_zero_refused else "0 or more"
                raise ValueError(f"{option} has to be {least}, got {value}")
