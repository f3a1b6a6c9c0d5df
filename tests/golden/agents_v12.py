"""Agents of the golden files of DreamerV1 and V2: built from their settings, filled, and fed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch
from layers_v12 import by_name, dense, feature_order, head_layers, layer, split, unit
from torch import Tensor, nn
from vectors import Array, Case, Options, fill
from vectors_v12 import load

from robodreamer.config import (
    PRESETS,
    AlgorithmConfig,
    LossScales,
    NetworkConfig,
    OptimizerConfig,
    preset_parts,
)
from robodreamer.export.graphs import GivenNoise
from robodreamer.learning.actor_critic import ActorCritic
from robodreamer.learning.agent import Agent
from robodreamer.models.cells import GRU, LayerNormGRU
from robodreamer.models.decoder import ValidStateDecoder
from robodreamer.models.encoder import VectorInput
from robodreamer.models.layers import MLP, Layer, LayerStyle, Linear
from robodreamer.models.valid_cnn import ValidCameraEncoder
from robodreamer.reference import Counterpart, Order
from robodreamer_deploy.contract import ActionSpec, Contract, Signal

V1_FILES = ("v1_05a_agent_continuous", "v1_05b_agent_discrete")
V2_FILES = ("v2_06a_agent_continuous", "v2_06b_agent_discrete")
EXPLORING = "v2_08_agent_plan2explore"
CONVOLUTION, TRANSPOSED = (3, 2, 0, 1), (3, 2, 0, 1)


def signal_names(case: Case) -> dict[str, str]:
    """Return our name of every signal, by the reference's."""
    keys = case.options.get("keys", ["image"])
    images = {"image"}
    return {key: f"{'image' if key in images else 'proprio'}/{key}" for key in keys}


def make_contract(case: Case) -> Contract:
    """Return the contract of an agent file."""
    data, size = case.tensors("in/data"), case.options["action"]
    signals = tuple(
        Signal(
            name=name,
            shape=tuple(data[key].shape[2:]),
            dtype="uint8" if name.startswith("image") else "float32",
        )
        for key, name in signal_names(case).items()
    )
    action = (
        ActionSpec(kind="discrete", size=size)
        if case.options["discrete"]
        else ActionSpec(size=size, low=(-1.0,) * size, high=(1.0,) * size)
    )
    return Contract(task="golden", observations=signals, action=action, control_dt_s=0.1)


def make_agent(file: str) -> tuple[Agent, OptimizerConfig]:
    """Return the agent of a file with its parameters, and the settings of its optimizers."""
    case = load(file, "agent")
    make = _make_v1 if file.startswith("v1") else _make_v2
    agent = make(case)
    arrays = cut_in_two(case, "param")
    found = counterparts(agent, case)
    fill(found, {k: v for k, v in arrays.items() if not k.startswith(("expl", "disag"))})
    return agent, agent.algorithm.optimizer


def _make_v1(case: Case) -> Agent:
    config = case.options["config"]
    network = NetworkConfig(
        deter=config["deter_size"], hidden=config["deter_size"], stoch=config["stoch_size"],
        units=config["num_units"], depth=config["cnn_depth"], depth_multipliers=(1, 2, 4, 8),
        blocks=1, decoder_blocks=1, prior_layers=1, reward_layers=2, continue_layers=3,
        critic_layers=3, actor_layers=4, parts=preset_parts("dreamer_v1"),
    )  # fmt: skip
    preset = PRESETS["dreamer_v1"]
    algorithm = replace(
        preset,
        free_nats=config["free_nats"],
        reward_transform=config["clip_rewards"],
        horizon=config["horizon"],
        return_lambda=config["disclam"],
        imagine_from_last=not config["pcont"],
        action_noise=config["expl_amount"],
        init_std=math.log(math.expm1(config["action_init_std"])),
        loss_scales=replace(
            preset.loss_scales,
            kl=config["kl_scale"],
            continuation=config["pcont_scale"] if config["pcont"] else 0.0,
        ),
        optimizer=replace(
            preset.optimizer,
            learning_rate=config["model_lr"],
            actor_learning_rate=config["actor_lr"],
            critic_learning_rate=config["value_lr"],
            global_clip=float(config["grad_clip"]),
        ),
    )
    return _build(case, network, algorithm)


