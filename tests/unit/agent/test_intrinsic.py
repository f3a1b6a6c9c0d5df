"""Intrinsic rewards: their measures, their scale, and their place in learning."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robodreamer.config import IntrinsicConfig
from robodreamer.learning.intrinsic import Arrivals, Disagreement, Outcomes, RewardScale, Surprise
from robodreamer.learning.learner import Learner, split_context
from robodreamer.models.sampling import ModeSampler, RandomSampler
from toy_agent import ALGORITHM, NETWORK, make_agent, make_batch

FEATURE, ACTION, STOCH = 6, 2, 4
KINDS = ("surprise", "disagreement")


def config(kind: Any, **changes: Any) -> IntrinsicConfig:
    return IntrinsicConfig(kind=kind, **{"scale": 0.5, "members": 3, "layers": 1, **changes})


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_disagreement_is_the_deviation_of_the_members_about_the_state_before() -> None:
    torch.manual_seed(0)
    ensemble = Disagreement(FEATURE, ACTION, STOCH, NETWORK, config("disagreement"))
    feature, action = noise(2, 5, FEATURE), noise(2, 5, ACTION, seed=1)
    novelty = ensemble(Arrivals(feature, action))
    assert torch.equal(novelty[:, 0], torch.zeros(2))
    inputs = torch.cat([feature[:, :-1], action[:, 1:]], -1)
    means = np.stack([member(inputs).detach().numpy() for member in ensemble.members])
    assert novelty[:, 1:].detach().numpy() == pytest.approx(means.std(0).mean(-1), rel=1e-4)


def test_the_ensemble_learns_the_density_of_the_next_latent() -> None:
    torch.manual_seed(0)
    ensemble = Disagreement(FEATURE, ACTION, STOCH, NETWORK, config("disagreement"))
    feature, action, stoch = noise(2, 5, FEATURE), noise(2, 5, ACTION), noise(2, 5, STOCH)
    loss = ensemble.loss(Arrivals(feature, action), Outcomes(stoch, noise(2, 5)))
    inputs = torch.cat([feature[:, :-1], action[:, 1:]], -1)
    expected = torch.stack(
        [
            -torch.distributions.Normal(member(inputs), 1.0).log_prob(stoch[:, 1:]).sum(-1)
            for member in ensemble.members
        ]
    ).sum(0)
    assert torch.allclose(loss, expected, rtol=1e-5)


def test_surprise_learns_the_divergence_of_each_state() -> None:
    torch.manual_seed(0)
    surprise = Surprise(FEATURE, NETWORK, config("surprise"))
    arrivals = Arrivals(noise(2, 5, FEATURE), noise(2, 5, ACTION))
    kl = noise(2, 5, seed=3).abs()
    predicted = surprise(arrivals)
    loss = surprise.loss(arrivals, Outcomes(noise(2, 5, STOCH), kl))
    expected = -torch.distributions.Normal(predicted, 1.0).log_prob(kl)
    assert torch.allclose(loss, expected)


def test_rewards_are_divided_by_a_running_mean_of_their_magnitude() -> None:
    scale = RewardScale(momentum=0.9, scale=2.0)
    magnitude, reward = 1.0, noise(1)
    for seed in range(3):
        reward = 5 * noise(4, 6, seed=seed)
        scale.update(reward)
        magnitude = 0.9 * magnitude + 0.1 * reward.abs().mean().item()
        assert torch.allclose(scale(reward), reward / magnitude * 2.0, rtol=1e-5)
    fixed = RewardScale(momentum=1.0, scale=1.0)
    fixed.update(reward)
    assert torch.allclose(fixed(reward), reward)


@pytest.mark.parametrize("kind", KINDS)
def test_an_intrinsic_reward_is_part_of_imagined_rewards_until_it_has_fallen_to_zero(
    kind: str,
) -> None:
    algorithm = replace(ALGORITHM, intrinsic=config(kind, until=2, momentum=1.0))
    agent = make_agent(algorithm=algorithm)
    sequence = split_context(make_batch(agent), agent, 1)
    _, states, _ = agent.model_losses(sequence, ModeSampler())
    start = type(states)(*(value.flatten(0, 1) for value in states.detach()))
    imagined = agent.actor_critic.imagine(agent.world_model.rssm, start, ModeSampler())
    with torch.no_grad():  # so that the world model predicts a reward of exactly 0
        for parameter in agent.world_model.reward.output.parameters():
            parameter.zero_()
    added = []
    for _ in range(3):
        added.append(agent.predict_rewards(imagined).reward.abs().max().item())
        agent.count_update()
    assert added == pytest.approx([added[0], added[0] / 2, 0.0])
    assert added[0] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_its_predictors_learn_from_their_own_loss_alone(kind: str) -> None:
    algorithm = replace(ALGORITHM, intrinsic=config(kind), actor_gradient="both")
    agent = make_agent(algorithm=algorithm)
    sequence = split_context(make_batch(agent), agent, 1)
    losses, _, _ = agent.losses(sequence, RandomSampler(torch.Generator().manual_seed(0)))
    assert agent.intrinsic is not None
    own, others = losses.pop("intrinsic"), agent.total_loss(losses)
    mine, world = list(agent.intrinsic.parameters()), list(agent.world_model.parameters())
    assert all(g is None for g in torch.autograd.grad(others, mine, allow_unused=True))
    assert all(g is None for g in torch.autograd.grad(own.mean(), world, allow_unused=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_teaches_the_predictors_to_predict_it(kind: str) -> None:
    algorithm = replace(
        ALGORITHM,
        intrinsic=config(kind),
        optimizer=replace(ALGORITHM.optimizer, learning_rate=3e-3, warmup=0),
    )
    agent = make_agent(algorithm=algorithm)
    learner = Learner(agent, algorithm.optimizer, replay_context=1)
    batch = make_batch(agent)
    seen = [learner.update(batch, ModeSampler())[0]["loss/intrinsic"].item() for _ in range(30)]
    assert seen[-1] < 0.8 * seen[0]


def test_acting_does_not_depend_on_an_intrinsic_reward() -> None:
    plain = make_agent()
    curious = make_agent(algorithm=replace(ALGORITHM, intrinsic=config("surprise")))
    curious.load_state_dict(plain.state_dict(), strict=False)
    batch = make_batch(plain)
    observation = {s.name: batch[s.name][:, 0] for s in plain.contract.inputs}
    first = torch.ones(3, dtype=torch.bool)
    actions = [
        agent.act(agent.initial_carry(3), observation, first, ModeSampler()).action
        for agent in (plain, curious)
    ]
    assert torch.equal(*actions)


def test_a_first_step_of_an_episode_teaches_nothing() -> None:
    agent = make_agent(algorithm=replace(ALGORITHM, intrinsic=config("disagreement")))
    assert agent.intrinsic is not None
    size = agent.world_model.feature_size
    outcomes = Outcomes(noise(1, 4, agent.world_model.rssm.latent.size), noise(1, 4))
    arrivals = Arrivals(noise(1, 4, size), noise(1, 4, 2))
    is_first = torch.tensor([[True, False, True, False]])
    loss = agent.intrinsic.loss(arrivals, outcomes, is_first)
    assert (loss == 0).tolist() == [[False, True, False]]
