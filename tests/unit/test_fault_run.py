"""Every fault at once, in random order: whatever happens, nothing unsafe reaches the robot.

The checker stands behind the robot and shares no code with `Safety`. What hangs for real is in
`test_loop_gaps` and `test_watchdog`; here a stall is a clock that jumps.
"""

import logging
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import toy_policy
from toy_robot import CONTRACT, Bench

from robodreamer_deploy.bundle.bundle import load_bundle
from robodreamer_deploy.contract import Array
from robodreamer_deploy.driving.leaving import drive_connected
from robodreamer_deploy.driving.limits import Limits
from robodreamer_deploy.driving.loop import ControlLoop
from robodreamer_deploy.driving.safety import Safety, Start
from robodreamer_deploy.driving.signals import StopSignals
from robodreamer_deploy.inference.controller import Controller
from robodreamer_deploy.inference.policy import Policy
from robodreamer_deploy.robots import RobotError

DT = CONTRACT.control_dt_s
TICKS = 20
RANGE, RATE, ACCELERATION = 0.8, 8.0, 400.0  # of the policy's units, s
FAULTS = (
    "nan", "shape", "type", "lost signal", "old signal", "lost frame", "late frame", "wrong clock",
    "no reading", "disconnected", "stall", "long stall", "released", "send raises", "hold raises",
    "reading breaks",
)  # fmt: skip


class Checker:
    """Judges every command from what the robot was told before it, and what state it was in."""

    def __init__(self) -> None:
        self.last, self.change, self.is_enabled = np.zeros(2), np.zeros(2), True
        self.num_checked = 0

    def held(self) -> None:
        self.change = np.zeros(2)

    def check(self, action: Array) -> None:
        self.num_checked += 1
        assert self.is_enabled, "moved while the dead-man's switch was released"
        assert action.dtype == np.float32
        assert np.isfinite(action).all()
        assert (np.abs(action) <= RANGE + 1e-6).all()
        change = action - self.last
        assert (np.abs(change) <= RATE * DT + 1e-6).all()
        assert (np.abs(change - self.change) <= ACCELERATION * DT**2 + 1e-5).all()
        self.last, self.change = action.astype(np.float64), change


class Faulty(Bench):
    """Does in every tick what chance says; holds at the last command, as a position drive does."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__("", CONTRACT)
        self.time, self.checker, self.is_enabled = 100.0, Checker(), True
        self._rng, self._rate = rng, float(rng.choice([0.02, 0.2, 0.6]))
        self._fault, self._age, self._is_gone, self._is_held = "", 0.0, False, False
        self.num_observed, self.num_faults = 0, 0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float, /) -> None:
        self.time += seconds

    @property
    def observation_stamps(self) -> dict[str, float]:
        stamps = {"image/eye": self.time, "proprio/position": self.time}
        if self._fault == "late frame":
            stamps["image/eye"] -= 3 * DT
        if self._fault == "old signal":
            stamps["proprio/position"] -= 3 * DT
        return {"image/eye": 1.7e9} if self._fault == "wrong clock" else stamps

    def get_observation(self) -> dict[str, Array]:
        self.num_observed += 1
        is_faulty = self._rng.random() < self._rate
        self._fault = str(self._rng.choice(FAULTS)) if is_faulty else ""
        self.num_faults += is_faulty
        self.is_enabled = self.checker.is_enabled = self._fault != "released"
        self._is_gone |= self._fault == "disconnected"
        self.time += {"stall": 3.0, "long stall": 30.0}.get(self._fault, 0.1) * DT
        if self._is_gone or self._fault == "no reading":
            raise RobotError("no answer within 20 ms") if self._rng.random() < 0.5 else OSError()
        if self._fault == "reading breaks":
            raise ValueError("a bug of the driver")
        return self._spoilt(super().get_observation())

    def _spoilt(self, observation: dict[str, Array]) -> dict[str, Array]:
        spoilt: dict[str, Any] = {
            "nan": np.full(2, np.nan, np.float32), "shape": np.zeros(3, np.float32),
            "type": np.zeros(2), "lost signal": None,
        }  # fmt: skip
        if self._fault in spoilt:
            observation["proprio/position"] = spoilt[self._fault]
        if self._fault == "lost frame":
            del observation["image/eye"]
        return observation

    def send_action(self, action: Array) -> Array:
        if self._fault == "send raises":
            raise OSError("cable lost")
        self._is_held = False
        self.checker.check(action)
        return super().send_action(action)

    def hold(self) -> Array:
        if self._fault == "hold raises":
            self._fault = ""
            raise OSError("busy")
        self._is_held = True
        self.checker.held()
        return self.checker.last.astype(np.float32)

    @property
    def is_held(self) -> bool:
        return self._is_held


def poison(controller: Controller, rng: np.random.Generator) -> None:
    """Make the model's state infinite, as a network that diverged would."""
    state = controller.snapshot()
    deter = np.full_like(state.carry.deter, np.nan)
    if rng.random() < 0.01:
        controller.restore(state._replace(carry=state.carry._replace(deter=deter)))


def run_episode(policy: Policy, seed: int) -> Faulty:
    rng = np.random.default_rng(seed)
    robot = Faulty(rng)
    limits = Limits(*(np.full(2, v) for v in (-RANGE, RANGE, RATE, ACCELERATION)))
    safety = Safety(
        robot, CONTRACT.action, control_dt_s=DT, limits=limits,
        start=Start(warm_up_ticks=2, ramp_s=4 * DT), is_enabled=lambda: robot.is_enabled,
    )  # fmt: skip
    loop = ControlLoop(Controller(policy, draw="sample"), safety, clock=robot)

    def drive() -> None:
        def should_stop() -> str | None:
            poison(loop.controller, rng)
            return "over" if robot.num_observed >= TICKS else None

        loop.run(robot, should_stop, seed=seed)

    with suppress(OSError, ValueError):  # what ends a drive is passed on once the robot is held
        drive_connected(robot, safety, StopSignals(), robot, drive)
    return robot


@pytest.mark.parametrize("num_episodes", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_nothing_unsafe_reaches_the_robot_whatever_fails(
    tmp_path_factory: pytest.TempPathFactory, num_episodes: int
) -> None:
    policy = Policy(load_bundle(toy_policy.write_bundle(tmp_path_factory.mktemp("toy"))))
    logging.disable(logging.CRITICAL)
    try:
        robots = [run_episode(policy, seed) for seed in range(num_episodes)]
    finally:
        logging.disable(logging.NOTSET)
    assert all(robot.is_held for robot in robots)
    assert all(not robot.is_connected for robot in robots)
    assert sum(robot.num_faults for robot in robots) > num_episodes
    assert sum(robot.checker.num_checked for robot in robots) > 2 * num_episodes
