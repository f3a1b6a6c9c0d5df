"""Golden vectors of whole DreamerV1 and V2 agents: three updates, and acting."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from agents_v12 import (
    EXPLORING,
    V1_FILES,
    V2_FILES,
    behavior_noise,
    counterparts,
    cut_in_two,
    exploring_critic,
    make_agent,
    model_noise,
    replayed,
    signal_names,
    update_noise,
    v2_network,
)
from layers_v12 import ensemble_layers, feature_order, head_layers
from torch import Tensor
from vectors import Case, compare, fill
from vectors_v12 import CHANGE_L2, FORWARD, GRADIENT, GRADIENT_NORM, LOSS, load

from robodreamer.config import IntrinsicConfig
from robodreamer.export.graphs import GivenNoise
from robodreamer.learning.actor_critic import ActorCritic, Imagined, ImaginedRewards
from robodreamer.learning.agent import Agent, Carry
from robodreamer.learning.intrinsic import Disagreement, RewardScale
from robodreamer.learning.learner import Learner, split_context
from robodreamer.learning.optim import Adam
from robodreamer.models.rssm import State
from robodreamer.models.sampling import ModeSampler
from robodreamer.reference import Counterpart
from robodreamer.utils.freezing import frozen


class Trained(NamedTuple):
    """An agent after some updates, and what was seen on the way."""

    case: Case
    agent: Agent
    found: dict[str, Counterpart]
    before: dict[str, Tensor]
    gradients: dict[str, Tensor]
    metrics: list[dict[str, Tensor]]
    parameters: list[dict[str, Tensor]]


def copies(found: dict[str, Counterpart]) -> dict[str, Tensor]:
    return {name: c.tensor.detach().clone() for name, c in found.items()}


@pytest.fixture(scope="module", params=[*V1_FILES, *V2_FILES])
def trained(request: pytest.FixtureRequest) -> Trained:
    """Take three updates with the same data and noise."""
    case = load(request.param, "agent")
    agent, optimizer = make_agent(request.param)
    found = counterparts(agent, case)
    before = copies(found)
    learner = Learner(agent, optimizer, replay_context=1)
    gradients: dict[str, Tensor] = {}
    metrics, parameters = [], []
    for _ in range(3):
        metrics.append(learner.update(replayed(case, agent), update_noise(case, agent))[0])
        parameters.append(copies(found))
        if not gradients:
            gradients = {
                name: c.tensor.grad.clone()
                for name, c in found.items()
                if c.tensor.grad is not None
            }
    return Trained(case, agent, found, before, gradients, metrics, parameters)


def losses_of(trained: Trained, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what the reference reports about an update, by its names."""
    scales, names = trained.agent.scales, signal_names(trained.case)
    is_v1 = "after1/value_loss" in trained.case.arrays
    model = {n for n in scales if n not in {"policy", "value"}}
    loss = {name: metrics[f"loss/{name}"] for name in scales}
    critic = "value" if is_v1 else "critic"
    found = {
        "model_loss": sum(scales[n] * loss[n] for n in model),
        "actor_loss": loss["policy"],
        f"{critic}_loss": loss["value"],
        "model_grad_norm": metrics["grad_norm/model"],
        "actor_grad_norm": metrics["grad_norm/actor"],
        f"{critic}_grad_norm": metrics["grad_norm/critic"],
    }
    if not is_v1:
        config = trained.case.options["config"]
        balance = config["kl.balance"]
        found |= {f"{key}_loss": loss[name] for key, name in names.items()}
        found |= {
            "kl_loss": balance * loss["dynamics"] + (1 - balance) * loss["representation"],
            "reward_loss": loss["reward"],
        }
        if "continuation" in loss:
            found["discount_loss"] = loss["continuation"]
    return found


def test_every_update_reports_what_the_reference_reports(trained: Trained) -> None:
    for number, metrics in enumerate(trained.metrics, 1):
        expected = {
            name: array
            for name, array in trained.case.section(f"after{number}").items()
            if not name.startswith("param/") and name != "actor_ent"
        }
        ours = losses_of(trained, metrics)
        norms = {name for name in expected if name.endswith("norm")}
        for limits, names in ((GRADIENT_NORM, norms), (LOSS, expected.keys() - norms)):
            compare(
                {name: expected[name] for name in names},
                {name: ours[name] for name in names},
                limits,
            )
        assert ours.keys() == expected.keys()


def test_the_first_gradients_are_the_references(trained: Trained) -> None:
    expected = cut_in_two(trained.case, "grad")
    assert expected
    ours = {
        name: trained.gradients.get(name, torch.zeros_like(trained.found[name].tensor))
        for name in expected
    }
    compare({n: trained.found[n].to_ours(a) for n, a in expected.items()}, ours, GRADIENT)


