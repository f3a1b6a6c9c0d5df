"""Golden vectors 09a and 09b: a whole agent's losses, gradients and actions."""

from typing import NamedTuple

import pytest
import torch
from agents import (
    FILES,
    Offset,
    loss_names,
    make_agent,
    observation,
    policy_outputs,
    replayed,
)
from imagined import ImaginedReport, report
from torch import Tensor
from vectors import GRADIENT, Array, Case, compare, compare_ours, difference, gradient_of

from robodreamer.learning.actor_critic import Imagined, ImaginedRewards
from robodreamer.learning.agent import Agent
from robodreamer.learning.learner import split_context
from robodreamer.learning.returns import lambda_return
from robodreamer.models.heads import DiscreteActor
from robodreamer.models.rssm import State
from robodreamer.models.sampling import ModeSampler, Sampler
from robodreamer.models.world_model import Losses, Sequence
from robodreamer.reference import Counterpart, match


class Run(NamedTuple):
    """One way to draw: the agent of a file, its batch, and where the vectors of that way lie."""

    case: Case
    way: str
    agent: Agent
    sequence: Sequence
    sampler: Sampler

    def section(self, name: str) -> dict[str, Array]:
        """Return the vectors of this way below `name`."""
        return self.case.section(f"{self.way}/{name}")


def make_run(file: str, way: str) -> Run:
    """Return the agent of a file before its first update."""
    case = Case(file, "agent")
    agent = make_agent(case)
    context = case.options["config"]["replay_context"]
    sampler = Offset(case.options["offset"] if way == "offset" else 0.0)
    return Run(case, way, agent, split_context(replayed(case, agent), agent, context), sampler)


def ways() -> list[tuple[str, str]]:
    """Return the files with the ways of drawing they hold."""
    return [
        (file, way)
        for file in FILES
        for way in ("mode", "offset")
        if f"{way}/total" in Case(file, "agent").arrays
    ]


@pytest.fixture(params=ways(), ids="-".join)
def run(request: pytest.FixtureRequest) -> Run:
    """Return each file's agent for each way of drawing."""
    return make_run(*request.param)


@pytest.fixture(params=FILES)
def mode_run(request: pytest.FixtureRequest) -> Run:
    """Return each file's agent, drawing modes."""
    return make_run(request.param, "mode")


def learned_parameters(agent: Agent) -> dict[str, Counterpart]:
    """Return the counterparts of what the optimizer changes: all but the slow critic's."""
    counterparts = match(agent, agent.contract.observations)
    return {name: c for name, c in counterparts.items() if c.tensor.requires_grad}


def named_losses(agent: Agent, losses: Losses) -> dict[str, Tensor]:
    """Return our losses by the reference's names."""
    theirs = {ours: name for name, ours in loss_names(agent).items()}
    return {theirs[name]: loss for name, loss in losses.items()}


def test_losses_and_gradients_are_the_references(run: Run) -> None:
    agent = run.agent
    losses, _, metrics = agent.losses(run.sequence, run.sampler)
    compare(run.section("loss"), named_losses(agent, losses))
    total = agent.total_loss(losses)
    compare({"total": run.case.arrays[f"{run.way}/total"]}, {"total": total})
    percentiles = {
        "lo": agent.actor_critic.return_range.low,
        "hi": agent.actor_critic.return_range.high,
    }
    compare(run.section("retnorm"), percentiles)
    expected = run.section("metric")
    entropies = {"dyn_ent": metrics["prior_entropy"], "rep_ent": metrics["posterior_entropy"]}
    compare({name: expected[name] for name in entropies}, entropies)
    total.backward()
    check_gradients(run)


