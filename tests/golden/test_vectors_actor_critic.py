"""Golden vectors 07: lambda-returns, the range of returns, actor and critic losses.

The vectors give raw network outputs instead of features. A feature that is one-hot over all steps
makes a linear head a table: its weight then holds those outputs, one column per step, and the
weight's gradient is theirs.
"""

import pytest
import torch
import torch.nn.functional as F
from imagined import report
from torch import Tensor, nn
from vectors import GRADIENT, Case, Options, case_names, compare, linear

from robodreamer.config import AlgorithmConfig, NetworkConfig
from robodreamer.learning.actor_critic import ActorCritic, Imagined, ImaginedRewards
from robodreamer.learning.returns import ReturnRange, lambda_return
from robodreamer.models.heads import ContinuousActor
from robodreamer.models.rssm import State
from robodreamer_deploy.contract import ActionSpec

FILE = "07_actor_critic.npz"
NO_ACTION = ActionSpec(kind="discrete", size=1)


@pytest.mark.parametrize("name", case_names(FILE, "lambda"))
def test_lambda_returns_are_the_references(name: str) -> None:
    case = Case(FILE, name)
    is_last = case["in/last"]
    assert set(is_last.unique().tolist()) <= {0, 1}
    continuation = (1 - case["in/term"].float()) * case.options["disc"]
    returns = lambda_return(
        case["in/rew"], continuation, case["in/boot"], case.options["lam"], is_last.bool()
    )
    compare(case.section("out"), {"ret": returns})


def make_range(options: Options, low: Tensor, high: Tensor) -> ReturnRange:
    """Return a range with the options and the percentiles of a case."""
    percentiles = (options["perclo"], options["perchi"])
    return_range = ReturnRange(options["rate"], percentiles, options["limit"])
    return_range.low.copy_(low)
    return_range.high.copy_(high)
    return return_range


@pytest.mark.parametrize("name", case_names(FILE, "retnorm"))
def test_the_range_of_returns_follows_the_references(name: str) -> None:
    case = Case(FILE, name)
    return_range = make_range(case.options, case["in/lo"], case["in/hi"])
    inputs = sorted(key for key in case.section("in") if key.startswith("x"))
    assert inputs
    for key in inputs:
        scale = return_range.update(case[f"in/{key}"])
        low, high = return_range.low, return_range.high
        ours = {"lo": low, "hi": high, "offset": low, "scale": scale}
        compare(case.section(f"out/{key[1:]}"), ours)


def one_hot_steps(rows: int, columns: int) -> State:
    """Return one feature per step that tells it from all others, (rows, columns, steps)."""
    steps = torch.eye(rows * columns).reshape(rows, columns, -1)
    return State(steps, steps.new_zeros(rows, columns, 0, 0))


def fill_table(head: nn.Linear, outputs: Tensor) -> None:
    """Make a head on one-hot steps return `outputs` (rows, columns, n)."""
    with torch.no_grad():
        head.weight.copy_(outputs.flatten(0, 1).T)
        head.bias.zero_()


def table_gradient(head: nn.Linear, like: Tensor) -> Tensor:
    """Return the derivative with respect to the outputs that fill a head."""
    assert head.weight.grad is not None
    return head.weight.grad.T.reshape(like.shape)


def make_actor_critic(
    case: Case, algorithm: AlgorithmConfig, action: ActionSpec = NO_ACTION
) -> ActorCritic:
    """Return an actor and critics that look their outputs up in a case's arrays."""
    values = case["in/value_logits"]
    steps = values.shape[0] * values.shape[1]
    network = linear(NetworkConfig(units=steps, bins=values.shape[-1]))
    actor_critic = ActorCritic(steps, action, network, algorithm)
    fill_table(actor_critic.critic.output, values)
    fill_table(actor_critic.slow_critic.output, case["in/slow_logits"])
    return actor_critic


