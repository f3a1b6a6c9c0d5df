"""Settings: every number of an agent and of a run, as frozen dataclasses.

Three independent words choose them: `--size` (networks), `--preset` (algorithm family) and
`--protocol` (batch, replay ratio, environments, optimizer). Any single field can then be set on
the command line. The run folder keeps the result, so nothing is looked up again on resume.

Importing this module costs no torch; the command line builds its help from it.
"""

import dataclasses
import difflib
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Sizes of all networks (`--size`)."""

    deter: int = 2048
    """Deterministic state D of the RSSM."""
    hidden: int = 256
    """Width of the RSSM's input, prior and posterior layers."""
    stoch: int = 32
    """Number of latent variables S."""
    classes: int = 16
    """Classes K of each latent variable."""
    blocks: int = 8
    """Blocks G of the recurrent unit; divides `deter`."""
    dynamics_layers: int = 1
    """Block-linear layers before the gates."""
    prior_layers: int = 2
    """Hidden layers of the prior."""
    posterior_layers: int = 1
    """Hidden layers of the posterior."""
    units: int = 256
    """Width of every MLP: vector encoder and decoder, heads, actor, critic."""
    encoder_layers: int = 3
    """Layers of the vector encoder."""
    decoder_layers: int = 3
    """Layers of the vector decoder."""
    depth: int = 16
    """Channels of the CNNs, times `depth_multipliers`."""
    depth_multipliers: tuple[int, ...] = (2, 3, 4, 4)
    """One factor per CNN stage; every stage halves the picture."""
    kernel: int = 5
    """Side of the convolution kernels."""
    decoder_blocks: int = 8
    """Blocks of the layer from `deter` to the decoder's first feature map, or as many of them as
    divide its channels."""
    pooling: Literal["max", "stride"] = "max"
    """How a stage halves the picture: 2x2 max-pool (reference) or a stride of 2 (faster)."""
    reward_layers: int = 1
    continue_layers: int = 1
    critic_layers: int = 3
    actor_layers: int = 3
    bins: int = 255
    """Bins of the two-hot reward and value."""
    bin_limit: float = 20.0
    """The bins are spaced evenly in symlog space between minus and plus this. A small limit makes
    fine bins, which rewards of centimetres need (RESULTS.md)."""


@dataclass(frozen=True, kw_only=True)
class LossScales:
    """Weight of every loss in the one sum; names equal the losses produced."""

    images: float = 1.0
    """Reconstruction of each camera, a sum over pixels."""
    vectors: float = 1.0
    """Reconstruction of each vector, a sum over its elements."""
    auxiliary: float = 0.0
    """Prediction of each privileged vector from the encoder's tokens alone, so that the camera's
    network learns what matters before the latent state does; 0 leaves that head out."""
    reward: float = 1.0
    continuation: float = 1.0
    dynamics: float = 1.0
    representation: float = 0.1
    policy: float = 1.0
    value: float = 1.0
    replay_value: float = 0.3


@dataclass(frozen=True, kw_only=True)
class AlgorithmConfig:
    """Settings of learning (`--preset`): world model, imagination, returns, actor and critic.

    Defaults are those of DreamerV3 (Hafner et al., 2025, "Hyperparameters").
    """

    latent: Literal["categorical"] = "categorical"
    """Family of the latent variables; categorical is straight-through with a uniform mix."""
    unimix: float = 0.01
    """Share of the uniform distribution in the latent probabilities."""
    free_nats: float = 1.0
    """KL below which dynamics and representation losses do not push."""
    actor_gradient: Literal["reinforce"] = "reinforce"
    """How the actor learns from imagined returns."""
    horizon: int = 15
    """Imagined steps H."""
    imagination_last: int = 0
    """Imagine from this many last steps of each sequence; 0 means from all."""
    discount_horizon: int = 333
    """Continue targets and replay returns use a discount of 1 - 1/this."""
    return_lambda: float = 0.95
    entropy_scale: float = 3e-4
    slow_critic_rate: float = 0.02
    slow_critic_scale: float = 1.0
    """Weight of the critic's pull towards the slow critic."""
    replay_lambda: float = 0.95
    """Lambda of the returns along replayed rewards."""
    replay_slow_critic_scale: float = 1.0
    """As `slow_critic_scale`, for the value loss on replayed steps."""
    return_rate: float = 0.01
    """Rate of the running percentiles of the returns."""
    return_low: float = 5.0
    return_high: float = 95.0
    """Percentiles of the returns; the distance between them divides the advantages."""
    return_limit: float = 1.0
    """Smallest distance assumed, so that small returns are not enlarged."""
    min_std: float = 0.1
    max_std: float = 1.0
    """Bounds of the continuous actor's standard deviation."""
    camera_dropout: float = 0.0
    """Share of camera frames that the agent learns to do without, each camera for itself; the
    encoder then reads a bit per camera that says whether its frame is there. 0 leaves that bit out:
    on a robot the model then dreams through a lost frame, all other signals of that step unread."""
    camera_gap: float = 3.0
    """Steps that frames of a camera are lost in a row, on average: gaps have geometric lengths, so
    that with 3 a third of them is a single frame and one in eleven longer than six."""
    loss_scales: LossScales = field(default_factory=LossScales)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """LaProp with adaptive gradient clipping."""

    learning_rate: float = 4e-5
    warmup: int = 1000
    """Updates over which the learning rate rises linearly from 0."""
    actor_start: int = 0
    """Updates before the actor begins to warm up. Where rewards are negative, a critic that has yet
    to learn so thinks best of what nobody has visited, and an actor that follows it spends most of
    few updates on finding its way back (RESULTS.md)."""
    clip: float = 0.3
    """Largest ratio of gradient norm to parameter norm, per tensor."""
    clip_floor: float = 1e-3
    """Smallest parameter norm the clipping assumes."""
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-20


