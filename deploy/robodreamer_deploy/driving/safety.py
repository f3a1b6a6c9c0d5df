"""The only way to move the robot: every command passes here, and what was really done comes back.

Order of the checks: NaN and infinity are refused and the robot holds (a clamp would let NaN
through); then the range; then the rate of change. A stop is latched: whatever is sent after it,
the robot holds. Arrays are copied both ways: a driver may work in place on what it is given, and
reuse what it returns. None of this replaces a switch that cuts the power.
"""

import logging
from typing import NamedTuple, Protocol

import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_deploy.robots import RobotError

logger = logging.getLogger(__name__)

ROBOT_TOLERANCE = 1e-5
"""Difference between sent and executed that is the robot's rounding, not its own limit."""


RANGES = {"continuous": "within [-1, 1]", "discrete": "one-hot"}


class Writable(Protocol):
    """The half of a robot that moves it; see `robots.Robot` for what the methods promise."""

    def send_action(self, action: Array) -> Array:
        """Send one action (A,); return what was really sent."""
        ...

    def hold(self) -> Array:
        """Bring the robot to rest; return the action (A,) this amounts to."""
        ...


class Executed(NamedTuple):
    """What the robot was told in the end."""

    action: Array  # float32 (A,)
    limits: tuple[str, ...]  # which limits changed it, of `Safety`'s list; () if none


class ReadOnly:
    """Stands in for a robot in a dry run: accepts every command and moves nothing."""

    def __init__(self, action: ActionSpec) -> None:
        self._last = np.zeros(action.size, np.float32)
        if action.kind == "discrete":
            self._last[0] = 1.0

    def send_action(self, action: Array) -> Array:
        """Remember `action` as if it had been executed."""
        self._last = action
        return action

    def hold(self) -> Array:
        """Return the last action: this robot is at rest anyway."""
        return self._last


class Safety:
    """Owner of the write handle.

    Limits, as they are named in reports: `not finite` (refused, held), `range`, `one-hot`, `rate`,
    `robot` (the robot itself executed something else), `stopped` (held after a latched stop),
    `hold` (held at a pose that no action in range stands for; the nearest one is taken).
    """

    def __init__(
        self,
        robot: Writable,
        action: ActionSpec,
        *,
        control_dt_s: float,
        max_rate: tuple[float, ...] | None = None,
    ) -> None:
        """Guard `robot`.

        Args:
            robot: Nobody else may write to it from now on.
            action: What the policy sends.
            control_dt_s: Seconds from one action to the next.
            max_rate: Largest change per second of each element, in action units (the full range
                is 2); None for no limit. The first action has no predecessor and passes.

        Raises:
            ValueError: The limits do not fit the action.
        """
        if max_rate is not None:
            if action.kind == "discrete":
                raise ValueError("a discrete action has no rate to limit")
            if len(max_rate) != action.size:
                raise ValueError(f"{len(max_rate)} rate limits for {action.size} action elements")
            if not all(0.0 < rate < np.inf for rate in max_rate):
                raise ValueError(f"rate limits must be above 0 and finite, got {max_rate}")
        self._robot = robot
        self._spec = action
        self._max_change = None if max_rate is None else np.asarray(max_rate) * control_dt_s
        self._last: Array | None = None
        self._stop_reason: str | None = None

    @property
    def stop_reason(self) -> str | None:
        """Why the robot was stopped; None while it may move."""
        return self._stop_reason

    def send(self, action: Array) -> Executed:
        """Send one action (A,) as far as it is safe.

        Raises:
            RobotError: The robot reports an execution that makes no sense.
        """
        assert action.shape == (self._spec.size,), action.shape
        if self._stop_reason is not None:
            return self._hold_because("stopped")
        if not np.isfinite(action).all():
            return self._hold_because("not finite")
        safe, limits = self._limit(action.astype(np.float32))
        done, is_action = self._read(self._robot.send_action(safe.copy()), "send_action")
        if not is_action:
            raise RobotError(
                f"send_action returned {done}, expected the executed action "
                f"{RANGES[self._spec.kind]}, not actuator values"
            )
        if np.abs(done - safe).max() > ROBOT_TOLERANCE:
            limits.append("robot")
        return Executed(self._remember(done), tuple(limits))

    def hold(self) -> Executed:
        """Bring the robot to rest; return the action (A,) this amounts to.

        Raises:
            RobotError: The robot reports what makes no sense; what it raises itself is passed on.
        """
        done, is_action = self._read(self._robot.hold(), "hold")
        return Executed(self._remember(done), () if is_action else ("hold",))

    def stop(self, reason: str) -> None:
        """Hold, and refuse to move until a new object is made. The first reason is kept."""
        if self._stop_reason is None:
            self._stop_reason = reason
            logger.error("robot stopped: %s", reason)
        self.hold()

    def start_episode(self) -> None:
        """Forget the previous action, which belongs to another episode."""
        self._last = None

    def _limit(self, action: Array) -> tuple[Array, list[str]]:
        """Return the nearest allowed action and the names of the limits that changed it."""
        if self._spec.kind == "discrete":
            choice = _one_hot(action)
            return choice, [] if (choice == action).all() else ["one-hot"]
        limits: list[str] = []
        safe = np.clip(action, -1.0, 1.0)
        if (safe != action).any():
            limits.append("range")
        if self._max_change is not None and self._last is not None:
            near = np.clip(safe, self._last - self._max_change, self._last + self._max_change)
            if (near != safe).any():
                limits.append("rate")
            safe = near.astype(np.float32)
        return safe, limits

    def _hold_because(self, limit: str) -> Executed:
        held = self.hold()
        return Executed(held.action, (limit, *held.limits))

    def _read(self, returned: Array, method: str) -> tuple[Array, bool]:
        """Return a copy of what the robot says it did, and whether it is an action at all."""
        done = np.array(returned, np.float32)
        if done.shape != (self._spec.size,) or not np.isfinite(done).all():
            raise RobotError(
                f"{method} returned {returned}, "
                f"expected the executed action of {self._spec.size} finite elements"
            )
        return done, bool(np.abs(done - self._nearest(done)).max() <= ROBOT_TOLERANCE)

    def _remember(self, done: Array) -> Array:
        """Keep what was executed, as an action in range that nobody can change any more."""
        self._last = self._nearest(done)
        self._last.flags.writeable = False
        return self._last

    def _nearest(self, action: Array) -> Array:
        """Return the closest action that a policy could have sent."""
        return _one_hot(action) if self._spec.kind == "discrete" else np.clip(action, -1.0, 1.0)


def _one_hot(action: Array) -> Array:
    choice = np.zeros_like(action)
    choice[np.argmax(action)] = 1.0
    return choice