def v2_network(config: Options) -> NetworkConfig:
    """Return the sizes and parts of a V2 agent."""
    parts = preset_parts("dreamer_v2")
    return NetworkConfig(
        deter=config["rssm.deter"], hidden=config["rssm.hidden"], stoch=config["rssm.stoch"],
        classes=config["rssm.discrete"], units=config["actor.units"],
        depth=config["encoder.cnn_depth"], depth_multipliers=(1, 2, 4, 8), blocks=1,
        decoder_blocks=1, prior_layers=1, reward_layers=config["reward_head.layers"],
        continue_layers=config["discount_head.layers"], critic_layers=config["critic.layers"],
        actor_layers=config["actor.layers"],
        parts=replace(parts, norm=config["rssm.norm"]),
    )  # fmt: skip


def _make_v2(case: Case) -> Agent:
    config = case.options["config"]
    preset = PRESETS["dreamer_v2"]
    kl = config["loss_scales.kl"]
    algorithm = replace(
        preset,
        free_nats=config["kl.free"],
        free_average=config["kl.free_avg"],
        reward_transform={"identity": "none"}.get(config["clip_rewards"], config["clip_rewards"]),
        actor_gradient=config["actor_grad"],
        entropy_scale=config["actor_ent"],
        horizon=config["imag_horizon"],
        return_lambda=config["discount_lambda"],
        slow_critic_every=config["slow_target_update"],
        slow_critic_rate=float(config["slow_target_fraction"]),
        min_std=config["actor.min_std"],
        loss_scales=LossScales(
            dynamics=kl * config["kl.balance"],
            representation=kl * (1 - config["kl.balance"]),
            reward=config["loss_scales.reward"],
            continuation=config["loss_scales.discount"] if config["pred_discount"] else 0.0,
            replay_value=0.0,
        ),
        optimizer=replace(
            preset.optimizer,
            learning_rate=config["model_opt.lr"],
            actor_learning_rate=config["actor_opt.lr"],
            critic_learning_rate=config["critic_opt.lr"],
            global_clip=float(config["model_opt.clip"]),
            epsilon=config["model_opt.eps"],
            weight_decay=config["model_opt.wd"],
        ),
    )
    agent = _build(case, v2_network(config), algorithm)
    _resize(agent, config["encoder.mlp_layers"], config["decoder.mlp_layers"])
    return agent


def _build(case: Case, network: NetworkConfig, algorithm: AlgorithmConfig) -> Agent:
    agent = Agent(make_contract(case), network, algorithm)
    discount = case.options["config"]["discount"]
    agent.world_model.discount = agent.actor_critic.discount = discount
    return agent


def stack(in_features: int, units: Sequence[int], style: LayerStyle) -> MLP:
    """Return a stack of layers of given widths; ours have but one width elsewhere."""
    mlp = MLP(in_features, units[0], 1, style)
    layers = [*mlp.layers, *(Layer(a, b, style) for a, b in pairwise(units))]
    mlp.layers = nn.ModuleList(layers)  # type: ignore[assignment]
    return mlp


def vector_networks(agent: Agent) -> tuple[VectorInput, MLP]:
    """Return both parts of the encoder of vectors."""
    assert agent.world_model.encoder.vectors is not None
    row, mlp = agent.world_model.encoder.vectors.children()
    assert isinstance(row, VectorInput)
    assert isinstance(mlp, MLP)
    return row, mlp


def _resize(agent: Agent, encoder_units: Sequence[int], decoder_units: Sequence[int]) -> None:
    """Give the networks of vectors the widths of a file, one per layer."""
    model, style = agent.world_model, LayerStyle("none", "elu", "glorot")
    if model.encoder.vectors is None:
        return
    row, mlp = vector_networks(agent)
    old = mlp.layers[-1].linear.out_features
    model.encoder.vectors[1] = stack(row.size, encoder_units, style)
    model.encoder.size += encoder_units[-1] - old
    deter, hidden = model.rssm.deter_size, model.rssm.prior_output.in_features
    model.rssm.posterior = MLP(deter + model.encoder.size, hidden, 1, style)
    vectors = model.decoder.vectors
    assert vectors is not None
    vectors.mlp = stack(model.feature_size, decoder_units, style)
    vectors.outputs = nn.ModuleList(
        Linear(decoder_units[-1], cast("Linear", output).out_features) for output in vectors.outputs
    )


