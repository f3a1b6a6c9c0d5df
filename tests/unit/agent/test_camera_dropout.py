"""Camera dropout: the statistics of gaps; lost frames reach neither encoder nor acting."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robodreamer.config import PRESETS, SIZES, OptimizerConfig
from robodreamer.data.collector import Collector
from robodreamer.data.replay import make_replay
from robodreamer.evaluation.policies import AgentPolicy
from robodreamer.learning.agent import Agent
from robodreamer.learning.camera_dropout import CameraDropout
from robodreamer.learning.learner import Learner, split_context
from robodreamer.models.encoder import Encoder
from robodreamer.models.sampling import ModeSampler, RandomSampler
from robodreamer_deploy.contract import Signal
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.vector_env import VectorEnv
from toy_agent import ALGORITHM, NETWORK, make_agent, make_batch, make_contract, make_observation

DROPPING = dataclasses.replace(ALGORITHM, camera_dropout=0.3)
FRONT, WRIST = "is_valid/front", "is_valid/wrist"
STACKED = (
    Signal(name="image/wrist", shape=(16, 16, 3), dtype="uint8"),
    Signal(name="image/front", shape=(16, 16, 1), dtype="uint8"),
)


def sample(seed: int = 0) -> RandomSampler:
    return RandomSampler(torch.Generator().manual_seed(seed))


def dropout(share: float = 0.2, gap: float = 3.0) -> CameraDropout:
    return CameraDropout(names=(FRONT, WRIST), share=share, gap=gap)


def lost_frames(found: CameraDropout, num_chains: int = 400, num_steps: int = 300) -> Tensor:
    """Return what a camera loses, (B, T)."""
    is_first = torch.zeros(num_chains, num_steps, dtype=torch.bool)
    return ~found.draw_sequence(is_first, sample())[FRONT]


def gap_lengths(is_lost: Tensor) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the lengths of all gaps in chains (B, T) that end before the last step."""
    lengths: list[int] = []
    for chain in is_lost.numpy():
        edges = np.flatnonzero(np.diff(np.concatenate([[0], chain])))
        lengths.extend((edges[1::2] - edges[: len(edges) // 2 * 2 : 2]).tolist())
    return np.array(lengths)


def keep_inputs(seen: list[dict[str, Tensor]]) -> Callable[[object, Any], None]:
    """Return a hook that appends a copy of all that an encoder is given."""
    return lambda _, inputs: seen.append({name: v.clone() for name, v in inputs[0].items()})


@pytest.mark.parametrize(("share", "gap"), [(0.2, 3.0), (0.5, 1.0), (0.6, 8.0), (0.05, 1.0)])
def test_frames_are_lost_as_often_and_in_gaps_as_long_as_asked_for(
    share: float, gap: float
) -> None:
    is_lost = lost_frames(dropout(share, gap))
    assert is_lost.float().mean().item() == pytest.approx(share, rel=0.05)
    assert is_lost[:, 0].float().mean().item() == pytest.approx(share, abs=0.08)
    lengths = gap_lengths(is_lost)
    assert lengths.mean() == pytest.approx(gap, rel=0.05)
    assert (lengths == 1).mean() == pytest.approx(1 / gap, rel=0.1)


def test_cameras_lose_their_frames_independently() -> None:
    bits = dropout().draw_sequence(torch.zeros(400, 300, dtype=torch.bool), sample())
    lost = torch.stack([~bits[FRONT], ~bits[WRIST]]).flatten(1).float()
    assert abs(torch.corrcoef(lost)[0, 1].item()) < 0.02


def test_step_by_step_the_chain_is_the_same_one() -> None:
    is_first = torch.zeros(400, dtype=torch.bool)
    sampler, is_lost = sample(), None
    steps: list[Tensor] = []
    for _ in range(300):
        is_lost = dropout().draw_step(is_lost, is_first, sampler)
        steps.append(is_lost[:, 0])
    found = torch.stack(steps[20:], 1)  # it begins with all frames there
    assert found.float().mean().item() == pytest.approx(0.2, rel=0.05)
    assert gap_lengths(found).mean() == pytest.approx(3.0, rel=0.05)


def test_a_new_episode_loses_frames_whatever_was_lost_before() -> None:
    everything = torch.ones(500, 2, dtype=torch.bool)
    is_first = torch.ones(500, dtype=torch.bool)
    after_loss = dropout().draw_step(everything, is_first, sample())
    assert torch.equal(after_loss, dropout().draw_step(None, is_first, sample()))
    assert after_loss.float().mean().item() == pytest.approx(0.2, abs=0.04)
    middle = torch.zeros(500, 3, dtype=torch.bool)
    middle[:, 1] = True
    rare = dropout(share=0.01, gap=100.0)  # which would stay lost
    lost = ~rare.draw_sequence(middle, sample())[FRONT]
    assert not (lost[:, 0] & lost[:, 1]).any()


@pytest.mark.parametrize("signals", [make_contract().inputs, STACKED])
@pytest.mark.parametrize("lost", [FRONT, WRIST])
def test_the_tokens_of_a_lost_frame_depend_on_its_bit_alone(
    signals: tuple[Signal, ...], lost: str
) -> None:
    torch.manual_seed(0)
    encoder, contract = Encoder(signals, NETWORK, reads_validity=True), make_contract(signals)
    bits = {FRONT: torch.tensor([True] * 2), WRIST: torch.tensor([True] * 2)}
    bits |= {lost: torch.tensor([False, True])}  # at one step of two
    image = f"image/{lost.partition('/')[2]}"
    observation = make_observation(contract, 2) | bits
    other = make_observation(contract, 2, seed=1)[image]
    tokens, changed = encoder(observation), encoder(observation | {image: other})
    assert torch.equal(tokens[0], changed[0])
    assert not torch.equal(tokens[1], changed[1])
    assert tokens.shape == (2, encoder.size)
    assert torch.equal(tokens[:, -2:], torch.stack([bits[FRONT], bits[WRIST]], -1).float())


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_the_other_cameras_of_a_stack_are_still_seen(camera: str) -> None:
    torch.manual_seed(0)
    encoder, contract = Encoder(STACKED, NETWORK, reads_validity=True), make_contract(STACKED)
    other = {"front": WRIST, "wrist": FRONT}[camera]
    observation = make_observation(contract, 1) | {other: torch.tensor([False])}
    image = make_observation(contract, 1, seed=1)[f"image/{camera}"]
    changed = encoder(observation | {f"image/{camera}": image})
    assert not torch.equal(encoder(observation), changed)


def test_a_frame_without_a_bit_is_valid() -> None:
    agent, contract = make_agent(algorithm=DROPPING), make_contract()
    observation = make_observation(contract, 2)
    there = {name: torch.ones(2, dtype=torch.bool) for name in (FRONT, WRIST)}
    encoder = agent.world_model.encoder
    assert torch.equal(encoder(observation), encoder(observation | there))
    gone = encoder(observation | {FRONT: torch.zeros(2, dtype=torch.bool)})
    assert not torch.equal(encoder(observation), gone)
    arrays = {name: value.numpy() for name, value in observation.items()}
    action = AgentPolicy(agent, 2, ModeSampler()).act(arrays, np.array([True, True]))
    first = torch.ones(2, dtype=torch.bool)
    expected = agent.act(agent.initial_carry(2), observation | there, first, ModeSampler()).action
    assert np.array_equal(action, expected.numpy())


@pytest.mark.parametrize("is_there", [False, True])
def test_a_lost_frame_teaches_the_encoder_nothing(is_there: bool) -> None:
    agent = make_agent(algorithm=DROPPING)
    sequence = split_context(make_batch(agent), agent, 1)
    bits = torch.full_like(sequence.is_first, is_there)
    observation = {**sequence.observation, FRONT: bits}
    losses, _, _ = agent.losses(sequence._replace(observation=observation), sample())
    agent.total_loss(losses).backward()
    cameras = agent.world_model.encoder.cameras
    pixels = {name: next(camera.parameters()).grad for name, camera in cameras.items()}
    assert {n: gradient is not None and bool(gradient.any()) for n, gradient in pixels.items()} == {
        "16x16": True,
        "16x32": is_there,
    }


def test_the_decoder_has_to_reconstruct_lost_frames() -> None:
    agent = make_agent(algorithm=DROPPING)
    batch = make_batch(agent)
    other = {**batch, "image/front": make_batch(agent, seed=1)["image/front"]}
    lost = {FRONT: torch.zeros(3, 6, dtype=torch.bool)}
    losses, changed = (
        agent.world_model.filter(s._replace(observation={**s.observation, **lost}), ModeSampler())[
            0
        ]
        for s in (split_context(values, agent, 1) for values in (batch, other))
    )
    assert [key for key in losses if not torch.equal(losses[key], changed[key])] == ["image/front"]


def test_an_update_goes_without_frames_and_repeats_to_the_bit() -> None:
    results: list[Tensor] = []
    for algorithm, seed in [(DROPPING, 0), (DROPPING, 0), (DROPPING, 1)]:
        agent = make_agent(algorithm=algorithm)
        learner = Learner(agent, OptimizerConfig(warmup=0), replay_context=1)
        seen: list[dict[str, Tensor]] = []
        agent.world_model.encoder.register_forward_pre_hook(keep_inputs(seen))
        learner.update(make_batch(agent, 8, 20), sample(seed))
        (observation,) = seen
        assert 0.1 < 1 - observation[FRONT].float().mean().item() < 0.5
        assert observation[FRONT].shape == observation[WRIST].shape == (8, 20)
        results.append(torch.cat([p.detach().flatten() for p in agent.parameters()]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_bfloat16_stays_bfloat16() -> None:
    agent = make_agent(algorithm=DROPPING)
    tokens = []
    agent.world_model.encoder.register_forward_hook(lambda *a: tokens.append(a[2].dtype))
    learner = Learner(
        agent, OptimizerConfig(warmup=0), replay_context=1, compute_dtype=torch.bfloat16
    )
    plain = make_agent()
    plain.world_model.encoder.register_forward_hook(lambda *a: tokens.append(a[2].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        plain.world_model.encoder(make_observation(make_contract(), 2))
    learner.update(make_batch(agent), sample())
    assert tokens[0] == tokens[1]


def test_without_the_option_there_is_no_bit_and_nothing_is_drawn() -> None:
    agent = make_agent()
    assert agent.camera_dropout is None
    assert (
        agent.world_model.encoder.size + 2
        == make_agent(algorithm=DROPPING).world_model.encoder.size
    )


def test_an_agent_without_cameras_cannot_lose_frames() -> None:
    vectors = tuple(s for s in make_contract().observations if not s.is_image)
    with pytest.raises(ValueError, match=r"camera-dropout: this agent sees no camera"):
        Agent(make_contract(vectors), NETWORK, DROPPING)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector over four toy environments with a camera, whose agent learns to lose frames."""
    algorithm = dataclasses.replace(PRESETS["dreamer_v3"], camera_dropout=0.4)
    options = EnvOptions(observe="both", image_size=(16, 16))
    with VectorEnv("gym:toy_env:Toy-v0", options, num_envs=4, num_workers=0, seed=3) as envs:
        agent = Agent(envs.contract, SIZES["debug"], algorithm)
        replay = make_replay(
            envs.contract, agent, num_envs=4, capacity=400, sequence_length=4, seed=0,
            device=torch.device("cpu"),
        )  # fmt: skip
        yield Collector(envs, agent, replay, sample(), torch.device("cpu"))


def test_collecting_acts_without_frames_and_files_them_all(collector: Collector) -> None:
    seen: list[dict[str, Tensor]] = []
    collector.agent.world_model.encoder.register_forward_pre_hook(keep_inputs(seen))
    for _ in range(60):
        collector.step()
    (bit,) = collector.agent.world_model.encoder.validity.values()
    (image,) = collector.agent.world_model.encoder.validity
    lost = ~torch.stack([observation[bit] for observation in seen])
    assert lost.float().mean().item() == pytest.approx(0.4, abs=0.1)
    assert bit not in collector.replay.fields
    (block,) = collector.replay.snapshot()[0].blocks((image,))
    filed = block.values[image].unflatten(0, (-1, 4))
    assert torch.equal(filed, torch.stack([observation[image] for observation in seen]))


@pytest.mark.slow
def test_a_frame_that_is_lost_is_drawn_from_memory() -> None:
    """Every episode has a shade of its own, which only the camera tells."""
    signals = (Signal(name="image/front", shape=(16, 16, 1), dtype="uint8"),)
    algorithm = dataclasses.replace(ALGORITHM, camera_dropout=0.5)
    agent = make_agent(make_contract(signals), algorithm=algorithm)
    learner = Learner(agent, OptimizerConfig(learning_rate=1e-3, warmup=20), replay_context=0)
    for step in range(300):
        learner.update(shades(agent, step), sample(step))
    batch = split_context(shades(agent, -1), agent, 0)
    errors: dict[str, float] = {}
    for name, num_seen in {"seen": 8, "remembered": 2, "never seen": 0}.items():
        bits = torch.arange(8).expand(16, 8) < num_seen
        sequence = batch._replace(observation={**batch.observation, FRONT: bits})
        with torch.no_grad():
            losses = agent.world_model.filter(sequence, ModeSampler()).losses
        errors[name] = losses["image/front"][:, 2:].mean().item() / 256
    assert errors["remembered"] < 0.3 * errors["never seen"], errors
    assert errors["remembered"] < 3 * errors["seen"] + 0.01, errors


def shades(agent: Agent, seed: int) -> dict[str, Tensor]:
    """Return episodes of eight steps (16, 8, ...), each of one shade."""
    batch = make_batch(agent, 16, 7, seed=seed + 1)
    shade = torch.randint(256, (16, 1), generator=torch.Generator().manual_seed(seed + 1))
    first = (torch.arange(8) == 0).expand(16, 8)
    return {
        **batch,
        "image/front": shade.to(torch.uint8)[..., None, None, None].expand(16, 8, 16, 16, 1),
        "is_first": first,
        "is_last": first.roll(-1, 1),
        "is_terminal": torch.zeros(16, 8, dtype=torch.bool),
    }
