"""Agent: acting and learning as a whole, and what may and may not influence them."""

from dataclasses import replace

import pytest
import torch

from robodreamer.config import AlgorithmConfig, OptimizerConfig
from robodreamer.learning.agent import Agent, Carry
from robodreamer.learning.learner import Learner, split_context
from robodreamer.models.distributions import symlog
from robodreamer.models.rssm import State
from robodreamer.models.sampling import ModeSampler, RandomSampler
from toy_agent import (
    ALGORITHM,
    SIGNALS,
    make_agent,
    make_batch,
    make_contract,
    make_observation,
)

OPTIMIZER = OptimizerConfig(learning_rate=1e-3, warmup=0)


def sample(seed: int = 0) -> RandomSampler:
    return RandomSampler(torch.Generator().manual_seed(seed))


def make_learner(agent: Agent, dtype: torch.dtype = torch.float32) -> Learner:
    return Learner(agent, OPTIMIZER, replay_context=1, compute_dtype=dtype)


def test_observing_a_sequence_is_observing_it_step_by_step() -> None:
    agent = make_agent()
    sequence = split_context(make_batch(agent), agent, 1)
    rssm = agent.world_model.rssm
    tokens = agent.world_model.encoder(sequence.observation)
    actions, is_first = sequence.previous_action, sequence.is_first
    assert is_first.any()
    states, posterior = rssm.observe(sequence.start, actions, tokens, is_first, ModeSampler())
    state = sequence.start
    for t in range(tokens.shape[1]):
        state, log_probs = rssm.observe_step(
            state, actions[:, t], tokens[:, t], is_first[:, t], ModeSampler()
        )
        assert torch.allclose(states.deter[:, t], state.deter, atol=1e-5)
        assert torch.equal(states.stoch[:, t], state.stoch)
        assert torch.allclose(posterior[:, t], log_probs, atol=1e-4)


def test_a_first_step_forgets_everything_before_it_even_nan() -> None:
    agent, contract = make_agent(), make_contract()
    observation, is_first = make_observation(contract, 2), torch.ones(2, dtype=torch.bool)
    fresh = agent.act(agent.initial_carry(2), observation, is_first, ModeSampler())
    carry = agent.initial_carry(2)
    stale = Carry(
        State(torch.full_like(carry.state.deter, torch.nan), torch.ones_like(carry.state.stoch)),
        torch.full_like(carry.action, torch.inf),
    )
    found = agent.act(stale, observation, is_first, ModeSampler())
    assert torch.equal(found.action, fresh.action)
    assert torch.equal(found.state.deter, fresh.state.deter)


@pytest.mark.parametrize("discrete", [False, True])
def test_actions_fit_the_contract(discrete: bool) -> None:
    contract = make_contract(discrete=discrete)
    agent = make_agent(contract)
    carry = agent.initial_carry(4)
    is_first = torch.ones(4, dtype=torch.bool)
    carry = agent.act(carry, make_observation(contract, 4), is_first, sample())
    assert carry.action.shape == (4, contract.action.size)
    assert carry.action.dtype == torch.float32
    assert not carry.action.requires_grad
    if discrete:
        assert torch.equal(carry.action.sum(-1), torch.ones(4))
        assert set(carry.action.unique().tolist()) <= {0.0, 1.0}


def test_privileged_signals_change_nothing_in_acting_and_are_not_needed() -> None:
    agent, contract = make_agent(), make_contract()
    observation, is_first = make_observation(contract, 2), torch.zeros(2, dtype=torch.bool)
    (name,) = [signal.name for signal in contract.privileged]
    expected = agent.act(agent.initial_carry(2), observation, is_first, ModeSampler())
    other = observation | {name: observation[name] + 100}
    without = {key: value for key, value in observation.items() if key != name}
    for seen in (other, without):
        found = agent.act(agent.initial_carry(2), seen, is_first, ModeSampler())
        assert torch.equal(found.action, expected.action)
        assert torch.equal(found.state.deter, expected.state.deter)


def test_privileged_signals_are_reconstructed() -> None:
    (name,) = [signal.name for signal in SIGNALS if signal.family == "privileged"]
    batch = make_batch(make_agent())
    losses, changed = (
        agent.losses(split_context(batch | {name: batch[name] + offset}, agent, 1), ModeSampler())[
            0
        ]
        for agent, offset in ((make_agent(), 0), (make_agent(), 100))
    )
    assert losses[name].shape == (3, 6)
    assert [key for key in losses if not torch.equal(losses[key], changed[key])] == [name]


