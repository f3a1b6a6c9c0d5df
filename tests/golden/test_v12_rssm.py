"""Golden vectors of the RSSMs of DreamerV1 and V2: cells, filtering, KL losses, imagination."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest
import torch
from layers_v12 import by_name, split, unit
from rssm_v12 import Model, make_latent, model_v1, model_v2
from torch import Tensor
from vectors import (
    Case,
    Options,
    compare,
    compare_ours,
    fill,
    gradient_of,
    gradients,
    leaf,
)
from vectors_v12 import (
    FORWARD,
    GRADIENT,
    LOSS,
    check_gradients,
    load,
    names,
)

from robodreamer.config import AlgorithmConfig
from robodreamer.export.graphs import GivenNoise
from robodreamer.models.cells import GRU, LayerNormGRU
from robodreamer.models.latents import CategoricalLatent, Latent, kl_losses
from robodreamer.models.layers import LayerStyle
from robodreamer.models.rssm import State

V1, V2 = "v1_02_rssm", "v2_02_rssm"
SEQUENCES_V1, SEQUENCES_V2 = names(V1, "seq"), names(V2, "disc", "gauss")


@pytest.mark.parametrize(("file", "make"), [(V1, GRU), (V2, LayerNormGRU)])
def test_the_recurrent_units_of_v1_and_v2_take_the_same_step(
    file: str, make: type[GRU | LayerNormGRU]
) -> None:
    case = load(file, "gru")
    cell = make(case.options["deter"], 1, 1, case.options["inputs"], LayerStyle("none", "elu"))
    layers = by_name(unit(cell, "gru"))
    fill(layers, split(case.section("param")))
    x, h = leaf(case["in/x"]), leaf(case["in/h"])
    after = cell.advance(x, h)
    compare(case.section("out"), {"h": after}, FORWARD)
    scalar, inputs = (case["in/w"] * after).sum(), {"in/x": x, "in/h": h}
    check_gradients(scalar, inputs, split(case.section("grad")), layers)


def values(case: Case, name: str) -> Tensor:
    """Return latents or their noise as ours, (..., S, K), K = 1 for a normal variable."""
    value = case[name]
    return value if case.options.get("discrete") else value.unsqueeze(-1)


class Filtered(NamedTuple):
    """Posterior states and the parameters of both distributions (B, T, ...)."""

    states: State
    posterior: Tensor
    prior: Tensor
    prior_draw: Tensor


def observe(case: Case, model: Model, inputs: Mapping[str, Tensor]) -> Filtered:
    """Filter a case's sequence with its noise."""
    batch, time = inputs["in/action"].shape[:2]
    start, is_first = model.rssm.initial(batch), torch.zeros(batch, time, dtype=torch.bool)
    if "in/start_deter" in inputs:
        stoch = inputs["in/start_stoch"]
        start = State(inputs["in/start_deter"], stoch.reshape(batch, *model.latent.shape))
        is_first = case["in/is_first"]
    noise = GivenNoise(*values(case, "in/noise_post").unbind(1))
    states, posterior = model.rssm.observe(
        start, inputs["in/action"], inputs["in/embed"], is_first, noise
    )
    members = numbers(case, "in/ensemble_index", time)
    priors = [
        model.members[member].prior_parameters(states.deter[:, t])
        for t, member in enumerate(members)
    ]
    prior = torch.stack(priors, 1)
    drawn = model.latent.sample(prior, GivenNoise(values(case, "in/noise_prior")))
    return Filtered(states, posterior, prior, drawn)


def numbers(case: Case, name: str, steps: int) -> list[int]:
    """Return the member of the ensemble in every step; without an ensemble the first."""
    return case[name].tolist() if name in case.arrays else [0] * steps


