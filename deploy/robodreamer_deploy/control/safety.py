"""The only way to move the robot: every command passes here, and what was really done comes back.

Order of the checks: a latched stop; NaN and infinity, which are refused (a clamp would let NaN
through); the dead-man's switch; the warm-up; then ramp, range, rate and acceleration. What is
refused becomes a hold. `states` says what follows what. Arrays are copied both ways: a driver may
work in place on what it is given, and reuse what it returns. None of this replaces a switch that
cuts the power.
"""

import logging
import math
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_deploy.control.enable_switch import EnableSwitch, IsEnabled
from robodreamer_deploy.control.limits import Limiter, Limits, contract_limits
from robodreamer_deploy.control.states import State, StateMachine
from robodreamer_deploy.errors import RobotError

logger = logging.getLogger(__name__)

NOT_FINITE = "not finite"
"""The limit that says that a policy's action was refused."""
ROBOT_TOLERANCE = 1e-5
"""Difference between sent and executed that is the robot's rounding, not its own limit."""
WRITE_PATIENCE_S = 0.05
"""Seconds that a hold waits for a command of the other thread to return; then it is sent anyway."""

RANGES = {"continuous": "within [-1, 1]", "discrete": "one-hot"}


class Writable(Protocol):
    """The half of a robot that moves it; see `robots.Robot` for what the methods promise."""

    def send_action(self, action: Array) -> Array:
        """Send one action (A,); return what was really sent."""
        ...

    def hold(self) -> Array:
        """Bring the robot to rest; return the equivalent action (A,)."""
        ...


class Executed(NamedTuple):
    """Command that the robot really executed."""

    action: Array  # float32 (A,)
    limits: tuple[str, ...]  # which limits changed it, of `Safety`'s list; () if none
    sent: Array | None = None  # float32 (A,), what the robot was sent; None if it was told to hold


class SafetySnapshot(NamedTuple):
    """State that decides, with the next action, which command is sent."""

    state: State
    warm_up_left: int  # ticks
    ramp_left: int  # ticks
    last: Array | None  # float32 (A,), executed last; None before anything was
    change: Array  # float32 (A,), from the action before it


@dataclass(frozen=True, kw_only=True)
class StartupProfile:
    """Warm-up and ramp at the beginning of motion."""

    warm_up_ticks: int = 0
    """Ticks in which the model watches before the robot moves."""
    ramp_s: float = 0.0
    """Seconds from the measured pose to what the policy wants. A choice (a discrete action) has
    nothing in between, and is not ramped."""


