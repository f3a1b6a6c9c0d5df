"""Actor and critic: returns, their range, and which networks learn from imagination."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robodreamer.learning.actor_critic import Imagined, ImaginedRewards
from robodreamer.learning.agent import Agent
from robodreamer.learning.returns import ReturnRange, lambda_return
from robodreamer.models.rssm import State
from robodreamer.models.sampling import ModeSampler, RandomSampler
from toy_agent import ALGORITHM, make_agent, make_contract


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain_returns(
    reward: list[float], goes_on: list[float], value: list[float], last: list[bool], lam: float
) -> list[float]:
    """Follow the definition, one step after the other, from the end."""
    returns = [value[-1]]
    for t in reversed(range(1, len(reward))):
        ahead = value[t] if last[t] else (1 - lam) * value[t] + lam * returns[0]
        returns.insert(0, reward[t] + goes_on[t] * ahead)
    return returns[:-1]


@given(st.integers(2, 12), st.floats(0, 1), st.integers(0, 1000))
def test_lambda_returns_are_those_of_a_plain_loop(steps: int, lambda_: float, seed: int) -> None:
    reward, value = noise(2, steps, seed=seed), noise(2, steps, seed=seed + 1)
    goes_on = torch.rand((2, steps), generator=torch.Generator().manual_seed(seed))
    last = torch.rand((2, steps), generator=torch.Generator().manual_seed(seed + 1)) < 0.3
    found = lambda_return(reward, goes_on, value, lambda_, last)
    for row in range(2):
        expected = plain_returns(
            reward[row].tolist(),
            goes_on[row].tolist(),
            value[row].tolist(),
            last[row].tolist(),
            lambda_,
        )
        assert found[row].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_returns_do_not_look_beyond_the_end_of_an_episode() -> None:
    reward, value = noise(1, 6), noise(1, 6, seed=1)
    last = torch.tensor([[False, False, True, False, False, False]])
    goes_on = torch.full((1, 6), 0.9)
    before = lambda_return(reward, goes_on, value, 0.95, last)
    reward[:, 3:] += 100
    assert torch.equal(lambda_return(reward, goes_on, value, 0.95, last)[:, :2], before[:, :2])
    assert not torch.equal(lambda_return(reward, goes_on, value, 0.95)[:, :2], before[:, :2])


def test_a_return_without_lambda_looks_one_step_ahead() -> None:
    reward, value, goes_on = noise(3, 5), noise(3, 5, seed=1), torch.full((3, 5), 0.9)
    expected = reward[:, 1:] + 0.9 * value[:, 1:]
    assert torch.allclose(lambda_return(reward, goes_on, value, 0.0), expected)


def test_the_range_follows_the_percentiles_of_the_returns() -> None:
    return_range, low, high = ReturnRange(0.1), 0.0, 0.0
    for seed in range(5):
        returns = 10 * noise(7, 9, seed=seed)
        scale = return_range.update(returns)
        low += 0.1 * (float(np.percentile(returns.numpy(), 5)) - low)
        high += 0.1 * (float(np.percentile(returns.numpy(), 95)) - high)
        assert float(return_range.low) == pytest.approx(low, rel=1e-4)
        assert float(return_range.high) == pytest.approx(high, rel=1e-4)
        assert float(scale) == pytest.approx(max(1.0, high - low), rel=1e-4)


def test_small_returns_are_not_enlarged() -> None:
    return_range = ReturnRange(1.0)
    assert return_range.update(torch.full((4, 4), 3.0)) == 1.0
    assert ReturnRange(1.0, limit=0.2).update(torch.full((4, 4), 3.0)) == pytest.approx(0.2)


def imagine(agent: Agent, starts: int = 5) -> tuple[Imagined, ImaginedRewards]:
    rssm = agent.world_model.rssm
    start = State(noise(starts, rssm.deter_size), rssm.initial(starts).stoch)
    imagined = agent.actor_critic.imagine(
        rssm, start, RandomSampler(torch.Generator().manual_seed(0))
    )
    return imagined, agent.predict_rewards(imagined)


def test_imagination_starts_at_the_given_states_and_ends_with_an_action() -> None:
    agent = make_agent()
    imagined, predicted = imagine(agent)
    steps = ALGORITHM.horizon + 1
    assert imagined.states.deter.shape[:2] == imagined.actions.shape[:2] == (5, steps)
    assert torch.equal(imagined.states.deter[:, 0], noise(5, agent.world_model.rssm.deter_size))
    assert predicted.reward.shape == predicted.continuation.shape == (5, steps)
    assert ((predicted.continuation > 0) & (predicted.continuation < 1)).all()
    assert not imagined.states.deter.requires_grad


def test_every_imagined_step_is_the_models_own() -> None:
    agent = make_agent()
    rssm = agent.world_model.rssm
    start = State(noise(3, rssm.deter_size), rssm.initial(3).stoch)
    imagined = agent.actor_critic.imagine(rssm, start, ModeSampler())
    for t in range(ALGORITHM.horizon):
        now, after = (State(*(v[:, t + k] for v in imagined.states)) for k in (0, 1))
        assert torch.equal(imagined.actions[:, t], agent.actor_critic.actor(now.feature).mode)
        found = rssm.imagine_step(now, imagined.actions[:, t], ModeSampler())
        assert torch.allclose(found.deter, after.deter, atol=1e-6)
        assert torch.equal(found.stoch, after.stoch)


@pytest.mark.parametrize("discrete", [False, True])
def test_imagined_losses_teach_actor_and_critic_and_nobody_else(discrete: bool) -> None:
    agent = make_agent(make_contract(discrete=discrete))
    losses, returns, _ = agent.actor_critic.imagined_losses(*imagine(agent), ModeSampler())
    assert losses["policy"].shape == losses["value"].shape == returns.shape == (5, 4)
    learners = {"policy": agent.actor_critic.actor, "value": agent.actor_critic.critic}
    for name, learner in learners.items():
        agent.zero_grad()
        losses[name].sum().backward(retain_graph=True)
        own = {id(parameter) for parameter in learner.parameters()}
        for parameter in agent.parameters():
            has_gradient = parameter.grad is not None and bool(parameter.grad.any())
            assert has_gradient == (id(parameter) in own)


@pytest.mark.parametrize("reward", [100.0, -100.0])
def test_better_than_expected_actions_become_likelier_and_worse_ones_less(reward: float) -> None:
    agent = make_agent()
    actor, expects = agent.actor_critic.actor, agent.actor_critic.critic.output
    torch.nn.init.zeros_(expects.weight)
    torch.nn.init.zeros_(expects.bias)
    imagined, predicted = imagine(agent, starts=1)
    predicted.reward.zero_()
    predicted.reward[0, 1] = reward  # for the first action
    losses, _, _ = agent.actor_critic.imagined_losses(imagined, predicted, ModeSampler())
    feature, action = imagined.states.feature[:, 0], imagined.actions[:, 0]
    before = actor(feature).log_prob(action)
    losses["policy"][0, 0].backward()
    torch.optim.SGD(actor.parameters(), lr=1e-5).step()
    gain = actor(feature).log_prob(action) - before
    assert gain.sign() == torch.tensor(reward).sign()


def test_the_replayed_value_loss_skips_last_steps_and_reaches_the_features() -> None:
    actor_critic = make_agent().actor_critic
    feature = noise(2, 6, 48).requires_grad_()
    last = torch.zeros(2, 6, dtype=torch.bool)
    last[0, 2] = True
    loss = actor_critic.replay_loss(feature, noise(2, 6), last, last, noise(2, 6, seed=1))
    assert loss.shape == (2, 5)
    assert ((loss == 0) == last[:, :-1]).all()
    (gradient,) = torch.autograd.grad(loss.sum(), feature)
    assert gradient[1, :5].any(-1).all()
    assert not gradient[0, 2].any()


def test_the_slow_critic_follows_the_critic_by_its_rate() -> None:
    actor_critic = make_agent().actor_critic
    before = [parameter.clone() for parameter in actor_critic.slow_critic.parameters()]
    actor_critic.update_slow_critic(num_updates=0)
    pairs = zip(before, actor_critic.critic.parameters(), strict=True)
    expected = [old + ALGORITHM.slow_critic_rate * (new - old) for old, new in pairs]
    for found, wanted in zip(actor_critic.slow_critic.parameters(), expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)
        assert not found.requires_grad
