"""Golden vectors of the heads of DreamerV1 and V2: predictions, scores, actions and gradients."""

import math
from typing import Any, Literal, cast

import pytest
import torch
from layers_v12 import by_name, dense, head_layers, mlp, split
from torch import nn
from vectors import Array, Case, Options, compare, fill, leaf
from vectors_v12 import FORWARD, check_gradients, load, names

from robodreamer.config import AlgorithmConfig, NetworkConfig, PartsConfig
from robodreamer.export.graphs import GivenNoise
from robodreamer.models.action_distributions import Categorical, TanhNormal, TruncatedNormal
from robodreamer.models.decoder import VectorDecoder
from robodreamer.models.heads import ContinueHead, ContinuousActor, DiscreteActor, NormalHead
from robodreamer.models.sampling import ModeSampler
from robodreamer.reference import Counterpart
from robodreamer_deploy.contract import Signal

V1, V2 = "v1_04_heads", "v2_04_heads"
ACTORS: dict[str, Literal["tanh_normal", "truncated_normal"]] = {
    "tanh_normal": "tanh_normal",
    "trunc_normal": "truncated_normal",
}


def make_network(options: Options) -> NetworkConfig:
    """Return the sizes and parts of a case; V1 has no norms."""
    parts = PartsConfig(
        norm=options.get("norm", "none"),
        activation=options["act"],
        initializer="glorot",
        vectors="raw",
        likelihood="normal",
        actor=ACTORS.get(options["dist"], "normal"),
    )
    return NetworkConfig(
        units=options["units"],
        actor_layers=options["layers"],
        decoder_layers=options["layers"],
        parts=parts,
    )


def filled(file: str, case: Case, ours: Any) -> tuple[dict[str, Counterpart], dict[str, Array]]:
    """Fill a head with a case's parameters; return its counterparts and the case's gradients."""
    prefix = next(iter(case.section("param"))).partition("/")[0]
    outputs = [f"{prefix}/hout"] if file == V1 and isinstance(ours, ContinuousActor) else []
    layers = by_name(head_layers(ours, prefix, version=1 if file == V1 else 2))
    fill(layers, split(case.section("param"), *outputs))
    return layers, split(case.section("grad"), *outputs)


NUMBERS = [
    *((V1, name) for name in names(V1, "reward", "value")),
    *((V2, name) for name in names(V2, "reward")),
]


@pytest.mark.parametrize(("file", "name"), NUMBERS)
def test_rewards_and_values_are_predicted_and_scored_as_there(file: str, name: str) -> None:
    case, x = load(file, name), leaf(load(file, name)["in/x"])
    head = NormalHead(x.shape[-1], make_network(case.options), case.options["layers"])
    layers, derivatives = filled(file, case, head)
    outputs = head(x)
    mean, log_prob = head.mean(outputs), -head.loss(outputs, case["in/target"])
    ours = {"mean": mean, "logp": log_prob, "mode": mean}
    compare(case.section("out"), {name: ours[name] for name in case.section("out")}, FORWARD)
    check_gradients(-log_prob.mean(), {"in/x": x}, derivatives, layers)


ENDS = [*((V1, name) for name in names(V1, "pcont")), *((V2, n) for n in names(V2, "discount"))]


@pytest.mark.parametrize(("file", "name"), ENDS)
def test_discounts_are_predicted_and_scored_as_there(file: str, name: str) -> None:
    case, x = load(file, name), leaf(load(file, name)["in/x"])
    head = ContinueHead(x.shape[-1], make_network(case.options), case.options["layers"])
    layers, derivatives = filled(file, case, head)
    logit = head(x)
    log_prob = -head.loss(logit, case["in/target"])
    compare(case.section("out"), {"mean": torch.sigmoid(logit), "logp": log_prob}, FORWARD)
    check_gradients(-log_prob.mean(), {"in/x": x}, derivatives, layers)


