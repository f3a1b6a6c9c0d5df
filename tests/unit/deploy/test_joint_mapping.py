"""Mappings of changes to joint targets: only those that can be carried out are accepted."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.contract import ActionSpec, Contract, Signal
from robodreamer_deploy.joint_mapping import JointMapping, Target
from robodreamer_deploy.kinematics import Chain, Link

LINK = Link(
    joint="a", kind="slide", position=(0, 0, 1), quaternion=(1, 0, 0, 0), axis=(1.0, 0.0, 0.0)
)
CHAIN = Chain(frame="hand", links=(LINK, dataclasses.replace(LINK, joint="b", axis=(0, 1.0, 0))))
SIGNAL = Signal(name="proprio/joints", shape=(3,), dtype="float32", unit="m")


def target(label: str, **changes: Any) -> Target:
    settings: dict[str, Any] = {"quantity": "position", "unit": "m", "low": -1.0, "high": 1.0}
    return Target(label=label, **{**settings, **changes})


MAPPING = JointMapping(
    signal="proprio/joints",
    targets=(
        target("b", measured=0),
        target("grip", element=3, low=0.0),
        target("a", measured=2),
        target("lift", element=4, measured=1),
    ),
    chain=CHAIN,
)
SPEC = ActionSpec(size=5, low=(-0.1,) * 5, high=(0.1,) * 5, mapping=MAPPING)
MEASURED = {"proprio/joints": np.array([0.5, 0.2, -0.3], np.float32)}


def test_every_actuator_gets_its_own_target_in_its_own_order() -> None:
    action = np.array([1.0, -1.0, 0.0, 0.5, -0.5], np.float32)
    targets = SPEC.to_actuators(action, MEASURED)
    np.testing.assert_allclose(targets, [0.4, 0.05, -0.2, 0.15], atol=1e-6)
    np.testing.assert_allclose(SPEC.from_actuators(targets, MEASURED), action, atol=1e-5)
    assert SPEC.actuator_labels == ("b", "grip", "a", "lift")
    assert SPEC.actuator_units == ("m",) * 4
    assert SPEC.num_actuators == 4


def test_targets_never_leave_their_ranges() -> None:
    high = {"proprio/joints": np.array([0.99, 0.99, 0.95], np.float32)}
    targets = SPEC.to_actuators(np.ones(5, np.float32), high)
    assert (targets <= MAPPING.high).all()
    low = {"proprio/joints": np.full(3, -0.99, np.float32)}
    targets = SPEC.to_actuators(-np.ones(5, np.float32), low)
    assert (targets >= MAPPING.low).all()


def test_a_joint_beyond_its_range_stays_for_no_change_and_comes_back_by_no_more_than_one() -> None:
    out = {"proprio/joints": np.array([1.4, -1.4, -1.3], np.float32)}  # b, lift, a
    expected = {0.0: (1.4, -1.3, -1.4), -1.0: (1.3, -1.3, -1.4), 1.0: (1.4, -1.2, -1.3)}
    for change, (b, a, lift) in expected.items():
        targets = SPEC.to_actuators(np.full(5, change, np.float32), out)
        np.testing.assert_allclose(targets[[0, 2, 3]], [b, a, lift], atol=1e-6)
        assert 0.0 <= targets[1] <= 1.0, "what is no change of a measured place is in its range"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: target("x"), "x follows no element of the action"),
        (lambda: target("x", element=0, low=2.0), "x may go from 2.0 to 1.0: no range"),
        (lambda: target("x", element=0, high=np.inf), "x may go from -1.0 to inf: no range"),
        (
            lambda: dataclasses.replace(MAPPING, chain=None),
            "chain are none, the targets that follow it are a, b",
        ),
        (
            lambda: dataclasses.replace(MAPPING, targets=MAPPING.targets[1:]),
            "chain are a, b, the targets that follow it are a",
        ),
        (
            lambda: dataclasses.replace(MAPPING, targets=(*MAPPING.targets, MAPPING.targets[1])),
            "two targets are called grip",
        ),
        (
            lambda: dataclasses.replace(SPEC, size=4, low=(-0.1,) * 4, high=(0.1,) * 4),
            r"uses the elements \[0, 1, 2, 3, 4\], the action has 4",
        ),
        (
            lambda: ActionSpec(size=5, kind="discrete", mapping=MAPPING),
            "a choice is no change of position",
        ),
        (lambda: dataclasses.replace(SPEC, units=("m",)), "1 units for an action of 5 elements"),
        (lambda: contract("proprio/elsewhere", 3), "change from proprio/joints, which has to be"),
        (lambda: contract("privileged/joints", 3), "change from proprio/joints, which has to be"),
        (lambda: contract("proprio/joints", 2), "a is element 2 of proprio/joints, which has 2"),
    ],
)
def test_a_mapping_that_cannot_be_carried_out_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def contract(signal: str, size: int) -> Contract:
    found = dataclasses.replace(SIGNAL, name=signal, shape=(size,))
    other = Signal(name="proprio/other", shape=(), dtype="float32")
    return Contract(task="t", observations=(found, other), action=SPEC, control_dt_s=0.1)


def test_a_mapping_with_one_wrong_value_is_refused_in_words() -> None:
    text = contract("proprio/joints", 3).to_json()
    assert Contract.from_json(text).action == SPEC
    for path, value, words in (
        (("chain", "links", 0, "kind"), "ball", "expected 'hinge' or 'slide'"),
        (("chain", "links", 0, "axis"), [0, 0, 2], "the axis of a is of length 2"),
        (("chain", "axes"), "tool", "expected 'world' or 'own'"),
        (("targets", 0, "measured"), -1, "b is element -1 of proprio/joints"),
        (("targets", 1, "element"), 7, "uses the elements"),
        (("targets", 1, "quantity"), "colour", "quantity is 'colour', expected"),
    ):
        content = json.loads(text)
        node = content["action"]["mapping"]
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
        with pytest.raises(ValueError, match=words):
            Contract.from_dict(content)


def test_targets_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="the action leads to"):
        MAPPING.to_targets(np.full(5, np.nan), np.zeros(4))