def test_parameters_move_as_the_references(trained: Trained) -> None:
    start = cut_in_two(trained.case, "param")
    for number in (1, 3):
        expected = cut_in_two(trained.case, f"after{number}/param")
        assert expected
        for name, array in expected.items():
            counterpart = trained.found[name]
            theirs = counterpart.to_ours(array) - counterpart.to_ours(start[name])
            ours = (trained.parameters[number - 1][name] - trained.before[name]).numpy()
            error, size = np.linalg.norm(ours - theirs), np.linalg.norm(theirs)
            assert error <= CHANGE_L2 * size + 1e-7 * theirs.size**0.5, (number, name, error / size)


@pytest.mark.parametrize("file", [*V1_FILES, *V2_FILES, EXPLORING])
def test_filtering_gives_the_references_states_and_losses(file: str) -> None:
    case = load(file, "agent")
    agent, _ = make_agent(file)
    sequence = split_context(replayed(case, agent), agent, 1)
    losses, states, kl, _ = agent.world_model.filter(
        sequence, GivenNoise(*model_noise(case, agent))
    )
    prefix = "out/logp/" if file.startswith("v2") else "out/"
    ours = {
        "out/post/deter": states.deter,
        "out/post/stoch": states.stoch.reshape(case["out/post/stoch"].shape),
        "out/kl": kl,
        "out/embed": agent.world_model.encoder(sequence.observation),
    }
    suffix = "_logp" if prefix == "out/" else ""
    ours |= {f"{prefix}{key}{suffix}": -losses[name] for key, name in signal_names(case).items()}
    ours[f"{prefix}reward{suffix}"] = -losses["reward"]
    if agent.world_model.encoder.vectors is not None and agent.world_model.encoder.cameras:
        cameras = sum(camera.size for camera in agent.world_model.encoder.cameras.values())
        ours["out/embed"] = ours["out/embed"].roll(cameras, -1)  # there the camera comes first
    compare({name: case.arrays[name] for name in ours}, ours, FORWARD)


@pytest.mark.parametrize("file", V1_FILES)
def test_v1_imagines_with_the_parameters_before_the_update(file: str) -> None:
    case = load(file, "agent")
    agent, _ = make_agent(file)
    sequence = split_context(replayed(case, agent), agent, 1)
    _, states, _ = agent.model_losses(sequence, GivenNoise(*model_noise(case, agent)))
    imagined, predicted = imagine(agent, states, GivenNoise(*behavior_noise(case, agent)))
    expected = case.section("out/imag")
    targets = agent.actor_critic.make_targets(
        predicted.reward,
        predicted.continuation,
        agent.actor_critic.critic.mean(agent.actor_critic.critic(imagined.feature)).T,
        agent.algorithm.return_lambda,
    )
    ours = {
        "action": imagined.actions[:, :-1],
        "deter": imagined.states.deter[:, 1:],
        "stoch": imagined.states.stoch[:, 1:].flatten(2),
        "reward": predicted.reward[:, 1:],
        "pcont": predicted.continuation[:, 1:],
        "returns": targets.returns,
        "weight": targets.weight,
    }
    compare(
        {name: expected[name] for name in ours},
        {name: value.transpose(0, 1) for name, value in ours.items()},
        FORWARD,
    )


def imagine(agent: Agent, states: State, sampler: GivenNoise) -> tuple[Imagined, ImaginedRewards]:
    """Imagine from the states that an update imagines from."""
    chosen = agent._starts(states.deter.shape[1])
    start = State(*(value[:, chosen].flatten(0, 1) for value in states.detach()))
    imagined = agent.actor_critic.imagine(agent.world_model.rssm, start, sampler)
    return imagined, agent.predict_rewards(imagined)


