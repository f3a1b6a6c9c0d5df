"""Interpolation: it begins and ends in real states, and mixes their latents between."""

import numpy as np
import pytest
import torch
from test_dream import make_footage

from robodreamer.learning.agent import Agent
from robodreamer.models.rssm import State
from robodreamer.visualization.dream import decode, reconstruct, watch
from robodreamer.visualization.interpolation import interpolate
from toy_agent import make_agent

STEPS, CONTEXT = 9, 3


@pytest.fixture(scope="module")
def agent() -> Agent:
    return make_agent().eval()


def test_it_leads_from_one_real_state_to_another(agent: Agent) -> None:
    footage = make_footage(agent.contract, STEPS)
    found = interpolate(agent, footage, CONTEXT, num_states=5)
    watched = reconstruct(agent, footage)
    np.testing.assert_allclose(found.shares, [0, 0.25, 0.5, 0.75, 1])
    for end, step in ((0, found.steps[0]), (-1, found.steps[1])):
        for name, values in found.model.items():
            np.testing.assert_allclose(values[end], watched.model[name][step], atol=1e-5)
            np.testing.assert_array_equal(found.truth[name][end], watched.truth[name][step])


def test_between_them_latents_are_mixed_and_not_what_is_decoded(agent: Agent) -> None:
    footage = make_footage(agent.contract, STEPS)
    found = interpolate(agent, footage, CONTEXT, num_states=5)
    states = watch(agent, footage, STEPS)
    one, other = (State(*(v[step : step + 1] for v in states)) for step in found.steps)
    mixed = State(*(0.75 * a + 0.25 * b for a, b in zip(one, other, strict=True)))
    for name, values in decode(agent, mixed).items():
        np.testing.assert_allclose(found.model[name][1], values[0], atol=1e-5, err_msg=name)
    ends = found.model["image/front"][[0, -1]]
    assert np.abs(found.model["image/front"][2] - ends.mean(0)).max() > 1e-4


def test_the_second_state_is_the_most_unlike(agent: Agent) -> None:
    footage = make_footage(agent.contract, STEPS)
    states = watch(agent, footage, STEPS)
    first, second = interpolate(agent, footage, CONTEXT).steps
    distances = [
        float(torch.dist(states.feature[CONTEXT - 1], feature)) for feature in states.feature
    ]
    assert (first, second) == (CONTEXT - 1, int(np.argmax(distances)))


def test_mixed_pictures_are_averages_of_the_real_ones(agent: Agent) -> None:
    found = interpolate(agent, make_footage(agent.contract, STEPS), CONTEXT, num_states=5)
    first, second = found.truth["image/front"]
    mixed = found.mixed_pictures("image/front")
    np.testing.assert_allclose(mixed[1], 0.75 * first + 0.25 * second, atol=1e-6)
