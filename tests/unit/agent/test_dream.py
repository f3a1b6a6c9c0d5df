"""Dreams: watching is filtering, imagining sees nothing but actions, errors are in real units."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from robodreamer.evaluation.evaluate import EVALUATION_SEED
from robodreamer.evaluation.policies import AgentPolicy
from robodreamer.learning.agent import Agent, Carry
from robodreamer.models.rssm import State
from robodreamer.models.sampling import ModeSampler
from robodreamer.visualization.dream import Dream, dream, imagine_from
from robodreamer.visualization.episodes import Footage, Recorder, film_episode
from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.cameras.camera_set import CameraSet
from robodreamer_sim.cameras.images import RenderedImages
from robodreamer_sim.env import TaskEnv, Transition
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.seeding import episode_seed
from toy_agent import make_agent, make_contract, make_observation

STEPS, CONTEXT = 9, 4


@pytest.fixture(scope="module")
def agent() -> Agent:
    return make_agent().eval()


def make_footage(contract: Contract, steps: int = STEPS, seed: int = 0) -> Footage:
    values = make_observation(contract, steps, seed=seed)
    generator = np.random.default_rng(seed)
    return Footage(
        observations={name: value.numpy() for name, value in values.items()},
        actions=generator.uniform(-1, 1, (steps, contract.action.size)).astype(np.float32),
        rewards=np.zeros(steps),
        success=np.zeros(steps, bool),
    )


def inputs(agent: Agent, footage: Footage, count: int) -> dict[str, Array]:
    return {s.name: footage.observations[s.name][:count] for s in agent.contract.inputs}


def changed(footage: Footage, name: str, step: int) -> Footage:
    """Return the footage with another value of one signal at one step."""
    values = footage.observations[name].copy()
    values[step] = 1 - values[step] if values.dtype == np.int32 else values[step] // 2 + 40
    return footage._replace(observations={**footage.observations, name: values})


def assert_same_model(one: Dream, other: Dream, steps: slice) -> None:
    for name, values in one.model.items():
        np.testing.assert_array_equal(values[steps], other.model[name][steps], err_msg=name)


def differs(one: Dream, other: Dream, steps: slice) -> bool:
    return any((v[steps] != other.model[name][steps]).any() for name, v in one.model.items())


def test_watched_states_are_those_of_acting(agent: Agent) -> None:
    footage = make_footage(agent.contract)
    states = imagine_from(agent, inputs(agent, footage, CONTEXT), footage.actions[:-1])
    carry = agent.initial_carry(1)
    for step in range(CONTEXT):
        observation = {
            name: torch.from_numpy(value[step : step + 1])
            for name, value in inputs(agent, footage, CONTEXT).items()
        }
        carry = agent.act(carry, observation, torch.tensor([step == 0]), ModeSampler())
        torch.testing.assert_close(states.deter[step], carry.state.deter[0])
        torch.testing.assert_close(states.stoch[step], carry.state.stoch[0])
        taken = torch.from_numpy(footage.actions[step : step + 1])
        carry = Carry(carry.state, taken)  # whatever the policy would have done


def test_imagined_states_follow_from_the_one_before_and_the_action_taken(agent: Agent) -> None:
    footage = make_footage(agent.contract)
    states = imagine_from(agent, inputs(agent, footage, CONTEXT), footage.actions[:-1])
    assert len(states.deter) == STEPS
    for step in range(CONTEXT, STEPS):
        before = State(*(value[step - 1 : step] for value in states))
        action = torch.from_numpy(footage.actions[step - 1 : step])
        with torch.no_grad():
            expected = agent.world_model.rssm.imagine_step(before, action, ModeSampler())
        torch.testing.assert_close(states.deter[step], expected.deter[0])
        torch.testing.assert_close(states.stoch[step], expected.stoch[0])


def test_what_is_observed_later_changes_nothing(agent: Agent) -> None:
    footage = make_footage(agent.contract)
    expected = dream(agent, footage, CONTEXT)
    for name in footage.observations:
        found = dream(agent, changed(footage, name, CONTEXT), CONTEXT)
        assert_same_model(found, expected, slice(None))
        assert (found.truth[name][CONTEXT] != expected.truth[name][CONTEXT]).any()


def test_what_was_watched_matters(agent: Agent) -> None:
    footage = make_footage(agent.contract)
    expected = dream(agent, footage, CONTEXT)
    found = dream(agent, changed(footage, "image/front", CONTEXT - 1), CONTEXT)
    assert_same_model(found, expected, slice(0, CONTEXT - 1))
    assert differs(found, expected, slice(CONTEXT, None))


def test_an_action_changes_what_is_imagined_after_it(agent: Agent) -> None:
    footage = make_footage(agent.contract)
    expected = dream(agent, footage, CONTEXT)
    actions = footage.actions.copy()
    actions[CONTEXT + 1] *= -1
    found = dream(agent, footage._replace(actions=actions), CONTEXT)
    assert_same_model(found, expected, slice(0, CONTEXT + 2))
    assert differs(found, expected, slice(CONTEXT + 2, CONTEXT + 3))


def test_truth_and_model_are_in_the_same_units_and_shapes(agent: Agent) -> None:
    footage = make_footage(agent.contract)
    found = dream(agent, footage, CONTEXT)
    assert set(found.truth) == set(found.model) == {s.name for s in agent.contract.observations}
    for name, truth in found.truth.items():
        assert (found.model[name].shape, len(truth)) == (truth.shape, STEPS), name
    observed = footage.observations
    np.testing.assert_array_equal(found.truth["goal/position"], observed["goal/position"])
    np.testing.assert_allclose(found.truth["image/front"] * 255, observed["image/front"], atol=1e-4)
    with torch.no_grad():
        states = imagine_from(agent, inputs(agent, footage, CONTEXT), footage.actions[:-1])
        decoder = agent.world_model.decoder
        expected = decoder.in_units(decoder(states))
    np.testing.assert_array_equal(found.model["goal/position"], expected["goal/position"])
    assert set(np.unique(found.model["proprio/gripper"])) <= {0, 1, 2}


def test_a_short_episode_is_watched_less(agent: Agent) -> None:
    footage = make_footage(agent.contract, steps=3)
    found = dream(agent, footage, context=5)
    assert (found.context, found.num_steps) == (2, 3)
    assert dream(agent, make_footage(agent.contract), context=2, horizon=4).num_steps == 6


def test_errors_are_root_mean_squares_and_shares_of_wrong_classes() -> None:
    found = Dream(
        context=1,
        truth={
            "goal/a": np.array([[0, 0], [3, 4]], np.float32),
            "goal/b": np.array([[1, 1], [1, 2]]),
        },
        model={
            "goal/a": np.array([[0, 2], [3, 4]], np.float32),
            "goal/b": np.array([[1, 0], [1, 2]]),
        },
    )
    np.testing.assert_allclose(found.errors["goal/a"], [np.sqrt(2), 0])
    np.testing.assert_allclose(found.errors["goal/b"], [0.5, 0])
    np.testing.assert_allclose(found.still_errors["goal/a"], [0, np.sqrt(12.5)])
    np.testing.assert_allclose(found.still_errors["goal/b"], [0, 0.5])


class Walk(TaskEnv):
    """Observes random values for four steps; may refuse to be drawn."""

    def __init__(self, *, has_pictures: bool = True) -> None:
        nothing = RenderedImages(SimpleNamespace(render_mode=None))
        camera_set = CameraSet("walk", nothing, EnvOptions(), (), 0.1, is_used=False)
        super().__init__(make_contract(), action_repeat=1, camera_set=camera_set)
        self.has_pictures = has_pictures
        self.seeds: list[int | None] = []
        self.actions: list[Array] = []

    def render_camera(
        self, camera: str | None = None, height: int = 240, width: int = 320
    ) -> NDArray[np.uint8]:
        if not self.has_pictures:
            raise ValueError("cannot be drawn")
        return np.full((height, width, 3), len(self.actions), np.uint8)

    def _begin(self, seed: int | None) -> None:
        self.seeds.append(seed)
        self.actions = []

    def _advance(self, actuators: Array) -> Transition:
        self.actions.append(actuators)
        count = len(self.actions)
        return Transition(float(count), is_terminated=False, is_truncated=count == 4, success=True)

    def _measure(self) -> dict[str, Array]:
        values = make_observation(self.contract, seed=len(self.actions))
        return {name: value.numpy() for name, value in values.items()}


def test_a_film_shows_what_evaluation_counts(agent: Agent) -> None:
    env = Walk()
    footage = film_episode(agent, env, 2, picture_size=(6, 8))
    assert env.seeds == [episode_seed(EVALUATION_SEED, 2, 0)]
    assert footage.num_steps == 5
    np.testing.assert_array_equal(footage.rewards, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(footage.success, [False, True, True, True, True])
    assert footage.pictures is not None
    np.testing.assert_array_equal(footage.pictures[:, 0, 0, 0], range(5))
    to_actuators = env.contract.action.to_actuators
    np.testing.assert_array_equal(env.actions, [to_actuators(a) for a in footage.actions[:-1]])
    policy = AgentPolicy(agent, 1, ModeSampler())
    for step, action in enumerate(footage.actions):
        seen = {name: value[step : step + 1] for name, value in footage.observations.items()}
        np.testing.assert_array_equal(policy.act(seen, np.array([step == 0]))[0], action)


def test_what_cannot_be_drawn_is_filmed_without_pictures(agent: Agent) -> None:
    footage = film_episode(agent, Walk(has_pictures=False), 0, (6, 8))
    assert footage.pictures is None
    assert footage.num_steps == 5


class Counter:
    """Acts by counting."""

    def __init__(self) -> None:
        self.count = 0

    def act(self, observation: Mapping[str, Array], is_first: Any) -> Array:
        self.count += 1
        return np.full((len(is_first), 2), self.count, np.float32)


def play(recorder: Recorder, lengths: list[int]) -> None:
    """Show episodes of environment 0, in buffers that are used again; environment 1 is noise."""
    buffers: dict[str, Array] = {}
    count = 0
    for length in lengths:
        for step in range(length):
            count += 1
            values = make_observation(recorder.contract, 2, seed=count)
            now = {name: value.numpy() for name, value in values.items()}
            now |= {"reward": np.full(2, step, np.float32), "success": np.array([step == 1, True])}
            for name, value in now.items():
                buffers.setdefault(name, np.empty_like(value))[:] = value
            recorder.act(buffers, np.array([step == 0, count % 2 == 0]))


def test_the_recorder_keeps_the_first_episode_of_the_first_environment() -> None:
    recorder = Recorder(Counter(), make_contract(), max_steps=100)
    play(recorder, [4, 3])
    footage = recorder.footage
    np.testing.assert_array_equal(footage.actions[:, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(footage.rewards, [0, 1, 2, 3])
    np.testing.assert_array_equal(footage.success, [False, True, False, False])
    for step in range(4):
        expected = make_observation(recorder.contract, 2, seed=step + 1)
        for name, value in expected.items():
            np.testing.assert_array_equal(footage.observations[name][step], value.numpy()[0])


def test_the_recorder_stops_when_it_has_enough() -> None:
    recorder = Recorder(Counter(), make_contract(), max_steps=3)
    play(recorder, [5])
    assert recorder.footage.num_steps == 3