def test_imagination_from_the_last_steps_is_that_part_of_imagination_from_all() -> None:
    last = 3
    few = make_agent(algorithm=replace(ALGORITHM, imagination_last=last))
    (from_all, _, _), (from_last, _, _) = (
        agent.losses(split_context(make_batch(agent), agent, 1), ModeSampler())
        for agent in (make_agent(), few)
    )
    for name, count in {"value": last, "replay_value": last - 1}.items():
        assert from_last[name].shape == (3, count)
        assert torch.allclose(from_last[name], from_all[name][:, -count:], atol=1e-5), name
        assert not torch.allclose(from_last[name], from_all[name][:, :count], atol=1e-3), name


AUXILIARY = replace(ALGORITHM, loss_scales=replace(ALGORITHM.loss_scales, auxiliary=0.5))


def test_an_auxiliary_head_trains_the_encoder_alone_on_privileged_signals() -> None:
    agent = make_agent(algorithm=AUXILIARY)
    sequence = split_context(make_batch(agent), agent, 1)
    losses, _, _ = agent.losses(sequence, ModeSampler())
    (name,) = [signal.name for signal in agent.contract.privileged]
    loss = losses[f"auxiliary/{name}"]
    assert loss.shape == (3, 6)
    loss.mean().backward()
    taught = {n.split(".")[1] for n, p in agent.named_parameters() if p.grad is not None}
    assert taught == {"encoder", "auxiliary"}
    assert agent.world_model.auxiliary is not None
    predicted = agent.world_model.auxiliary(agent.world_model.encoder(sequence.observation))
    error = (predicted[name] - symlog(sequence.observation[name])).square().flatten(2).sum(-1)
    assert torch.allclose(loss, error)


def test_the_auxiliary_head_has_a_weight_of_its_own_and_is_left_out_at_zero() -> None:
    agent = make_agent(algorithm=AUXILIARY)
    losses, _, _ = agent.losses(split_context(make_batch(agent), agent, 1), ModeSampler())
    total = agent.total_loss(losses)
    (name,) = [key for key in losses if key.startswith("auxiliary/")]
    more = agent.total_loss(losses | {name: losses[name] + 1.0})
    assert (more - total).item() == pytest.approx(0.5, rel=1e-3)
    assert make_agent().world_model.auxiliary is None


@pytest.mark.parametrize("algorithm", [ALGORITHM, AUXILIARY])
def test_every_parameter_learns_but_those_of_the_slow_critic(algorithm: AlgorithmConfig) -> None:
    agent = make_agent(algorithm=algorithm)
    losses, _, _ = agent.losses(split_context(make_batch(agent), agent, 1), sample())
    agent.total_loss(losses).backward()
    for name, parameter in agent.named_parameters():
        has_gradient = parameter.grad is not None and bool(parameter.grad.any())
        assert has_gradient == ("slow_critic" not in name), name


def test_every_loss_has_a_scale_and_every_scale_a_loss() -> None:
    agent = make_agent(algorithm=AUXILIARY)
    losses, _, _ = agent.losses(split_context(make_batch(agent), agent, 1), ModeSampler())
    assert losses.keys() == agent.scales.keys()


def test_the_total_is_the_weighted_sum_of_the_mean_losses() -> None:
    scales = replace(ALGORITHM.loss_scales, images=2.0, vectors=2.0, policy=0.0)
    agent = make_agent(algorithm=replace(ALGORITHM, loss_scales=scales))
    losses, _, _ = agent.losses(split_context(make_batch(agent), agent, 1), ModeSampler())
    weights = {"representation": 0.1, "policy": 0.0, "replay_value": 0.3}
    weights |= {signal.name: 2.0 for signal in SIGNALS}
    means = {name: loss.mean().item() for name, loss in losses.items()}
    expected = sum(weights.get(name, 1.0) * mean for name, mean in means.items())
    assert agent.total_loss(losses).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("discrete", [False, True])
def test_an_update_moves_every_parameter_and_returns_the_new_latents(discrete: bool) -> None:
    agent = make_agent(make_contract(discrete=discrete))
    before = {name: p.detach().clone() for name, p in agent.named_parameters()}
    metrics, latents = make_learner(agent).update(make_batch(agent), sample())
    unmoved = [n for n, p in agent.named_parameters() if torch.equal(p, before[n])]
    assert not unmoved
    assert all(torch.isfinite(metric) for metric in metrics.values())
    assert latents["deter"].shape == (3, 6, 32)
    assert latents["stoch"].shape == (3, 6, 4, 4)
    assert not latents["deter"].requires_grad


