"""Firmware of a simulated robot: its own clock, on which it moves with or without commands.

Time goes in cycles of the control period, as on a field bus: the newest command is taken over at
`LATCH` of a cycle, and what is measured is there at its end. The driver's ticks lie anywhere in
between. When commands cease the firmware holds, by itself; then, and after a stop, it refuses
actions with a reason. Nothing here runs in a thread: `advance` does what is due.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.base import (
    EpisodicRobot,
    Robot,
)
from robodreamer_sim.randomization.delay import DelayLine
from robodreamer_sim.robots.virtual_hardware import WATCHDOG_PERIODS
from robodreamer_sim.robots.virtual_hardware.command_monitor import (
    CommandLimits,
    CommandMonitor,
    State,
)
from robodreamer_sim.robots.virtual_hardware.sensors import SensorModel, Sensors

LATCH = 0.6
"""Share of a cycle before commands are latched; the rest is for computing its end."""
FIRST = 0.9
"""Share of a cycle until the first measurement of an episode, so that a driver that begins at
once finds a fresh measurement in every tick."""


class Plant(EpisodicRobot, Robot, Protocol):
    """Interface of the moved robot, which advances by one control period at each `send_action`."""

    @property
    def rest_action(self) -> Array:
        """Action (A,) that keeps it where it is."""
        ...


class Firmware:
    """Firmware; see `robots.Robot`, `StampedRobot`, `EpisodicRobot`, `remote.server.Commands`.

    Args:
        plant: What it moves.
        contract: Of the plant.
        sensor_model: Of sensors and actuators.
        limits: The monitor's.
        watchdog_periods: Control periods without a command after which it holds.
        speed: How much faster than real time it goes; for tests.
        now: Its clock, in seconds.
    """

    def __init__(
        self,
        plant: Plant,
        contract: Contract,
        *,
        sensor_model: SensorModel | None = None,
        limits: CommandLimits | None = None,
        watchdog_periods: int = WATCHDOG_PERIODS,
        speed: float = 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plant, self._contract, self._now = plant, contract, now
        self._sensor_model = sensor_model or SensorModel()
        self._period_s = contract.control_dt_s / speed
        self._within_s = watchdog_periods * self._period_s
        # The watchdog is looked at once in a cycle, and a cycle takes a while to compute.
        bound_s = self._within_s + 2.0 * self._period_s
        self.monitor = CommandMonitor(contract.action, self._period_s, bound_s, limits)
        self.sensors = Sensors(contract, self._sensor_model)
        self.num_late_cycles = self.num_ceased = 0
        self._state: State = "free"
        self._stop_reason = ""
        self._command: Array | None = None
        self._commanded_s = 0.0
        self._rest: Array = np.zeros(contract.action.size, np.float32)
        self._line = DelayLine(0, self._rest)
        self._is_latched = False
        self._cycle_s = 0.0

    @property
    def observation_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every signal, by contract name."""
        return self._plant.observation_features

    @property
    def action_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of an action."""
        return self._plant.action_features

    @property
    def command_within_s(self) -> float:
        """Time within which the next command has to follow an action, seconds."""
        return self._within_s

    @property
    def observation_stamps(self) -> Mapping[str, float]:
        """Times at which the newest values were measured."""
        return self.sensors.stamps

    @property
    def is_episode_over(self) -> bool:
        """True if the task has ended, or its time is out."""
        return self._plant.is_episode_over

    @property
    def episode_return(self) -> float:
        """Sum of rewards since the episode began."""
        return self._plant.episode_return

    @property
    def episode_success(self) -> bool | None:
        """True if the goal is met by now."""
        return self._plant.episode_success

    def connect(self) -> None:
        """Switch it on, at rest."""
        self._plant.connect()
        self._begin(0)

    def start_episode(self, seed: int) -> None:
        """Begin an episode; its time begins now.

        Raises:
            RobotError: It was stopped.
        """
        self._refuse_if_stopped()
        self._plant.start_episode(seed)
        self._begin(seed)

    def get_observation(self) -> Mapping[str, Array]:
        """Return the newest value of every signal."""
        return self.sensors.values

    def send_action(self, action: Array) -> Array:
        """Accept an action for the next latch; return it clipped to the actuators' range.

        Raises:
            RobotError: It was stopped, commands had ceased, or the action is not finite, which
                stops it.
        """
        self._look(self._now())  # before this command hides that others had ceased
        self.monitor.commanded(self._now(), action, self._state)
        self._refuse_if_stopped()
        if self._state == "ceased":
            raise RobotError(f"commands had ceased for {self._within_s:g} s: it holds by itself")
        if not np.isfinite(action).all():
            self.stop(f"the action {action.tolist()} is not finite")
            self._refuse_if_stopped()
        executed = action
        if self._contract.action.kind == "continuous":
            executed = np.clip(action, -1.0, 1.0)
        if not self._plant.is_episode_over:
            self._command, self._commanded_s = executed.copy(), self._now()
        return executed

    def hold(self) -> Array:
        """Hold; return the equivalent action. It also ends the hold after a cease."""
        self._keep()
        if self._state == "ceased":
            self._state = "free"
        self.monitor.held(self._now(), self._rest)
        return self._rest.copy()

    def stop(self, reason: str) -> None:
        """Hold, and refuse to move until it is restarted. The first reason is kept."""
        self._keep()
        if self._state != "stopped":
            self._state, self._stop_reason = "stopped", reason

    def verdict(self) -> dict[str, Any]:
        """Return the monitor's verdict so far, and the firmware's own counts."""
        own = {"num_ceased": self.num_ceased, "num_late_cycles": self.num_late_cycles}
        return {**self.monitor.verdict(), **own}

    def disconnect(self) -> None:
        """Switch it off."""
        self._plant.disconnect()

    def advance(self) -> float:
        """Do what is due; return the seconds until the next thing is."""
        now = self._now()
        if not self._is_latched and now >= self._cycle_s + LATCH * self._period_s:
            self._latch(now)
            self._is_latched = True
        elif self._is_latched and now >= self._cycle_s + self._period_s:
            self.sensors.measure(self._plant.get_observation(), self._now())
            cycles = math.floor((now - self._cycle_s) / self._period_s)
            self.num_late_cycles += cycles - 1
            self._cycle_s += cycles * self._period_s
            self._is_latched = False
        following = 1.0 if self._is_latched else LATCH
        return max(0.0, self._cycle_s + following * self._period_s - self._now())

    def _begin(self, seed: int) -> None:
        self._command = None
        self._rest = self._plant.rest_action
        self._line = DelayLine(self._sensor_model.action_delay, self._rest)
        self._state = "free"
        self.monitor.begin()
        self.sensors.begin(seed)
        self._cycle_s = self._now() - (1.0 - FIRST) * self._period_s
        self._is_latched = False
        self.sensors.measure(self._plant.get_observation(), self._now())

    def _latch(self, now: float) -> None:
        """Give the actuators the newest command, or rest, and let a period pass."""
        self._look(now)
        command = self._rest if self._command is None else self._command
        if self._plant.is_episode_over:
            return
        self.monitor.applied(now, is_rest=self._command is None)
        if self._command is None:  # its own doing, which is on its way to nobody
            self._line = DelayLine(self._sensor_model.action_delay, self._rest)
        self._plant.send_action(self._line.send(command, self._sensor_model.action_delay))
        if self._plant.is_episode_over:
            self._keep()

    def _look(self, now: float) -> None:
        """Hold if commands have ceased; a process that was suspended finds out by itself."""
        if self._command is not None and now - self._commanded_s > self._within_s:
            self._state = "ceased"
            self.num_ceased += 1
            self._keep()

    def _keep(self) -> None:
        if self._command is not None:
            self._command, self._rest = None, self._plant.rest_action

    def _refuse_if_stopped(self) -> None:
        if self._state == "stopped":
            raise RobotError(f"it was stopped: {self._stop_reason}")
