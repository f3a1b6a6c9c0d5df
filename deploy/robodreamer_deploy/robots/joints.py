"""Joints by label: which signals of a contract they make up, and what an action asks of them.

Shared by robots whose hardware knows joints by name: a servo bus, a LeRobot class. Letters: A
action element, U actuator.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array, Contract, Signal
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.utils.suggest import closest

Quantity = Literal["position", "velocity"]

QUANTITIES: Mapping[str, Quantity] = {
    "rad": "position",
    "m": "position",
    "rad/s": "velocity",
    "m/s": "velocity",
}
"""Kind of a joint's value, by its unit."""

LEAD_S = 0.25
"""A commanded velocity moves the goal ahead of the joint by at most what the fastest one covers in
this time: a joint that is blocked is not wound up against what blocks it."""

SAME_GOAL = 1e-6
"""Goals that differ by less, in rad or m, differ by rounding."""


@dataclass(frozen=True, kw_only=True)
class JointScale:
    """A joint of the policy in the numbers of another library: policy = factor * theirs + offset.

    Raises:
        ValueError: Every value would leave the joint in one place, or its range is empty.
    """

    factor: float | None = None
    """Rad or m per unit of theirs; None for what that library usually has."""
    offset: float = 0.0
    """Position of the policy's joint when theirs reads 0; velocities have none."""
    low: float | None = None
    """Lowest position it is sent to, in rad or m; None for the policy's own range."""
    high: float | None = None
    """Highest one."""

    def __post_init__(self) -> None:
        """Refuse a joint that every value would leave in one place, and an empty range."""
        if self.factor == 0.0:
            raise ValueError("factor is 0")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")


class JointSignal(NamedTuple):
    """A signal that is made of joints' values, in the order of its labels."""

    signal: Signal
    quantity: Quantity


def joint_signals(contract: Contract, joints: Collection[str]) -> dict[str, JointSignal]:
    """Return the policy's signals whose every element is the position or velocity of a joint.

    Raises:
        RobotError: A signal has some of its joints here and lacks others.
    """
    found: dict[str, JointSignal] = {}
    for signal in contract.inputs:
        quantity = QUANTITIES.get(signal.unit)
        known = set(signal.labels) & set(joints)
        if quantity is None or not known:
            continue
        _require_labels(signal.name, signal.labels, joints)
        found[signal.name] = JointSignal(signal, quantity)
    return found


def known_ranges(
    contract: Contract, labels: tuple[str, ...], quantity: Quantity
) -> tuple[Array, Array]:
    """Return between which values (U,) the policy's signals say joints are; infinite if unknown."""
    low, high = np.full(len(labels), -np.inf), np.full(len(labels), np.inf)
    for signal in contract.inputs:
        if QUANTITIES.get(signal.unit) != quantity or signal.low is None or signal.high is None:
            continue
        for label, lower, upper in zip(signal.labels, signal.low, signal.high, strict=False):
            if label in labels:
                i = labels.index(label)
                low[i], high[i] = lower, upper
    return low, high


def given(values: Sequence[float | None], others: Array) -> Array:
    """Return values (U,), where they are given, else the others."""
    pairs = zip(values, others, strict=True)
    return np.array([other if value is None else value for value, other in pairs])


def commanded_quantities(action: ActionSpec, command: Quantity | None) -> tuple[Quantity, ...]:
    """Return what the policy commands, (U,): as the contract says, else as `command` says.

    Raises:
        RobotError: Neither says, both say and differ, or the action is nothing that joints can be
            sent.
    """
    if action.kind == "discrete":
        raise RobotError("the policy chooses one of several actions; joints need continuous ones")
    told = action.actuator_quantities or ("unknown",) * action.num_actuators
    units = action.actuator_units or ("",) * action.num_actuators
    labels = action.actuator_labels or tuple(map(str, range(action.num_actuators)))
    return tuple(
        _commanded(label, quantity, unit, command)
        for label, quantity, unit in zip(labels, told, units, strict=True)
    )


def _commanded(label: str, told: str, unit: str, command: Quantity | None) -> Quantity:
    if told == "unknown":
        told = QUANTITIES.get(unit, told)
    if told == "unknown" and command is None:
        raise RobotError(
            f"the contract does not say what {label} is sent (its unit is {unit!r}); "
            'set "command" to "position" or "velocity"'
        )
    if told not in ("position", "velocity", "unknown"):
        raise RobotError(
            f"the policy sends {label} a value of {unit or 'no unit'} that is its {told}; joints "
            "are sent positions or velocities"
        )
    if command is not None and told not in (command, "unknown"):
        raise RobotError(f'"command" is {command}, but the policy sends {label} a {told} in {unit}')
    return command or ("velocity" if told == "velocity" else "position")