@dataclass(frozen=True, kw_only=True)
class ProtocolConfig:
    """How data is collected and replayed (`--protocol`)."""

    num_envs: int = 16
    batch_size: int = 16
    """Sequences B per update."""
    batch_length: int = 64
    """Steps T per sequence, without the context step."""
    replay_context: int = 1
    """Stored steps in front of every sequence whose latents start it."""
    train_ratio: float = 512.0
    """Replayed steps per environment step."""
    prefill: int = 0
    """Environment steps before the first update; at least one batch is always collected."""
    action_repeat: int = 1
    image_size: int = 64
    """Height and width of every camera."""
    look: Literal["lean", "reference"] = "lean"
    """Rendering: without shadows and reflections, or as the published scores."""
    geom_groups: tuple[int, ...] | None = None
    """Groups of geoms that are drawn, such as 1 2 where a model keeps collision geoms in group 0;
    by default the task's own choice, mostly 0 to 2."""
    meshes: Literal["full", "thin"] = "full"
    """`thin` draws at most 2,000 triangles of each mesh, for models from CAD programs."""
    decode_fraction: float = 1.0
    """Share of the replayed frames that the image decoder reconstructs, drawn anew each update."""
    replay_capacity: int = 1_000_000
    """Steps kept; memory is allocated as it fills."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


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
}  # fmt: skip

PRESETS: Mapping[str, AlgorithmConfig] = {
    "dreamer_v3": AlgorithmConfig(),
    "multimodal": AlgorithmConfig(loss_scales=LossScales(images=0.03, auxiliary=1.0)),
}
"""`multimodal` is DreamerV3 with pictures weighed like vectors: as a sum over thousands of pixels,
a small network spends its latents on them and forgets the goal. Its encoder is shown what only the
simulator knows, as a target (RESULTS.md)."""

PROTOCOLS: Mapping[str, ProtocolConfig] = {
    "default": ProtocolConfig(),
    "dmc_vision": ProtocolConfig(action_repeat=2, look="reference"),
    "dmc_proprio": ProtocolConfig(action_repeat=2),
    "cpu": ProtocolConfig(
        num_envs=8, batch_size=16, batch_length=25, train_ratio=32.0, prefill=2_000,
        image_size=32, decode_fraction=0.25, replay_capacity=100_000,
        optimizer=OptimizerConfig(learning_rate=6e-4, warmup=200, actor_start=400),
    ),
    "debug": ProtocolConfig(
        num_envs=2, batch_size=2, batch_length=8, train_ratio=16.0, image_size=32,
        decode_fraction=0.5, replay_capacity=2_000,
        optimizer=OptimizerConfig(learning_rate=3e-4, warmup=10),
    ),
}  # fmt: skip

ADAPTATIONS: Mapping[str, Mapping[str, Any]] = {
    "cpu": {"imagination_last": 8, "discount_horizon": 20, "entropy_scale": 3e-3},
    "debug": {"imagination_last": 4},
}
"""What a protocol changes of the algorithm, where time is short: fewer starts of imagination;
returns that reach less far, which a critic learns sooner; actions that stay random for longer."""

ABSENT: Mapping[str, Any] = {
    "auxiliary": 0.0, "randomize": "none", "on_crash": "stop", "camera_dropout": 0.0,
    "camera_gap": 3.0, "geom_groups": None, "meshes": "full", "control_dt": None,
    "env_timeout_s": 120.0,
}  # fmt: skip
"""Settings that older runs were saved without, and what they were made with."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run: the task, what is observed, the agent, and when to stop and to report."""

    task: str
    """Task to learn, such as fetch_reach, dmc_walker_walk, gym:HalfCheetah-v5 or, of a package that
    registers it, gym:gym_pusht:gym_pusht/PushT-v0?obs_type=state (docs/tasks.md)."""
    observe: Literal["camera", "proprio", "both", "state"] = "both"
    """What the agent sees; `state` adds object poses to proprioception, without cameras."""
    cameras: tuple[str, ...] | None = None
    """Cameras to use; the task's own choice by default."""
    control_dt: float | None = None
    """Seconds of one step of a Gymnasium environment (`gym:ID`, `module:Class`) that tells none, or
    a wrong one; `robodreamer tasks NAME` says what it tells. All other tasks know their own."""
    randomize: str = "none"
    """What is randomised in every episode: none, mild, strong, or a JSON file of a preset and
    entries (docs/randomization.md)."""
    size: str = "12m"
    """Size of the networks: debug, cpu, 1m, 12m, 25m, 50m, 100m or 200m."""
    preset: str = "dreamer_v3"
    """Family of the algorithm: dreamer_v3 (the published one) or multimodal."""
    protocol: str = "default"
    """How data is collected and replayed: default, dmc_vision, dmc_proprio, cpu or debug. Where
    time is short, cpu and debug change the algorithm, too; the first lines of a run say how."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    data: ProtocolConfig = field(default_factory=ProtocolConfig)
    seed: int = 0
    """Of weights, environments and every random draw."""
    steps: int = 1_000_000
    """Environment steps (times `action_repeat` simulator steps) after which training ends."""
    minutes: float | None = None
    """Minutes of training after which it ends, if that comes first; resumed time counts."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters and losses stay in float32."""
    threads: int = 0
    """CPU threads of the learner; 0 takes one for networks as small as `--size cpu`, which more do
    not make faster, and torch's choice for others. Another number rounds differently, so a
    deterministic run that is resumed with it is not repeated to the bit, which it says."""
    num_workers: int | None = None
    """Processes that simulate, each its share of the environments; by default one for every core
    but the learner's. 0 simulates while the learner waits. The run stays the same, to the bit."""
    on_crash: Literal["stop", "restart"] = "stop"
    """What becomes of a simulator that crashed, hung or yielded NaN: it stops the run, or it is
    started anew and the episodes that it was in break off; at most 20 times."""
    env_timeout_s: float = 120.0
    """Seconds that one environment may take to be made, reset, stepped or drawn; it hangs if it
    takes longer."""
    deterministic: bool = False
    """Repeatable to the bit on a CPU, also when killed and resumed: the run saves, reports and
    evaluates at fixed steps. Ctrl-C saves in between, which ends all episodes early."""
    checkpoint_minutes: float = 15.0
    checkpoint_steps: int = 10_000
    """Environment steps between checkpoints of a deterministic run."""
    keep_checkpoints: int = 2
    """Newest checkpoints that stay on disk."""
    evaluate_minutes: float = 5.0
    """Minutes between evaluations; 0 evaluates never."""
    evaluate_steps: int = 10_000
    """Environment steps between evaluations of a deterministic run."""
    evaluate_episodes: int = 10
    log_seconds: float = 10.0
    """Seconds between reports."""
    log_steps: int = 1_000
    """Environment steps between reports of a deterministic run."""


