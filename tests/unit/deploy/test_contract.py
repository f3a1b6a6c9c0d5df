"""The contract: exact to JSON and back, strict with values and with what others wrote."""

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodreamer_deploy.contract import (
    ActionSpec,
    Camera,
    Contract,
    Signal,
)
from robodreamer_deploy.errors import SignalError
from toy_robot import CONTRACT, Point

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def signals(draw: st.DrawFn, name: str) -> Signal:
    is_class = draw(st.booleans())
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=2)))
    num_elements = int(np.prod(shape))

    def per_element(values: st.SearchStrategy[Any]) -> list[Any] | None:
        return draw(st.none() | st.lists(values, min_size=num_elements, max_size=num_elements))

    low, high = per_element(FLOATS), per_element(FLOATS)
    return Signal(
        name=name,
        shape=shape,
        dtype="int32" if is_class else "float32",
        unit=draw(st.text(max_size=4)),
        labels=tuple(per_element(st.text(max_size=4)) or ()),
        low=None if low is None else tuple(low),
        high=None if high is None else tuple(high),
        num_classes=draw(st.integers(2, 9)) if is_class else 0,
        rate_hz=draw(st.none() | FLOATS),
    )


@st.composite
def actions(draw: st.DrawFn) -> ActionSpec:
    size = draw(st.integers(1, 4))
    if draw(st.booleans()):
        return ActionSpec(size=size, kind="discrete")
    limits = [sorted(draw(st.tuples(FLOATS, FLOATS))) for _ in range(size)]
    low, high = zip(*limits, strict=True)
    return ActionSpec(size=size, low=low, high=high)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    families = st.sampled_from(["proprio", "goal", "privileged"])
    own_names = draw(st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=4))
    image = Signal(name="image/eye", shape=(4, 6, 3), dtype="uint8")
    return Contract(
        task=draw(st.text(max_size=8)),
        observations=(image, *(draw(signals(f"{draw(families)}/{own}")) for own in own_names)),
        action=draw(actions()),
        control_dt_s=draw(st.floats(1e-300, 1e300)),
        max_episode_steps=draw(st.none() | st.integers(1, 1000)),
        cameras=(Camera(signal="image/eye", fovy_rad=draw(st.none() | FLOATS)),),
        options=draw(st.dictionaries(st.text(max_size=8), JSON_VALUES, max_size=3)),
    )


def observation(**changes: Any) -> dict[str, Any]:
    values = dict(Point("", CONTRACT).get_observation())
    return {**values, **changes}


@given(contracts())
def test_json_gives_back_exactly_the_same_contract(contract: Contract) -> None:
    assert Contract.from_json(contract.to_json()) == contract
    assert Contract.from_dict(contract.to_dict()) == contract


def changed(name: str, **fields: Any) -> Contract:
    """Return the contract with another signal of that name."""
    signals = [replace(s, **fields) if s.name == name else s for s in CONTRACT.observations]
    return replace(CONTRACT, observations=tuple(signals))


@pytest.mark.parametrize(
    ("found", "words", "is_for_policy"),
    [
        (changed("proprio/position", labels=("x", "z")),
         "proprio/position: labels is ('x', 'z'), expected ('x', 'y')", True),
        (replace(CONTRACT, action=replace(CONTRACT.action, labels=("a", "b"))),
         "action: labels is ('a', 'b'), expected ('x', 'y')", True),
        (replace(CONTRACT, control_dt_s=0.5), "control_dt_s is 0.5, expected 0.02", True),
        (replace(CONTRACT, observations=CONTRACT.observations[1:]),
         "proprio/position is missing; there are image/eye, goal/target, privileged/distance",
         True),
        (changed("privileged/distance", unit=""),
         "privileged/distance: unit is '', expected 'm'", False),
        (replace(CONTRACT, delays_s={}),
         "delays_s is {}, expected {'action': (0.0, 0.02)}", False),
        (replace(CONTRACT, observations=CONTRACT.observations[::-1]),
         ("the order is privileged/distance, goal/target, image/eye, proprio/position, expected "
          "proprio/position, image/eye, goal/target, privileged/distance"), False),
        (replace(CONTRACT, observations=(
            *CONTRACT.observations, Signal(name="goal/b", shape=(), dtype="float32"))),
         "goal/b is not expected", False),
    ],
)  # fmt: skip
def test_differences_name_every_field_and_for_a_policy_only_what_it_reads_and_sends(
    found: Contract, words: str, is_for_policy: bool
) -> None:
    assert found.differences(CONTRACT) == [words]
    assert found.differences(CONTRACT, for_policy=True) == ([words] if is_for_policy else [])


