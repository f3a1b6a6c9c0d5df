"""Golden vectors 04 and 05: layers, and the RSSM by the step and by the sequence."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vectors import (
    GRADIENT,
    Case,
    Options,
    case_names,
    compare,
    compare_ours,
    fill,
    gradient_of,
    gradients,
    leaf,
)

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.models.latents import CategoricalLatent, kl_losses
from robodreamer.models.layers import NORM_EPSILON, BlockLinear, ConvStage, Linear, RMSNorm
from robodreamer.models.rssm import RSSM, State, stack_time
from robodreamer.models.sampling import ModeSampler
from robodreamer.reference import Counterpart, match
from robodreamer.reference.parameters import CONVOLUTION_AXES, LINEAR_AXES

LAYERS, SEQUENCE = "04_layers_rssm_step.npz", "05_rssm_sequence.npz"


def check_layer(
    case: Case, layer: nn.Module, axes: tuple[int, ...], *, images: bool = False
) -> None:
    """Compare a layer's output, and the derivatives of its weighted sum."""
    ours = dict(layer.named_parameters())
    counterparts = {
        name: Counterpart(ours["bias"], name, (0,))
        if name.endswith("bias")
        else Counterpart(ours["weight"], name, axes)
        for name in case.section("param")
    }
    fill(counterparts, case.section("param"))
    x = leaf(case["in/x"])
    y = layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) if images else layer(x)
    y = y.reshape(case["out/y"].shape)  # some outputs have several axes
    compare(case.section("out"), {"y": y})
    (case["in/w"] * y).sum().backward()
    expected = case.section("grad")
    assert x.grad is not None
    compare({"x": expected.pop("x")}, {"x": x.grad}, GRADIENT)
    compare_ours(expected, counterparts, gradient_of)


@pytest.mark.parametrize("name", case_names(LAYERS, "rmsnorm"))
def test_norms_are_the_references(name: str) -> None:
    case = Case(LAYERS, name)
    assert case.options["eps"] == NORM_EPSILON
    check_layer(case, RMSNorm(case["in/x"].shape[-1]), (0,))


@pytest.mark.parametrize("name", case_names(LAYERS, "linear"))
def test_linear_layers_are_the_references(name: str) -> None:
    case = Case(LAYERS, name)
    outputs = case.section("param")["lin/bias"].size
    check_layer(case, Linear(case["in/x"].shape[-1], outputs), LINEAR_AXES)


@pytest.mark.parametrize("name", case_names(LAYERS, "blocklinear"))
def test_block_linear_layers_are_the_references(name: str) -> None:
    case = Case(LAYERS, name)
    inputs, outputs = case["in/x"].shape[-1], case["out/y"].shape[-1]
    check_layer(case, BlockLinear(inputs, outputs, case.options["blocks"]), (0, 1, 2))


@pytest.mark.parametrize("name", case_names(LAYERS, "conv"))
def test_convolutions_are_the_references(name: str) -> None:
    case = Case(LAYERS, name)
    kernel, _, inputs, outputs = case.section("param")["conv/kernel"].shape
    conv = ConvStage(inputs, outputs, kernel, stride=False).conv
    check_layer(case, conv, CONVOLUTION_AXES, images=True)


def make_rssm(options: Options, token_size: int, action_size: int) -> RSSM:
    """Build an RSSM of the sizes in a case's options."""
    sizes = options["rssm"]
    network = NetworkConfig(
        deter=sizes["deter"],
        hidden=sizes["hidden"],
        stoch=sizes["stoch"],
        classes=sizes["classes"],
        blocks=sizes["blocks"],
        dynamics_layers=sizes["dynlayers"],
        prior_layers=sizes["imglayers"],
        posterior_layers=sizes["obslayers"],
    )
    latent = CategoricalLatent(sizes["stoch"], sizes["classes"], sizes["unimix"])
    return RSSM(network, latent, token_size, action_size)


def rssm_counterparts(rssm: RSSM) -> dict[str, Counterpart]:
    """Return the counterparts of all parameters of an RSSM."""
    return match(rssm, (), path="world_model.rssm")


@pytest.mark.parametrize("name", case_names(LAYERS, "core"))
def test_the_recurrent_core_is_the_references(name: str) -> None:
    case = Case(LAYERS, name)
    inputs = {key: leaf(case[f"in/{key}"]) for key in ("deter", "stoch", "action")}
    core = make_rssm(case.options, 1, inputs["action"].shape[-1]).core
    counterparts = match(core, (), path="world_model.rssm.core")
    fill(counterparts, case.section("param"))
    weights = core.cut_weights()
    action = core.project_action(inputs["action"], weights)
    deter = core(inputs["deter"], inputs["stoch"].flatten(-2), action, weights)
    compare(case.section("out"), {"deter": deter})
    expected = case.section("grad")
    objective = (case["in/w"] * deter).sum()
    compare({key: expected.pop(key) for key in inputs}, gradients(objective, inputs), GRADIENT)
    objective.backward()
    compare_ours(expected, counterparts, gradient_of)


@pytest.mark.parametrize("name", case_names(LAYERS, "prior"))
def test_the_prior_is_the_references(name: str) -> None:
    case = Case(LAYERS, name)
    rssm = make_rssm(case.options, 1, 1)
    fill(rssm_counterparts(rssm), case.section("param"))
    deter, logits = case["in/deter"], case["out/logit"]
    compare(case.section("out"), {"logit": prior_logits(rssm, deter)})
    mixed = rssm.latent.parameters_of(logits.flatten(-2))
    compare({"log_probs": mixed.numpy()}, {"log_probs": rssm.prior_parameters(deter)})


