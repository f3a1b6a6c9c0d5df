"""A robot whose driver is a ROS 2 node: `--robot ros2:FILE`.

Joints are found by name, whatever order a JointState has and however many nodes publish parts of
it; values are as old as their headers say. What the file says, `settings` tells; what happens on
the side of ROS, `node`.

Letters: A action element, U actuator, C joint of the controller.
"""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robodreamer_deploy.contract import (
    Array,
    Contract,
    Signal,
)
from robodreamer_deploy.errors import RobotError, SignalError
from robodreamer_deploy.robots.device_lock import DeviceLock
from robodreamer_deploy.robots.image_fit import make_fit
from robodreamer_deploy.robots.joints import QUANTITIES
from robodreamer_deploy.robots.ros2.inbox import to_picture
from robodreamer_deploy.robots.ros2.joints import Ros2Joints
from robodreamer_deploy.robots.ros2.node import Ros2Node
from robodreamer_deploy.robots.ros2.settings import Ros2File, read_ros2_file
from robodreamer_deploy.robots.velocity_filter import VelocityFilter

HANGING_S = 0.2
"""A call of another thread that goes on for so long is not waited for when holding."""
POLL_S = 0.02
ANOTHER_WITHIN_S = 0.2
"""Longest wait in seconds for the message that decides whether to believe the newest one."""
OLDEST_S = 0.1
"""A pose may be so old that a change starts from it, or two control periods if they are longer."""
Observed = tuple[dict[str, Array], dict[str, float]]
"""Values by signal, and their stamps in monotonic seconds."""


