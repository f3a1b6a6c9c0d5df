"""Golden vectors 01 to 03: symlog, two-hot, latents, actions, and what the heads predict."""

from typing import cast

import pytest
import torch
from torch import nn
from vectors import (
    GRADIENT,
    Case,
    Limits,
    case_names,
    compare,
    fill,
    gradients,
    leaf,
    linear,
)

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.models.action_distributions import Categorical, Normal
from robodreamer.models.decoder import Decoder, image_loss
from robodreamer.models.distributions import (
    bernoulli_loss,
    symexp,
    symexp_bins,
    symlog,
    twohot_loss,
    twohot_mean,
)
from robodreamer.models.heads import (
    ContinueHead,
    ContinuousActor,
    DiscreteActor,
    TwoHotHead,
    bounded_normal,
)
from robodreamer.models.latents import CategoricalLatent
from robodreamer.models.rssm import State
from robodreamer.models.sampling import ModeSampler
from robodreamer.reference import match
from robodreamer_deploy.contract import Signal

SYMLOG, LATENT, OUTPUTS = "01_symlog_twohot.npz", "02_onehot_unimix.npz", "03_outputs.npz"


@pytest.mark.parametrize("name", case_names(SYMLOG, "symlog"))
def test_symlog_and_its_inverse_are_the_references(name: str) -> None:
    case = Case(SYMLOG, name)
    ours = {"symlog_x": symlog(case["in/x"]), "symexp_y": symexp(case["in/y"])}
    compare(case.section("out"), ours)


@pytest.mark.parametrize("name", case_names(SYMLOG, "twohot"))
def test_twohot_bins_predictions_and_losses_are_the_references(name: str) -> None:
    case = Case(SYMLOG, name)
    bins, logits, target = (
        symexp_bins(case.options["bins"]),
        leaf(case["in/logits"]),
        case["in/target"],
    )
    shape = (len(logits), len(target))
    loss = twohot_loss(logits.unsqueeze(1).expand(*shape, -1), target.expand(shape), bins)
    compare(
        case.section("out"),
        {"bins": bins, "loss": loss, "pred": twohot_mean(logits, bins)},
        # A wide row's prediction is a difference of huge terms; it has a test of its own.
        exceptions={"pred": Limits(1e6, 1e6)},
    )
    compare(case.section("grad"), gradients(loss.sum(), {"logits": logits}), GRADIENT)


@pytest.mark.parametrize("name", case_names(SYMLOG, "twohot"))
def test_twohot_predictions_keep_their_digits_where_huge_bins_cancel(name: str) -> None:
    case = Case(SYMLOG, name)
    bins = symexp_bins(case.options["bins"])
    logits, expected = case["in/logits"], case["out/pred"]
    size_of_terms = (torch.softmax(logits, -1) * bins).abs().sum(-1)
    error = (twohot_mean(logits, bins) - expected).abs()
    assert (error <= 1e-6 * size_of_terms).all()
    symmetric = expected == 0
    assert symmetric.any()
    assert (error[symmetric] == 0).all()


@pytest.mark.parametrize("name", case_names(LATENT))
def test_latents_mix_score_and_draw_as_the_reference(name: str) -> None:
    case = Case(LATENT, name)
    raw = {"p": leaf(case["in/p"]), "q": leaf(case["in/q"])}
    num_latents, classes = raw["p"].shape[-2:]
    together = CategoricalLatent(num_latents, classes, case.options["unimix"])
    alone = CategoricalLatent(1, classes, case.options["unimix"])
    p, q = (together.parameters_of(value.flatten(-2)) for value in raw.values())
    each = Categorical(p)
    ours = {
        "probs": p.exp(),
        "logprobs": p,
        "logits_mixed": p,
        "logp": each.log_prob(case["in/event"]),
        "entropy": each.entropy(ModeSampler()),
        "entropy_sum": together.entropy(p),
        "kl": alone.kl(p.unsqueeze(-2), q.unsqueeze(-2)),
        "kl_sum": together.kl(p, q),
        "sample": together.sample(p, ModeSampler()),
        "pred": each.mode,
    }
    expected = case.section("out")
    # Without a mix the reference keeps its logits as they come, not normalised.
    expected["logits_mixed"] = torch.log_softmax(case["out/logits_mixed"], -1).numpy()
    compare(expected, ours)
    derivatives = {
        "sample_w__p": gradients((case["in/w"] * ours["sample"]).sum(), raw)["p"],
        "kl__p": gradients(ours["kl"].sum(), raw)["p"],
        "kl__q": gradients(ours["kl"].sum(), raw)["q"],
        "logp__p": gradients(ours["logp"].sum(), raw)["p"],
        "entropy__p": gradients(ours["entropy"].sum(), raw)["p"],
    }
    compare(case.section("grad"), derivatives, GRADIENT)


