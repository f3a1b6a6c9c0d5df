"""Presets: the sizes, algorithms and protocols that have a name, as data.

Three independent words choose the settings of a run: `--size` the sizes of the networks, `--preset`
the algorithm with its optimizer and the parts that the networks are made of, `--protocol` how data
is collected and replayed. Any field can then be set as well.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robodreamer.config.algorithm import AlgorithmConfig, LossScales
from robodreamer.config.data import DataConfig
from robodreamer.config.network import NetworkConfig
from robodreamer.config.optimizer import OptimizerConfig
from robodreamer.config.parts import PartsConfig
from robodreamer.config.training import TrainConfig
from robodreamer_deploy.utils.suggest import closest

SIZES: Mapping[str, NetworkConfig] = {
    "debug": NetworkConfig(
        deter=32, hidden=16, stoch=4, classes=4, units=16, depth=4, encoder_layers=1,
        decoder_layers=1, critic_layers=1, actor_layers=1, bins=41, pooling="stride",
    ),
    "cpu": NetworkConfig(
        deter=256, hidden=128, stoch=16, classes=16, units=128, depth=4, encoder_layers=2,
        decoder_layers=2, critic_layers=2, actor_layers=2, bin_limit=6.0, pooling="stride",
    ),
    "1m": NetworkConfig(deter=512, hidden=64, classes=4, depth=4, units=64),
    "12m": NetworkConfig(deter=2048, hidden=256, classes=16, depth=16, units=256),
    "25m": NetworkConfig(deter=3072, hidden=384, classes=24, depth=24, units=384),
    "50m": NetworkConfig(deter=4096, hidden=512, classes=32, depth=32, units=512),
    "100m": NetworkConfig(deter=6144, hidden=768, classes=48, depth=48, units=768),
    "200m": NetworkConfig(deter=8192, hidden=1024, classes=64, depth=64, units=1024),
    "dreamer_v1": NetworkConfig(
        deter=200, hidden=200, stoch=30, units=400, depth=32, depth_multipliers=(1, 2, 4, 8),
        prior_layers=1, encoder_layers=4, decoder_layers=4, reward_layers=2, continue_layers=3,
        critic_layers=3, actor_layers=4,
    ),
    "dreamer_v2": NetworkConfig(
        deter=200, hidden=200, stoch=32, classes=32, units=400, depth=48,
        depth_multipliers=(1, 2, 4, 8), prior_layers=1, encoder_layers=4, decoder_layers=4,
        reward_layers=4, continue_layers=4, critic_layers=4, actor_layers=4,
    ),
}  # fmt: skip

MULTIMODAL = LossScales(images=0.03, auxiliary=1.0)
PRESETS: Mapping[str, AlgorithmConfig] = {
    "dreamer_v1": AlgorithmConfig(
        latent="gaussian", kl="one_term", free_nats=3.0, free_average=True,
        actor_gradient="dynamics", returns="imagined_only", discount_horizon=100,
        entropy_scale=0.0, return_rate=0.0, slow_critic_scale=0.0, min_std=1e-4,
        init_std=math.log(math.expm1(5.0)), action_noise=0.3,
        loss_scales=LossScales(continuation=0.0, replay_value=0.0),
        optimizer=OptimizerConfig(
            method="adam", learning_rate=6e-4, actor_learning_rate=8e-5,
            critic_learning_rate=8e-5, warmup=0, global_clip=100.0, epsilon=1e-7,
        ),
    ),
    "dreamer_v2": AlgorithmConfig(
        unimix=0.0, free_nats=1.0, free_average=True, actor_gradient="auto", model_first=True,
        returns="same_step", return_critic="slow", discount_horizon=100, entropy_scale=1e-4,
        return_rate=0.0, slow_critic_rate=1.0, slow_critic_every=100, slow_critic_scale=0.0,
        loss_scales=LossScales(dynamics=0.8, representation=0.2, replay_value=0.0),
        optimizer=OptimizerConfig(
            method="adam", learning_rate=3e-4, actor_learning_rate=8e-5,
            critic_learning_rate=8e-5, warmup=0, global_clip=100.0, epsilon=1e-5,
            weight_decay=1e-6,
        ),
    ),
    "dreamer_v3": AlgorithmConfig(),
    "multimodal": AlgorithmConfig(loss_scales=MULTIMODAL),
    "quick": AlgorithmConfig(
        loss_scales=MULTIMODAL, imagination_last=8, discount_horizon=20, entropy_scale=3e-3,
        optimizer=OptimizerConfig(learning_rate=6e-4, warmup=200, actor_start=400),
    ),
    "debug": AlgorithmConfig(
        loss_scales=MULTIMODAL, imagination_last=4,
        optimizer=OptimizerConfig(learning_rate=3e-4, warmup=10),
    ),
}  # fmt: skip
"""`dreamer_v1`, `dreamer_v2` and `dreamer_v3` are the published algorithms, with the numbers that
they had on dm_control; what differs is in docs/family.md.

