"""Commands of another process, checked and limited in the process that owns the hardware.

That process applies its own contract and limits, whoever sends. An action that no policy sends
(not finite, beyond [-1, 1], no one-hot vector) is refused, and the robot held. An action that
exceeds the `limits` is narrowed, and the driver receives the executed one.

Commands come over a network, not on a grid: two that were sent in two periods may arrive in one.
Rate and acceleration therefore count by the time that has passed on this side, one period at most.
The speed from which acceleration counts is a mean over at least half a period: a robot reports the
executed action with its own rounding, which divided by a shorter time could be any speed.

Letters: A action.
"""

import math
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array, Contract
from robodreamer_deploy.control.enable_switch import IsEnabled
from robodreamer_deploy.control.limits import FULL_RANGE, ROUNDING, Limiter, Limits
from robodreamer_deploy.control.safety import RANGES, Safety, Writable
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.base import permits

SHORTEST = 1e-3
"""Least part of a period that counts as passed: 20 us at 50 Hz; a message takes longer."""
SPEED_OVER = 0.5
"""Least part of a period over which a speed is measured."""


class RemoteCommands:
    """Filter of the commands that another process sends; has the two methods that move a robot.

    After a hold there is a ramp, as long as the hold was and `ramp_s` at most: with a time t of it
    left, an element changes by at most `FULL_RANGE` / t per second. A driver's own ramp keeps to
    the same bound and passes unchanged; a driver without a ramp is slowed down.

    Args:
        robot: Robot, which nobody else may write to from now on.
        contract: Contract of the policy that drives.
        limits: Limits, those of the contract or narrower ones.
        ramp_s: Seconds of the longest ramp; a discrete action has none.
        is_enabled: Called before every command, returns whether the robot may move; must not block.
        check_deadline: Called directly before an action is sent; raises if it is too late.
        now: Monotonic time in seconds; None for a robot whose time passes with its commands.
    """

    def __init__(
        self,
        robot: Writable,
        contract: Contract,
        *,
        limits: Limits,
        ramp_s: float,
        is_enabled: IsEnabled | None = None,
        check_deadline: Callable[[], None] = lambda: None,
        now: Callable[[], float] | None = time.monotonic,
    ) -> None:
        self.limits: Counter[str] = Counter()
        """Number of commands that each limit changed; see `Safety` for their names."""
        self._spec, self._period_s = contract.action, contract.control_dt_s
        self._limits = limits
        self._switch, self._check_deadline = is_enabled, check_deadline
        self._now = now
        self._safety = Safety(
            robot, contract.action, control_dt_s=contract.control_dt_s, is_enabled=is_enabled
        )
        self._safety.arm()
        is_ramped = contract.action.kind == "continuous" and now is not None
        self._longest_ramp_s = ramp_s if is_ramped else 0.0
        self._ramp_left_s = self._longest_ramp_s
        self._sent_s = -math.inf
        self._held_s: float | None = self._time()
        """Start of the part of a hold that the ramp does not count yet; None while it moves."""
        self._speed = Speed(contract.action.size)

    @property
    def switch_fault(self) -> str | None:
        """See `Safety.switch_fault`."""
        return self._safety.switch_fault

    @property
    def is_enabled(self) -> bool:
        """True if the dead-man's switches permit motion now."""
        return self._switch is None or permits(self._switch)

    def send_action(self, action: Array) -> Array:
        """Send one action, float32 (A,), within the limits; return what was executed.

        Raises:
            RobotError: No policy sends such an action, or it is too late; the robot holds.
        """
        if (problem := find_problem(action, self._spec)) is not None:
            self.hold()
            raise RobotError(f"{problem}; the robot holds")
        now = self._time()
        self._lengthen_ramp(now)
        periods = self._count_periods(now)
        wanted, limits = self._limit(action, periods)
        executed = self._safety.send(wanted, look=self._check_deadline)
        self.limits.update((*limits, *executed.limits))
        if executed.sent is None:
            self._note_hold()
            self._speed.record_rest(executed.action)
            return executed.action
        self._ramp_left_s = max(0.0, self._ramp_left_s - periods * self._period_s)
        self._sent_s, self._held_s = now, None
        self._speed.record_motion(executed.action, periods)
        return executed.action

    def hold(self) -> Array:
        """Bring the robot to rest; return the action (A,) that keeps it there."""
        self._note_hold()
        held = self._safety.hold().action
        self._speed.record_rest(held)
        return held

    def _limit(self, action: Array, periods: float) -> tuple[Array, list[str]]:
        """Return the nearest action within the limits, and the names of those that changed it."""
        before = self._safety.snapshot()
        if self._spec.kind == "discrete":
            return action, []
        passed_s = periods * self._period_s
        limited = Limiter(self._limits, passed_s).apply(
            action,
            before.last,
            self._speed.per_period * periods,
            ramp=lambda way: self._ramp(way, passed_s),
        )
        return limited.action.astype(np.float32), list(limited.limits)

    def _ramp(self, way: Array, passed_s: float) -> Array:
        """Return the part of the way that the ramp permits."""
        if self._ramp_left_s <= passed_s:
            return way
        longest = FULL_RANGE * passed_s / self._ramp_left_s
        return np.where(np.abs(way) <= longest + ROUNDING, way, np.clip(way, -longest, longest))

    def _count_periods(self, now: float) -> float:
        """Return how many periods have passed since the last action, at most one."""
        if self._now is None:
            return 1.0
        return float(np.clip((now - self._sent_s) / self._period_s, SHORTEST, 1.0))

    def _lengthen_ramp(self, now: float) -> None:
        """Lengthen the ramp by the time for which the robot was held."""
        if self._held_s is not None:
            longer_s = self._ramp_left_s + now - self._held_s
            self._ramp_left_s = min(longer_s, self._longest_ramp_s)
            self._held_s = now

    def _note_hold(self) -> None:
        if self._held_s is None:
            self._held_s = self._time()

    def _time(self) -> float:
        return 0.0 if self._now is None else self._now()


class Speed:
    """Rate of change of the executed actions (A,), measured over half a period at least."""

    def __init__(self, size: int) -> None:
        self.per_period = np.zeros(size)
        """Change per control period, float64 (A,)."""
        self._from = np.zeros(size)
        self._periods = 0.0  # since `_from`

    def record_rest(self, action: Array) -> None:
        """Restart the measurement where the robot rests."""
        self.per_period = np.zeros(action.size)
        self._from, self._periods = action.astype(np.float64), 0.0

    def record_motion(self, action: Array, periods: float) -> None:
        """Record that `action` was executed so many periods after the one before it."""
        self._periods += periods
        if self._periods >= SPEED_OVER:
            self.per_period = (action - self._from) / self._periods
            self._from, self._periods = action.astype(np.float64), 0.0


def find_problem(action: Array, spec: ActionSpec) -> str | None:
    """Return why no policy sends `action` (A,); None if one may."""
    if not np.isfinite(action).all():
        return f"the action {action.tolist()} is not finite"
    if spec.kind == "discrete":
        is_choice = np.isin(action, (0.0, 1.0)).all() and action.sum() == 1.0
    else:
        is_choice = (np.abs(action) <= 1.0).all()
    return None if is_choice else f"the action {action.tolist()} is not {RANGES[spec.kind]}"
