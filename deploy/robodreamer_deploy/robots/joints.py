"""Joints by label: which signals of a contract they make up, and what an action asks of them.

Shared by robots whose hardware knows joints by name: a servo bus, a LeRobot class. Letters: A
action element, J joint.
"""

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array, Contract, Signal
from robodreamer_deploy.naming import closest
from robodreamer_deploy.robots import RobotError

Quantity = Literal["position", "velocity"]

QUANTITIES: Mapping[str, Quantity] = {
    "rad": "position",
    "m": "position",
    "rad/s": "velocity",
    "m/s": "velocity",
}
"""What a joint's value is, by its unit."""

LEAD_S = 0.25
"""A commanded velocity moves the goal ahead of the joint by at most what the fastest one covers in
this time: a joint that is blocked is not wound up against what blocks it."""

SAME_GOAL = 1e-6
"""Goals that differ by less, in rad or m, differ by rounding."""


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


def commanded_quantity(action: ActionSpec, command: Quantity | None) -> Quantity:
    """Return what the policy commands: as its unit says, else as the user says by `command`.

    Raises:
        RobotError: Neither says, both say and differ, or the action is a choice.
    """
    if action.kind == "discrete":
        raise RobotError("the policy chooses one of several actions; joints need continuous ones")
    told = QUANTITIES.get(action.unit)
    if told is None and command is None:
        raise RobotError(
            f"the policy's action has the unit {action.unit!r}, which does not tell what the "
            'joints are sent; set "command" to "position" or "velocity"'
        )
    if told is not None and command is not None and told != command:
        raise RobotError(f'"command" is {command}, but the policy sends {told} in {action.unit}')
    return told or command or "position"


def action_order(action: ActionSpec, joints: Collection[str]) -> list[int]:
    """Return, for each element of the action, the place of its joint in `joints`.

    Raises:
        RobotError: The action names no joints, or one that is not here.
    """
    if not action.labels:
        raise RobotError("the policy's action has no labels, so its joints are unknown")
    _require_labels("the action", action.labels, joints)
    places = {label: i for i, label in enumerate(joints)}
    return [places[label] for label in action.labels]


def _require_labels(what: str, labels: tuple[str, ...], joints: Collection[str]) -> None:
    for label in labels:
        if label not in joints:
            names = closest(label, joints)
            raise RobotError(f"{what} needs the joint {label}; this robot has {names}")


class _Asked(NamedTuple):
    """What an action asked of the joints."""

    action: Array  # (A,), the policy's
    actuators: Array  # (A,), positions or velocities
    goals: Array  # (A,), where the joints would go
    start: Array  # (A,), where they were going before


class GoalPositions:
    """Turns actions into goal positions of joints, (A,) in the action's order.

    Args:
        action: The policy's.
        quantity: What its elements command.
        low: Lowest position each joint may be sent to.
        high: Highest one.
        dt_s: Seconds from one action to the next.
    """

    def __init__(
        self, action: ActionSpec, quantity: Quantity, *, low: Array, high: Array, dt_s: float
    ) -> None:
        self._action = action
        self._is_velocity = quantity == "velocity"
        self._low, self._high, self._dt_s = low, high, dt_s
        fastest = np.maximum(np.abs(action.low), np.abs(action.high))
        self._max_lead = LEAD_S * fastest
        self._last: Array | None = None
        self._asked: _Asked | None = None

    def held_at(self, positions: Array) -> Array:
        """Begin anew at `positions` (A,); return the action (A,) that staying there amounts to."""
        self._last = positions
        at_rest = np.zeros_like(positions) if self._is_velocity else positions
        return self._action.from_actuators(at_rest)

    def advance(self, action: Array, measured: Array) -> Array:
        """Return goals (A,) for the joints, which are `measured`; `executed` has to follow."""
        actuators = self._action.to_actuators(action)
        start = measured if self._last is None else self._last
        goals = start + actuators * self._dt_s if self._is_velocity else actuators
        self._asked = _Asked(action.copy(), actuators, goals, start)
        if self._is_velocity:
            goals = np.clip(goals, measured - self._max_lead, measured + self._max_lead)
        return np.clip(goals, self._low, self._high)

    def executed(self, sent: Array) -> Array:
        """Return the action (A,) that the goals stand for that were `sent` in the end."""
        assert self._asked is not None, "advance first"
        asked, self._last = self._asked, sent
        is_as_asked = np.isclose(sent, asked.goals, rtol=0.0, atol=SAME_GOAL)
        done = (sent - asked.start) / self._dt_s if self._is_velocity else sent
        nearest = np.clip(self._action.from_actuators(done), -1.0, 1.0)
        return np.where(is_as_asked, asked.action, nearest).astype(np.float32)
