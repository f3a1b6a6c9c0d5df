"""Golden vectors of the distributions of DreamerV1 and V2: values, draws and gradients."""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from vectors import Case, compare, gradients, leaf
from vectors_v12 import FORWARD, GRADIENT, load, names

from robodreamer.config import NetworkConfig, PartsConfig
from robodreamer.export.graphs import GivenNoise
from robodreamer.models.action_distributions import (
    ActionDistribution,
    Categorical,
    Normal,
    TanhNormal,
    TruncatedNormal,
)
from robodreamer.models.decoder import image_loss, vector_loss
from robodreamer.models.distributions import bernoulli_loss
from robodreamer.models.encoder import VectorScale
from robodreamer.models.heads import NormalHead, tanh_normal, truncated_normal
from robodreamer.models.latents import GaussianLatent
from robodreamer.models.sampling import ModeSampler
from robodreamer_deploy.contract import Signal

V1, V2 = "v1_01_dists", "v2_01_dists"


def both(*prefixes: str) -> list[tuple[str, str]]:
    """Return the file and the name of every case of this kind."""
    return [(file, name) for file in (V1, V2) for name in names(file, *prefixes)]


def check(
    case: Case, ours: Mapping[str, Tensor], scalars: Mapping[str, Tensor], **inputs: Tensor
) -> None:
    """Compare the values that a case holds, and its derivatives of scalars by inputs.

    A derivative is called `<scalar>__<input>`. Every value and derivative has to be there.
    """
    expected, derivatives = case.section("out"), case.section("grad")
    compare(expected, {name: ours[name] for name in expected}, FORWARD)
    found = {
        f"{scalar}__{name}": gradient
        for scalar, value in scalars.items()
        for name, gradient in gradients(value, inputs).items()
    }
    compare(derivatives, {name: found[name] for name in derivatives}, GRADIENT)


def squashed(case: Case, raw: Tensor) -> TanhNormal:
    """Return the distribution that a case makes of its raw outputs."""
    options, (mean, std) = case.options, raw.chunk(2, -1)
    # V1 states the deviation of an untrained actor; V2 what is added to the raw output.
    is_v1 = "mean_scale" in options
    init = math.log(math.expm1(options["init_std"])) if is_v1 else float(options["init_std"])
    return tanh_normal(
        mean, std, float(options["min_std"]), init, float(options.get("mean_scale", 5.0))
    )


def truncated(case: Case, raw: Tensor) -> TruncatedNormal:
    """Return the distribution that a case makes of its raw outputs."""
    (mean, std), options = raw.chunk(2, -1), case.options
    return truncated_normal(mean, std, float(options["min_std"]), float(options["init_std"]))


def draws(policy: ActionDistribution, noise: Tensor) -> Tensor:
    """Return an action for every row of noise, (draws, rows, action)."""
    return torch.stack([policy.sample(GivenNoise(each)) for each in noise])


def of_draws(case: Case, policy: TanhNormal) -> dict[str, Tensor]:
    """Return what the reference estimates from many draws: modes and the mean."""
    kinds = ("mode", "joint_mode", "mean")
    actions = {
        kind: draws(policy, case[f"in/{kind}_eps"])
        for kind in kinds
        if f"in/{kind}_eps" in case.arrays
    }
    found: dict[str, Tensor] = {}
    if "mode" in actions:
        rows = torch.arange(actions["mode"].shape[1])
        likeliest = policy.log_prob(actions["mode"]).argmax(0)
        found["mode"] = actions["mode"][likeliest, rows]
    if "joint_mode" in actions:  # section 5, point 3
        best = int(policy.log_prob(actions["joint_mode"])[:, 0].argmax())
        found["joint_mode"] = actions["joint_mode"][best]
    if "mean" in actions:
        found["mean_of_samples"] = actions["mean"].mean(0)
    return found


@pytest.mark.parametrize(("file", "name"), both("tanh_normal"))
def test_squashed_normals_are_drawn_and_scored_as_there(file: str, name: str) -> None:
    case = load(file, name)
    raw, event = leaf(case["in/raw"]), leaf(case["in/event"])
    policy = squashed(case, raw)
    action = policy.sample(GivenNoise(case["in/eps"]))
    ours = {
        "mean": policy.mean,
        "std": policy.std,
        "action": action,
        "logp": policy.log_prob(event),
        "entropy": policy.entropy(GivenNoise(case["in/entropy_eps"])),
        **of_draws(case, policy),
    }
    if "in/event_edge" in case.arrays:
        ours["logp_edge"] = policy.log_prob(case["in/event_edge"])
    if (file, name) == (V1, "tanh_normal"):  # section 5, point 1: most of the draws saturate
        case.arrays = {
            key: array
            for key, array in case.arrays.items()
            if key.partition("/")[2] not in {"entropy", "mode", "joint_mode", "entropy__raw"}
        }
    scalars = {
        "action_w": (case["in/w"] * action).sum(),
        "logp": ours["logp"].sum(),
        "entropy": ours["entropy"].sum(),
    }
    check(case, ours, scalars, raw=raw, event=event)