def imagine(case: Case, model: Model, start: State) -> dict[str, Tensor]:
    """Go on from a state with a case's actions and noise."""
    actions, noise = case["in/imag_action"], values(case, "in/imag_noise")
    members = numbers(case, "in/imag_ensemble_index", actions.shape[1])
    state, states, parameters = start, [], []
    for t, member in enumerate(members):
        rssm = model.members[member]
        state = rssm.imagine_step(state, actions[:, t], GivenNoise(noise[:, t]))
        states.append(state)
        parameters.append(rssm.prior_parameters(state.deter))
    deter, stoch = (torch.stack(value, 1) for value in zip(*states, strict=True))
    return described(model.latent, deter, stoch, torch.stack(parameters, 1))


def described(
    latent: Latent, deter: Tensor, stoch: Tensor, parameters: Tensor
) -> dict[str, Tensor]:
    """Return states and parameters by the reference's names and in its shapes."""
    if latent.family == "categorical":
        return {"deter": deter, "stoch": stoch, "logit": parameters}
    mean, std = parameters.unbind(-1)
    return {"deter": deter, "stoch": stoch.squeeze(-1), "mean": mean, "std": std}


def results(case: Case, model: Model, found: Filtered) -> dict[str, Tensor]:
    """Return all that a case holds about states, by its names."""
    (deter, stoch), latent = found.states, model.latent
    last = State(deter[:, -1].detach(), stoch[:, -1].detach())
    groups = {
        "post": described(latent, deter, stoch, found.posterior),
        "prior": described(latent, deter, found.prior_draw, found.prior),
        "imag": imagine(case, model, last),
    }
    ours = {f"{group}/{k}": value for group, found in groups.items() for k, value in found.items()}
    kl = latent.kl(found.posterior, found.prior)
    return ours | {
        "feat": torch.cat([stoch.flatten(-2), deter], -1),
        "kl": kl,
        "mean_kl": kl.mean(),
        "kl_value": kl,
        "prior_entropy": latent.entropy(found.prior),
        "post_entropy": latent.entropy(found.posterior),
    }


def check_sequence(
    case: Case, model: Model, loss: Callable[[Filtered], Tensor], loss_name: str
) -> None:
    """Compare filtering, the KL loss, imagination, and the derivatives of the objective."""
    inputs = {f"in/{name}": leaf(case[f"in/{name}"]) for name in ("embed", "action")}
    if "in/start/deter" in case.arrays:
        inputs |= {f"in/start_{name}": leaf(case[f"in/start/{name}"]) for name in State._fields}
    found = observe(case, model, inputs)
    kl_loss = loss(found)
    steps = found.posterior.shape[0] * found.posterior.shape[1]
    deter, stoch = found.states
    weighed = (case["in/w_deter"] * deter).sum() + (values(case, "in/w_stoch") * stoch).sum()
    objective = kl_loss + weighed / steps
    ours = results(case, model, found) | {loss_name: kl_loss, "objective": objective}
    expected = {
        # The reference's logits are not normalised.
        name: torch.log_softmax(torch.from_numpy(array), -1).numpy()
        if name.endswith("/logit")
        else array
        for name, array in case.section("out").items()
    }
    losses = dict.fromkeys((loss_name, "objective"), LOSS)
    compare(expected, {name: ours[name] for name in expected}, FORWARD, losses)
    check_gradients(objective, inputs, split(case.section("grad")), model.layers)


@pytest.mark.parametrize("name", SEQUENCES_V1)
def test_sequences_are_filtered_and_imagined_as_in_v1(name: str) -> None:
    case, model = load(V1, name), model_v1(load(V1, name))
    check_sequence(case, model, lambda found: divergence_v1(case, found, model), "div")


def divergence_v1(case: Case, found: Filtered, model: Model) -> Tensor:
    """Return the KL loss of V1: the mean first, then the free nats."""
    config = AlgorithmConfig(
        kl="one_term", free_nats=float(case.options["free_nats"]), free_average=True
    )
    return kl_losses(model.latent, found.posterior, found.prior, config)[0]["kl"]