def cut_in_two(case: Case, section: str) -> dict[str, Array]:
    """Return the arrays of a section, those of V1 that belong to two of our tensors as two."""
    outputs = () if case.options["discrete"] else ("actor/hout",)
    return split(case.section(section), *outputs)


def cell_counterparts(cell: nn.Module) -> Iterator[Counterpart]:
    """Yield the counterparts of a recurrent cell with its input layer, below `dyn`."""
    if isinstance(cell, GRU):
        yield from dense(cell.input.linear, "dyn/img1")
    else:
        assert isinstance(cell, LayerNormGRU)
        yield from layer(cell.input, "dyn/img_in", "dyn/img_in_norm")
    yield from unit(cell, "dyn/gru")


def camera_counterparts(agent: Agent, *, version: int) -> Iterator[Counterpart]:
    """Yield the counterparts of the camera's networks."""
    for encoder in agent.world_model.encoder.cameras.values():
        assert isinstance(encoder, ValidCameraEncoder)
        for i, conv in enumerate(encoder.convs):
            name = f"enc/h{i + 1}" if version == 1 else f"enc/conv{i}"
            yield from _conv(conv, name, CONVOLUTION)
    for camera in agent.world_model.decoder.cameras.values():
        assert isinstance(camera, ValidStateDecoder)
        decoder = camera.network
        yield from dense(decoder.start, "dec/h1" if version == 1 else "dec/convin")
        for i, conv in enumerate(decoder.convs):
            name = f"dec/h{i + 2}" if version == 1 else f"dec/conv{i}"
            yield from _conv(conv, name, TRANSPOSED)


def _conv(
    conv: nn.Conv2d | nn.ConvTranspose2d, name: str, axes: tuple[int, ...]
) -> Iterator[Counterpart]:
    assert conv.bias is not None
    yield Counterpart(conv.weight, f"{name}/kernel", axes)
    yield Counterpart(conv.bias, f"{name}/bias", (0,))


def counterparts(agent: Agent, case: Case) -> dict[str, Counterpart]:
    """Return the counterparts of all parameters of an agent, by the reference's names."""
    version = 1 if "deter_size" in case.options["config"] else 2
    model, behavior = agent.world_model, agent.actor_critic
    rssm, order = model.rssm, feature_order(model.rssm.deter_size, model.rssm.latent.size)
    found = [*camera_counterparts(agent, version=version), *cell_counterparts(rssm.core)]
    prior, posterior = rssm.prior.layers[0], rssm.posterior.layers[0]
    names = {
        1: ("img2", "img3", "obs1", "obs2"),
        2: ("img_out_0", "img_dist_0", "obs_out", "obs_dist"),
    }[version]
    found += [*layer(prior, f"dyn/{names[0]}", f"dyn/{names[0]}_norm")]
    found += [*dense(rssm.prior_output, f"dyn/{names[1]}")]
    found += [*layer(posterior, f"dyn/{names[2]}", f"dyn/{names[2]}_norm", _token_order(agent))]
    found += [*dense(rssm.posterior_output, f"dyn/{names[3]}")]
    found += [*_vector_counterparts(agent, case)]
    heads = {"rew": model.reward, "actor": behavior.actor}
    heads["value" if version == 1 else "critic"] = behavior.critic
    if version == 2:
        heads["target"] = behavior.slow_critic
    if model.continuation is not None:
        heads["pcont" if version == 1 else "discount"] = model.continuation
    for name, head in heads.items():
        found += [*head_layers(head, name, order, version=version)]
    return by_name(found)