@pytest.mark.parametrize("name", names(V2, "trunc_normal"))
def test_truncated_normals_are_drawn_and_scored_as_there(name: str) -> None:
    case = load(V2, name)
    raw, event = leaf(case["in/raw"]), leaf(case["in/event"])
    policy = truncated(case, raw)
    action = policy.sample(GivenNoise(case["in/uniform"]))
    ours = {
        "loc": policy.loc,
        "std": policy.std,
        "mode": policy.mode,
        "action": action,
        "draw": action,  # before it is clipped
        "logp": policy.log_prob(event),
        "entropy": policy.entropy(ModeSampler()),
    }
    scalars = {
        "action_w": (case["in/w"] * action).sum(),
        "logp": ours["logp"].sum(),
        "entropy": ours["entropy"].sum(),
    }
    # The true derivative of the inverse distribution function, which nobody trained with.
    case.arrays = {k: v for k, v in case.arrays.items() if not k.startswith("grad/action_w_exact")}
    check(case, ours, scalars, raw=raw, event=event)


@pytest.mark.parametrize("name", names(V2, "trunc_normal"))
def test_the_true_derivative_of_a_truncated_draw_is_another_one(name: str) -> None:
    case, raw = load(V2, name), leaf(load(V2, name)["in/raw"])
    policy = truncated(case, raw)
    action = policy.sample(GivenNoise(case["in/uniform"]))
    (found,) = torch.autograd.grad((case["in/w"] * action).sum(), raw)
    exact = case["grad/action_w_exact__raw"]
    assert (found - exact).norm() > 0.05 * exact.norm()


@pytest.mark.parametrize(("file", "name"), both("onehot"))
def test_choices_are_drawn_and_scored_as_there(file: str, name: str) -> None:
    case = load(file, name)
    logits = leaf(case["in/logits"])
    policy = Categorical(torch.log_softmax(logits, -1))
    sample = policy.sample(GivenNoise(case["in/gumbel"]))
    probs = policy.log_probs.exp()
    ours = {
        "sample": sample,
        "mode": policy.mode,
        "mean": probs,
        "probs": probs,
        "logp": policy.log_prob(case["in/event"]),
        "entropy": policy.entropy(ModeSampler()),
    }
    scalars = {
        "sample_w": (case["in/w"] * sample).sum(),
        "logp": ours["logp"].sum(),
        "entropy": ours["entropy"].sum(),
    }
    check(case, ours, scalars, logits=logits)


@pytest.mark.parametrize(("file", "name"), both("binary"))
def test_ends_are_scored_as_there(file: str, name: str) -> None:
    case = load(file, name)
    logit = leaf(case["in/logit"])
    log_prob = -bernoulli_loss(logit, case["in/event"])
    ours = {"logp": log_prob, "mean": torch.sigmoid(logit)}
    check(case, ours, {"logp": log_prob.sum()}, logit=logit)


def test_rewards_are_scored_as_in_v1() -> None:
    case = load(V1, "normal")
    assert case.options["std"] == 1.0
    mean = leaf(case["in/mean"])
    head = NormalHead(1, NetworkConfig(units=1), layers=1)
    outputs = mean.unsqueeze(-1)
    log_prob = -head.loss(outputs, case["in/event"])
    check(case, {"logp": log_prob, "mode": head.mean(outputs)}, {"logp": log_prob.sum()}, mean=mean)


def test_pictures_are_scored_as_in_v1() -> None:
    case = load(V1, "normal_image")
    assert case.options["std"] == 1.0
    mean = leaf(case["in/mean"])
    log_prob = -image_loss(mean, 255.0 * case["in/event"], "normal")
    check(case, {"logp": log_prob}, {"logp": log_prob.sum()}, mean=mean)


def test_vectors_are_scored_as_in_v2() -> None:
    case = load(V2, "mse")
    mean, event = leaf(case["in/mean"]), case["in/event"]
    signal = Signal(name="proprio/vector", shape=tuple(event.shape[1:]), dtype="float32")
    scale = VectorScale(signal, PartsConfig(vectors="raw").vectors)
    log_prob = -vector_loss(mean, event, signal, scale, "normal")
    check(case, {"logp": log_prob}, {"logp": log_prob.sum()}, mean=mean)


def test_normals_with_a_deviation_are_scored_as_in_v2() -> None:
    case = load(V2, "normal")
    raw = leaf(case["in/raw"])
    policy = Normal(*raw.chunk(2, -1))  # section 5, point 6: the deviation is the raw output
    ours = {"logp": policy.log_prob(case["in/event"]), "entropy": policy.entropy(ModeSampler())}
    check(case, ours, {"logp": ours["logp"].sum()}, raw=raw)


def test_divergences_of_normals_are_those_of_v1() -> None:
    case = load(V1, "diag_normal")
    inputs = {name: leaf(value) for name, value in case.tensors("in").items()}
    p, q = (torch.stack([inputs[f"{k}_mean"], inputs[f"{k}_std"]], -1) for k in ("p", "q"))
    latent = GaussianLatent(p.shape[-2])
    kl = latent.kl(p, q)
    check(case, {"kl": kl, "p_entropy": latent.entropy(p)}, {"kl": kl.sum()}, **inputs)


def test_noise_of_continuous_actions_is_that_of_v2() -> None:
    case = load(V2, "noise_cont")
    action, amount = case["in/action"], float(case.options["amount"])
    noisy = Normal(action, torch.full_like(action, amount)).sample(GivenNoise(case["in/eps"]))
    compare(case.section("out"), {"action": noisy.clamp(-1.0, 1.0)}, FORWARD)


def test_random_choices_are_a_share_of_all_as_in_v2() -> None:
    case = load(V2, "noise_disc")
    action, amount = case["in/action"], float(case.options["amount"])
    mixed = (1 - amount) * action + amount / action.shape[-1]
    compare(
        case.section("out"),
        {"action": Categorical(mixed.log()).sample(GivenNoise(case["in/gumbel"]))},
        FORWARD,
    )
