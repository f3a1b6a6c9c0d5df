"""Settings of one training run, and their form as JSON.

The run folder keeps them whole, so that nothing is looked up again when the run is resumed.
"""

import dataclasses
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from robodreamer.config.algorithm import AlgorithmConfig
from robodreamer.config.data import DataConfig
from robodreamer.config.network import NetworkConfig
from robodreamer.config.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """One training run: the task, what is observed, the agent, and when to stop and to report."""

    task: str
    """Task to learn, such as fetch_reach, dmc_walker_walk, gym:HalfCheetah-v5 or, of a package that
    registers it, gym:gym_pusht:gym_pusht/PushT-v0?obs_type=state (docs/tasks.md)."""
    observe: Literal["camera", "proprio", "both", "state"] = "both"
    """Families of signals that the agent observes; `state` is proprioception and object poses."""
    cameras: tuple[str, ...] | None = None
    """Cameras to use; the task's own choice by default."""
    control_dt: PositiveFloat | None = None
    """Seconds of one step, for a Gymnasium environment (`gym:ID`, `module:Class`) that declares
    none or a wrong one; `robodreamer tasks NAME` prints it. All other tasks know their own."""
    randomize: str = "none"
    """Randomisation of every episode: none, mild, strong, or a JSON file of a preset and
    entries (docs/randomization.md)."""
    size: str
    """Size of the networks: debug, cpu, 1m, 12m, 25m, 50m, 100m, 200m, dreamer_v1 or dreamer_v2."""
    preset: str
    """Algorithm: dreamer_v1, dreamer_v2, dreamer_v3 (all as published), multimodal, quick (for some
    thousand updates) or debug."""
    protocol: str
    """Collection and replay of data: default, dmc_vision, dmc_proprio, cpu or debug."""
    network: NetworkConfig
    algorithm: AlgorithmConfig
    data: DataConfig
    seed: NonNegativeInt = 0
    """Seed of weights, environments and every random draw."""
    steps: PositiveInt = 1_000_000
    """Environment steps (times `action_repeat` simulator steps) after which training ends."""
    minutes: PositiveFloat | None = None
    """Minutes of training after which it ends, if that comes first; resumed time counts."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Processor of the learner; `auto` takes CUDA if torch finds it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters and losses stay in float32."""
    threads: NonNegativeInt = 0
    """CPU threads of the learner; 0 takes one for networks as small as `--size cpu`, which are not
    faster with more, and torch's choice for others. Another number rounds differently, so a
    deterministic run that is resumed with it warns that it is not repeated to the bit."""
    num_workers: NonNegativeInt | None = None
    """Processes that simulate, each its share of the environments; by default one for every core
    but the learner's. 0 simulates while the learner waits. The run stays the same, to the bit."""
    on_crash: Literal["stop", "restart"] = "stop"
    """Reaction to a simulator that crashed, hung or yielded NaN: stop the run, or
    restart the simulator at most 20 times; its episodes then break off."""
    env_timeout_s: PositiveFloat = 120.0
    """Seconds that one environment may take to be made, reset, stepped or drawn; with more it
    counts as hanging."""
    deterministic: bool = False
    """Repeatable to the bit on a CPU, also when killed and resumed: the run saves, reports and
    evaluates at fixed steps. Ctrl-C saves in between, which ends all episodes early."""
    checkpoint_minutes: PositiveFloat = 15.0
    """Minutes between checkpoints."""
    checkpoint_steps: PositiveInt = 10_000
    """Environment steps between checkpoints of a deterministic run."""
    keep_checkpoints: PositiveInt = 2
    """Newest checkpoints that stay on disk."""
    evaluate_minutes: NonNegativeFloat = 5.0
    """Minutes between evaluations; 0 turns them off."""
    evaluate_steps: PositiveInt = 10_000
    """Environment steps between evaluations of a deterministic run."""
    evaluate_episodes: PositiveInt = 10
    """Episodes of an evaluation."""
    log_seconds: PositiveFloat = 10.0
    """Seconds between reports."""
    log_steps: PositiveInt = 1_000
    """Environment steps between reports of a deterministic run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.deterministic and self.minutes is not None:
            raise ValueError(
                "--deterministic cannot end by --minutes, which differ every time; give --steps"
            )


LONGEST_NAME = 200
"""Characters: a file may have 255, endings included."""


def folder_name(task: str) -> str:
    """Return a task's name as a folder may be called: gym:Ant-v5 becomes gym_Ant-v5.

    One that is too long for a file, as arguments (?key=value) may make it, ends in a checksum.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", task)
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{zlib.crc32(task.encode()):08x}"


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Return plain JSON values."""
    return dataclasses.asdict(config)


def from_dict(data: Mapping[str, Any]) -> TrainConfig:
    """Rebuild a config from `to_dict`'s values, also after they were JSON.

    Raises:
        ValueError: A field is missing or unknown: the config is of another version.
    """
    return _rebuild(TrainConfig, data, "the settings")


def _rebuild(kind: Any, data: Mapping[str, Any], where: str) -> Any:
    types = {f.name: get_type_hints(kind)[f.name] for f in dataclasses.fields(kind)}
    if data.keys() != types.keys():
        missing, unknown = sorted(types.keys() - data), sorted(data.keys() - types)
        raise ValueError(
            f"{where} lack {missing} and have unknown {unknown}: they are of another version"
        )
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
    for name, field_type in types.items():
        if dataclasses.is_dataclass(field_type):
            values[name] = _rebuild(field_type, data[name], f"{where} under {name}")
    return kind(**values)