def imagining_actor_critic(case: Case) -> tuple[ActorCritic, dict[str, nn.Linear]]:
    """Return the actor_critic of an imagined case, and its actor's heads by their inputs' names."""
    options, size = case.options, case["in/action"].shape[-1]
    algorithm = AlgorithmConfig(
        return_lambda=options["lam"],
        entropy_scale=options["actent"],
        slow_critic_scale=options["slowreg"],
        return_rate=options["retnorm"]["rate"],
        return_low=options["retnorm"]["perclo"],
        return_high=options["retnorm"]["perchi"],
        return_limit=options["retnorm"]["limit"],
        min_std=options["minstd"],
        max_std=options["maxstd"],
    )
    if options["action"] == "disc":
        size = case["in/logits"].shape[-1]
        action = ActionSpec(kind="discrete", size=size)
    else:
        action = ActionSpec(size=size, low=(-1.0,) * size, high=(1.0,) * size)
    actor_critic = make_actor_critic(case, algorithm, action)
    actor_critic.return_range.low.copy_(case["in/retnorm_lo"])
    actor_critic.return_range.high.copy_(case["in/retnorm_hi"])
    actor = actor_critic.actor
    heads: dict[str, nn.Linear] = (
        {"raw_mean": actor.mean, "raw_std": actor.std}
        if isinstance(actor, ContinuousActor)
        else {"logits": actor.output}
    )
    for name, head in heads.items():
        fill_table(head, case[f"in/{name}"])
    return actor_critic, heads


@pytest.mark.parametrize("name", case_names(FILE, "imag"))
def test_actor_and_critic_losses_on_imagined_steps_are_the_references(name: str) -> None:
    case = Case(FILE, name)
    assert case.options["contdisc"]
    assert not case.options["slowtar"]
    actor_critic, heads = imagining_actor_critic(case)
    actions = case["in/action"]
    if "logits" in heads:
        actions = F.one_hot(actions.long(), heads["logits"].out_features).float()
    states = one_hot_steps(*case["in/rew"].shape)
    found = report(
        actor_critic, Imagined(states, actions), ImaginedRewards(case["in/rew"], case["in/con"])
    )
    ours = {"entropy" if name == "ent" else name: part for name, part in found.parts.items()}
    ours |= {"scale": actor_critic.return_range.scale}
    ours |= {
        "retnorm_lo": actor_critic.return_range.low,
        "retnorm_hi": actor_critic.return_range.high,
    }
    ours |= {f"metric/{name}": metric for name, metric in found.metrics.items()}
    compare(case.section("out"), ours)
    found.losses["policy"].mean().backward(retain_graph=True)
    derivatives = {
        f"policy__{name}": table_gradient(head, case[f"in/{name}"]) for name, head in heads.items()
    }
    assert actor_critic.critic.output.weight.grad is None
    found.losses["value"].mean().backward()
    derivatives["value__value_logits"] = table_gradient(
        actor_critic.critic.output, case["in/value_logits"]
    )
    compare(case.section("grad"), derivatives, GRADIENT)


@pytest.mark.parametrize("name", case_names(FILE, "repl"))
def test_the_value_loss_on_replayed_steps_is_the_references(name: str) -> None:
    case = Case(FILE, name)
    assert not case.options["slowtar"]
    algorithm = AlgorithmConfig(
        discount_horizon=case.options["horizon"],
        replay_lambda=case.options["lam"],
        replay_slow_critic_scale=case.options["slowreg"],
    )
    actor_critic = make_actor_critic(case, algorithm)
    is_last, is_terminal = case["in/last"], case["in/term"]
    reward, bootstrap = case["in/rew"], case["in/boot"]
    feature = one_hot_steps(*reward.shape).feature
    loss = actor_critic.replay_loss(feature, reward, is_last, is_terminal, bootstrap)
    goes_on = (~is_terminal).float() * actor_critic.discount
    ours = {
        "repval": loss,
        "ret": lambda_return(reward, goes_on, bootstrap, algorithm.replay_lambda, is_last),
        "val": actor_critic.critic.mean(actor_critic.critic(feature)),
        "slowval": actor_critic.slow_critic.mean(actor_critic.slow_critic(feature)),
    }
    compare(case.section("out"), ours)
    loss.mean().backward()
    derivative = table_gradient(actor_critic.critic.output, case["in/value_logits"])
    compare(case.section("grad"), {"repval__value_logits": derivative}, GRADIENT)
