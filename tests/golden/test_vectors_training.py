"""Golden vectors 09a, 09b and 09c: complete updates, and how a replayed batch is cut."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from agents import FILES, Offset, loss_names, make_agent, replayed
from torch import Tensor
from vectors import FORWARD, Array, Case, Limits, Options, case_names, compare

from robodreamer.config import AlgorithmConfig, NetworkConfig, OptimizerConfig
from robodreamer.learning.agent import Agent, Carry
from robodreamer.learning.learner import Learner, split_context
from robodreamer.learning.optimizers import ALL
from robodreamer.models.rssm import State
from robodreamer.reference import config_from_reference, match
from robodreamer_deploy.contract import ActionSpec, Contract, Signal

CONTEXT = "09c_replay_context.npz"
TAGS = ("default", "fast")

# After the first update agents differ by the rounding that gradients had (section 5, point 4).
LOSS = Limits(1e-3, 1e-3)
# Steps of the default learning rate are near the last digit of the parameters (point 2).
CHANGE = {"default": 3e-2, "fast": 1e-2}


class Update(NamedTuple):
    """One update as the reference reports it, and what it left behind."""

    scalars: dict[str, Tensor]
    parameters: dict[str, Tensor]
    latents: dict[str, Tensor]


class Training(NamedTuple):
    """Some updates on the same batch, from the parameters of a file."""

    case: Case
    tag: str
    agent: Agent
    before: dict[str, Tensor]
    updates: list[Update]


def optimizer_config(options: Options, tag: str) -> OptimizerConfig:
    """Return the optimizer of a training run."""
    _, algorithm = config_from_reference(options["config"])
    config = algorithm.optimizer
    if tag == "default":
        return config
    fast = options["fast_opt"]
    return replace(config, learning_rate=fast["lr"], warmup=fast["warmup"])


def parameters_now(agent: Agent) -> dict[str, Tensor]:
    """Return copies of all parameters by the reference's names, in our layout."""
    counterparts = match(agent, agent.contract.observations).values()
    return {c.reference: c.tensor.detach().clone() for c in counterparts}


@pytest.fixture(
    scope="module", params=[(file, tag) for file in FILES for tag in TAGS], ids="-".join
)
def training(request: pytest.FixtureRequest) -> Training:
    """Take the updates of a training run."""
    file, tag = request.param
    case = Case(file, "agent")
    agent = make_agent(case)
    before = parameters_now(agent)
    learner = Learner(
        agent,
        optimizer_config(case.options, tag),
        replay_context=case.options["config"]["replay_context"],
    )
    sampler = Offset(case.options["train_action_offset"])
    updates: list[Update] = []
    while f"train_{tag}/after{len(updates) + 1}/total" in case.arrays:
        rate = learner.optimizer.learning_rate
        metrics, latents = learner.update(replayed(case, agent), sampler)
        scalars = report(learner, metrics, rate)
        updates.append(Update(scalars, parameters_now(agent), latents))
    assert updates
    return Training(case, tag, agent, before, updates)


def report(learner: Learner, metrics: dict[str, Tensor], rate: float) -> dict[str, Tensor]:
    """Return what the reference reports about an update, by its names."""
    names = loss_names(learner.agent)
    optimizer, return_range = learner.optimizer.groups[ALL], learner.agent.actor_critic.return_range
    scale = rate / (1 - optimizer.config.beta1**optimizer.num_steps)
    num_elements = sum(parameter.numel() for parameter in optimizer.parameters)
    count = torch.tensor(optimizer.num_steps, dtype=torch.int32)
    return {f"loss/{name}": metrics[f"loss/{ours}"] for name, ours in names.items()} | {
        "total": metrics["loss/total"],
        "grad_norm": metrics["grad_norm"],
        "update_rms": scale * norm(optimizer.momenta) / num_elements**0.5,
        "param_rms": norm(optimizer.parameters) / num_elements**0.5,
        "retnorm_lo": return_range.low.clone(),
        "retnorm_hi": return_range.high.clone(),
        "step": count,
        "slowval_count": count,  # it follows after every update
        "global_norm": norm(optimizer.parameters),
        "slow_global_norm": norm(learner.agent.actor_critic.slow_critic.parameters()),
    }


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """Return the L2 norm over all elements of all tensors."""
    return torch.stack([tensor.detach().norm() for tensor in tensors]).norm()


def test_every_update_reports_what_the_reference_reports(training: Training) -> None:
    for number, update in enumerate(training.updates, 1):
        expected = training.case.section(f"train_{training.tag}/after{number}")
        scalars = {
            name: array
            for name, array in expected.items()
            if name.partition("/")[0] not in {"delta_norm", "global_delta_norm", "param", "slowval"}
        }
        compare(scalars, update.scalars, LOSS if number > 1 else FORWARD)


def test_every_update_moves_the_parameters_as_far_as_the_reference(training: Training) -> None:
    for number, update in enumerate(training.updates, 1):
        section = f"train_{training.tag}/after{number}"
        moved = {name: update.parameters[name] - old for name, old in training.before.items()}
        expected = training.case.section(f"{section}/delta_norm")
        assert expected.keys() == moved.keys()
        for name, distance in expected.items():
            # Half a unit in the last place per element and update, there and here.
            rounding = number * 2**-23 * training.before[name].norm()
            error = (moved[name].norm() - float(distance)).abs()
            assert error <= CHANGE[training.tag] * float(distance) + rounding, name
        learned = [change for name, change in moved.items() if not name.startswith("slowval/")]
        total = float(training.case.arrays[f"{section}/global_delta_norm"])
        assert abs(float(norm(learned)) - total) <= CHANGE[training.tag] * total