def _token_order(agent: Agent) -> Order | None:
    """Return the order of [deter, vectors, camera], which there is [deter, camera, vectors]."""
    encoder, deter = agent.world_model.encoder, agent.world_model.rssm.deter_size
    if encoder.vectors is None or not encoder.cameras:
        return None
    cameras = sum(camera.size for camera in encoder.cameras.values())
    size = deter + encoder.size
    positions = [*range(deter), *range(deter + cameras, size), *range(deter, deter + cameras)]
    return Order(axis=1, positions=tuple(positions))


def _vector_counterparts(agent: Agent, case: Case) -> Iterator[Counterpart]:
    """Yield the counterparts of the networks of vectors."""
    model = agent.world_model
    if model.encoder.vectors is None:
        return
    row, mlp = vector_networks(agent)
    names = {ours: key for key, ours in signal_names(case).items()}
    declared = [signal for signal in agent.contract.inputs if not signal.is_image]
    starts, start = {}, 0
    for signal in declared:
        starts[signal.name] = range(start, start + signal.num_elements)
        start += signal.num_elements
    positions = [i for signal in row.signals for i in starts[signal.name]]
    for i, ours in enumerate(mlp.layers):
        order = Order(axis=1, positions=tuple(positions)) if i == 0 else None
        yield from layer(ours, f"enc/dense{i}", f"enc/densenorm{i}", order)
    decoder = model.decoder.vectors
    assert decoder is not None
    for i, ours in enumerate(decoder.mlp.layers):
        yield from layer(ours, f"dec/dense{i}", f"dec/densenorm{i}")
    for signal, output in zip(decoder.signals, decoder.outputs, strict=True):
        yield from dense(cast("Linear", output), f"dec/dense_{names[signal.name]}/out")


def replayed(case: Case, agent: Agent) -> dict[str, Tensor]:
    """Return the replayed batch, (B, 1 + T, ...), whose first step is a context of zeros.

    There `action[:, t]` led to observation t, here it follows it.
    """
    data = case.tensors("in/data")
    batch, steps = data["reward"].shape
    zeros = torch.zeros(batch, steps, dtype=torch.bool)
    values = {ours: data[key] for key, ours in signal_names(case).items()}
    values |= {"reward": data["reward"]}
    values["is_first"] = data.get("is_first", zeros)
    values["is_last"] = data.get("is_last", zeros)
    values["is_terminal"] = data["is_terminal"] if "is_terminal" in data else data["discount"] == 0
    values = {name: torch.cat([value[:, :1], value], 1) for name, value in values.items()}
    values["action"] = torch.cat([data["action"], data["action"][:, -1:]], 1)
    rssm = agent.world_model.rssm
    values["deter"] = torch.zeros(batch, steps + 1, rssm.deter_size)
    values["stoch"] = torch.zeros(batch, steps + 1, *rssm.latent.shape)
    return values


def model_noise(case: Case, agent: Agent, kind: str = "post") -> list[Tensor]:
    """Return the noise of filtering a sequence, one tensor per step."""
    return [_as_latent(step, agent) for step in case[f"in/noise/{kind}"].unbind(1)]


def behavior_noise(case: Case, agent: Agent, prefix: str = "") -> list[Tensor]:
    """Return the noise of imagining, in the order of the draws: action, latent, action, ..."""
    actions, latents = case[f"in/noise/{prefix}actor"], case[f"in/noise/{prefix}imag"]
    pairs = [
        noise
        for action, latent in zip(actions, latents, strict=True)
        for noise in (action, _as_latent(latent, agent))
    ]
    return [*pairs, torch.full_like(actions[0], 0.5)]  # one more action, which judges nothing


def _as_latent(noise: Tensor, agent: Agent) -> Tensor:
    return noise.reshape(-1, *agent.world_model.rssm.latent.shape)


def update_noise(case: Case, agent: Agent) -> GivenNoise:
    """Return the sampler of one update."""
    return GivenNoise(*model_noise(case, agent), *behavior_noise(case, agent))


def exploring_critic(agent: Agent) -> ActorCritic:
    """Return the second actor-critic of an agent that explores."""
    network = v2_network(load(EXPLORING, "agent").options["config"])
    behavior = ActorCritic(
        agent.world_model.feature_size, agent.contract.action, network, agent.algorithm
    )
    behavior.discount = agent.actor_critic.discount
    return behavior
