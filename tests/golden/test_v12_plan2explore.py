"""Golden vectors of Plan2Explore: the ensemble, its disagreement as a reward, learned surprise."""

from typing import NamedTuple

import pytest
import torch
from layers_v12 import by_name, ensemble_layers, feature_order, head_layers
from torch import Tensor, nn
from vectors import Case, Limits, Options, compare, compare_ours, fill, gradient_of, gradients, leaf
from vectors_v12 import (
    CHANGE_L2,
    FORWARD,
    GRADIENT,
    GRADIENT_NORM,
    LOSS,
    load,
    names,
)

from robodreamer.config import IntrinsicConfig, NetworkConfig, OptimizerConfig, PartsConfig
from robodreamer.learning.intrinsic import Arrivals, Disagreement, Outcomes, RewardScale, Surprise
from robodreamer.learning.optim import Adam
from robodreamer.models.heads import NormalHead
from robodreamer.reference import Counterpart

FILE = "v2_07_plan2explore"
ENSEMBLES = names(FILE, "stoch", "deter", "embed", "mixed", "feat")
LEARNING_RATE = 3e-4
OPTIMIZER = OptimizerConfig(
    method="adam", warmup=0, global_clip=100.0, weight_decay=1e-6, epsilon=1e-5
)
"""Optimizer of the ensemble (`expl_opt`), which the files do not state."""


def make_network(units: int) -> NetworkConfig:
    """Return the parts of all heads, which are DreamerV2's."""
    parts = PartsConfig(norm="none", activation="elu", initializer="glorot")
    return NetworkConfig(units=units, parts=parts)


def rewards_of(case: Case, deter: int, stoch: int) -> NormalHead | None:
    """Return the head of the task's rewards, if the case has one."""
    parameters = {k: v for k, v in case.section("param").items() if k.startswith("rew/")}
    if not parameters:
        return None
    options = case.options
    head = NormalHead(deter + stoch, make_network(options["units"]), options["layers"])
    fill(by_name(head_layers(head, "rew", feature_order(deter, stoch), version=2)), parameters)
    return head


class Explorer(NamedTuple):
    """An ensemble with a case's parameters, its counterparts, and the sizes that it reads."""

    ensemble: Disagreement
    layers: dict[str, Counterpart]
    deter: int
    stoch: int
    """Flat elements of the latent."""

    def feature(self, theirs: Tensor) -> Tensor:
        """Return features in our order from theirs, [stoch, deter]."""
        return torch.cat([theirs[..., self.stoch :], theirs[..., : self.stoch]], -1)


def make_explorer(case: Case) -> Explorer:
    """Return the ensemble of a case."""
    options = case.options
    deter, stoch = options["deter"], options["stoch"] * (options["classes"] or 1)
    size = case["param/disag0/out/out/bias"].shape[0]
    action = options["action"] if options["action_cond"] else 0
    config = IntrinsicConfig(
        kind="disagreement", scale=1.0, members=options["models"], layers=options["layers"]
    )
    network = make_network(options["units"])
    ensemble = Disagreement(deter + stoch, action, size, network, config)
    layers = by_name(ensemble_layers(ensemble, feature_order(deter, stoch, action)))
    parameters = case.section("param").items()
    fill(layers, {name: array for name, array in parameters if name.startswith("disag")})
    return Explorer(ensemble, layers, deter, stoch)


def targets(case: Case) -> tuple[Tensor, Tensor]:
    """Return replayed features in their order and what the ensemble predicts, (B, T, ...)."""
    stoch = case["in/stoch"].reshape(*case["in/deter"].shape[:2], -1)
    feature = torch.cat([stoch, case["in/deter"]], -1)
    kinds = {"stoch": stoch, "deter": case["in/deter"], "embed": case["in/embed"], "feat": feature}
    return feature, kinds[case.options["target"]]


def read_action(options: Options, action: Tensor) -> Tensor:
    """Return actions as an ensemble reads them; without condition they have no elements."""
    return action if options["action_cond"] else action[..., :0]


def ensemble_loss(case: Case, explorer: Explorer) -> Tensor:
    """Return the loss of predictions some steps ahead.

    The reference gives the action that led to the state, we one that the caller chooses.
    """
    feature, target = targets(case)
    steps, offset = feature.shape[1], case.options["offset"]
    known = slice(0, steps - offset)
    action = read_action(case.options, case["in/action"])
    loss = explorer.ensemble.ensemble_loss(
        explorer.feature(feature[:, known]), action[:, known], target[:, offset:]
    )
    return loss.mean()


