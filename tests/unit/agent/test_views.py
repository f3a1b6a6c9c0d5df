"""Views of a model: what is asked for is computed, from the episodes that are meant."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_dream import make_footage

from robodreamer.learning.agent import Agent
from robodreamer.visualization.dream import dream, reconstruct
from robodreamer.visualization.views import VIEWS, DreamOptions, Views, describe_errors
from toy_agent import make_agent, make_contract

STEPS, CONTEXT = 12, 3


@pytest.fixture(scope="module")
def agent() -> Agent:
    return make_agent().eval()


@pytest.mark.parametrize("view", VIEWS)
def test_only_what_is_asked_for_is_shown(view: str, agent: Agent) -> None:
    footage = make_footage(agent.contract, STEPS)
    views = Views(agent, DreamOptions(views=(view,), context=CONTEXT, horizon=2, futures=2))
    views.add(footage)
    found = views.films(footage, seed=0)._asdict()
    del found["files"]
    shown = {name for name, value in found.items() if value is not None}
    assert shown == {"dream" if view == "open-loop" else view}


def test_a_strip_needs_dreams_of_all_episodes_and_shows_no_open_loop(agent: Agent) -> None:
    footages = [make_footage(agent.contract, STEPS, seed=seed) for seed in range(3)]
    options = DreamOptions(views=("fantasy",), context=CONTEXT, horizon=2)
    counts = []
    for strip in (None, Path("dream.webp")):
        views = Views(agent, replace(options, strip=strip))
        for footage in footages:
            views.add(footage)
        counts.append(len(views.dreams))
        assert views.films(footages[0], seed=0).dream is None
    assert counts == [0, 3]


def test_errors_are_measured_in_all_episodes_and_the_rest_shows_the_first(agent: Agent) -> None:
    first, second = (make_footage(agent.contract, STEPS, seed=seed) for seed in range(2))
    views = Views(agent, DreamOptions(views=("open-loop", "errors"), context=CONTEXT))
    views.add(first)
    alone = views.films(first, seed=0).errors
    views.add(second)
    both = views.films(first, seed=0)
    assert alone is not None
    assert both.errors is not None
    assert both.errors.num_starts == 2 * alone.num_starts > 0
    expected = dream(agent, first, CONTEXT)
    assert both.dream is not None
    np.testing.assert_array_equal(
        both.dream.model["goal/position"], expected.model["goal/position"]
    )


def test_episodes_of_one_step_leave_what_needs_no_second(agent: Agent) -> None:
    footage = make_footage(agent.contract, 1)
    views = Views(agent, DreamOptions(views=VIEWS, context=CONTEXT, horizon=2, futures=2))
    views.add(footage)
    films = views.films(footage, seed=0)
    assert films.dream is None
    assert films.errors is None
    assert films.reconstruction is not None
    assert films.futures is not None
    assert films.futures.rewards.shape == (2, 3)


@pytest.mark.parametrize(("most", "steps"), [(None, 21), (11, 10), (3, 2), (1, 2)])
def test_the_actor_goes_no_further_than_the_task(most: int | None, steps: int) -> None:
    agent = make_agent(replace(make_contract(), max_episode_steps=most))
    footage = make_footage(agent.contract, STEPS)
    options = DreamOptions(views=("futures", "fantasy"), context=CONTEXT, horizon=20, futures=2)
    films = Views(agent, options).films(footage, seed=0)
    assert films.futures is not None
    assert films.fantasy is not None
    assert films.futures.num_steps == films.fantasy.num_steps == steps


def test_a_fantasy_is_likeliest_unless_it_is_drawn(agent: Agent) -> None:
    footage = make_footage(agent.contract, STEPS)
    options = DreamOptions(views=("fantasy",), context=CONTEXT, horizon=5)
    likeliest, other_seed, drawn = (
        Views(agent, replace(options, is_sampling=is_sampling)).films(footage, seed).fantasy
        for seed, is_sampling in ((0, False), (1, False), (0, True))
    )
    assert likeliest is not None
    assert other_seed is not None
    assert drawn is not None
    np.testing.assert_array_equal(likeliest.actions, other_seed.actions)
    assert (likeliest.actions != drawn.actions).any()


def test_a_view_that_does_not_exist_is_refused_with_the_closest() -> None:
    with pytest.raises(ValueError, match="unknown view 'fantasies'; there is fantasy, "):
        DreamOptions(views=("fantasies",))


def test_errors_are_told_in_units(agent: Agent) -> None:
    found = dream(agent, make_footage(agent.contract), 4)
    lines = describe_errors(found, agent.contract)
    assert len(lines) == 1 + len(agent.contract.observations)
    (line,) = (line for line in lines if line.startswith("goal/position"))
    watched, imagined, still, unit = line.split()[1:]
    assert unit == "m"
    assert float(watched) == pytest.approx(found.errors["goal/position"][:4].mean(), abs=1e-4)
    assert float(imagined) == pytest.approx(found.errors["goal/position"][4:].mean(), abs=1e-4)
    assert float(still) == pytest.approx(found.still_errors["goal/position"][4:].mean(), abs=1e-4)


def test_a_reconstruction_is_what_a_dream_of_all_steps_but_one_watches(agent: Agent) -> None:
    footage = make_footage(agent.contract, STEPS)
    watched = reconstruct(agent, footage)
    assert watched.context == watched.num_steps == STEPS
    dreamt = dream(agent, footage, STEPS - 1)
    for name, values in watched.model.items():
        np.testing.assert_allclose(values[:-1], dreamt.model[name][:-1], atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(watched.truth[name], dreamt.truth[name])
    assert any((v[-1] != dreamt.model[name][-1]).any() for name, v in watched.model.items())
    assert reconstruct(agent, footage, 7).num_steps == 7