@pytest.mark.parametrize("name", case_names(OUTPUTS, "bounded_normal"))
def test_continuous_actions_are_distributed_as_the_references(name: str) -> None:
    case = Case(OUTPUTS, name)
    raw = {"raw_mean": leaf(case["in/raw_mean"]), "raw_std": leaf(case["in/raw_std"])}
    low, high, action = case.options["minstd"], case.options["maxstd"], case["in/event"]
    policy = bounded_normal(raw["raw_mean"], raw["raw_std"], low, high)
    each = Normal(policy.mean.unsqueeze(-1), policy.std.unsqueeze(-1))
    ours = {
        "mean": policy.mean,
        "std": policy.std,
        "mode": policy.mode,
        "logp": policy.log_prob(action),
        "logp_dim": each.log_prob(action.unsqueeze(-1)),
        "entropy": policy.entropy(ModeSampler()),
        "minent": Normal(each.mean, torch.full_like(each.std, low)).entropy(ModeSampler()),
        "maxent": Normal(each.mean, torch.full_like(each.std, high)).entropy(ModeSampler()),
    }
    compare(case.section("out"), ours)
    derivatives = {
        f"{score}__{name}": gradient
        for score in ("logp", "entropy")
        for name, gradient in gradients(ours[score].sum(), raw).items()
    }
    # Where the mean saturates, 1 - tanh^2 is rounding in float32, there and here.
    (slope,) = gradients(ours["logp"].sum(), {"mean": policy.mean}).values()
    rounding = GRADIENT._replace(absolute=5e-7 * float(slope.abs().max()))
    compare(case.section("grad"), derivatives, GRADIENT, {"logp__raw_mean": rounding})


@pytest.mark.parametrize("name", case_names(OUTPUTS, "binary"))
def test_the_end_of_an_episode_is_scored_as_by_the_reference(name: str) -> None:
    case = Case(OUTPUTS, name)
    logit, target = leaf(case["in/logit"]), case["in/target"]
    shape = (len(logit), len(target))
    loss = bernoulli_loss(logit.unsqueeze(1).expand(shape), target.expand(shape))
    probability = torch.sigmoid(logit)
    compare(case.section("out"), {"loss": loss, "prob1": probability, "pred": probability > 0.5})
    (derivative,) = gradients(loss.sum(), {"logit": logit}).values()
    compare(case.section("grad"), {"loss__logit": derivative}, GRADIENT)


@pytest.mark.parametrize("name", case_names(OUTPUTS, "symlog_mse"))
def test_vectors_are_scored_as_by_the_reference(name: str) -> None:
    case = Case(OUTPUTS, name)
    mean, target = case["in/mean"], case["in/target"]
    (steps, size), name = target.shape, "proprio/vector"
    signal = Signal(name=name, shape=(size,), dtype="float32")
    # Without hidden layers, and with one-hot states, the decoder's weight is a table of means.
    network = linear(NetworkConfig(deter=steps, blocks=1, decoder_blocks=1, units=steps))
    decoder = Decoder([signal], 0, network)
    assert decoder.vectors is not None
    table = cast("nn.Linear", decoder.vectors.outputs[0]).weight
    with torch.no_grad():
        table.copy_(mean.T)
    state = State(torch.eye(steps), torch.zeros(steps, 0, 0))
    loss = decoder.vector_losses(state, {name: target})[name]
    compare(case.section("out"), {"pred": decoder(state)[name], "loss": loss})
    (derivative,) = gradients(loss.sum(), {"mean": table}).values()
    compare(case.section("grad"), {"loss__mean": derivative.T}, GRADIENT)