def action_order(action: ActionSpec, joints: Collection[str]) -> list[int]:
    """Return, for each actuator of the action, the place of its joint in `joints`: (U,).

    Raises:
        RobotError: The action names no joints, or one that is not here.
    """
    if not action.actuator_labels:
        raise RobotError("the policy's action has no labels, so its joints are unknown")
    _require_labels("the action", action.actuator_labels, joints)
    places = {label: i for i, label in enumerate(joints)}
    return [places[label] for label in action.actuator_labels]


def _require_labels(what: str, labels: tuple[str, ...], joints: Collection[str]) -> None:
    for label in labels:
        if label not in joints:
            names = closest(label, joints)
            raise RobotError(f"{what} needs the joint {label}; this robot has {names}")


def _largest_changes(action: ActionSpec) -> Array:
    """Return how far from where it is measured each actuator (U,) is sent; infinite if anywhere."""
    largest = np.full(action.num_actuators, np.inf)
    if action.mapping is not None:
        of_elements = np.maximum(np.abs(action.low), np.abs(action.high))
        for i, target in enumerate(action.mapping.targets):
            if target.element is None:
                assert action.mapping.chain is not None, "as the mapping has checked"
                largest[i] = action.mapping.chain.max_step
            elif target.measured is not None:
                largest[i] = of_elements[target.element]
    return largest


class _Asked(NamedTuple):
    """Motion that an action asked of the joints."""

    action: Array  # (A,), the policy's
    measured: Array  # (U,), where the joints were
    goals: Array  # (U,), where the joints would go
    start: Array  # (U,), where they were going before


class GoalPositions:
    """Turns actions into goal positions of joints, (U,) in the order of the action's actuators.

    A joint that is held beyond its limits, as it was found there, is sent no further out, and comes
    back as the action says: an action of 0 leaves it where it is. One that was within them is not
    sent beyond, however far it overshoots or sinks, and is brought back by no more than the largest
    change at once.

    Args:
        action: The policy's.
        quantities: What its actuators are sent, (U,).
        low: Lowest position each joint may be sent to, (U,).
        high: Highest one.
        dt_s: Seconds from one action to the next.
    """

    def __init__(
        self,
        action: ActionSpec,
        quantities: Sequence[Quantity],
        *,
        low: Array,
        high: Array,
        dt_s: float,
    ) -> None:
        self._action, self._mapping = action, action.mapping
        self._is_velocity = np.array([quantity == "velocity" for quantity in quantities])
        if self._mapping is not None:  # which forgets where a joint was sent before
            low, high = np.maximum(low, self._mapping.low), np.minimum(high, self._mapping.high)
        self._low, self._high, self._dt_s = low, high, dt_s
        lowest, highest = (
            (action.low, action.high)
            if self._mapping is None
            else (self._mapping.low, self._mapping.high)
        )
        fastest = np.maximum(np.abs(lowest), np.abs(highest))
        self.speed: Array = np.where(self._is_velocity, fastest, np.inf)
        """Largest velocity that each joint is commanded, (U,); infinite where it is positions."""
        self._max_lead = np.minimum(LEAD_S * self.speed, _largest_changes(action))
        self._last: Array | None = None
        self._asked: _Asked | None = None

    @property
    def starts_from_measured(self) -> bool:
        """True if goals are reckoned from where the joints are, so that an old reading misleads."""
        return self._mapping is not None

    def held_at(self, positions: Array) -> Array:
        """Restart at `positions` (U,); return the action (A,) of staying there."""
        self._last = positions
        return self._to_action(np.where(self._is_velocity, 0.0, positions), positions)

    def advance(self, action: Array, measured: Array) -> Array:
        """Return goals (U,) for the joints, which are `measured`; `executed` has to follow."""
        actuators = self._action.values(action)
        if self._mapping is not None:
            actuators = self._mapping.to_targets(actuators, measured)
        start = measured if self._last is None else self._last
        goals = np.where(self._is_velocity, start + actuators * self._dt_s, actuators)
        self._asked = _Asked(action.copy(), measured.copy(), goals, start)
        goals = np.clip(goals, np.minimum(self._low, start), np.maximum(self._high, start))
        return np.clip(goals, measured - self._max_lead, measured + self._max_lead)

    def executed(self, sent: Array) -> Array:
        """Return the action (A,) that the goals stand for that were `sent` in the end."""
        assert self._asked is not None, "advance first"
        asked, self._last = self._asked, sent
        is_as_asked = np.isclose(sent, asked.goals, rtol=0.0, atol=SAME_GOAL)
        if self._mapping is not None:  # an element may move several joints
            is_as_asked = is_as_asked.all()
        done = np.where(self._is_velocity, (sent - asked.start) / self._dt_s, sent)
        nearest = np.clip(self._to_action(done, asked.measured), -1.0, 1.0)
        return np.where(is_as_asked, asked.action, nearest).astype(np.float32)

    def _to_action(self, actuators: Array, measured: Array) -> Array:
        """Return the action (A,) that is equivalent to the actuators' commands (U,)."""
        if self._mapping is not None:
            actuators = self._mapping.to_values(actuators, measured)
        return self._action.from_values(actuators)