class ReadOnly:
    """Stand-in for a robot in a dry run: it accepts every command and moves nothing."""

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
    """Owner of the robot's write handle, through which every command passes.

    Limits, as they are named in reports: `disarmed`, `stopped`, `not finite`, `dead-man` and
    `warming` (refused, held); `ramp`, `range`, `one-hot`, `rate`, `acceleration` (changed);
    `robot` (the robot itself executed something else); `hold` (held at a pose that no action in
    range stands for; the nearest one is taken).
    """

    def __init__(
        self,
        robot: Writable,
        action: ActionSpec,
        *,
        control_dt_s: float,
        limits: Limits | None = None,
        startup: StartupProfile | None = None,
        is_enabled: IsEnabled | None = None,
    ) -> None:
        """Guard `robot`, disarmed.

        Args:
            robot: Nobody else may write to it from now on.
            action: What the policy sends.
            control_dt_s: Seconds from one action to the next.
            limits: What is allowed; by default the contract's range alone. The first action has
                no predecessor and is not limited in its rate, unless there is a warm-up or a ramp.
            startup: How it is set in motion; by default at once.
            is_enabled: Asked before every command whether the robot may move; must not block.
        """
        self.limits = limits or contract_limits(action)
        """Limits that apply."""
        self.startup = startup = startup or StartupProfile()
        """Warm-up and ramp that apply."""
        is_choice = action.kind == "discrete"
        self._robot = robot
        self._spec = action
        self._limiter = Limiter(self.limits, control_dt_s)
        if is_enabled is not None and not isinstance(is_enabled, EnableSwitch):
            is_enabled = EnableSwitch(is_enabled)
        self._switch = is_enabled
        self._num_ramp_ticks = 0 if is_choice else math.ceil(startup.ramp_s / control_dt_s - 1e-6)
        self._num_warm_up_ticks = max(startup.warm_up_ticks, min(1, self._num_ramp_ticks))
        self._warm_up_left = self._ramp_left = 0
        self._last: Array | None = None
        self._change = np.zeros(action.size, np.float32)
        self._states = StateMachine()
        self._write_lock = threading.RLock()  # a look that comes too late stops the robot itself

    @property
    def state(self) -> State:
        """State of the drive."""
        return self._states.state

    @property
    def stop_reason(self) -> str | None:
        """Reason why the robot was stopped; None while it may move."""
        return self._states.stop_reason

    @property
    def switch_fault(self) -> str | None:
        """Reason why the dead-man's switch let nothing move at all; None if it is one."""
        return None if self._switch is None else self._switch.fault

    @property
    def can_slow_down(self) -> bool:
        """True if there are rate limits that `send` can scale."""
        return self._limiter.has_rate

    def arm(self) -> None:
        """Begin to drive: forget the previous action, which belongs to another episode."""
        if self.state is not State.DISARMED:
            self._states.enter(State.DISARMED)
        self._last, self._change = None, np.zeros(self._spec.size, np.float32)
        self._begin()
        self._states.enter(State.WARMING)

    def disarm(self) -> Executed:
        """Hold, and refuse to move until `arm`."""
        self._states.enter(State.DISARMED)
        return self.hold()

    def restart(self) -> None:
        """Warm up and ramp in again, as the model is reset after a fault."""
        if self.state in (State.RAMPING, State.DRIVING):
            self._states.enter(State.HOLDING)
        self._begin()

    def send(
        self, action: Array, *, rate_scale: float = 1.0, look: Callable[[], None] = lambda: None
    ) -> Executed:
        """Send one action (A,) within all limits.

        Args:
            action: In the policy's units.
            rate_scale: Slows the robot down, by scaling its rate limits; within (0, 1].
            look: Called directly before the robot is; raises where it is too late for a command
                (this process was suspended after the action was decided on).

        Returns:
            What was executed, which is what the model has to be told.

        Raises:
            RobotError: The robot reports an execution that makes no sense; what it raises itself,
                and what `look` raises, is passed on.
        """
        assert action.shape == (self._spec.size,), action.shape
        with self._writing():
            if (refusal := self._refuse(action)) is not None:
                return self._hold_because(refusal)
            safe, limits = self._limit(action.astype(np.float32), rate_scale)
            command = safe.copy()
            look()
            done, is_action = self._read(self._robot.send_action(command), "send_action")
            if not is_action:
                raise RobotError(
                    f"send_action returned {done}, expected the executed action "
                    f"{RANGES[self._spec.kind]}, not actuator values"
                )
            if self.stop_reason is not None:  # stopped while it was sent: too late
                return self._hold_because("stopped")
            if np.abs(done - safe).max() > ROBOT_TOLERANCE:
                limits.append("robot")
            return Executed(self._remember(done), tuple(limits), safe)

    def hold(self) -> Executed:
        """Bring the robot to rest; return the equivalent action (A,).

        Raises:
            RobotError: The robot reports what makes no sense; what it raises itself is passed on.
        """
        if self.state is not State.DISARMED:
            self._states.enter(State.HOLDING)
        with self._writing():
            return self._hold()

    def stop(self, reason: str) -> None:
        """Hold, and refuse to move until a new object is made. The first reason is kept.

        May be called from any thread: what another one is about to send is refused from now on,
        and what it is sending is followed by a hold.
        """
        is_news = self._states.stop(reason)
        try:
            self.hold()
        finally:  # last: a terminal that takes nothing in makes whoever logs wait
            if is_news:
                logger.error("robot stopped: %s", reason)

    def snapshot(self) -> SafetySnapshot:
        """Return what the next action is judged by; nobody changes its arrays any more."""
        counts = self._warm_up_left, self._ramp_left
        return SafetySnapshot(self.state, *counts, self._last, self._change)

    def restore(self, snapshot: SafetySnapshot) -> None:
        """Judge on as another object did, for repeating a drive without its robot."""
        assert self.state is State.DISARMED, "no robot is set in motion like this"
        self._states = StateMachine(snapshot.state)
        self._warm_up_left, self._ramp_left = snapshot.warm_up_left, snapshot.ramp_left
        self._last, self._change = snapshot.last, snapshot.change

    def _begin(self) -> None:
        self._warm_up_left, self._ramp_left = self._num_warm_up_ticks, self._num_ramp_ticks

    def _refuse(self, action: Array) -> str | None:
        """Return why `action` must not be sent; None, in the state to send it, if it may."""
        if self.state in (State.STOPPED, State.DISARMED):
            return self.state.value
        if not np.isfinite(action).all():
            return self._refuse_for(NOT_FINITE)
        if not self._may_move():
            return self._refuse_for("dead-man")
        if self._warm_up_left > 0:
            self._warm_up_left -= 1
            self._states.enter(State.WARMING)
            return "warming"
        is_moving = self._states.enter(State.RAMPING if self._ramp_left else State.DRIVING)
        return None if is_moving else "stopped"

    def _refuse_for(self, fault: str) -> str:
        self._states.enter(State.HOLDING)
        return fault

    def _may_move(self) -> bool:
        return self._switch is None or self._switch()

    def _limit(self, action: Array, rate_scale: float) -> tuple[Array, list[str]]:
        """Return the nearest allowed action and the names of the limits that changed it."""
        if self._spec.kind == "discrete":
            choice = _one_hot(action)
            return choice, [] if (choice == action).all() else ["one-hot"]
        num_ticks = 1
        if self._ramp_left > 0 and self._last is not None:
            num_ticks = self._ramp_left
            self._ramp_left -= 1
        limited = self._limiter.apply(
            action,
            self._last,
            self._change,
            rate_scale=rate_scale,
            ramp=lambda way: way / num_ticks,
        )
        return limited.action.astype(np.float32), list(limited.limits)

    def _hold(self) -> Executed:
        """Hold; the ramp that follows is as long as the hold was, up to a whole one."""
        done, is_action = self._read(self._robot.hold(), "hold")
        self._ramp_left = min(self._ramp_left + 1, self._num_ramp_ticks)
        self._remember(done)
        self._change = np.zeros(self._spec.size, np.float32)  # it is at rest
        assert self._last is not None
        return Executed(self._last, () if is_action else ("hold",))

    def _hold_because(self, limit: str) -> Executed:
        held = self._hold()
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
        nearest = self._nearest(done)
        nearest.flags.writeable = False
        self._change = nearest - (nearest if self._last is None else self._last)
        self._last = nearest
        return nearest

    def _nearest(self, action: Array) -> Array:
        """Return the closest action that a policy could have sent."""
        return _one_hot(action) if self._spec.kind == "discrete" else np.clip(action, -1.0, 1.0)

    @contextmanager
    def _writing(self) -> Generator[None, None, None]:
        """Write alone; but where another thread's command does not return, write nevertheless."""
        is_alone = self._write_lock.acquire(timeout=WRITE_PATIENCE_S)
        try:
            yield
        finally:
            if is_alone:
                self._write_lock.release()


def _one_hot(action: Array) -> Array:
    choice = np.zeros_like(action)
    choice[np.argmax(action)] = 1.0
    return choice