class Ros2Robot:
    """A ROS 2 robot as one of ours; methods may be called from several threads.

    A subclass reads other topics by extending `observation_features`, `open_node` and `observe`.

    Args:
        settings: Topics and joints.
        contract: Of the policy.
        now: Monotonic time in seconds.

    Raises (when it is made):
        RobotError: As `Ros2Joints` does.
    """

    def __init__(
        self,
        settings: Ros2File,
        contract: Contract,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.contract, self._now = settings, contract, now
        self._joints = Ros2Joints(settings, contract)
        self._goals = self._joints.goals
        inputs = {signal.name: signal for signal in contract.inputs}
        if unknown := sorted({*settings.pictures, *settings.vectors} - inputs.keys()):
            raise RobotError(
                f"the file has {', '.join(unknown)}; the policy reads {', '.join(inputs)}"
            )
        self._vectors = {name: inputs[name] for name in settings.vectors}
        self._fits = {
            name: make_fit(inputs[name].shape, picture.crop)
            for name, picture in settings.pictures.items()
        }
        self._moving = {
            name: signal
            for name, signal in inputs.items()
            if signal.unit in QUANTITIES and signal.labels and name not in self._vectors
        }
        self._velocities = {name: VelocityFilter(contract.control_dt_s) for name in self._moving}
        self._lock = DeviceLock("the ROS 2 node")
        self._stamps: Mapping[str, float] = {}
        self._forget()
        self.node: Ros2Node | None = None
        """While connected."""

    @property
    def observation_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every signal of the policy that has a topic."""
        names = {*self._moving, *self._fits, *self._vectors}
        return {s.name: s.shape for s in self.contract.inputs if s.name in names}

    @property
    def action_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of an action, `{"action": (A,)}`."""
        return {"action": (self.contract.action.size,)}

    @property
    def observation_stamps(self) -> Mapping[str, float]:
        """Monotonic time in seconds at which each value was measured, by its header's stamp."""
        return self._stamps

    def open_node(self) -> Ros2Node:
        """Return a node that has subscribed to all topics, and has not been started yet."""
        return Ros2Node(self.settings, self._joints.controlled, self._now)

    def connect(self) -> None:
        """Start a node; wait for every topic and for the controller.

        Raises:
            RobotError: There is no ROS 2 here, or something does not come in time; says what.
        """
        with self._lock.use():
            self._forget()
            self.node = self.open_node()
            self.node.start()
        end = self._now() + self.settings.connect_within_s
        while (missing := self._find_missing(self.node)) is not None:
            if self._now() > end:
                self.disconnect()
                raise RobotError(f"within {self.settings.connect_within_s:g} s: {missing}")
            time.sleep(POLL_S)

    def get_observation(self) -> Mapping[str, Array]:
        """Return the newest value of every signal; their stamps tell how old they are.

        Raises:
            SignalError: A message that does not fit its signal.
            RobotError: The node has ended.
        """
        with self._lock.use():
            node = self._running()
            self._measure(node)
            observation, self._stamps = self.observe(node)
            return observation

    def observe(self, node: Ros2Node) -> Observed:
        """Return values and stamps of all signals that were told by now.

        Raises:
            SignalError: A value that is not a camera's was never told, or does not fit.
        """
        observation, stamps = self._observe_joints(node)
        for name, fit in self._fits.items():
            stamped = node.inbox.message(self.settings.pictures[name].topic, name)
            if stamped is not None:  # a camera without a frame may be left out
                observation[name] = fit(to_picture(stamped.value, name))
                stamps[name] = stamped.stamp_s
        for name, signal in self._vectors.items():
            topic = self.settings.vectors[name]
            stamped = node.inbox.message(topic, name)
            if stamped is None:
                raise SignalError(name, f"nothing was published on {topic} yet")
            observation[name] = _vector(stamped.value, signal)
            stamps[name] = self._now()  # such as a goal, which holds until the next one
        return observation, stamps

    def send_action(self, action: Array) -> Array:
        """Publish goals, within the joints' ranges; return the action that they stand for.

        Where they are reckoned from the measured pose, and that is old or not to be believed, the
        robot is held instead.

        Raises:
            RobotError: The node has ended, nobody listens, or no pose is known to start from.
        """
        with self._lock.use():
            node = self._running()
            self._measure(node)
            if self._pose is None:
                raise RobotError(f"there is no pose to start from: {self._doubt}")
            if self._starts_from_measured and (self._doubt or self._is_old()):
                return self.hold()
            if self._sent is None:
                self._sent = self._pose.copy()
                self._goals.held_at(self._joints.driven(self._pose))
            self._is_holding = False
            if self.settings.command.quantity == "velocity":
                return self._send_velocities(node, action, self._joints.driven(self._pose))
            return self._send_positions(node, action, self._joints.driven(self._pose))

    def hold(self) -> Array:
        """Publish the measured pose, or velocities of 0; return the equivalent action.

        The pose is the newest one to be believed, and is taken once, and again where the robot was
        moved far from it, as by hand; joints that the policy does not drive stay where they were
        sent, unless it was moved. Before `connect` and after `disconnect` there is nothing to hold.

        Raises:
            RobotError: Nobody listens, or no pose is known.
        """
        with self._lock.attempt(HANGING_S):  # another thread may hang: publish all the same
            node, action = self.node, self.contract.action
            if node is None:
                return np.zeros(action.size, np.float32)
            if self.settings.command.quantity == "velocity":
                node.publish(np.zeros(len(self._joints.controlled)), self.contract.control_dt_s)
                return action.from_actuators(np.zeros(action.num_actuators))
            self._measure_surely(node)
            if (is_moved := self._is_holding and self._was_moved()) or not self._is_holding:
                if self._pose is None:
                    raise RobotError(f"there is no pose to hold: {self._doubt}")
                sent = self._pose.copy() if self._sent is None or is_moved else self._sent
                sent[self._joints.places] = self._pose[self._joints.places]
                self._sent, self._is_holding = sent, True
            assert self._sent is not None, "set above"
            node.publish(self._sent, self.contract.control_dt_s)
            return self._goals.held_at(self._joints.driven(self._sent))

    def disconnect(self) -> None:
        """End the node; the controller goes on with what it was last sent."""
        with self._lock.use():
            node, self.node = self.node, None
            if node is not None:
                node.close()

    def _forget(self) -> None:
        """Know nothing of any pose."""
        self._pose: Array | None = None  # (C,), theirs: the newest that the joints can have
        self._sent: Array | None = None  # (C,), theirs
        self._doubt = "none was published"
        self._judged: tuple[Array, float] | None = None  # the newest message's pose and stamp
        self._is_holding = False
        self._joints.check.reset()
        for velocity in self._velocities.values():
            velocity.reset()

    def _running(self) -> Ros2Node:
        if self.node is None:
            raise RobotError("the ROS 2 node is not connected")
        if self.node.fault is not None:
            raise RobotError(self.node.fault)
        return self.node

    def _find_missing(self, node: Ros2Node) -> str | None:
        """Return what has not come yet; None if all has."""
        if node.fault is not None:
            return node.fault
        try:
            node.inbox.joints("position", self._joints.controlled, "the controller")
            observation, _ = self.observe(node)
        except SignalError as error:
            return str(error)
        if dark := [name for name in self._fits if name not in observation]:
            return f"no picture was published on {self.settings.pictures[dark[0]].topic}"
        if not node.has_listener:
            topic = self.settings.command.topic
            return f"nobody listens on {topic}: is the controller running?"
        return None

    def _measure(self, node: Ros2Node) -> None:
        """Take the newest pose of the controller's joints, if they can be there."""
        try:
            theirs, stamp_s = node.inbox.joints(
                "position", self._joints.controlled, "the controller"
            )
        except SignalError as error:
            self._doubt = str(error)
            return
        if self._judged is not None:  # one message is one reading, however often it is looked at
            judged, judged_s = self._judged
            if stamp_s == judged_s and np.array_equal(theirs, judged, equal_nan=True):
                return
        self._judged = theirs, stamp_s
        doubt = self._joints.check.doubt(self._joints.driven(theirs), self._now())
        if doubt is None and not np.isfinite(theirs).all():
            doubt = "a joint that the policy does not drive tells no number"
        self._doubt = doubt or ""
        if doubt is None:
            self._pose = theirs

    def _measure_surely(self, node: Ros2Node) -> None:
        """Take the newest pose; wait for the next where that tells whether to believe it."""
        self._measure(node)
        for _ in range(round(ANOTHER_WITHIN_S / POLL_S)):
            if not self._joints.check.wants_another:
                return
            time.sleep(POLL_S)
            self._measure(node)

    def _was_moved(self) -> bool:
        """True if the joints are far from where they are held."""
        if self._pose is None or self._sent is None or self._doubt:
            return False
        held, measured = self._joints.driven(self._sent), self._joints.driven(self._pose)
        return self._joints.check.is_far(held, measured)

    @property
    def _starts_from_measured(self) -> bool:
        """True if what is published is reckoned from where the joints are."""
        return self._goals.starts_from_measured or self.settings.command.quantity == "velocity"

    def _is_old(self) -> bool:
        age_s = math.inf if self._judged is None else self._now() - self._judged[1]
        return age_s > max(2.0 * self.contract.control_dt_s, OLDEST_S)

    def _observe_joints(self, node: Ros2Node) -> Observed:
        observation: dict[str, Array] = {}
        stamps: dict[str, float] = {}
        for name, signal in self._moving.items():
            quantity, names = QUANTITIES[signal.unit], self._joints.names(signal.labels)
            is_derived = quantity == "velocity" and not node.inbox.knows(quantity, names)
            field = "position" if is_derived else quantity
            values, stamps[name] = node.inbox.joints(field, names, name)
            if is_derived:
                values = self._velocities[name].update(values, stamps[name])
            observation[name] = self._joints.to_ours(signal, values, quantity)
        return observation, stamps

    def _send_positions(self, node: Ros2Node, action: Array, measured: Array) -> Array:
        assert self._sent is not None, "set before"
        joints = self._joints
        goals = self._goals.advance(action, measured)
        self._sent[joints.places] = (goals - joints.offsets) / joints.factors
        node.publish(self._sent, self.contract.control_dt_s)
        return self._goals.executed(goals)

    def _send_velocities(self, node: Ros2Node, action: Array, measured: Array) -> Array:
        """Publish velocities, none of which leads out of a joint's range within a period."""
        joints, period_s = self._joints, self.contract.control_dt_s
        asked = self.contract.action.to_actuators(action)
        lowest = np.minimum((joints.low - measured) / period_s, 0.0)
        highest = np.maximum((joints.high - measured) / period_s, 0.0)
        speeds = np.clip(asked, lowest, highest)
        command = np.zeros(len(joints.controlled))
        command[joints.places] = speeds / joints.factors
        node.publish(command, period_s)
        done = np.clip(self.contract.action.from_actuators(speeds), -1.0, 1.0)
        return np.where(speeds == asked, action, done).astype(np.float32)


def make_robot(argument: str, contract: Contract) -> Ros2Robot:
    """Make the robot of `--robot ros2:FILE` for a policy's contract.

    Raises:
        RobotError: The file is none, or the robot does not serve the policy.
    """
    return Ros2Robot(read_ros2_file(Path(argument)), contract)


def _vector(message: Any, signal: Signal) -> Array:
    values = np.array(message.data, np.float64)
    if values.size != signal.num_elements:
        raise SignalError(signal.name, f"{values.size} numbers, expected {signal.num_elements}")
    return values.astype(signal.dtype).reshape(signal.shape)