@pytest.mark.parametrize("name", SEQUENCES_V1)
def test_below_its_free_nats_the_divergence_of_v1_pushes_nothing(name: str) -> None:
    case, model = load(V1, name), model_v1(load(V1, name))
    inputs = {f"in/{key}": case[f"in/{key}"] for key in ("embed", "action")}
    divergence_v1(case, observe(case, model, inputs), model).backward()
    expected = split(case.section("grad_div"))
    compare_ours(expected, model.layers, gradient_of, GRADIENT)


@pytest.mark.parametrize("name", SEQUENCES_V2)
def test_sequences_are_filtered_and_imagined_as_in_v2(name: str) -> None:
    case, model = load(V2, name), model_v2(load(V2, name))
    check_sequence(
        case,
        model,
        lambda found: balanced(model.latent, found.posterior, found.prior, case.options["kl"]),
        "kl_loss",
    )


def balanced(latent: Latent, posterior: Tensor, prior: Tensor, options: Options) -> Tensor:
    """Return the KL loss of V2, of our terms and their weights."""
    balance, free = options["balance"], float(options["free"])
    first, second = (prior, posterior) if options["forward"] else (posterior, prior)
    if balance == 0.5:
        config = AlgorithmConfig(kl="one_term", free_nats=free)
        return kl_losses(latent, first, second, config)[0]["kl"].mean()
    config = AlgorithmConfig(free_nats=free, free_average=options["free_avg"])
    losses, _ = kl_losses(latent, first, second, config)
    share = balance if options["forward"] else 1 - balance
    means = {name: loss.mean() for name, loss in losses.items()}
    return share * means["representation"] + (1 - share) * means["dynamics"]


@pytest.mark.parametrize("name", names(V2, "kl_"))
def test_every_balance_of_divergences_is_that_of_v2(name: str) -> None:
    case = load(V2, name)
    sides = {key: leaf(value) for key, value in case.tensors("in").items()}
    latent = make_latent({"min_std": 0.1, **case.options})
    for variant, options in case.options["variants"].items():
        post, prior = (_parameters(latent, sides, side) for side in ("post", "prior"))
        loss = balanced(latent, post, prior, options)
        value = latent.kl(prior, post) if options["forward"] else latent.kl(post, prior)
        ours = {"loss": loss, "value": value}
        compare(case.section(f"out/{variant}"), ours, FORWARD, {"loss": LOSS})
        compare(case.section(f"grad/{variant}"), gradients(loss, sides), GRADIENT)


def _parameters(latent: Latent, sides: Mapping[str, Tensor], side: str) -> Tensor:
    if latent.family == "categorical":
        return torch.log_softmax(sides[f"{side}_logit"], -1)
    return torch.stack([sides[f"{side}_mean"], sides[f"{side}_std"]], -1)


@pytest.mark.parametrize("name", names("v2_01_dists", "latent"))
def test_classes_without_a_mix_are_drawn_and_scored_as_in_v2(name: str) -> None:
    case = load("v2_01_dists", name)
    raw = {key: leaf(case[f"in/{key}"]) for key in ("p", "q")}
    latent = CategoricalLatent(case.options["stoch"], case.options["classes"], unimix=0.0)
    p, q = (latent.parameters_of(value.flatten(-2)) for value in raw.values())
    drawn = latent.sample(p, GivenNoise(case["in/gumbel"]))
    ours = {
        "sample": drawn,
        "mode": latent.mode(p),
        "kl": latent.kl(p, q),
        "entropy": latent.entropy(p),
    }
    compare(case.section("out"), ours, FORWARD)
    scalars = {name: ours[name].sum() for name in ("kl", "entropy")}
    scalars["sample_w"] = (case["in/w"] * drawn).sum()
    found = {
        f"{scalar}__{key}": gradient
        for scalar, value in scalars.items()
        for key, gradient in gradients(value, raw).items()
    }
    expected = case.section("grad")
    compare(expected, {name: found[name] for name in expected}, GRADIENT)