def prior_logits(rssm: RSSM, deter: Tensor) -> Tensor:
    """Return the prior's raw outputs, (..., S, K)."""
    return rssm.prior_output(rssm.prior(deter)).unflatten(-1, rssm.latent.shape)


@pytest.mark.parametrize("name", case_names(LAYERS, "posterior"))
def test_one_filter_step_is_the_references(name: str) -> None:
    case = Case(LAYERS, name)
    action, tokens = case["in/action"], case["in/tokens"]
    rssm = make_rssm(case.options, tokens.shape[-1], action.shape[-1])
    fill(rssm_counterparts(rssm), case.section("param"))
    start = State(case["in/deter"], case["in/stoch"])
    state, log_probs = rssm.observe_step(start, action, tokens, case["in/reset"], ModeSampler())
    logits = posterior_logits(rssm, state.deter, tokens)
    ours = {"deter": state.deter, "stoch": state.stoch, "logit": logits}
    compare(case.section("out"), ours)
    mixed = rssm.latent.parameters_of(case["out/logit"].flatten(-2))
    compare({"log_probs": mixed.numpy()}, {"log_probs": log_probs})


def posterior_logits(rssm: RSSM, deter: Tensor, tokens: Tensor) -> Tensor:
    """Return the posterior's raw outputs, (..., S, K), without the short cuts of `observe`."""
    outputs = rssm.posterior_output(rssm.posterior(torch.cat([deter, tokens], -1)))
    return outputs.unflatten(-1, rssm.latent.shape)


def one_hot_actions(actions: Tensor, options: Options) -> Tensor:
    """Return actions as vectors; classes become one-hot."""
    if options["action"] == "cont":
        return actions
    return F.one_hot(actions.long(), options["classes"]).float()


@pytest.fixture(params=case_names(SEQUENCE))
def sequence(request: pytest.FixtureRequest) -> tuple[Case, RSSM]:
    """Return a case of a filtered sequence, and the RSSM that filters it."""
    case = Case(SEQUENCE, request.param)
    actions = one_hot_actions(case["in/action"], case.options)
    rssm = make_rssm(case.options, case["in/tokens"].shape[-1], actions.shape[-1])
    fill(rssm_counterparts(rssm), case.section("param"))
    return case, rssm


def test_filtering_a_sequence_gives_the_references_states_losses_and_gradients(
    sequence: tuple[Case, RSSM],
) -> None:
    case, rssm = sequence
    inputs = {"deter": leaf(case["in/carry/deter"]), "stoch": leaf(case["in/carry/stoch"])}
    inputs["tokens"] = leaf(case["in/tokens"])
    states, posterior = rssm.observe(
        State(inputs["deter"], inputs["stoch"]),
        one_hot_actions(case["in/action"], case.options),
        inputs["tokens"],
        case["in/reset"],
        ModeSampler(),
    )
    prior = rssm.prior_parameters(states.deter)
    losses, _ = kl_losses(
        rssm.latent,
        posterior,
        prior,
        AlgorithmConfig(free_nats=case.options["rssm"]["free_nats"]),
    )
    objective = losses["dynamics"].mean() + 0.1 * losses["representation"].mean()
    objective = objective + (case["in/w_deter"] * states.deter).sum(-1).mean()
    objective = objective + (case["in/w_stoch"] * states.stoch).sum((-2, -1)).mean()
    ours = {
        "post/deter": states.deter,
        "post/stoch": states.stoch,
        "post/logit": posterior_logits(rssm, states.deter, inputs["tokens"]),
        "prior_logit": prior_logits(rssm, states.deter),
        "carry/deter": states.deter[:, -1],
        "carry/stoch": states.stoch[:, -1],
        "kl_raw": rssm.latent.kl(posterior, prior),
        "dyn": losses["dynamics"],
        "rep": losses["representation"],
        "dyn_ent": rssm.latent.entropy(prior).mean(),
        "rep_ent": rssm.latent.entropy(posterior).mean(),
        "objective": objective,
    }
    expected = case.section("out")
    compare({k: a for k, a in expected.items() if not k.startswith("imag")}, ours)
    mixed = rssm.latent.parameters_of(case["out/post/logit"].flatten(-2))
    compare({"log_probs": mixed.numpy()}, {"log_probs": posterior})
    compare(case.section("grad/in"), gradients(objective, inputs), GRADIENT)
    objective.backward()
    by_parameter = {k: a for k, a in case.section("grad").items() if not k.startswith("in/")}
    compare_ours(by_parameter, rssm_counterparts(rssm), gradient_of)


def test_imagining_from_given_actions_gives_the_references_states(
    sequence: tuple[Case, RSSM],
) -> None:
    case, rssm = sequence
    state = State(case["out/carry/deter"], case["out/carry/stoch"])
    states: list[State] = []
    for action in one_hot_actions(case["in/imag_action"], case.options).unbind(1):
        state = rssm.imagine_step(state, action, ModeSampler())
        states.append(state)
    imagined = stack_time(states)
    ours = imagined._asdict() | {"logit": prior_logits(rssm, imagined.deter)}
    compare(case.section("out/imag"), ours)
    compare(case.section("out/imag_carry"), state._asdict())
