"""Commands of another process, judged where the robot is before they reach it.

Whoever sends, the process that owns the hardware goes by its own contract and limits. What no
policy sends (not finite, beyond [-1, 1], no one-hot vector) is refused and held. What exceeds the
`limits` is narrowed, and the driver's model is told what was executed.

Commands come over a network, not on a grid: two that were sent in two periods may arrive in one.
Rate and acceleration therefore count by the time that has passed on this side, one period at most.
The speed that acceleration counts from is a mean over half a period at least: a robot reports what
it executed to within its own rounding, which over a shorter time would be any speed.

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
from robodreamer_deploy.robots.base import (
    permits,
)

SHORTEST = 1e-3
"""Least part of a period that counts as having passed; a message takes longer (20 us at 50 Hz)."""
SPEED_OVER = 0.5
"""Least part of a period over which a speed is measured."""


class RemoteCommands:
    """Judge of the commands that another process sends; has the two methods that move a robot.

    After a hold there is a ramp, as long as the hold was and `ramp_s` at most: with a time t of it
    left, an element goes no further than `FULL_RANGE` / t per second. The ramp of a driver does not
    either, so that it passes unchanged, and who ramps not at all is slowed down.

    Args:
        robot: Nobody else may write to it from now on.
        contract: What a policy sends, and how often.
        limits: Narrower than the contract's, or the same.
        ramp_s: Seconds of the longest ramp; a discrete action has none.
        is_enabled: Asked before every command whether the robot may move; must not block.
        look: Called directly before the robot is sent an action; raises where it is too late.
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
        look: Callable[[], None] = lambda: None,
        now: Callable[[], float] | None = time.monotonic,
    ) -> None:
        self.limits: Counter[str] = Counter()
        """How often each limit changed a command; see `Safety` for their names."""
        self._spec, self._period_s = contract.action, contract.control_dt_s
        self._limits = limits
        self._switch, self._look = is_enabled, look
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
        """Since when it holds, as far as the ramp does not count it yet; None while it moves."""
        self._speed = Speed(contract.action.size)

    @property
    def switch_fault(self) -> str | None:
        """See `Safety.switch_fault`."""
        return self._safety.switch_fault

    @property
    def is_enabled(self) -> bool:
        """Whether the dead-man's switches permit motion now."""
        return self._switch is None or permits(self._switch)

    def send_action(self, action: Array) -> Array:
        """Send one action, float32 (A,), within the limits; return what was executed.

        Raises:
            RobotError: No policy sends such an action; the robot holds.
        """
        if (problem := find_problem(action, self._spec)) is not None:
            self.hold()
            raise RobotError(f"{problem}; the robot holds")
        now = self._time()
        self._lengthen_ramp(now)
        periods = self._count_periods(now)
        wanted, limits = self._limit(action, periods)
        executed = self._safety.send(wanted, look=self._look)
        self.limits.update((*limits, *executed.limits))
        if executed.sent is None:
            self._note_hold()
            self._speed.rests_at(executed.action)
            return executed.action
        self._ramp_left_s = max(0.0, self._ramp_left_s - periods * self._period_s)
        self._sent_s, self._held_s = now, None
        self._speed.went_to(executed.action, periods)
        return executed.action

    def hold(self) -> Array:
        """Bring the robot to rest; return the action (A,) this amounts to."""
        self._note_hold()
        held = self._safety.hold().action
        self._speed.rests_at(held)
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
        """Return as much of the way as the ramp lets pass."""
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
        """Make the ramp longer by the time for which the robot was held."""
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
    """How fast the executed actions (A,) change, measured over half a period at least."""

    def __init__(self, size: int) -> None:
        self.per_period = np.zeros(size)
        """Change per control period, float64 (A,)."""
        self._from = np.zeros(size)
        self._periods = 0.0  # since it was there

    def rests_at(self, action: Array) -> None:
        """Begin anew where the robot rests."""
        self.per_period = np.zeros(action.size)
        self._from, self._periods = action.astype(np.float64), 0.0

    def went_to(self, action: Array, periods: float) -> None:
        """Note that `action` was executed so many periods after the one before it."""
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