@pytest.mark.parametrize("name", names(V2, "vector"))
def test_vectors_are_predicted_and_scored_as_there(name: str) -> None:
    case, x = load(V2, name), leaf(load(V2, name)["in/x"])
    key = "proprio/vector"
    signal = Signal(name=key, shape=tuple(case.options["size"]), dtype="float32")
    head = VectorDecoder([signal], x.shape[-1], make_network(case.options), case.options["layers"])
    layers = by_name(
        mlp(head.mlp, "head", version=2), dense(cast("nn.Linear", head.outputs[0]), "head/out/out")
    )
    fill(layers, case.section("param"))
    log_prob = -head.losses(x, {key: case["in/target"]})[key]
    compare(case.section("out"), {"mean": head(x)[key], "logp": log_prob}, FORWARD)
    check_gradients(-log_prob.mean(), {"in/x": x}, case.section("grad"), layers)


@pytest.mark.parametrize("name", names(V1, "actor_tanh"))
def test_squashed_actions_are_those_of_v1(name: str) -> None:
    case, x = load(V1, name), leaf(load(V1, name)["in/x"])
    options = case.options
    algorithm = AlgorithmConfig(
        min_std=float(options["min_std"]),
        init_std=math.log(math.expm1(options["init_std"])),  # a deviation there
        mean_scale=float(options["mean_scale"]),
    )
    actor = ContinuousActor(x.shape[-1], options["size"], make_network(options), algorithm)
    layers, derivatives = filled(V1, case, actor)
    policy = actor(x)
    assert isinstance(policy, TanhNormal)
    action = policy.sample(GivenNoise(case["in/eps"]))
    ours = {"action": action, "mean": policy.mean, "std": policy.std}
    compare(case.section("out"), ours, FORWARD)
    check_gradients((case["in/w"] * action).sum(), {"in/x": x}, derivatives, layers)


@pytest.mark.parametrize("name", names(V2, "actor_trunc"))
def test_truncated_actions_are_those_of_v2(name: str) -> None:
    case, x = load(V2, name), leaf(load(V2, name)["in/x"])
    options = case.options
    algorithm = AlgorithmConfig(  # where a case states nothing it has DreamerV2's own
        min_std=float(options.get("min_std", 0.1)), init_std=float(options.get("init_std", 0.0))
    )
    actor = ContinuousActor(x.shape[-1], options["size"], make_network(options), algorithm)
    layers, derivatives = filled(V2, case, actor)
    policy = actor(x)
    assert isinstance(policy, TruncatedNormal)
    action, entropy = policy.sample(GivenNoise(case["in/uniform"])), policy.entropy(ModeSampler())
    ours = {
        "action": action,
        "entropy": entropy,
        "mode": policy.mode,
        "loc": policy.loc,
        "std": policy.std,
    }
    compare(case.section("out"), ours, FORWARD)
    scalar = (case["in/w"] * action).sum() + entropy.sum()
    check_gradients(scalar, {"in/x": x}, derivatives, layers)


CHOICES = [(file, name) for file in (V1, V2) for name in names(file, "actor_onehot")]


@pytest.mark.parametrize(("file", "name"), CHOICES)
def test_choices_are_those_of_v1_and_v2(file: str, name: str) -> None:
    case, x = load(file, name), leaf(load(file, name)["in/x"])
    actor = DiscreteActor(x.shape[-1], case.options["size"], make_network(case.options))
    layers, derivatives = filled(file, case, actor)
    policy = actor(x)
    assert isinstance(policy, Categorical)
    action, entropy = policy.sample(GivenNoise(case["in/gumbel"])), policy.entropy(ModeSampler())
    ours = {
        "action": action,
        "entropy": entropy,
        "mode": policy.mode,
        "logits": policy.log_probs,
    }
    expected = case.section("out")
    # Their logits are not normalised.
    expected["logits"] = torch.log_softmax(case["out/logits"], -1).numpy()
    compare(expected, {name: ours[name] for name in expected}, FORWARD)
    scalar = (case["in/w"] * action).sum() + (entropy.sum() if file == V2 else 0.0)
    check_gradients(scalar, {"in/x": x}, derivatives, layers)
