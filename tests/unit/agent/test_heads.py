"""Heads that settings choose: scores of numbers, distributions of actions, first weights."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from robodreamer.config import AlgorithmConfig, NetworkConfig, PartsConfig
from robodreamer.models.action_distributions import (
    Categorical,
    Normal,
    TanhNormal,
    TruncatedNormal,
)
from robodreamer.models.heads import NormalHead, make_actor, make_scalar_head
from robodreamer_deploy.contract import ActionSpec

FEATURES, A = 12, 3
CONTINUOUS = ActionSpec(size=A, low=(-1.0,) * A, high=(1.0,) * A)
DISCRETE = ActionSpec(kind="discrete", size=A)
ActorKind = Literal["normal", "tanh_normal", "truncated_normal"]
KINDS: dict[ActorKind, type] = {
    "normal": Normal,
    "tanh_normal": TanhNormal,
    "truncated_normal": TruncatedNormal,
}


def network(actor: ActorKind = "normal") -> NetworkConfig:
    return NetworkConfig(units=16, parts=PartsConfig(actor=actor, norm="none"))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_normal_head_is_scored_as_by_torch_and_its_target_gets_no_gradient() -> None:
    head = make_scalar_head("normal", FEATURES, network(), layers=2)
    assert isinstance(head, NormalHead)
    outputs, targets = head(noise(5, 4, FEATURES)), noise(5, 4, 2, seed=1).requires_grad_()
    assert head.mean(outputs).shape == (5, 4)
    theirs = torch.distributions.Normal(head.mean(outputs).unsqueeze(-1), 1.0)
    losses = head.losses(outputs, targets)
    assert torch.allclose(losses, -theirs.log_prob(targets), atol=1e-6)
    assert torch.equal(head.loss(outputs, targets[..., 0]), losses[..., 0])
    assert not losses.sum().backward()
    assert targets.grad is None
    assert head.output.weight.grad is not None
    assert head.reach.item() == math.inf


def test_a_number_is_predicted_as_the_setting_asks() -> None:
    twohot = make_scalar_head("twohot", FEATURES, network(), layers=1)
    assert twohot(noise(5, FEATURES)).shape == (5, network().bins)
    assert make_scalar_head("normal", FEATURES, network(), layers=1)(noise(5, FEATURES)).shape == (
        5,
        1,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_continuous_actions_have_the_distribution_that_the_setting_asks_for(
    kind: ActorKind,
) -> None:
    algorithm = AlgorithmConfig(min_std=0.2, init_std=0.5, mean_scale=3.0)
    actor = make_actor(FEATURES, CONTINUOUS, network(kind), algorithm)
    policy = actor(1e5 * noise(500, FEATURES))  # outputs that saturate
    assert type(policy) is KINDS[kind]
    assert not isinstance(policy, Categorical)
    mean = policy.loc if isinstance(policy, TruncatedNormal) else policy.mean
    assert policy.std.min().item() == pytest.approx(0.2, abs=1e-3)
    limits = {"normal": 1.0, "tanh_normal": 3.0, "truncated_normal": 1.0}
    assert mean.abs().max().item() == pytest.approx(limits[kind], rel=1e-3)
    assert mean.abs().max() <= limits[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_discrete_actions_are_classes_whatever_continuous_ones_are(kind: ActorKind) -> None:
    actor = make_actor(FEATURES, DISCRETE, network(kind), AlgorithmConfig())
    assert isinstance(actor(noise(5, FEATURES)), Categorical)


def test_an_untrained_actor_explores_as_in_its_paper() -> None:
    zeros = torch.zeros(1, FEATURES)
    v1 = AlgorithmConfig(min_std=1e-4, init_std=math.log(math.expm1(5.0)))
    squashed = make_actor(FEATURES, CONTINUOUS, network("tanh_normal"), v1)(zeros)
    truncated = make_actor(FEATURES, CONTINUOUS, network("truncated_normal"), AlgorithmConfig())(
        zeros
    )
    assert isinstance(squashed, TanhNormal)
    assert isinstance(truncated, TruncatedNormal)
    assert squashed.std.tolist()[0] == pytest.approx([5.0001] * A)
    assert truncated.std.tolist()[0] == pytest.approx([1.1] * A)
    assert not squashed.mode.any()
    assert not truncated.mode.any()