def test_updated_parameters_are_the_references(training: Training) -> None:
    compared = 0
    for number, update in enumerate(training.updates, 1):
        section = f"train_{training.tag}/after{number}"
        slow = training.case.section(f"{section}/slowval")
        expected = training.case.section(f"{section}/param")
        expected |= {f"slowval/{name}": array for name, array in slow.items()}
        for name, array in in_our_layout(training.agent, expected).items():
            change, ours = array - training.before[name], update.parameters[name]
            rounding = number * 2**-23 * training.before[name].norm()
            assert (ours - array).norm() <= 1e-2 * change.norm() + rounding, (number, name)
            compared += 1
    assert compared


def in_our_layout(agent: Agent, arrays: dict[str, Array]) -> dict[str, Tensor]:
    """Return the reference's parameters in our layout, by its names."""
    counterparts = match(agent, agent.contract.observations).values()
    by_reference = {c.reference: c for c in counterparts}
    return {name: torch.tensor(by_reference[name].to_ours(a)) for name, a in arrays.items()}


def test_latents_for_the_replay_are_the_references(training: Training) -> None:
    expected = training.case.section(f"train_{training.tag}/replay_update/dyn")
    if training.tag == "default":
        compare(expected, training.updates[-1].latents, LOSS)
    else:
        assert not expected


@pytest.mark.parametrize("file", FILES)
def test_the_learner_sees_what_the_references_loss_sees(file: str) -> None:
    case = Case(file, "agent")
    agent = make_agent(case)
    context = case.options["config"]["replay_context"]
    sequence = split_context(replayed(case, agent), agent, context)
    ours = {name.partition("/")[2]: value for name, value in sequence.observation.items()}
    ours |= {name: getattr(sequence, name) for name in ("reward", "is_first")}
    ours |= {name: getattr(sequence, name) for name in ("is_last", "is_terminal")}
    expected = case.section("in/obs")
    assert expected.keys() <= ours.keys()
    compare(expected, {name: ours[name] for name in expected})
    compare(case.section("in/carry"), sequence.start._asdict())
    action = sequence.previous_action
    if agent.contract.action.kind == "discrete":
        action = action.argmax(-1).int()
    compare(case.section("in/prevact"), {"action": action})


def context_agent(case: Case) -> Agent:
    """Return an agent that observes what a case of replayed batches holds."""
    shapes = {name: a.shape[2:] for name, a in case.section("out/obs").items()}
    vectors = [name for name in shapes if not name.startswith(("is_", "reward"))]
    size, deter = case["in/carry/action"].shape[-1], case["in/carry/deter"].shape[-1]
    stoch, classes = case["in/carry/stoch"].shape[1:]
    contract = Contract(
        task="golden",
        observations=tuple(
            Signal(name=f"proprio/{name}", shape=shapes[name], dtype="float32") for name in vectors
        ),
        action=ActionSpec(size=size, low=(-1.0,) * size, high=(1.0,) * size),
        control_dt_s=0.1,
    )
    network = NetworkConfig(deter=deter, stoch=stoch, classes=classes, blocks=1, decoder_blocks=1)
    return Agent(contract, network, AlgorithmConfig())


@pytest.mark.parametrize("name", case_names(CONTEXT))
def test_a_replayed_batch_is_cut_as_by_the_reference(name: str) -> None:
    case = Case(CONTEXT, name)
    agent, context = context_agent(case), case.options["replay_context"]
    batch, left = replayed(case, agent), case.tensors("in/carry")
    carry = Carry(State(left["deter"], left["stoch"]), left["action"])
    is_fresh = case["in/data/consec"][:, 0] == 0
    if context and is_fresh.any():
        rows = {key: value[is_fresh] for key, value in batch.items()}
        check_cut(case, is_fresh.numpy(), agent, rows, context)
    if not context:
        check_cut(case, np.ones(len(is_fresh), bool), agent, batch, 0, carry)
    elif not is_fresh.all():
        # A row that goes on where the batch before ended needs no context: what that batch left
        # is its start, with the action taken last.
        rows = {key: value[~is_fresh, context:] for key, value in batch.items()}
        state = State(carry.state.deter[~is_fresh], carry.state.stoch[~is_fresh])
        last = batch["action"][~is_fresh, context - 1]
        check_cut(case, ~is_fresh.numpy(), agent, rows, 0, Carry(state, last))


def check_cut(
    case: Case,
    rows: Array,
    agent: Agent,
    batch: dict[str, Tensor],
    context: int,
    carry: Carry | None = None,
) -> None:
    """Compare some rows of a cut batch with the vectors."""
    sequence = split_context(batch, agent, context, carry)
    ours = {name.partition("/")[2]: value for name, value in sequence.observation.items()}
    flags = ("reward", "is_first", "is_last", "is_terminal")
    ours |= {name: getattr(sequence, name) for name in flags}
    compare({name: a[rows] for name, a in case.section("out/obs").items()}, ours)
    start = sequence.start._asdict()
    expected = {name: a[rows] for name, a in case.section("out/carry").items()}
    compare({name: expected[name] for name in start}, start)
    expected = {"action": case.arrays["out/prevact/action"][rows]}
    compare(expected, {"action": sequence.previous_action})