def check_gradients(run: Run) -> None:
    """Compare every gradient, and its norm."""
    learned = learned_parameters(run.agent)
    assert all(p.grad is None for p in run.agent.actor_critic.slow_critic.parameters())
    if run.way == "mode":  # where every action is the mode, this gradient is zero but for rounding
        for name, counterpart in list(learned.items()):
            if counterpart.reference.startswith("pol/head/action/mean/"):
                gradient = learned.pop(name).tensor.grad
                assert gradient is not None
                assert gradient.norm() < 1e-6
    names = {counterpart.reference for counterpart in learned.values()}
    gradients, norms = run.section("grad"), run.section("gradnorm")
    assert names <= gradients.keys()
    compare_ours({name: gradients[name] for name in names}, learned, gradient_of)
    found = {c.reference: c.tensor.grad for c in learned.values()}
    ours = {name: gradient.norm() for name, gradient in found.items() if gradient is not None}
    compare({name: norms[name] for name in names}, ours, GRADIENT)


def test_everything_on_the_way_to_the_losses_is_the_references(run: Run) -> None:
    states, _ = observe(run)
    recent = last_steps(run, states)
    start = State(*(value.flatten(0, 1) for value in recent.detach()))
    imagined = run.agent.actor_critic.imagine(run.agent.world_model.rssm, start, run.sampler)
    predicted = run.agent.predict_rewards(imagined)
    found = report(run.agent.actor_critic, imagined, predicted)
    compare(run.section("ac/imag"), imagined_arrays(run.agent, imagined, predicted, found))
    compare(run.section("ac/reploss"), replay_arrays(run, recent, found))
    metrics = run.section("metric")
    del metrics["dyn_ent"], metrics["rep_ent"]  # compared with the losses
    compare(metrics, found.metrics)
    if run.way == "mode":
        compare(run.section("imag"), imagined.states._asdict())


def observe(run: Run) -> tuple[State, Tensor]:
    """Filter the batch; return posterior states and the posterior's log-probabilities."""
    sequence, model = run.sequence, run.agent.world_model
    tokens = model.encoder(sequence.observation)
    return model.rssm.observe(
        sequence.start, sequence.previous_action, tokens, sequence.is_first, run.sampler
    )


def last_steps(run: Run, states: State) -> State:
    """Return the states that imagination starts from."""
    last = run.agent.algorithm.imagination_last or states.deter.shape[1]
    return State(*(value[:, -last:] for value in states))


def imagined_arrays(
    agent: Agent, imagined: Imagined, predicted: ImaginedRewards, found: ImaginedReport
) -> dict[str, Tensor]:
    """Return what the reference reports about imagined steps, by its names."""
    arrays = {"rew": predicted.reward, "con": predicted.continuation}
    arrays |= {name: found.parts[name] for name in ("ret", "val", "slowval")}
    arrays |= {name: found.parts[name] for name in ("policy_loss", "value_loss")}
    arrays |= {f"{name}/action": found.parts[name] for name in ("logp", "ent")}
    if isinstance(agent.actor_critic.actor, DiscreteActor):
        arrays["act/action"] = imagined.actions.argmax(-1).int()
        arrays["logits/action"] = policy_outputs(agent, imagined.states)
    else:
        arrays["act/action"] = imagined.actions
        arrays |= {f"{name}/action": value for name, value in vars(found.policy).items()}
    return arrays


def replay_arrays(run: Run, recent: State, found: ImaginedReport) -> dict[str, Tensor]:
    """Return what the reference reports about the value loss on replayed steps."""
    actor_critic, sequence = run.agent.actor_critic, run.sequence
    batch, steps = recent.deter.shape[:2]
    bootstrap = found.returns[:, 0].reshape(batch, steps)
    goes_on = (~sequence.is_terminal[:, -steps:]).float() * actor_critic.discount
    returns = lambda_return(
        sequence.reward[:, -steps:],
        goes_on,
        bootstrap,
        actor_critic.config.replay_lambda,
        sequence.is_last[:, -steps:],
    )
    feature = recent.feature
    return {
        "boot": bootstrap,
        "ret": returns,
        "val": actor_critic.critic.mean(actor_critic.critic(feature)),
        "slowval": actor_critic.slow_critic.mean(actor_critic.slow_critic(feature)),
    }