@given(contracts(), contracts())
def test_two_contracts_have_no_differences_exactly_if_they_are_equal(
    one: Contract, other: Contract
) -> None:
    assert (one.differences(other) == []) == (one == other)
    assert one.differences(Contract.from_json(one.to_json())) == []


@given(JSON_VALUES)
def test_arbitrary_json_is_refused_in_words(value: Any) -> None:
    with pytest.raises(ValueError, match="contract"):
        Contract.from_json(json.dumps(value))


@given(st.data())
def test_a_contract_with_one_wrong_value_never_raises_anything_but_value_error(
    data: st.DataObject,
) -> None:
    content = copy.deepcopy(json.loads(CONTRACT.to_json()))
    node, key = content, data.draw(st.sampled_from(sorted(content)))
    while isinstance(node[key], (dict, list)) and node[key] and data.draw(st.booleans()):
        node = node[key]
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(list(keys)))
    node[key] = data.draw(JSON_VALUES)
    try:
        contract = Contract.from_json(json.dumps(content))
    except ValueError:
        return
    assert Contract.from_json(contract.to_json()) == contract


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("version",), 2, "contract version 2; this release reads 3: train or export again"),
        (("delays_s",), {"image/nose": [0, 1]}, "image/nose is delayed, but no signal; there are"),
        (("delays_s",), {"action": [0.2, 0.1]}, "action has delays from 0.2 to 0.1 s"),
        (("delays_s",), {"action": [0.1]}, "delays_s"),
        (("colour",), "red", "contract has unknown fields: colour"),
        (("action", "size"), "2", "contract.action.size is '2', expected a whole number"),
        (("action", "size"), True, "contract.action.size is True, expected a whole number"),
        (("observations", 0, "shape", 0), 2.0, r"contract.observations\[0\].shape\[0\] is 2.0"),
        (("observations", 0, "dtype"), "float64", "expected 'uint8' or 'float32' or 'int32'"),
        (("observations", 1), 7, r"contract.observations\[1\] is 7, expected an object"),
        (("cameras",), {}, "contract.cameras is {}, expected a list"),
        (("control_dt_s",), 0, "control_dt_s must be above 0"),
        (("control_dt_s",), 10**320, "expected a finite number"),
        (("options",), [], "contract.options is .*, expected an object"),
    ],
)
def test_a_malformed_field_is_named_with_its_path(path: Any, value: Any, words: str) -> None:
    content = json.loads(CONTRACT.to_json())
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(ValueError, match=words):
        Contract.from_dict(content)


def test_a_contract_saved_before_success_was_declared_is_read() -> None:
    data = CONTRACT.to_dict()
    del data["knows_success"]
    assert Contract.from_dict(data) == CONTRACT
    data["knows_success"] = None
    with pytest.raises(ValueError, match="knows_success is None, expected true or false"):
        Contract.from_dict(data)
    data["knows_success"] = False
    assert not Contract.from_dict(data).knows_success


def test_a_missing_field_is_named() -> None:
    content = json.loads(CONTRACT.to_json())
    del content["action"]["size"]
    with pytest.raises(ValueError, match=r"contract\.action lacks the fields: size"):
        Contract.from_dict(content)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"version": NaN}', "NaN is not JSON"),
        ('{"version": 1, "version": 1}', "given twice: .*version"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "contract is .1., expected an object"),
        ("{", "Expecting property name"),
    ],
)
def test_text_that_python_would_let_pass_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Contract.from_json(text)


def test_limits_that_json_cannot_hold_are_refused_when_they_are_declared() -> None:
    with pytest.raises(ValueError, match="unknown ones are None"):
        Signal(name="proprio/a", shape=(1,), dtype="float32", low=(-np.inf,))
    with pytest.raises(ValueError, match="must be finite"):
        ActionSpec(size=1, low=(-np.inf,), high=(1.0,))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "position"}, "names are image/..., proprio/"),
        ({"name": "odd/position"}, "names are image/..., proprio/"),
        ({"shape": (2, 0)}, "no axis may be empty"),
        ({"labels": ("x",)}, "1 labels for 2 elements"),
        ({"low": (0.0,) * 3}, "3 low for 2 elements"),
    ],
)
def test_a_signal_that_no_sensor_delivers_is_refused(changes: Any, words: str) -> None:
    settings = {"name": "proprio/position", "shape": (2,), "dtype": "float32"}
    with pytest.raises(ValueError, match=words):
        Signal(**{**settings, **changes})


