"""Samples of an entry depend on the seed and the entry only."""

from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.contract import Array
from robodreamer_sim.randomization import Entry, Uniform
from robodreamer_sim.randomization.sampling import EntrySampler

NAMES = ("torso", "left_leg", "right_leg")


def entry(**changes: Any) -> Entry:
    settings = {"field": "mass", "operation": "scale", "distribution": Uniform(low=0.5, high=2.0)}
    return Entry(**(settings | changes))


def drawn(entry: Entry, start: int = 0, seed: int = 0) -> Array:
    draws = EntrySampler(entry, NAMES)
    draws.begin(start, seed)
    return draws.values.copy()


def test_draws_follow_the_seed_of_the_episode_or_at_start_that_of_the_environment() -> None:
    for when, same, other in (("reset", (2, 5), (1, 6)), ("start", (1, 6), (2, 5))):
        values = drawn(entry(when=when), 1, 5)
        assert np.array_equal(values, drawn(entry(when=when), *same))
        assert not np.array_equal(values, drawn(entry(when=when), *other))


def test_noise_differs_between_episodes_also_where_its_strength_is_drawn_at_start() -> None:
    draws = EntrySampler(entry(when="start"), NAMES)
    noise = []
    for seed in (1, 2, 1):
        draws.begin(0, seed)
        noise.append(draws.stream.random())
    assert noise[0] == noise[2] != noise[1]


def test_entries_draw_independently_of_each_other() -> None:
    alike = [
        entry(),
        entry(field="friction"),
        entry(when="start"),
        entry(when="interval", interval_s=1.0),
        entry(select=("t*", "*leg")),
    ]
    assert len({drawn(each)[0, 0] for each in alike}) == len(alike)


def test_a_wider_range_stretches_the_same_draws() -> None:
    narrow, wide = (drawn(entry(distribution=Uniform(low=low, high=3.0))) for low in (1.0, 2.0))
    np.testing.assert_allclose((narrow - 1.0) / 2.0, wide - 2.0)


def test_every_element_has_a_draw_of_its_own_unless_it_is_shared() -> None:
    assert len(np.unique(drawn(entry(field="gravity", operation="add")))) == 9
    shared = drawn(entry(field="gravity", operation="add", is_shared=True))
    assert (shared == shared[0]).all()
    assert len(np.unique(shared)) == 3


def test_names_are_chosen_by_patterns_in_the_order_of_the_elements() -> None:
    assert EntrySampler(entry(select=("*_leg", "torso")), NAMES).names == NAMES
    assert EntrySampler(entry(select=("*_leg",)), NAMES).names == NAMES[1:]
    with pytest.raises(ValueError, match=r"no body 'arm\*' .* there are torso, "):
        EntrySampler(entry(select=("torso", "arm*")), NAMES)


def test_whole_numbers_are_whole_and_fields_of_others_are_not() -> None:
    span = Uniform(low=0.0, high=5.0)
    delay = drawn(entry(field="measurement_delay", operation="set", distribution=span))
    assert np.array_equal(delay, np.rint(delay))
    assert not np.array_equal(drawn(entry()), np.rint(drawn(entry())))


def test_an_interval_lasts_half_to_one_and_a_half_times_as_long_as_stated() -> None:
    draws = EntrySampler(entry(when="interval", interval_s=1.0), NAMES)
    draws.begin(0, 0)
    due, values = [], {draws.values[0, 0]}
    for step in range(1, 2001):
        if draws.advance(0.01):
            due.append(0.01 * step)
        values.add(draws.values[0, 0])
    gaps = np.diff([0.0, *due])
    assert 0.5 - 1e-6 <= min(gaps) < 0.8
    assert 1.2 < max(gaps) <= 1.51
    assert len(values) == len(due) + 1


def test_what_is_drawn_at_reset_stays_for_the_episode() -> None:
    draws = EntrySampler(entry(), NAMES)
    draws.begin(0, 0)
    assert not any(draws.advance(10.0) for _ in range(100))
