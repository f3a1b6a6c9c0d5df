"""Joints by name: the policy's labels, and the controller's order.

Letters: U actuator of the action, C joint of the controller.
"""

from collections.abc import Sequence

import numpy as np

from robodreamer_deploy.contract import Array, Contract, Signal
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.joints import (
    GoalPositions,
    Quantity,
    commanded_quantities,
    given,
    known_ranges,
)
from robodreamer_deploy.robots.pose_check import PoseCheck
from robodreamer_deploy.robots.ros2.settings import Ros2File, Ros2Joint


class Ros2Joints:
    """Mapping of the policy's labels to joints in ROS.

    Raises (when it is made):
        RobotError: The action names no joints, one that the controller lacks, or is of positions
            where the controller takes velocities.
    """

    def __init__(self, settings: Ros2File, contract: Contract) -> None:
        action, command = contract.action, settings.command
        self._settings = settings
        self.quantities = commanded_quantities(action, settings.action)
        """Kind of value that the policy commands each actuator, (U,)."""
        if command.quantity == "velocity" and {*self.quantities} != {"velocity"}:
            raise RobotError("the policy commands positions; the controller takes velocities")
        if command.quantity == "velocity" and action.mapping is not None:
            raise RobotError("the policy's action is a change; the controller takes velocities")
        labels = action.actuator_labels
        if not labels:
            raise RobotError("the policy's action has no labels, so its joints are unknown")
        driven = self.names(labels)
        self.controlled = settings.command.joints or driven
        """Joints of the controller, in its order."""
        if missing := [name for name in driven if name not in self.controlled]:
            raise RobotError(
                f"the action drives {missing[0]}; the controller has {', '.join(self.controlled)}"
            )
        self.places = [self.controlled.index(name) for name in driven]
        """Places of the action's joints (U,) among them."""
        self.factors = np.array([self._joint(label).factor for label in labels])
        self.offsets = np.array([self._joint(label).offset for label in labels])
        joints = [self._joint(label) for label in labels]
        known_low, known_high = known_ranges(contract, labels, "position")
        self.low = given([joint.low for joint in joints], known_low)
        """Between which positions (U,) they may be sent."""
        self.high = given([joint.high for joint in joints], known_high)
        self.goals = GoalPositions(
            action, self.quantities, low=self.low, high=self.high, dt_s=contract.control_dt_s
        )
        slowest, fastest = known_ranges(contract, labels, "velocity")
        measured = np.maximum(np.abs(slowest), np.abs(fastest))
        own = self.high - self.low
        self.check = PoseCheck(
            labels,
            known_low,
            known_high,
            span=np.where(np.isfinite(known_high - known_low), known_high - known_low, own),
            speed=np.where(np.isfinite(self.goals.speed), self.goals.speed, measured),
        )

    def names(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the names in ROS."""
        return tuple(self._joint(label).name or label for label in labels)

    def driven(self, theirs: Array) -> Array:
        """Return positions (U,) in the policy's units from the controller's (C,)."""
        return self.factors * theirs[self.places] + self.offsets

    def to_ours(self, signal: Signal, theirs: Array, quantity: Quantity) -> Array:
        """Return a signal's value from ROS's, in the order of its labels."""
        factors = np.array([self._joint(label).factor for label in signal.labels])
        offsets = np.array([self._joint(label).offset for label in signal.labels])
        values = factors * theirs + (offsets if quantity == "position" else 0.0)
        return values.astype(np.float32).reshape(signal.shape)

    def _joint(self, label: str) -> Ros2Joint:
        return self._settings.joints.get(label, Ros2Joint())
