"""Futures: one real state, then the actor and the prior alone."""

import numpy as np
import pytest
import torch
from test_dream import changed, make_footage

from robodreamer.learning.agent import Agent
from robodreamer.models.rssm import State
from robodreamer.models.sampling import ModeSampler
from robodreamer.visualization.dream import decode, dream, watch
from robodreamer.visualization.futures import Futures, imagine_futures
from robodreamer.visualization.views import make_sampler
from toy_agent import make_agent

STEPS, CONTEXT, HORIZON = 9, 4, 6


@pytest.fixture(scope="module")
def agent() -> Agent:
    return make_agent().eval()


def imagine(agent: Agent, count: int = 3, seed: int | None = None) -> Futures:
    footage = make_footage(agent.contract, STEPS)
    sampler = make_sampler(seed or 0, is_sampling=seed is not None)
    return imagine_futures(agent, footage, CONTEXT, HORIZON, count, sampler)


@torch.no_grad()
def test_each_step_follows_from_the_actors_action_and_the_prior(agent: Agent) -> None:
    found = imagine(agent, count=1)
    states = watch(agent, make_footage(agent.contract, STEPS), CONTEXT)
    state = State(*(value[-1:] for value in states))
    for step in range(HORIZON + 1):
        for name, value in decode(agent, state).items():
            np.testing.assert_allclose(found.model[name][:, step], value, atol=1e-5, err_msg=name)
        model = agent.world_model
        reward = model.reward.mean(model.reward(state.feature))
        np.testing.assert_allclose(found.rewards[:, step], reward, rtol=1e-4)
        action = agent.actor_critic.actor(state.feature).sample(ModeSampler())
        np.testing.assert_allclose(found.actions[:, step], action, atol=1e-5)
        state = model.rssm.imagine_step(state, action, ModeSampler())


def test_all_start_in_the_state_that_was_watched(agent: Agent) -> None:
    found = imagine(agent, seed=0)
    footage = make_footage(agent.contract, STEPS)
    expected = dream(agent, footage, CONTEXT)
    for name, values in found.model.items():
        for first in values[:, 0]:
            np.testing.assert_allclose(first, expected.model[name][CONTEXT - 1], atol=1e-5)
    other = imagine_futures(
        agent, changed(footage, "image/front", CONTEXT - 1), CONTEXT, 1, 1, ModeSampler()
    )
    assert any((v[0, 0] != found.model[name][0, 0]).any() for name, v in other.model.items())


def test_drawn_futures_spread_and_a_seed_repeats_them(agent: Agent) -> None:
    found, again, other = (imagine(agent, seed=seed) for seed in (1, 1, 2))
    assert (found.actions[0] != found.actions[1]).any()
    assert (
        found.step(HORIZON)["goal/position"][0] != found.step(HORIZON)["goal/position"][1]
    ).any()
    np.testing.assert_array_equal(found.rewards, again.rewards)
    assert (found.rewards != other.rewards).any()


def test_the_likeliest_futures_are_all_the_same(agent: Agent) -> None:
    found = imagine(agent)
    np.testing.assert_allclose(found.actions[0], found.actions[1], atol=1e-5)


def test_the_course_that_was_taken_begins_at_the_start_and_ends_with_the_episode(
    agent: Agent,
) -> None:
    footage = make_footage(agent.contract, STEPS)
    footage = footage._replace(rewards=np.arange(STEPS, dtype=float))
    found = imagine_futures(agent, footage, CONTEXT, HORIZON + 20, 2, ModeSampler())
    np.testing.assert_array_equal(found.true_rewards, range(CONTEXT - 1, STEPS))
    np.testing.assert_array_equal(
        found.truth["goal/position"], footage.observations["goal/position"][CONTEXT - 1 :]
    )
    short = imagine_futures(agent, footage, CONTEXT, 2, 2, ModeSampler())
    np.testing.assert_array_equal(short.true_rewards, range(CONTEXT - 1, CONTEXT + 2))
    assert short.num_steps == 3