@pytest.mark.parametrize("file", V2_FILES)
def test_v2_imagines_with_the_updated_model(file: str) -> None:
    case = load(file, "agent")
    agent, optimizer = make_agent(file)
    learner = Learner(agent, optimizer, replay_context=1)
    sequence = split_context(replayed(case, agent), agent, 1)
    losses, states, _ = agent.model_losses(sequence, GivenNoise(*model_noise(case, agent)))
    learner.optimizer.step(agent.total_loss(losses), ("model",))
    imagined, predicted = imagine(agent, states, GivenNoise(*behavior_noise(case, agent)))
    if agent.world_model.continuation is not None:
        known = agent.world_model.expected_continuation(sequence.is_terminal)
        predicted = predicted.starting_with(known.flatten())
    slow = agent.actor_critic.slow_critic
    targets = agent.actor_critic.make_targets(
        predicted.reward,
        predicted.continuation,
        slow.mean(slow(imagined.feature)).T,
        agent.algorithm.return_lambda,
    )
    expected = case.section("imag")
    ours = {
        "deter": imagined.states.deter,
        "stoch": imagined.states.stoch,
        "reward": predicted.reward,
        "discount": predicted.continuation,
        "returns": targets.returns,
    }
    ours = {name: value.transpose(0, 1) for name, value in ours.items()}
    compare({name: expected[name] for name in ours}, ours, FORWARD)
    compare(
        {"action": expected["action"][1:], "weight": expected["weight"][:-1]},
        {"action": imagined.actions[:, :-1].transpose(0, 1), "weight": targets.weight.T},
        FORWARD,
    )


def act(agent: Agent, case: Case, way: str, *, explores: bool) -> dict[str, Tensor]:
    """Act for some steps as a collector does; return actions and states, (steps, N, ...)."""
    observation = "policy/in/obs/" if "policy/in/is_first" in case.arrays else "policy/in/"
    resets = case.arrays.get("policy/in/is_first", case.arrays.get("policy/in/reset"))
    assert resets is not None
    noise = case.tensors(f"{way}/in/noise")
    carry = agent.initial_carry(resets.shape[1])
    carry = Carry(carry.state, carry.action)
    found: dict[str, list[Tensor]] = {"action": [], "deter": [], "stoch": []}
    shape = agent.world_model.rssm.latent.shape
    for i, reset in enumerate(torch.from_numpy(resets).bool()):
        shown = {ours: case[f"{observation}{k}"][i] for k, ours in signal_names(case).items()}
        action_noise = noise["actor"][i] if "actor" in noise else torch.zeros_like(carry.action)
        draws = [noise["post"][i].reshape(-1, *shape), action_noise]
        if explores:
            draws += [noise["epsilon"][i].unsqueeze(-1)] if "epsilon" in noise else []
            draws += [noise["explore"][i]]
        sampler = GivenNoise(*draws)
        carry = agent.act(carry, shown, reset, sampler)
        carry = carry._replace(action=agent.explore(carry.action, sampler))
        found["action"].append(carry.action)
        found["deter"].append(carry.state.deter)
        found["stoch"].append(carry.state.stoch)
    return {name: torch.stack(values) for name, values in found.items()}


@pytest.mark.parametrize(
    ("file", "way"),
    [
        *((file, "policy") for file in V1_FILES),
        *((file, way) for file in V2_FILES for way in ("policy_train", "policy_eval")),
    ],
)
def test_acting_gives_the_references_actions_and_states(file: str, way: str) -> None:
    case = load(file, "agent")
    agent, _ = make_agent(file)
    found = act(agent, case, way, explores=file in V1_FILES)
    expected = case.section(f"{way}/out")
    found["stoch"] = found["stoch"].reshape(expected["stoch"].shape)
    compare({name: expected[name] for name in found}, found, FORWARD)


class Explorer(NamedTuple):
    """Exploring behaviour of a file: ensemble, actor and critic with their optimizers."""

    ensemble: Disagreement
    behavior: ActorCritic
    scale: RewardScale
    extrinsic: RewardScale
    optimizers: dict[str, Adam]
    found: dict[str, Counterpart]


def make_explorer(agent: Agent, case: Case) -> Explorer:
    """Build what explores, and fill it."""
    config = case.options["config"]
    rssm, units = agent.world_model.rssm, config["expl_head.units"]
    intrinsic = IntrinsicConfig(
        kind="disagreement", scale=1.0, members=config["disag_models"],
        layers=config["expl_head.layers"],
    )  # fmt: skip
    network = replace(v2_network(config), units=units)
    feature, stoch = agent.world_model.feature_size, rssm.latent.size
    action = agent.contract.action.size
    ensemble = Disagreement(feature, action, stoch, network, intrinsic)
    behavior = exploring_critic(agent)
    found = [*ensemble_layers(ensemble, feature_order(rssm.deter_size, stoch, others=action))]
    order = feature_order(rssm.deter_size, stoch)
    for name, head in {
        "expl_actor": behavior.actor,
        "expl_critic": behavior.critic,
        "expl_target": behavior.slow_critic,
    }.items():
        found += head_layers(head, name, order, version=2)
    counterparts = {c.reference: c for c in found}
    arrays = case.section("param")
    fill(counterparts, {n: a for n, a in arrays.items() if n.startswith(("expl", "disag"))})
    settings = agent.algorithm.optimizer
    optimizers = {
        "disag": Adam(ensemble.parameters(), settings, config["expl_opt.lr"]),
        "expl_actor": Adam(behavior.actor.parameters(), settings, config["actor_opt.lr"]),
        "expl_critic": Adam(behavior.critic.parameters(), settings, config["critic_opt.lr"]),
    }
    scales = [RewardScale(config["expl_reward_norm.momentum"], 1.0) for _ in range(2)]
    return Explorer(ensemble, behavior, scales[0], scales[1], optimizers, counterparts)