def named_config(task: str, size: str, preset: str, protocol: str) -> TrainConfig:
    """Return the settings that three words stand for.

    Raises:
        ValueError: One of the words does not exist.
    """
    algorithm: AlgorithmConfig = choose("preset", preset, PRESETS)
    data: ProtocolConfig = choose("protocol", protocol, PROTOCOLS)
    return TrainConfig(
        task=task,
        size=size,
        preset=preset,
        protocol=protocol,
        network=choose("size", size, SIZES),
        algorithm=dataclasses.replace(algorithm, **ADAPTATIONS.get(protocol, {})),
        data=data,
    )


def departures(config: TrainConfig) -> Iterator[tuple[str, Any, Any]]:
    """Yield every setting of the algorithm that is not its preset's: name, value, the preset's."""
    ours = dataclasses.asdict(config.algorithm)
    theirs = dataclasses.asdict(choose("preset", config.preset, PRESETS))
    scales, usual = ours.pop("loss_scales"), theirs.pop("loss_scales")
    ours |= {f"loss_scales.{name}": value for name, value in scales.items()}
    theirs |= {f"loss_scales.{name}": value for name, value in usual.items()}
    yield from ((name, ours[name], theirs[name]) for name in ours if ours[name] != theirs[name])


def choose(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """Return `table[name]`.

    Raises:
        ValueError: There is no such name; the message lists what exists, closest first.
    """
    if name in table:
        return table[name]
    close = difflib.get_close_matches(name, table, n=len(table), cutoff=0.4)
    others = [other for other in table if other not in close]
    raise ValueError(f"unknown {kind} {name!r}; there is {', '.join(close + others)}")


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
    types = get_type_hints(kind)
    data = {name: default for name, default in ABSENT.items() if name in types} | dict(data)
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
