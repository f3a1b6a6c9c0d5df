"""Golden vectors of DreamerV2's behaviour: imagination, returns, actor gradients, slow critic."""

import re
from typing import Literal, NamedTuple

import pytest
import torch
from layers_v12 import by_name, feature_order, head_layers
from rssm_v12 import Model, model_v2
from torch import Tensor
from vectors import Case, Options, compare, compare_ours, fill, gradient_of
from vectors_v12 import FORWARD, GRADIENT, GRADIENT_NORM, LOSS, load, names

from robodreamer.config import AlgorithmConfig, NetworkConfig, PartsConfig
from robodreamer.export.graphs import GivenNoise
from robodreamer.learning.actor_critic import ActorCritic, Imagined, ImaginedRewards
from robodreamer.learning.returns import TARGETS
from robodreamer.models.heads import ContinueHead, NormalHead
from robodreamer.models.rssm import State
from robodreamer.models.sampling import ModeSampler
from robodreamer.reference import Counterpart
from robodreamer_deploy.contract import ActionSpec

FILE = "v2_05_behavior"
CASES = names(FILE, "cont_", "disc_")
ACTORS: dict[str, Literal["normal", "tanh_normal", "truncated_normal"]] = {
    "trunc_normal": "truncated_normal",
    "tanh_normal": "tanh_normal",
    "onehot": "normal",
}


def scheduled(text: object, step: int) -> float:
    """Return the value that one of V2's schedules has at a step."""
    words = re.fullmatch(r"(\w+)\((.*)\)", str(text))
    if words is None:
        return float(str(text))
    numbers = [float(number) for number in words[2].split(",")]
    if words[1] == "warmup":
        duration, value = numbers
        return min(step / duration, 1.0) * value
    first, last, duration = numbers
    if words[1] == "exp":
        return (first - last) * 0.5 ** (step / duration) + last
    share = min(step / duration, 1.0)
    value = (1 - share) * first + share * last
    return {"linear": value, "horizon": 1 - 1 / value}[words[1]]


def test_schedules_are_read_as_there() -> None:
    case = load("v2_01_dists", "schedule")
    strings, steps = case.options["strings"], case.options["steps"]
    values = [[scheduled(text, step) for step in steps] for text in strings]
    compare(case.section("out"), {"value": torch.tensor(values)}, FORWARD)


class Behavior(NamedTuple):
    """An actor-critic, the model that it imagines with, and the counterparts of their layers."""

    actor_critic: ActorCritic
    model: Model
    reward: NormalHead
    discount: ContinueHead | None
    layers: dict[str, Counterpart]


def make_behavior(case: Case) -> Behavior:
    """Return the actor-critic and the model of a case, with its parameters."""
    options = {
        "norm": "none", "act": "elu", "ensemble": 1, "discrete": case.options["classes"],
        "embed": len(case["param/dyn/obs_out/kernel"]) - case.options["deter"],
    }  # fmt: skip
    model = model_v2(case, {**case.options, **options})
    network, size = make_network(case.options), case.options["action"]
    action = (
        ActionSpec(kind="discrete", size=size)
        if case.options["discrete"]
        else ActionSpec(size=size, low=(-1.0,) * size, high=(1.0,) * size)
    )
    deter, stoch, layers = model.rssm.deter_size, model.latent.size, case.options["layers"]
    actor_critic = ActorCritic(deter + stoch, action, network, make_algorithm(case.options))
    reward = NormalHead(deter + stoch, network, layers)
    heads = {
        "actor": actor_critic.actor,
        "critic": actor_critic.critic,
        "target": actor_critic.slow_critic,
        "rew": reward,
    }
    discount = None
    if case.options["pred_discount"]:
        heads["discount"] = discount = ContinueHead(deter + stoch, network, layers)
    order = feature_order(deter, stoch)
    found = (head_layers(head, name, order, version=2) for name, head in heads.items())
    counterparts = by_name(*found)
    parameters = case.section("param").items()
    fill(counterparts, {k: a for k, a in parameters if k.partition("/")[0] in heads})
    return Behavior(actor_critic, model, reward, discount, counterparts)


def make_network(options: Options) -> NetworkConfig:
    """Return the sizes and parts of the heads of a case."""
    return NetworkConfig(
        units=options["units"],
        actor_layers=options["layers"],
        critic_layers=options["layers"],
        parts=PartsConfig(
            norm="none",
            activation="elu",
            initializer="glorot",
            critic="normal",
            actor=ACTORS[options["actor_dist"]],
        ),
    )


def make_algorithm(options: Options) -> AlgorithmConfig:
    """Return the settings of a case, at its step of all schedules."""
    return AlgorithmConfig(
        actor_gradient=options["actor_grad"],
        dynamics_share=scheduled(options["actor_grad_mix"], options["step"]),
        entropy_scale=scheduled(options["actor_ent"], options["step"]),
        horizon=options["H"],
        returns="same_step",
        return_critic="slow",
        return_lambda=float(options["lam"]),
        return_rate=0.0,
        slow_critic_scale=0.0,
        min_std=float(options["min_std"]),
    )


def imagine(case: Case, behavior: Behavior) -> Imagined:
    """Imagine from a case's states with its noise; the last action needs none."""
    (kind,) = {"eps", "uniform", "gumbel"} & case.section("in/noise").keys()
    draws = zip(case[f"in/noise/{kind}"], case["in/noise/imag"], strict=True)
    last = torch.full_like(case[f"in/noise/{kind}"][0], 0.5)
    start = State(*(case[f"in/start/{name}"].flatten(0, 1) for name in State._fields))
    sampler = GivenNoise(*(noise for pair in draws for noise in pair), last)
    return behavior.actor_critic.imagine(behavior.model.rssm, start, sampler)