def test_updates_on_the_same_batch_teach_the_world_model() -> None:
    agent = make_agent()
    learner, batch = make_learner(agent), make_batch(agent)
    names = [*(signal.name for signal in SIGNALS), "reward", "continuation"]
    errors: list[float] = []
    for seed in range(12):
        metrics, _ = learner.update(batch, sample(seed))
        errors.append(sum(metrics[f"loss/{name}"].item() for name in names))
    assert errors[-1] < 0.9 * errors[0]


def test_updates_repeat_to_the_bit_from_the_same_seed() -> None:
    results = []
    for _ in range(2):
        agent = make_agent()
        learner = make_learner(agent)
        for seed in range(2):
            learner.update(make_batch(agent, seed=seed), sample(seed))
        results.append(torch.cat([p.detach().flatten() for p in agent.parameters()]))
    assert torch.equal(results[0], results[1])


def test_bfloat16_keeps_parameters_in_float32_and_losses_near_those_of_float32() -> None:
    metrics = {}
    for dtype in (torch.float32, torch.bfloat16):
        agent = make_agent()
        metrics[dtype], latents = make_learner(agent, dtype).update(
            make_batch(agent), ModeSampler()
        )
        assert all(parameter.dtype == torch.float32 for parameter in agent.parameters())
        assert all(value.dtype == torch.float32 for value in latents.values())
    full, reduced = (float(m["loss/total"]) for m in metrics.values())
    assert reduced == pytest.approx(full, rel=0.02)
    assert reduced != full


def test_imagination_can_start_from_the_last_steps_only() -> None:
    agent = make_agent(algorithm=replace(ALGORITHM, imagination_last=2))
    losses, _, _ = agent.losses(split_context(make_batch(agent), agent, 1), ModeSampler())
    assert losses["policy"].shape == losses["value"].shape == (3, 2)
    assert losses["replay_value"].shape == (3, 1)
    assert losses["reward"].shape == (3, 6)


def test_a_share_of_the_pictures_estimates_the_loss_of_all() -> None:
    agent, part = make_agent(), make_agent(decode_fraction=0.5)
    part.load_state_dict(agent.state_dict())
    sequence = split_context(make_batch(agent), agent, 1)
    name = "image/front"
    whole = agent.losses(sequence, ModeSampler())[0][name]
    estimates = [part.world_model.filter(sequence, Picker(seed)).losses[name] for seed in range(20)]
    assert all((estimate > 0).sum() == 9 for estimate in estimates)
    mean = torch.stack(estimates).mean(0)
    assert mean.mean().item() == pytest.approx(whole.mean().item(), rel=0.1)


class Picker(ModeSampler):
    """The mode of everything, but random frames."""

    def __init__(self, seed: int) -> None:
        self.random = sample(seed)

    def subset(self, total: int, count: int) -> torch.Tensor:
        return self.random.subset(total, count)


@pytest.mark.parametrize("context", [1, 2])
def test_context_steps_only_start_the_sequence(context: int) -> None:
    agent = make_agent()
    batch = make_batch(agent, steps=7)
    sequence = split_context(batch, agent, context)
    assert torch.equal(sequence.start.deter, batch["deter"][:, context - 1])
    assert torch.equal(sequence.previous_action, batch["action"][:, context - 1 : -1])
    assert torch.equal(sequence.reward, batch["reward"][:, context:])


def test_without_context_nothing_came_before() -> None:
    agent = make_agent()
    sequence = split_context(make_batch(agent), agent, 0)
    assert not sequence.start.deter.any()
    assert not sequence.previous_action[:, 0].any()


def test_a_transformed_reward_is_what_all_losses_see() -> None:
    agent = make_agent(algorithm=replace(ALGORITHM, reward_transform="tanh"))
    plain = make_agent()
    sequence = split_context(make_batch(agent), agent, 1)
    transformed = sequence._replace(reward=torch.tanh(sequence.reward))
    losses, _, _ = agent.losses(sequence, ModeSampler())
    expected, _, _ = plain.losses(transformed, ModeSampler())
    for name, loss in expected.items():
        assert torch.equal(losses[name], loss), name
    untransformed, _, _ = plain.losses(sequence, ModeSampler())
    assert not torch.equal(untransformed["replay_value"], losses["replay_value"])
