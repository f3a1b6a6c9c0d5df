"""Holds a robot when commands cease: for robots that do not do so by themselves.

It watches from the robot's process, so that it acts also when the driver or the network is gone.
Firmware that watches by itself is better still: it acts also when this process is gone.
"""

import logging
import time
from collections.abc import Callable

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.faults import sentence
from robodreamer_deploy.robots import Robot, RobotError, is_enabling, permits

logger = logging.getLogger(__name__)

RETRY_S = 0.1


def may_move(robot: Robot) -> bool:
    """Ask a robot's dead-man's switch, if it has one."""
    return not is_enabling(robot) or permits(lambda: robot.is_enabled)


class Watch:
    """What a robot is commanded through; see `server.Commands`.

    After the robot was held because commands had ceased, it refuses actions until it is told to
    hold: whoever goes on has to know that it stands.
    """

    def __init__(
        self, robot: Robot, command_within_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._robot = robot
        self._within_s = command_within_s
        self._now = now
        self._due_s: float | None = None
        self._has_ceased = False

    @property
    def command_within_s(self) -> float:
        """How long after an action the next command has to come."""
        return self._within_s

    def send_action(self, action: Array) -> Array:
        """Pass an action on; hold in its place while the robot's dead-man's switch is released.

        Raises:
            RobotError: It is not finite, or commands had ceased.
        """
        if self._has_ceased:
            raise RobotError(f"commands had ceased for {self._within_s:g} s: the robot was held")
        if not np.isfinite(action).all():
            raise RobotError(f"the action {action} is not finite")
        if not may_move(self._robot):
            return self.hold()
        self._due_s = self._now() + self._within_s
        return self._robot.send_action(action)

    def hold(self) -> Array:
        """Hold; actions are passed on again."""
        held = self._robot.hold()
        self._has_ceased, self._due_s = False, None
        return held

    def advance(self) -> float:
        """Hold if commands have ceased, again and again where that fails; return when to look."""
        now = self._now()
        if self._due_s is None:
            return float("inf")
        if now < self._due_s:
            return self._due_s - now
        self._has_ceased = True
        try:
            self._robot.hold()
        except Exception as error:  # noqa: BLE001  a driver raises what it likes
            logger.error("hold failed: %s", sentence(error))  # noqa: TRY400  the sentence helps
            self._due_s = now + RETRY_S
            return RETRY_S
        logger.warning("no command for %g s: the robot was held", self._within_s)
        self._due_s = None
        return float("inf")
