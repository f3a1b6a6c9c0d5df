"""The control loop: sense, think, act, wait, at the contract's rate.

Ticks lie on an absolute grid, so that time lost in one is not added to the next. After an overrun
whole periods are skipped and counted; old commands are never sent in a burst. A recurrent policy
advances by exactly one step per period: a skipped or held tick is a step in which the model dreams,
and so is one without a camera's frame. `FaultTolerance` bounds how long faults may last. The robot
holds between two runs, and `shutdown` has it hold on every way out. `docs/onboard.md` has a table.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from robodreamer_deploy.contract import (
    Contract,
)
from robodreamer_deploy.control.clock import Clock, Grid, MonotonicClock
from robodreamer_deploy.control.events import EpisodeStart, Listener, Tick
from robodreamer_deploy.control.fault_tolerance import FaultTolerance, Patience
from robodreamer_deploy.control.loop_stats import LoopStats
from robodreamer_deploy.control.observation_monitor import ObservationMonitor, Reading, Sensors
from robodreamer_deploy.control.safety import NOT_FINITE, Executed, Safety
from robodreamer_deploy.control.surprise import SLOW_RATE, SurpriseGuard
from robodreamer_deploy.control.watchdog import Watchdog
from robodreamer_deploy.errors import HungError, SignalError, describe_error
from robodreamer_deploy.policy.controller import Controller, NotFiniteError, Step

logger = logging.getLogger(__name__)

HOLD_WITHIN_S = 1.0
"""Longest time of a hold in seconds; then the watchdog breaks it off."""


class Decision(NamedTuple):
    """Policy output for one tick, or the reason there is none."""

    step: Step | None
    fault: str | None


class ControlLoop:
    """Drives one robot with one controller; `stats` grows with every run."""

    def __init__(
        self,
        controller: Controller,
        safety: Safety,
        *,
        clock: Clock | None = None,
        stopwatch: Callable[[], float] = time.perf_counter,
        tolerance: FaultTolerance | None = None,
        surprise: SurpriseGuard | None = None,
        watchdog: Watchdog | None = None,
        listeners: tuple[Listener, ...] = (),
        is_stepped: bool = False,
        max_ages_s: Mapping[str, float] | None = None,
    ) -> None:
        """Make a loop.

        Args:
            controller: Decides; its contract sets the rate and what a good observation is.
            safety: Acts.
            clock: Paces the ticks; the machine's own by default. Stamps are on this clock.
            stopwatch: Measures sense-to-act in seconds, also where `clock` is not real.
            tolerance: Fault tolerance with the watchdog's setting.
            surprise: Acts on surprise; None only measures it.
            watchdog: Started by the caller; None for a robot that cannot be left alone.
            listeners: Told of every tick.
            is_stepped: The robot's time passes with its commands only, see `robots.is_stepped`:
                a skipped tick is no step of the model then, and stamps have no meaning.
            max_ages_s: Largest age by signal, where the user allows another than training.
        """
        self.controller = controller
        self.safety = safety
        self.clock = clock or MonotonicClock()
        self.stats = LoopStats()
        self._stopwatch = stopwatch
        self._patience = Patience(tolerance or FaultTolerance(), self.contract.control_dt_s)
        self._surprise = surprise
        self._watchdog = watchdog
        self._listeners = listeners
        self._is_stepped = is_stepped
        self._monitor = ObservationMonitor(
            self.contract,
            self.clock.now,
            has_ages=not is_stepped,
            max_ages_s=max_ages_s,
        )
        self._num_runs = 0
        self._counted_until_s = 0.0
        self._is_first = True

    def add_listener(self, listener: Listener) -> None:
        """Tell one more of everything from now on."""
        self._listeners = (*self._listeners, listener)

    @property
    def contract(self) -> Contract:
        """Contract of the policy."""
        return self.controller.policy.bundle.contract

    @property
    def num_episodes(self) -> int:
        """Number of episodes that have begun; the newest one's number is one less."""
        return self._num_runs

    @property
    def why_too_slow(self) -> str | None:
        """Reason why the rate of the last seconds is too low; None if it is high enough."""
        return self._patience.why_too_slow

    def run(self, sensors: Sensors, should_stop: Callable[[], str | None], *, seed: int = 0) -> str:
        """Drive from the first step of an episode until `should_stop` gives a reason.

        The robot holds when this returns. What it raises is for `shutdown.drive_connected`, which
        holds then.

        Args:
            sensors: The robot, of which nothing but its sensors is used here.
            should_stop: Asked before every tick.
            seed: Of the policy's noise.

        Returns:
            The reason of `should_stop`, or that of a latched stop.

        Raises:
            RobotError: The robot does not hold, or reports an execution that makes no sense.
            HungError: It did not come back from the last hold.
            Exception: Whatever the robot raises, but what `robots.Robot` says holds one tick.
        """
        self._begin(seed)
        self._counted_until_s = self.clock.now()
        reason = "by a fault"
        try:
            reason = self._drive(sensors, should_stop)
            self._watch(HOLD_WITHIN_S, "hold")
            self.safety.disarm()
            if self._watchdog is not None:
                self._watchdog.rest()
        except HungError as error:
            if self.safety.stop_reason is None:  # the last hold hung, which is nobody's reason
                reason = str(error)
                raise
            reason = self.safety.stop_reason
        except BaseException as error:
            reason = describe_error(error)
            raise
        finally:
            if self._watchdog is not None:
                self._watchdog.forget()
            self._count_time()
            self._tell(lambda listener: listener.episode_ended(reason))
        return reason

    def _begin(self, seed: int) -> None:
        self.controller.reset(seed)
        self._is_first = True
        self._patience.begin()
        self._monitor.begin()
        if self._surprise is not None:
            self._surprise.forget()
        start = EpisodeStart(self._num_runs, seed, self.controller.draw)
        self._tell(lambda listener: listener.episode_started(start))
        self._num_runs += 1
        self.safety.arm()

    def _drive(self, sensors: Sensors, should_stop: Callable[[], str | None]) -> str:
        silence_s = self._patience.tolerance.silent_ticks * self.contract.control_dt_s
        grid = Grid(self.clock, self.contract.control_dt_s)
        skipped = 0
        while True:
            self._watch(silence_s, "asking whether to stop", self.safety.stop)
            if (reason := self.safety.stop_reason or should_stop()) is not None:
                return reason
            self._tick(sensors, grid, skipped)
            self._look_ahead()
            skipped = self._pass_over(grid.advance())
            self._doing("the wait for the next tick")
            grid.wait()
            self._count_time()

    def _count_time(self) -> None:
        now = self.clock.now()
        self.stats.elapsed_s += now - self._counted_until_s
        self._counted_until_s = now

    def _watch(self, seconds: float, doing: str, act: Callable[[str], None] | None = None) -> None:
        if self._watchdog is not None:
            self._watchdog.watch(seconds, doing, act)

    def _doing(self, what: str) -> None:
        if self._watchdog is not None:
            self._watchdog.turn_to(what)

    # --- one tick -------------------------------------------------------------------------------

    def _tick(self, sensors: Sensors, grid: Grid, skipped: int) -> None:
        time_s, lateness_s, start = self.clock.now(), grid.lateness_s, self._stopwatch()
        self._doing("get_observation")
        reading = self._monitor.read(sensors)
        decision = self._decide(reading)
        executed = self._act(decision)
        seconds = self._stopwatch() - start
        self.stats.lateness_s.append(lateness_s)
        self.stats.sense_to_act_s.append(seconds)
        fault = self._account(decision, executed)
        tick = Tick(
            grid.index, skipped, time_s, lateness_s, seconds, self._is_first,
            reading.observation, reading.stamps, tuple(sorted(reading.missing)),
            decision.step, executed.sent, executed.action, executed.limits, fault,
        )  # fmt: skip
        self._tell(lambda listener: listener.ticked(tick))
        if decision.step is not None:
            self._is_first = False
            if NOT_FINITE in executed.limits:
                self._reset_model()

    def _decide(self, reading: Reading) -> Decision:
        """Let the policy think; what it may not think about, or cannot, is a fault."""
        self._doing("the policy")
        try:
            self._check_reading(reading)
            start = self._stopwatch()
            step = self.controller.step(
                reading.passed, is_first=self._is_first, missing=frozenset(reading.missing)
            )
        except SignalError as error:
            if not self._patience.is_waiting:
                self.stats.bad_observations[error.key] += 1
            return Decision(None, str(error))
        except NotFiniteError as error:
            self._reset_model()  # whatever state led there is not to be trusted either
            return Decision(None, str(error))
        self.stats.policy_s.append(self._stopwatch() - start)
        return Decision(step, None)

    def _check_reading(self, reading: Reading) -> None:
        """Let the model dream for a while, but not from the first step on.

        Raises:
            SignalError: A sensor cannot be trusted; the model has nothing to dream from, or has
                dreamt for too long.
        """
        self._patience.is_waiting = False
        if reading.fault is not None:
            raise reading.fault
        self.stats.missing_frames.update(reading.missing.keys())
        self._patience.wait_for_first(reading.missing)
        self._patience.count_missing(reading.missing, is_first=self._is_first)

    def _act(self, decision: Decision) -> Executed:
        """Have the robot do what was decided, or hold; tell the model what it did."""
        self._doing("send_action" if decision.step is not None else "hold")
        if decision.step is None:
            executed = self.safety.hold()
            self._dream(1)
        else:
            executed = self._send(decision.step)
        self.controller.executed(executed.action)
        return executed

    def _send(self, step: Step) -> Executed:
        """Send the step's action, or what surprise leaves of it."""
        guard = self._surprise
        if math.isnan(step.surprise):  # nothing was observed
            return self.safety.send(step.action, look=self._look)
        self.stats.surprise.append(step.surprise)
        match guard and guard.judge(step.surprise):
            case "slow":
                executed = self.safety.send(step.action, rate_scale=SLOW_RATE, look=self._look)
                return executed._replace(limits=("surprise", *executed.limits))
            case "stop":
                assert guard is not None
                self.safety.stop(
                    f"surprise of {guard.mean_nats:.1f} nats, the limit is {guard.limit_nats:.1f}"
                )
            case _:
                pass
        return self.safety.send(step.action, look=self._look)  # which holds after a stop

    def _look(self) -> None:
        """Look directly before a command goes out whether it is too late for it."""
        self._doing("send_action")

    # --- between two ticks ----------------------------------------------------------------------

    def _look_ahead(self) -> None:
        """Compute what the next step does not need its observation for."""
        self._doing("the policy, between two ticks")
        self.controller.advance()

    def _pass_over(self, skipped: int) -> int:
        """Let the model catch up with skipped ticks; return how many the robot has lived through.

        While it has nothing to go on from, or when there were too many, it is reset.
        """
        self.stats.skipped_ticks += skipped
        if self._is_stepped:
            return 0
        if (reason := self._patience.count_period(skipped)) is not None:
            self.safety.stop(reason)
        if skipped > self._patience.tolerance.skipped_in_a_row:
            logger.warning("%d ticks skipped in a row: the model is reset", skipped)
            self._reset_model()
        self._dream(skipped)
        return skipped

    def _dream(self, num_steps: int) -> None:
        """Let the model take steps without an observation and without a new action."""
        for _ in range(num_steps):
            if self._is_first:
                return
            try:
                self.controller.skip()
            except NotFiniteError:
                self._reset_model()
            else:
                self.stats.prior_steps += 1

    def _reset_model(self) -> None:
        """Forget everything at the next step, and warm up and ramp in as at the start."""
        self._is_first = True
        self.stats.model_resets += 1
        self.safety.restart()
        if self._surprise is not None:
            self._surprise.forget()

    # --- books ----------------------------------------------------------------------------------

    def _account(self, decision: Decision, executed: Executed) -> str | None:
        """Count what happened in a tick; return why it held, None if no fault made it."""
        stats, step = self.stats, decision.step
        stats.ticks += 1
        stats.limits.update(executed.limits)
        if step is not None:
            stats.prior_steps += step.kind == "prior"
            stats.partial_steps += step.kind == "partial"
        fault = decision.fault
        if NOT_FINITE in executed.limits:
            fault = "the policy's action is not finite"
        self._count_fault(fault)
        return fault

    def _count_fault(self, fault: str | None) -> None:
        """Count a held tick, and stop the robot when there are too many in a row."""
        if fault is not None and not self._patience.is_waiting:
            logger.warning("tick %d held: %s", self.stats.ticks, fault)
            self.stats.held_ticks += 1
        if (reason := self._patience.count_fault(fault)) is not None:
            self.safety.stop(reason)

    def _tell(self, tell: Callable[[Listener], None]) -> None:
        """Tell every listener; one that raises is told no more: no log is worth a robot."""
        for listener in self._listeners:
            if (fault := _fault_of(tell, listener)) is not None:
                self._listeners = tuple(kept for kept in self._listeners if kept is not listener)
                self.stats.listener_fault = f"{type(listener).__name__}: {fault}"
                logger.error("no longer told of what happens: %s", self.stats.listener_fault)


def _fault_of(tell: Callable[[Listener], None], listener: Listener) -> str | None:
    try:
        tell(listener)
    except Exception as error:  # noqa: BLE001  whatever a recorder raises
        return describe_error(error)
    return None