def descend(optimizers: dict[str, Adam], total: Tensor) -> dict[str, Tensor]:
    """Take one step with some optimizers; return their gradients' norms."""
    for optimizer in optimizers.values():
        optimizer.zero_grad()
    total.backward()
    return {f"{name}_grad_norm": optimizer.step() for name, optimizer in optimizers.items()}


def explore_once(
    agent: Agent, explorer: Explorer, case: Case, states: State, number: int
) -> dict[str, Tensor]:
    """Update what explores: the ensemble, then actor and critic.

    There the ensemble is told the action before, not the one that is taken.
    """
    config = case.options["config"]
    known, action = states.detach(), case["in/data/action"]
    loss = explorer.ensemble.ensemble_loss(
        known.feature[:, :-1], action[:, :-1], known.stoch.flatten(2)[:, 1:]
    ).mean()
    told = {"expl_expl_loss": loss.detach()}
    told |= descend({"disag": explorer.optimizers["disag"]}, loss)
    start = State(*(value.flatten(0, 1) for value in known))
    noise = GivenNoise(*behavior_noise(case, agent, "expl_"))
    imagined = explorer.behavior.imagine(agent.world_model.rssm, start, noise)
    predicted = agent.predict_rewards(imagined)
    led_here = torch.cat([torch.zeros_like(imagined.actions[:, :1]), imagined.actions[:, :-1]], 1)
    with frozen(explorer.ensemble):
        novelty = explorer.ensemble.disagreement(imagined.feature.transpose(0, 1), led_here)
    explorer.scale.update(novelty)
    explorer.extrinsic.update(predicted.reward)
    reward = config["expl_intr_scale"] * explorer.scale(novelty)
    reward = reward + config["expl_extr_scale"] * explorer.extrinsic(predicted.reward)
    losses, _, _ = explorer.behavior.imagined_losses(
        imagined, ImaginedRewards(reward, predicted.continuation), ModeSampler()
    )
    told |= {"expl_actor_loss": losses["policy"].mean(), "expl_critic_loss": losses["value"].mean()}
    groups = {n: explorer.optimizers[n] for n in ("expl_actor", "expl_critic")}
    told |= descend(groups, losses["policy"].mean() + losses["value"].mean())
    explorer.behavior.update_slow_critic(number)
    return told


def test_plan2explore_learns_as_the_reference() -> None:
    case = load(EXPLORING, "agent")
    agent, optimizer = make_agent(EXPLORING)
    explorer = make_explorer(agent, case)
    before = {name: c.tensor.detach().clone() for name, c in explorer.found.items()}
    learner = Learner(agent, optimizer, replay_context=1)
    for number in range(3):
        sequence = split_context(replayed(case, agent), agent, 1)
        losses, states, _ = agent.model_losses(sequence, GivenNoise(*model_noise(case, agent)))
        learner.optimizer.step(agent.total_loss(losses), ("model",))
        behavior, _ = agent.behavior_losses(
            sequence, states, GivenNoise(*behavior_noise(case, agent))
        )
        learner.optimizer.step(agent.total_loss(behavior), ("actor", "critic"))
        agent.actor_critic.update_slow_critic(number)
        told = explore_once(agent, explorer, case, states, number)
        expected = case.section(f"after{number + 1}")
        norms = {name for name in told if name.endswith("norm")}
        for limits, names in ((GRADIENT_NORM, norms), (LOSS, told.keys() - norms)):
            compare({n: expected[n] for n in names}, {n: told[n] for n in names}, limits)
    start, moved = case.section("param"), case.section("after3/param")
    assert any(name.startswith("disag") for name in moved)
    for name, array in moved.items():
        if name in explorer.found:
            counterpart = explorer.found[name]
            theirs = counterpart.to_ours(array - start[name])
            ours = (counterpart.tensor.detach() - before[name]).numpy()
            error, size = np.linalg.norm(ours - theirs), np.linalg.norm(theirs)
            assert error <= CHANGE_L2 * size + 1e-7 * theirs.size**0.5, (name, error / size)