`multimodal` is DreamerV3 with pictures weighed like vectors: as a sum over thousands of pixels,
a small network spends its latents on them and forgets the goal. Its encoder is shown what only the
simulator knows, as a target (RESULTS.md).

`quick` is `multimodal` for a few thousand updates, chosen on `fetch_reach` (RESULTS.md): larger
steps, imagination from fewer states, returns that reach 20 steps, which a critic learns sooner, and
actions that stay random for longer. Where rewards come later, raise `discount_horizon`.

With `debug` every network moves from the first updates on."""

PRESET_PARTS: Mapping[str, PartsConfig] = {
    "dreamer_v1": PartsConfig(
        cell="gru", norm="none", activation="elu", camera_activation="relu", initializer="glorot",
        camera="valid", vectors="raw", likelihood="normal", reward="normal", critic="normal",
        actor="tanh_normal",
    ),
    "dreamer_v2": PartsConfig(
        cell="layer_norm_gru", norm="none", activation="elu", camera_activation="elu",
        initializer="glorot", camera="valid", vectors="raw", likelihood="normal", reward="normal",
        critic="normal", actor="truncated_normal",
    ),
}  # fmt: skip
"""Parts of the networks by preset; all others are made of DreamerV3's."""

PROTOCOLS: Mapping[str, DataConfig] = {
    "default": DataConfig(),
    "dmc_vision": DataConfig(action_repeat=2, render_quality="reference"),
    "dmc_proprio": DataConfig(action_repeat=2),
    "cpu": DataConfig(
        num_envs=8, batch_size=16, batch_length=25, train_ratio=32.0, prefill=2_000,
        image_size=32, decode_fraction=0.25, replay_capacity=100_000,
    ),
    "debug": DataConfig(
        num_envs=2, batch_size=2, batch_length=8, train_ratio=16.0, image_size=32,
        decode_fraction=0.5, replay_capacity=2_000,
    ),
}  # fmt: skip

DEFAULT_WORDS = {
    "gpu": {"size": "12m", "preset": "multimodal", "protocol": "default"},
    "cpu": {"size": "cpu", "preset": "quick", "protocol": "cpu"},
}
"""Words that are used where none are given, by machine."""


def default_words() -> dict[str, str]:
    """Return the default `size`, `preset` and `protocol` of this machine."""
    return dict(DEFAULT_WORDS["gpu" if Path("/dev/nvidiactl").exists() else "cpu"])


def named_config(
    task: str, size: str | None = None, preset: str | None = None, protocol: str | None = None
) -> TrainConfig:
    """Return the settings that three words stand for; this machine's defaults where they are None.

    Raises:
        ValueError: One of the words does not exist.
    """
    given = {"size": size, "preset": preset, "protocol": protocol}
    usual = default_words()
    words = {name: word or usual[name] for name, word in given.items()}
    return TrainConfig(
        task=task,
        size=words["size"],
        preset=words["preset"],
        protocol=words["protocol"],
        network=dataclasses.replace(
            choose("size", words["size"], SIZES), parts=preset_parts(words["preset"])
        ),
        algorithm=choose("preset", words["preset"], PRESETS),
        data=choose("protocol", words["protocol"], PROTOCOLS),
    )


def preset_parts(preset: str) -> PartsConfig:
    """Return the parts of a preset's networks."""
    return PRESET_PARTS.get(preset, PartsConfig())


def departures(config: TrainConfig) -> Iterator[tuple[str, Any, Any]]:
    """Yield every setting of algorithm and parts that is not its preset's: name, value, usual."""
    yield from _differences(config.algorithm, choose("preset", config.preset, PRESETS), "")
    yield from _differences(config.network.parts, preset_parts(config.preset), "parts.")


def _differences(ours: Any, theirs: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    for field in dataclasses.fields(ours):
        value, usual = getattr(ours, field.name), getattr(theirs, field.name)
        if dataclasses.is_dataclass(value):
            yield from _differences(value, usual, f"{prefix}{field.name}.")
        elif value != usual:
            yield f"{prefix}{field.name}", value, usual


def choose(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """Return `table[name]`.

    Raises:
        ValueError: There is no such name; the message lists what exists, closest first.
    """
    if name in table:
        return table[name]
    raise ValueError(f"unknown {kind} {name!r}; there is {closest(name, table)}")