def test_filtering_the_batch_gives_the_references_tokens_states_and_pictures(mode_run: Run) -> None:
    model, case = mode_run.agent.world_model, mode_run.case
    tokens = model.encoder(mode_run.sequence.observation)
    compare({"tokens": case.arrays["mode/tokens"]}, {"tokens": tokens})
    states, log_probs = observe(mode_run)
    hidden = model.rssm.posterior(torch.cat([states.deter, tokens], -1))
    logits = model.rssm.posterior_output(hidden).unflatten(-1, model.rssm.latent.shape)
    compare(mode_run.section("feat"), states._asdict() | {"logit": logits})
    mixed = model.rssm.latent.parameters_of(case["mode/feat/logit"].flatten(-2))
    compare({"log_probs": mixed.numpy()}, {"log_probs": log_probs})
    compare(mode_run.section("carry"), {k: v[:, -1] for k, v in states._asdict().items()})
    pictures = mode_run.section("recon_first_row_two_steps")
    predictions = model.decoder(State(*(value[:1, :2] for value in states)))
    names = loss_names(mode_run.agent)
    compare(pictures, {key: predictions[names[key]] for key in pictures})


def test_each_loss_alone_reaches_the_parameters_it_reaches_in_the_reference(mode_run: Run) -> None:
    layout = mode_run.case.options["gradnorm_by_loss"]
    expected = mode_run.case.arrays["mode/gradnorm_by_loss"]
    losses, _, _ = mode_run.agent.losses(mode_run.sequence, mode_run.sampler)
    ours = named_losses(mode_run.agent, losses)
    tensors = {c.reference: c.tensor for c in learned_parameters(mode_run.agent).values()}
    assert sorted(tensors) == sorted(layout["columns"])
    assert sorted(ours) == sorted(layout["rows"])
    for row, name in zip(expected, layout["rows"], strict=True):
        found = torch.autograd.grad(
            ours[name].mean(),
            [tensors[column] for column in layout["columns"]],
            retain_graph=True,
            materialize_grads=True,
        )
        norms = torch.stack([gradient.norm() for gradient in found])
        compare({name: row}, {name: norms}, GRADIENT)
        assert not norms[torch.from_numpy(row) == 0].any(), name


@pytest.mark.parametrize("file", FILES)
def test_acting_gives_the_references_states_and_actions(file: str) -> None:
    case = Case(file, "agent")
    agent, values = make_agent(case), case.tensors("policy/in")
    num_steps, num_envs = values["is_first"].shape
    carry = agent.initial_carry(num_envs)
    records: list[dict[str, Tensor]] = []
    for step in range(num_steps):
        now = observation(agent, {name: value[step] for name, value in values.items()})
        carry = agent.act(carry, now, values["is_first"][step], ModeSampler())
        is_discrete = agent.contract.action.kind == "discrete"
        action = carry.action.argmax(-1).int() if is_discrete else carry.action
        outputs = policy_outputs(agent, carry.state)
        records.append(carry.state._asdict() | {"action": action, "policy_logits": outputs})
    ours = {name: torch.stack([record[name] for record in records]) for name in records[0]}
    compare(case.section("policy/out"), ours)


@pytest.mark.parametrize("file", FILES)
def test_one_wrong_unit_of_any_part_is_noticed(file: str) -> None:
    groups = [*Case(file, "agent").options["optimizer_groups"], "slowval"]
    for group in groups:
        run = make_run(file, "mode")
        counterparts = match(run.agent, run.agent.contract.observations).values()
        tensor = next(c.tensor for c in counterparts if c.reference.startswith(f"{group}/"))
        with torch.no_grad():
            tensor[0] += 1.0
        losses, _, _ = run.agent.losses(run.sequence, run.sampler)
        ours = named_losses(run.agent, losses)
        expected = run.section("loss")
        assert any(difference(ours[name], expected[name]) for name in expected), group
