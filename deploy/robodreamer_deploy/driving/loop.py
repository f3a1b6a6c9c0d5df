"""The control loop: sense, think, act, wait, at the contract's rate.

Ticks lie on an absolute grid, so that time lost in one is not added to the next. After an overrun
whole periods are skipped and counted; old commands are never sent in a burst. A recurrent policy
has to advance by one step per period: skipped and held ticks are steps the model has missed, and
are counted as such. The robot holds between two runs, and `leaving` has it hold on every way out.
"""

import logging
import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from robodreamer_deploy.contract import Array, Contract, SignalError
from robodreamer_deploy.driving.clock import Clock, Grid, MonotonicClock
from robodreamer_deploy.driving.safety import Safety
from robodreamer_deploy.inference.controller import Controller, NotFiniteError
from robodreamer_deploy.robots import RobotError

logger = logging.getLogger(__name__)

MAX_FAULTS_IN_A_ROW = 10


@dataclass(kw_only=True)
class LoopReport:
    """What happened in one drive, over all its episodes."""

    ticks: int = 0
    """Periods in which the robot was sent something, holds included."""
    skipped_ticks: int = 0
    """Periods that passed while an earlier tick was still busy."""
    held_ticks: int = 0
    """Ticks in which the robot held because a sensor value or the policy was not to be trusted."""
    elapsed_s: float = 0.0
    """Time of the loop's clock from the first tick on, resets excluded."""
    sense_to_act_s: "array[float]" = field(default_factory=lambda: array("d"))
    """From asking for the observation until the command was sent, per tick. With a simulator in
    the same process this includes its step."""
    policy_s: "array[float]" = field(default_factory=lambda: array("d"))
    """The policy's part of it, per step of the model."""
    lateness_s: "array[float]" = field(default_factory=lambda: array("d"))
    """From the grid's time until the tick began, per tick."""
    surprise: "array[float]" = field(default_factory=lambda: array("d"))
    """In nats, per step of the model."""
    limits: Counter[str] = field(default_factory=Counter[str])
    """How often each of `Safety`'s limits changed an action."""
    bad_observations: Counter[str] = field(default_factory=Counter[str])
    """How often each signal was refused, by key; `observation` counts failed readings."""


class ControlLoop:
    """Drives one robot with one controller; `report` grows with every run."""

    def __init__(
        self,
        controller: Controller,
        safety: Safety,
        *,
        clock: Clock | None = None,
        stopwatch: Callable[[], float] = time.perf_counter,
        max_faults_in_a_row: int = MAX_FAULTS_IN_A_ROW,
    ) -> None:
        """Put a loop together.

        Args:
            controller: Decides; its contract sets the rate and what a good observation is.
            safety: Acts.
            clock: Paces the ticks; the machine's own by default.
            stopwatch: Measures sense-to-act in seconds, also where `clock` is not real.
            max_faults_in_a_row: After more held ticks than this the robot is stopped.
        """
        self.controller = controller
        self.safety = safety
        self.clock = clock or MonotonicClock()
        self.report = LoopReport()
        self._stopwatch = stopwatch
        self._max_faults_in_a_row = max_faults_in_a_row
        self._faults_in_a_row = 0
        self._is_first = True

    @property
    def contract(self) -> Contract:
        """What the policy reads and sends, and how often."""
        return self.controller.policy.bundle.contract

    def run(
        self, observe: Callable[[], Mapping[str, Array]], should_stop: Callable[[], str | None]
    ) -> str:
        """Drive from the first step of an episode until `should_stop` gives a reason.

        The robot holds when this returns. What it raises is for `leaving.drive_connected`, which
        holds then.

        Returns:
            The reason of `should_stop`, or that of a latched stop.

        Raises:
            RobotError: The robot does not hold, or reports an execution that makes no sense.
            Exception: Whatever the robot raises, but what `robots.Robot` says holds one tick.
        """
        report = self.report
        self._is_first, self._faults_in_a_row = True, 0
        self.safety.start_episode()
        start = self.clock.now()
        try:
            grid = Grid(self.clock, self.contract.control_dt_s)
            while (reason := self.safety.stop_reason or should_stop()) is None:
                report.lateness_s.append(grid.lateness_s)
                self._tick(observe)
                report.skipped_ticks += grid.wait()
        finally:
            report.elapsed_s += self.clock.now() - start
        self.safety.hold()
        return reason

    def _tick(self, observe: Callable[[], Mapping[str, Array]]) -> None:
        start = self._stopwatch()
        try:
            observation = self._gate(self._read(observe))
            sensed = self._stopwatch()
            step = self.controller.step(observation, is_first=self._is_first)
        except SignalError as error:
            self.report.bad_observations[error.key] += 1
            self._hold(str(error))
        except NotFiniteError as error:
            self._hold(str(error))
            self._is_first = True  # whatever state led there is not to be trusted either
        else:
            self.report.policy_s.append(self._stopwatch() - sensed)
            self.report.surprise.append(step.surprise)
            executed = self.safety.send(step.action)
            self.controller.executed(executed.action)
            self.report.limits.update(executed.limits)
            self._is_first = "not finite" in executed.limits
            self._count_fault("the policy's action is not finite" if self._is_first else None)
        self.report.sense_to_act_s.append(self._stopwatch() - start)
        self.report.ticks += 1

    def _read(self, observe: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
        """Ask the robot; a reading that failed is a signal that cannot be trusted."""
        try:
            return observe()
        except (RobotError, OSError) as error:
            raise SignalError("observation", f"not read: {error}") from error

    def _gate(self, observation: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the signals that the policy reads, checked; what else there is, is ignored."""
        contract = self.contract
        read = {s.name: observation[s.name] for s in contract.inputs if s.name in observation}
        contract.check(read, inputs_only=True)
        return read

    def _hold(self, fault: str) -> None:
        """Hold for this tick; the model learns of it as the executed action of its next step."""
        held = self.safety.hold()
        self.controller.executed(held.action)
        self.report.limits.update(held.limits)
        self._count_fault(fault)

    def _count_fault(self, fault: str | None) -> None:
        """Count a held tick, and stop the robot when there are too many in a row."""
        if fault is None:
            self._faults_in_a_row = 0
            return
        logger.warning("tick %d held: %s", self.report.ticks, fault)
        self.report.held_ticks += 1
        self._faults_in_a_row += 1
        if self._faults_in_a_row > self._max_faults_in_a_row:
            self.safety.stop(f"{self._faults_in_a_row} faults in a row, the last one: {fault}")