class Rewards(nn.Module):
    """Sum of both rewards, each divided by its running mean; every call moves those first."""

    def __init__(self, case: Case, explorer: Explorer) -> None:
        super().__init__()
        norm = case.options["norm"]
        assert norm["eps"] == 1e-8
        self.case, self.explorer = case, explorer
        self.task = rewards_of(case, explorer.deter, explorer.stoch)
        self.intrinsic, self.extrinsic = (
            RewardScale(float(norm["momentum"]), float(norm["scale"])) for _ in range(2)
        )

    def forward(self, theirs: Tensor, action: Tensor) -> Tensor:
        """Return the reward of states and of the actions that led to them."""
        options, feature = self.case.options, self.explorer.feature(theirs)
        novelty = self.explorer.ensemble.disagreement(feature, read_action(options, action))
        novelty = novelty.log() if options["log"] else novelty
        self.intrinsic.update(novelty)
        reward = options["intr_scale"] * self.intrinsic(novelty)
        if self.task is not None and options["extr_scale"]:
            known = self.task.mean(self.task(feature))
            self.extrinsic.update(known)
            reward = reward + options["extr_scale"] * self.extrinsic(known)
        return reward


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_learns_as_there(name: str) -> None:
    case = load(FILE, name)
    explorer = make_explorer(case)
    loss = ensemble_loss(case, explorer)
    loss.backward()
    arrays = case.section("grad")
    expected = {key: array for key, array in arrays.items() if key.startswith("disag")}
    compare_ours(expected, explorer.layers, gradient_of, GRADIENT)
    before = {key: c.tensor.detach().clone() for key, c in explorer.layers.items()}
    norm = Adam(explorer.ensemble.parameters(), OPTIMIZER, LEARNING_RATE).step()
    ours = {"ensemble_loss": loss, "ensemble_grad_norm": norm}
    limits = {"ensemble_loss": LOSS, "ensemble_grad_norm": GRADIENT_NORM}
    compare({key: case.arrays[f"out/{key}"] for key in ours}, ours, FORWARD, limits)
    changes, moved = {}, {}
    for key, array in case.section("after1/param").items():
        counterpart = explorer.layers[key]
        changes[key] = counterpart.to_ours(array) - before[key].numpy()
        moved[key] = counterpart.tensor.detach() - before[key]
    # The change of one element has the rounding of the parameter that it is added to.
    compare(changes, moved, Limits(elementwise=1e9, relative=CHANGE_L2, absolute=1e-7))


@pytest.mark.parametrize("name", ENSEMBLES)
def test_disagreement_is_rewarded_as_there(name: str) -> None:
    case = load(FILE, name)
    explorer = make_explorer(case)
    rewards = Rewards(case, explorer)
    feature, action = leaf(case["in/imag_feat"]), leaf(case["in/imag_action"])
    reward = rewards(feature, action)
    derivatives = gradients(reward.sum(), {"feat": feature, "action": action})
    first = explorer.ensemble.predict(
        explorer.feature(feature[:1]), read_action(case.options, action[:1])
    )
    ours = {
        "reward": reward,
        "imag_preds_first": first,
        "intr_mag": rewards.intrinsic.magnitude.clone(),
        "extr_mag": rewards.extrinsic.magnitude.clone(),
        "reward_second_call": rewards(feature, action),
    }
    compare({key: case.arrays[f"out/{key}"] for key in ours}, ours, FORWARD)
    expected = {f"reward_sum__{key}" for key in derivatives}
    compare(
        {key: case.arrays[f"grad/{key}"] for key in expected},
        {f"reward_sum__{key}": value for key, value in derivatives.items()},
        GRADIENT,
    )


@pytest.mark.parametrize("name", names(FILE, "model_loss"))
def test_surprise_is_learned_and_rewarded_as_there(name: str) -> None:
    case, options = load(FILE, name), load(FILE, name).options
    feature, config = (
        case["in/feat"],
        IntrinsicConfig(kind="surprise", scale=1.0, layers=options["layers"]),
    )
    surprise = Surprise(feature.shape[-1], make_network(options["units"]), config)
    layers = by_name(head_layers(surprise.head, "head", version=2))
    parameters = case.section("param").items()
    fill(layers, {key: array for key, array in parameters if key.startswith("head/")})
    nothing = torch.zeros(*feature.shape[:2], 0)
    loss = surprise.loss(Arrivals(feature, nothing), Outcomes(nothing, case["in/kl"])).mean()
    loss.backward()
    compare_ours(case.section("grad"), layers, gradient_of, GRADIENT)
    task = rewards_of(case, feature.shape[-1], 0)
    assert task is not None
    imagined = case["in/imag_feat"]
    predicted = surprise(Arrivals(imagined, torch.zeros(*imagined.shape[:2], 0)))
    known = task.mean(task(imagined))
    ours = {
        "loss": loss,
        "reward": options["intr_scale"] * predicted + options["extr_scale"] * known,
    }
    compare(case.section("out"), ours, FORWARD, {"loss": LOSS})


@pytest.mark.parametrize("name", names("v2_01_dists", "stream"))
def test_rewards_are_divided_by_their_running_magnitude_as_in_v2(name: str) -> None:
    case = load("v2_01_dists", name)
    assert case.options["eps"] == 1e-8
    scale = RewardScale(float(case.options["momentum"]), float(case.options["scale"]))
    scaled, magnitudes = [], []
    for rewards in case["in/x"]:
        scale.update(rewards)
        scaled.append(scale(rewards))
        magnitudes.append(scale.magnitude.clone())
    ours = {"y": torch.stack(scaled), "mag": torch.stack(magnitudes)}
    compare(case.section("out"), ours, FORWARD)