def predict(case: Case, behavior: Behavior, imagined: Imagined) -> ImaginedRewards:
    """Return rewards and discounts of imagined states; that of the first one is known."""
    reward = behavior.reward.mean(behavior.reward(imagined.feature)).T
    if behavior.discount is None:
        return ImaginedRewards(reward, torch.full_like(reward, case.options["discount"]))
    goes_on = torch.sigmoid(behavior.discount(imagined.feature)).T
    known = (~case["in/is_terminal"]).float().flatten() * case.options["discount"]
    return ImaginedRewards(reward, goes_on).starting_with(known)


def entropy_noise(case: Case) -> GivenNoise | ModeSampler:
    """Return the draws that estimate an entropy, where a case has any."""
    name = "in/noise/entropy_eps"
    return GivenNoise(case[name]) if name in case.arrays else ModeSampler()


def mean_entropy(case: Case, behavior: Behavior, imagined: Imagined) -> Tensor:
    """Return the mean entropy of the actor in the states where its actions are judged."""
    feature = imagined.feature[: case.options["H"] - 1]
    return behavior.actor_critic.actor(feature).entropy(entropy_noise(case)).mean()


def gradient_norm(module: torch.nn.Module) -> Tensor:
    """Return the norm of all gradients of a module."""
    found = [p.grad.norm() for p in module.parameters() if p.grad is not None]
    return torch.stack(found).norm()


@pytest.mark.parametrize("name", CASES)
def test_behaviour_is_imagined_judged_and_pushed_as_in_v2(name: str) -> None:
    case, behavior = load(FILE, name), make_behavior(load(FILE, name))
    imagined = imagine(case, behavior)
    predicted = predict(case, behavior, imagined)
    actor_critic, horizon = behavior.actor_critic, case.options["H"]
    losses, returns, _ = actor_critic.imagined_losses(imagined, predicted, entropy_noise(case))
    actor_loss, critic_loss = losses["policy"].mean(), losses["value"].mean()
    actor_loss.backward(retain_graph=True)
    critic_loss.backward()
    chosen = imagined.actions[:, :horizon].transpose(0, 1)
    goes_on = predicted.continuation.T
    ours = {
        "stoch": imagined.states.stoch.transpose(0, 1),
        "deter": imagined.states.deter.transpose(0, 1),
        "action": torch.cat([torch.zeros_like(chosen[:1]), chosen]),  # that led to each state
        "reward": predicted.reward.T,
        "discount": goes_on,
        "weight": torch.cat([torch.ones_like(goes_on[:1]), goes_on[:-1]]).cumprod(0),
        "returns": returns.T,
        "actor_loss": actor_loss,
        "critic_loss": critic_loss,
        "actor_ent": mean_entropy(case, behavior, imagined),
        "actor_grad_norm": gradient_norm(actor_critic.actor),
        "critic_grad_norm": gradient_norm(actor_critic.critic),
    }
    limits = {
        key: LOSS if key.endswith("loss") else GRADIENT_NORM
        for key in ours
        if key.endswith(("loss", "grad_norm"))
    }
    compare(case.section("out"), ours, FORWARD, limits)
    targets = actor_critic.make_targets(*predicted, torch.zeros_like(predicted.reward), 0.95)
    compare({"weight": case.arrays["out/weight"][:horizon]}, {"weight": targets.weight.T}, FORWARD)
    expected = case.section("grad")
    layers = {k: c for k, c in behavior.layers.items() if k.startswith(("actor", "critic"))}
    compare_ours(expected, layers, gradient_of, GRADIENT)


@pytest.mark.parametrize("name", names(FILE, "lambda_return"))
def test_returns_that_hold_their_own_reward_are_those_of_v2(name: str) -> None:
    case = load(FILE, name)
    # The last step only bootstraps: its reward and discount are not read.
    nothing = torch.full_like(case["in/reward"][:1], torch.nan)
    targets = TARGETS["same_step"](
        torch.cat([case["in/reward"], nothing]).T,
        torch.cat([case["in/discount"], nothing]).T,
        torch.cat([case["in/value"], case["in/bootstrap"].unsqueeze(0)]).T,
        float(case.options["lam"]),
    )
    compare(case.section("out"), {"returns": targets.returns.T}, FORWARD)


@pytest.mark.parametrize("name", names(FILE, "slow_target"))
def test_the_slow_critic_is_moved_as_in_v2(name: str) -> None:
    case = load(FILE, name)
    inputs, units = case["in/target"].shape
    network = NetworkConfig(
        units=units, critic_layers=1, parts=PartsConfig(critic="normal", norm="none")
    )
    algorithm = AlgorithmConfig(
        slow_critic_every=case.options["every"], slow_critic_rate=float(case.options["fraction"])
    )
    actor_critic = ActorCritic(inputs, ActionSpec(kind="discrete", size=2), network, algorithm)
    critic, slow = actor_critic.critic, actor_critic.slow_critic
    found = []
    with torch.no_grad():
        slow.mlp.layers[0].linear.weight.copy_(case["in/target"].T)
        for number, kernel in enumerate(case["in/critic"]):
            critic.mlp.layers[0].linear.weight.copy_(kernel.T)
            actor_critic.update_slow_critic(number)
            found.append(slow.mlp.layers[0].linear.weight.T.clone())
    compare(case.section("out"), {"target": torch.stack(found)}, FORWARD)