@pytest.mark.parametrize("name", case_names(OUTPUTS, "image_mse"))
def test_pictures_are_scored_as_by_the_reference(name: str) -> None:
    case = Case(OUTPUTS, name)
    mean = leaf(case["in/mean"])
    loss = image_loss(mean, case["in/image"])
    compare(case.section("out"), {"loss": loss})
    (derivative,) = gradients(loss.sum(), {"mean": mean}).values()
    compare(case.section("grad"), {"loss__mean": derivative}, GRADIENT)


@pytest.mark.parametrize("name", case_names(OUTPUTS, "categorical"))
def test_discrete_actions_are_distributed_as_the_references(name: str) -> None:
    case = Case(OUTPUTS, name)
    logits = leaf(case["in/logits"])
    policy = Categorical(torch.log_softmax(logits, -1))
    event = torch.nn.functional.one_hot(case["in/event"].long(), logits.shape[-1]).float()
    scores = {"logp": policy.log_prob(event), "entropy": policy.entropy(ModeSampler())}
    choices = {"pred": policy.mode.argmax(-1), "sample": policy.sample(ModeSampler()).argmax(-1)}
    compare(case.section("out"), scores | choices)
    derivatives = {
        f"{score}__logits": gradients(value.sum(), {"logits": logits})["logits"]
        for score, value in scores.items()
    }
    compare(case.section("grad"), derivatives, GRADIENT)


def sizes(case: Case) -> tuple[int, int, int]:
    """Return the number of features, units and layers of a head."""
    return case["in/x"].shape[-1], case.options["units"], case.options["layers"]


@pytest.mark.parametrize(
    ("name", "path"),
    [("head_rew", "world_model.reward"), ("head_val", "actor_critic.critic")],
)
def test_twohot_heads_predict_what_the_reference_predicts(name: str, path: str) -> None:
    case = Case(OUTPUTS, name)
    features, units, layers = sizes(case)
    network = NetworkConfig(units=units, bins=case["out/logits"].shape[-1])
    head = TwoHotHead(features, network, layers)
    fill(match(head, (), path=path), case.section("param"))
    logits = head(case["in/x"])
    compare(case.section("out"), {"logits": logits, "pred": head.mean(logits)})


def test_the_continue_head_predicts_what_the_reference_predicts() -> None:
    case = Case(OUTPUTS, "head_con")
    features, units, layers = sizes(case)
    head = ContinueHead(features, NetworkConfig(units=units), layers)
    fill(match(head, (), path="world_model.continuation"), case.section("param"))
    logit = head(case["in/x"])
    compare(case.section("out"), {"logit": logit, "prob1": torch.sigmoid(logit)})


def test_the_continuous_actor_acts_as_the_references() -> None:
    case, bounds = Case(OUTPUTS, "head_pol_cont"), Case(OUTPUTS, "bounded_normal").options
    features, units, layers = sizes(case)
    actor = ContinuousActor(
        features,
        case["out/mean"].shape[-1],
        NetworkConfig(units=units, actor_layers=layers),
        AlgorithmConfig(min_std=bounds["minstd"], max_std=bounds["maxstd"]),
    )
    fill(match(actor, (), path="actor_critic.actor"), case.section("param"))
    policy = actor(case["in/x"])
    ours = {"mean": policy.mean, "std": policy.std, "entropy": policy.entropy(ModeSampler())}
    compare(case.section("out"), ours)


def test_the_discrete_actor_acts_as_the_references() -> None:
    case = Case(OUTPUTS, "head_pol_disc")
    features, units, layers = sizes(case)
    network = NetworkConfig(units=units, actor_layers=layers)
    actor = DiscreteActor(features, case["out/logits"].shape[-1], network)
    fill(match(actor, (), path="actor_critic.actor"), case.section("param"))
    policy = actor(case["in/x"])
    expected = case.section("out")
    expected["logits"] = torch.log_softmax(torch.from_numpy(expected["logits"]), -1).numpy()
    compare(expected, {"logits": policy.log_probs, "entropy": policy.entropy(ModeSampler())})
