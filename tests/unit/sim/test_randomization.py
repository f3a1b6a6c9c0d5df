"""Domain randomisation as data: accepted and refused values, and the stored form."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodreamer_sim.options import EnvOptions
from robodreamer_sim.randomization import (
    FIELDS,
    Choice,
    Distribution,
    Entry,
    LogUniform,
    Normal,
    Randomization,
    Uniform,
    preset,
    resolve,
)
from robodreamer_sim.tasks.catalog import list_tasks

finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)
distributions = st.one_of(
    st.tuples(finite, finite).map(lambda ends: Uniform(low=min(ends), high=max(ends))),
    st.tuples(positive, positive).map(lambda ends: LogUniform(low=min(ends), high=max(ends))),
    st.tuples(finite, positive).map(lambda pair: Normal(mean=pair[0], std=pair[1])),
    st.lists(finite, min_size=1, max_size=5).map(lambda values: Choice(values=tuple(values))),
)


@given(distribution=distributions, seed=st.integers(0, 100))
def test_what_is_drawn_lies_within_the_bounds(distribution: Distribution, seed: int) -> None:
    low, high = distribution.bounds
    drawn = distribution.draw(np.random.default_rng(seed), (50, 2))
    assert drawn.shape == (50, 2)
    assert ((low <= drawn) & (drawn <= high)).all()


def test_distributions_have_their_shapes() -> None:
    rng = np.random.default_rng(0)
    uniform = Uniform(low=-1.0, high=3.0).draw(rng, (20_000,))
    factors = np.log(LogUniform(low=0.25, high=4.0).draw(rng, (20_000,)))
    normal = Normal(mean=5.0, std=2.0).draw(rng, (20_000,))
    assert uniform.mean() == pytest.approx(1.0, abs=0.05)
    assert factors.mean() == pytest.approx(0.0, abs=0.05)
    assert (normal.mean(), normal.std()) == (
        pytest.approx(5.0, abs=0.1),
        pytest.approx(2.0, abs=0.1),
    )
    assert {*Choice(values=(1.0, 7.0)).draw(rng, (100,))} == {1.0, 7.0}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Uniform(low=2.0, high=1.0), "low <= high, got low 2.0, high 1.0"),
        (lambda: Uniform(low=0.0, high=np.inf), "finite"),
        (lambda: LogUniform(low=0.0, high=1.0), "above 0, got low 0.0"),
        (lambda: Normal(mean=0.0, std=-1.0), "std >= 0"),
        (lambda: Choice(values=()), "among finite values"),
    ],
)
def test_a_distribution_of_nothing_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def entry(**changes: Any) -> Entry:
    settings = {"field": "mass", "operation": "scale", "distribution": Uniform(low=0.5, high=2.0)}
    return Entry(**(settings | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"field": "fricton"}, "no field 'fricton'; there are friction, friction_loss"),
        ({"operation": "multiply"}, "mass: operation is 'multiply'; it can be scale, add, set"),
        ({"field": "push"}, "push: operation is 'scale'; it can be add"),
        ({"when": "sometimes"}, "mass: when is 'sometimes'; it can be start, reset, interval"),
        ({"field": "push", "operation": "add"}, "push: when is 'reset'; it can be interval"),
        ({"when": "interval"}, "when=interval goes with a finite interval_s >= 0"),
        ({"interval_s": 2.0}, "when=interval goes with a finite interval_s >= 0"),
        ({"when": "interval", "interval_s": -1.0}, "interval_s=-1.0"),
        ({"select": ()}, "select is empty"),
        ({"distribution": Normal(mean=1.0, std=0.5)}, "factors lie above 0, .* begins at -0.5"),
        (
            {"field": "friction", "operation": "set", "distribution": Uniform(low=-1.0, high=1.0)},
            "friction lies between 0 and inf, the distribution goes from -1 to 1",
        ),
        (
            {"field": "camera_drop", "operation": "set", "distribution": Choice(values=(1.5,))},
            "camera_drop lies between 0 and 1",
        ),
        (
            {"field": "action_delay", "operation": "set", "distribution": Choice(values=(1e9,))},
            "action_delay lies between 0 and 100",
        ),
    ],
)  # fmt: skip
def test_an_entry_that_no_simulation_could_do_is_refused(changes: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        entry(**changes)


def test_two_entries_for_the_same_at_the_same_time_are_refused() -> None:
    with pytest.raises(ValueError, match="two entries are called 'mass at reset of \\*'"):
        Randomization(entries=(entry(), entry(operation="add")))
    Randomization(entries=(entry(), entry(when="start"), entry(select=("torso",))))


def test_everything_survives_json() -> None:
    for name in ("none", "mild", "strong"):
        randomization = preset(name, "fetch_reach")
        text = json.dumps(randomization.to_dict(), allow_nan=False)
        assert Randomization.from_dict(json.loads(text)) == randomization


@given(distribution=distributions)
def test_every_distribution_survives_json(distribution: Distribution) -> None:
    shift = Randomization(
        entries=(entry(field="gravity", operation="add", distribution=distribution),)
    )
    assert Randomization.from_dict(json.loads(json.dumps(shift.to_dict()))) == shift


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distribution": {"kind": "gaussian"}}, r"entries\[0\].distribution.kind is 'gaussian'; "),
        ({"distribution": {"kind": "uniform", "low": 0.0}}, "lacks the fields: high"),
        ({"distribution": 3.0}, r"entries\[0\].distribution is 3.0, expected an object"),
        ({"feild": "mass"}, r"entries\[0\] has unknown fields: feild"),
        ({"field": "mas"}, r"entries\[0\]: no field 'mas'; there are mass"),
        ({"select": "torso"}, r"entries\[0\].select is 'torso', expected a list"),
    ],
)
def test_json_that_means_nothing_is_refused_with_its_place(changes: Any, words: str) -> None:
    data = entry().to_dict() | changes
    with pytest.raises(ValueError, match=words):
        Randomization.from_dict({"entries": [data]})
    with pytest.raises(ValueError, match=words):
        EnvOptions(randomize=json.dumps({"entries": [data]}))


def test_presets_suit_every_task_and_grow() -> None:
    for task in list_tasks():
        mild, strong = preset("mild", task), preset("strong", task)
        assert not preset("none", task)
        assert {e.field for e in mild.entries} <= {e.field for e in strong.entries}
    pushed = {t for t in list_tasks() if "push" in {e.field for e in preset("strong", t).entries}}
    assert {"dmc_walker_walk", "ant_maze_open"} < pushed
    assert not {"fetch_push", "adroit_pen", "dmc_cartpole_swingup"} & pushed


def test_strong_is_wider_than_mild() -> None:
    mild = {e.field: e.distribution.bounds for e in preset("mild", "any").entries}
    strong = {e.field: e.distribution.bounds for e in preset("strong", "any").entries}
    for field, (low, high) in mild.items():
        assert strong[field][1] - strong[field][0] > high - low, field


def test_a_user_replaces_fields_of_a_preset_or_leaves_them_out() -> None:
    own = {"preset": "strong", "without": ["push"], "entries": [entry(select=("torso",)).to_dict()]}
    randomization = resolve(json.dumps(own), "dmc_walker_walk")
    assert [e for e in randomization.entries if e.field == "mass"] == [entry(select=("torso",))]
    fields = {e.field for e in preset("strong", "dmc_walker_walk").entries}
    assert {e.field for e in randomization.entries} == fields - {"push"}


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("wild", "no randomisation 'wild'; there are mild, "),
        ('{"preset": "wild"}', "no randomisation 'wild'"),
        ('{"presets": "mild"}', "randomize has unknown fields: presets"),
        ('{"preset": "mild", "without": ["push"]}', "'push' is not randomised; .*camera"),
        ("{", "Expecting property name"),
    ],
)
def test_a_word_that_stands_for_nothing_is_refused_when_the_options_are_made(
    word: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        EnvOptions(randomize=word)


def test_options_keep_entries_and_say_nothing_where_there_are_none() -> None:
    mild = EnvOptions(randomize=preset("mild", "fetch_reach"))
    data = json.loads(json.dumps(mild.to_dict()))
    assert data["randomize"]["entries"][0]["field"] == "friction"
    assert EnvOptions.from_dict(data) == mild
    assert "randomize" not in EnvOptions().to_dict()


def test_every_field_is_told_in_a_few_words() -> None:
    for name, field in FIELDS.items():
        assert 4 < len(field.about) < 70, name


def test_the_documentation_lists_every_field_and_its_example_works() -> None:
    text = (Path(__file__).parents[3] / "docs" / "randomization.md").read_text()
    for name, field in FIELDS.items():
        operations = ", ".join(field.operations)
        assert f"| `{name}` | {field.kind} | {operations} | {field.about} |" in text
    example = text.partition("```json\n")[2].partition("```")[0]
    fields = {entry.field for entry in resolve(example, "dmc_walker_walk").entries}
    assert "push" in fields
    assert "light_position" not in fields