def test_a_camera_has_an_image() -> None:
    content = json.loads(CONTRACT.to_json())
    content["cameras"][0]["signal"] = "image/nose"
    with pytest.raises(ValueError, match="camera image/nose is no signal"):
        Contract.from_dict(content)


def test_two_signals_cannot_share_a_name() -> None:
    content = json.loads(CONTRACT.to_json())
    content["observations"].append(content["observations"][0])
    with pytest.raises(ValueError, match="declared twice"):
        Contract.from_dict(content)


def test_a_good_observation_passes() -> None:
    CONTRACT.check(observation())


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("proprio/position", np.zeros(3, np.float32), r"shape \(3,\), expected \(2,\)"),
        ("proprio/position", np.zeros(2), "type float64, expected float32"),
        ("proprio/position", np.array([0, np.nan], np.float32), "element y is nan"),
        ("goal/target", np.array([np.inf, 0], np.float32), "element 0 is inf"),
        ("proprio/position", [0.0, 0.0], "list, expected a numpy array"),
        ("proprio/position", None, "NoneType, expected a numpy array"),
        ("image/eye", np.zeros((8, 6, 3), np.float32), "type float32, expected uint8"),
        ("proprio/extra", np.zeros(2, np.float32), "unknown signal; expected goal/target"),
    ],
)
def test_a_bad_value_is_refused_with_its_key(key: str, value: Any, words: str) -> None:
    with pytest.raises(SignalError, match=words) as caught:
        CONTRACT.check(observation(**{key: value}))
    assert caught.value.key == key


def test_a_missing_signal_is_refused_and_privileged_ones_only_in_training() -> None:
    values = observation()
    del values["privileged/distance"]
    CONTRACT.check(values, inputs_only=True)
    with pytest.raises(SignalError, match="privileged/distance: missing"):
        CONTRACT.check(values)


def test_a_class_that_does_not_exist_is_refused() -> None:
    signal = Signal(name="proprio/mode", shape=(2,), dtype="int32", num_classes=3)
    signal.check(np.array([0, 2], np.int32))
    for bad in (-1, 3):
        with pytest.raises(SignalError, match=r"outside 0\.\.2"):
            signal.check(np.array([0, bad], np.int32))


def test_actions_map_linearly_to_actuators_and_never_beyond() -> None:
    action = ActionSpec(size=3, low=(-2.0, 0.0, 5.0), high=(2.0, 1.0, 5.0))
    np.testing.assert_array_equal(action.to_actuators(np.full(3, -1.0)), [-2, 0, 5])
    np.testing.assert_array_equal(action.to_actuators(np.zeros(3)), [0, 0.5, 5])
    np.testing.assert_array_equal(action.to_actuators(np.full(3, 7.0)), [2, 1, 5])


def test_actuator_values_map_back_to_actions_also_beyond_the_range() -> None:
    action = ActionSpec(size=3, low=(-2.0, 0.0, 5.0), high=(2.0, 1.0, 5.0))
    for sent in np.linspace(-1, 1, 9):
        there = action.to_actuators(np.array([sent, -sent, 0.0]))
        np.testing.assert_allclose(action.from_actuators(there), [sent, -sent, 0.0], atol=1e-7)
    beyond = action.from_actuators(np.array([4.0, -0.5, 9.0]))
    np.testing.assert_array_equal(beyond, np.array([2, -2, 0], np.float32))
    with pytest.raises(ValueError, match="low lies above high"):
        ActionSpec(size=1, low=(1.0,), high=(-1.0,))


def test_a_one_hot_action_becomes_the_index_of_its_choice() -> None:
    action = ActionSpec(size=3, kind="discrete")
    assert action.to_actuators(np.array([0, 0, 1], np.float32)) == 2


def test_an_unknown_signal_lists_those_there_are() -> None:
    assert CONTRACT["goal/target"].unit == "m"
    with pytest.raises(KeyError, match="image/eye"):
        CONTRACT["goal/aim"]
