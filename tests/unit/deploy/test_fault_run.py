"""Every fault at once, in random order: whatever happens, nothing unsafe reaches the robot.

The checker stands behind the robot and shares no code with `Safety`. What hangs for real is in
`test_loop_gaps` and `test_watchdog`; here a stall is a clock that jumps.
"""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toy_policy
from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.control.limits import Limits
from robodreamer_deploy.control.loop import ControlLoop
from robodreamer_deploy.control.safety import Safety, StartupProfile
from robodreamer_deploy.control.shutdown import drive_connected
from robodreamer_deploy.control.stop_signals import StopSignals
from robodreamer_deploy.control.watchdog import Watchdog
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.policy import Policy
from robodreamer_sim.robots.in_process import make_robot
from robodreamer_sim.robots.virtual_hardware.command_monitor import CommandLimits
from robodreamer_sim.robots.virtual_hardware.command_monitor import (
    CommandMonitor as HardwareChecker,
)
from toy_robot import CONTRACT, Bench

DT = CONTRACT.control_dt_s
TICKS = 20
POLICY = Path(__file__).parents[3] / "policies" / "fetch_reach"
RANGE, RATE, ACCELERATION = 0.8, 8.0, 400.0  # of the policy's units, s
FAULTS = (
    "nan", "shape", "type", "lost signal", "old signal", "lost frame", "late frame", "wrong clock",
    "no reading", "disconnected", "stall", "long stall", "released", "send raises", "hold raises",
    "reading breaks", "no mapping", "stamp not finite", "stamp no number", "impossible",
    "lost sign bit", "odd switch",
)  # fmt: skip
MUST_HOLD = {
    "nan", "shape", "type", "lost signal", "old signal", "wrong clock", "no reading", "released",
    "no mapping", "stamp not finite", "stamp no number", "impossible", "lost sign bit",
    "odd switch",
}  # fmt: skip
"""After which no command may follow in the same tick."""
ODD_ANSWERS = ("no", "yes", 1, 1.0, np.nan, np.True_, None, [True])
LONG_RUN = 400
"""Ticks of an episode whose camera is mostly too old, or whose rate is half; one in twenty."""


class Checker:
    """Judges every command from what the robot was told before it, and what state it was in."""

    def __init__(self) -> None:
        self.last, self.change = np.zeros(2), np.zeros(2)

    def held(self) -> None:
        self.change = np.zeros(2)

    def check(self, action: Array) -> None:
        assert action.dtype == np.float32
        assert np.isfinite(action).all()
        assert (np.abs(action) <= RANGE + 1e-6).all()
        change = action - self.last
        assert (np.abs(change) <= RATE * DT + 1e-6).all()
        assert (np.abs(change - self.change) <= ACCELERATION * DT**2 + 1e-5).all()
        self.last, self.change = action.astype(np.float64), change


class PositionDrive(Bench):
    """The toy, which holds where it was last sent; judged by the checker above."""

    def __init__(self) -> None:
        super().__init__("", CONTRACT)
        self.checker = Checker()

    def send_action(self, action: Array) -> Array:
        self.checker.check(action)
        return super().send_action(action)

    def hold(self) -> Array:
        self.checker.held()
        return self.checker.last.astype(np.float32)


class Arm:
    """The simulated Fetch arm and its cameras; judged by the checker of the simulated hardware."""

    def __init__(self, policy: Policy, seed: int) -> None:
        self.inner, self.is_connected = make_robot("fetch_reach", policy.bundle.contract), False
        dt = policy.bundle.contract.control_dt_s
        limits = CommandLimits(max_rate=(RATE,) * 4, max_acceleration=(ACCELERATION,) * 4)
        self.checker = HardwareChecker(policy.bundle.contract.action, dt, 1.0, limits)
        self.num_sent, self._seed, self._dt = 0, seed, dt

    def restart(self, seed: int) -> None:
        """Stand in for a robot of its own: the simulator is made once."""
        self._seed = seed
        self.checker.begin()

    def connect(self) -> None:
        self.inner.start_episode(self._seed)
        self.is_connected = True

    def get_observation(self) -> dict[str, Array]:
        return dict(self.inner.get_observation())

    def send_action(self, action: Array) -> Array:
        self.num_sent += 1
        self.checker.commanded(self.num_sent * self._dt, action, "free")
        return self.inner.send_action(action)

    def hold(self) -> Array:
        executed = self.inner.hold()
        self.checker.held(self.num_sent * self._dt, executed)
        return executed

    def disconnect(self) -> None:
        self.is_connected = False


class Faulty:
    """Does in every tick what chance says, and otherwise what the robot in it does."""

    def __init__(self, robot: PositionDrive | Arm, contract: Contract, seed: int) -> None:
        self.robot, self.time = robot, 100.0
        self.is_enabled: Any = True
        self.lasting = {7: "old camera", 17: "half rate"}.get(seed % 20, "")
        self._rng = np.random.default_rng(seed)
        self._rate = 0.0 if self.lasting else float(self._rng.choice([0.02, 0.2, 0.6]))
        self._dt = contract.control_dt_s
        self._camera = next(s.name for s in contract.inputs if s.is_image)
        self._vector = next(s for s in contract.inputs if s.family == "proprio")
        self._fault, self._is_gone, self.is_held = "", False, False
        self.has_watchdog, self.is_overdue = bool(seed % 2), False
        self.num_observed, self.num_faults, self.num_sent = 0, 0, 0
        self.reason = "an error"
        self.connect, self.disconnect = robot.connect, robot.disconnect
        self.observation_features = {s.name: s.shape for s in contract.inputs}
        self.action_features = {"action": (contract.action.size,)}

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float, /) -> None:
        self.time += seconds

    @property
    def observation_stamps(self) -> dict[str, Any]:
        stamps: dict[str, Any] = {self._camera: self.time, self._vector.name: self.time}
        if self._fault == "late frame":
            stamps[self._camera] -= 3 * self._dt
        if self.lasting == "old camera" and self.num_observed % 8:
            stamps[self._camera] -= 3 * self._dt
        if self._fault == "old signal":
            stamps[self._vector.name] -= 3 * self._dt
        if self._fault == "stamp not finite":
            name = str(self._rng.choice([self._camera, self._vector.name]))
            stamps[name] = float(self._rng.choice([np.nan, np.inf, -np.inf]))
        if self._fault == "stamp no number":
            stamps[self._vector.name] = "now"
        return {self._camera: 1.7e9} if self._fault == "wrong clock" else stamps

    def get_observation(self) -> dict[str, Array]:
        self.num_observed += 1
        is_faulty = self._rng.random() < self._rate
        self._fault = str(self._rng.choice(FAULTS)) if is_faulty else ""
        self.num_faults += is_faulty
        self.is_enabled = self._fault != "released"
        if self._fault == "odd switch":
            self.is_enabled = ODD_ANSWERS[self._rng.integers(len(ODD_ANSWERS))]
        if self.lasting == "half rate":
            self.time += 1.5 * self._dt
        self._is_gone |= self._fault == "disconnected"
        self.time += {"stall": 3.0, "long stall": 30.0}.get(self._fault, 0.1) * self._dt
        self.is_overdue |= self.has_watchdog and self._fault == "long stall"
        if self._is_gone or self._fault == "no reading":
            raise RobotError("no answer within 20 ms") if self._rng.random() < 0.5 else OSError()
        if self._fault == "reading breaks":
            raise ValueError("a bug of the driver")
        if self._fault == "no mapping":
            self.robot.get_observation()
            return None  # type: ignore[return-value]  as a driver that forgets to
        return self._spoilt(self.robot.get_observation())

    def _spoilt(self, observation: dict[str, Array]) -> dict[str, Array]:
        (size,) = self._vector.shape
        low, high = (np.array(v, np.float32) for v in (self._vector.low, self._vector.high))
        wrong = observation[self._vector.name].astype(np.float32, copy=True)
        wrong[0] = low[0] - 20.0 * (high[0] - low[0])
        spoilt: dict[str, Any] = {
            "nan": np.full(size, np.nan, np.float32), "shape": np.zeros(size + 1, np.float32),
            "type": np.zeros(size), "lost signal": None, "impossible": np.full_like(wrong, 1e30),
            "lost sign bit": wrong,
        }  # fmt: skip
        if self._fault in spoilt:
            observation[self._vector.name] = spoilt[self._fault]
        if self._fault == "lost frame":
            del observation[self._camera]
        return observation

    def send_action(self, action: Array) -> Array:
        if self._fault == "send raises":
            raise OSError("cable lost")
        assert self.is_enabled is True, "moved while the dead-man's switch did not say yes"
        assert self._fault not in MUST_HOLD, f"moved in a tick with {self._fault}"
        assert not self.is_overdue, "moved after a deadline had passed"
        self.is_held = False
        self.num_sent += 1
        return self.robot.send_action(action)

    def hold(self) -> Array:
        if self._fault == "hold raises":
            self._fault = ""
            raise OSError("busy")
        self.is_held = True
        return self.robot.hold()


def poison(controller: Controller, rng: np.random.Generator) -> None:
    """Make the model's state infinite, as a network that diverged would."""
    state = controller.snapshot()
    deter = np.full_like(state.carry.deter, np.nan)
    if rng.random() < 0.01:
        controller.restore(state._replace(carry=state.carry._replace(deter=deter)))


def run_episode(policy: Policy, robot: PositionDrive | Arm, seed: int, reach: float) -> Faulty:
    contract = policy.bundle.contract
    size, dt = contract.action.size, contract.control_dt_s
    rng, faulty = np.random.default_rng(seed), Faulty(robot, contract, seed)
    limits = Limits(*(np.full(size, v) for v in (-reach, reach, RATE, ACCELERATION)))
    safety = Safety(
        faulty, contract.action, control_dt_s=dt, limits=limits,
        startup=StartupProfile(warm_up_ticks=2, ramp_s=4 * dt),
        is_enabled=lambda: faulty.is_enabled,
    )  # fmt: skip
    # Without its thread, as after a suspension: whoever looks first has to stop.
    dog = Watchdog(look_s=10 * dt, give_up=lambda *_: None, now=faulty.now)
    loop = ControlLoop(
        Controller(policy, draw="sample"), safety, clock=faulty,
        watchdog=dog if faulty.has_watchdog else None,
    )  # fmt: skip
    num_ticks = LONG_RUN if faulty.lasting else TICKS

    def drive() -> None:
        def should_stop() -> str | None:
            poison(loop.controller, rng)
            return "over" if faulty.num_observed >= num_ticks else None

        faulty.reason = loop.run(faulty, should_stop, seed=seed)

    with suppress(OSError, ValueError):  # what ends a drive is passed on once the robot is held
        drive_connected(faulty, safety, StopSignals(), faulty, drive)
    return faulty


def check_episodes(episodes: list[Faulty]) -> None:
    assert all(faulty.is_held for faulty in episodes)
    assert all(not faulty.robot.is_connected for faulty in episodes)
    assert sum(faulty.num_faults for faulty in episodes) > len(episodes)
    assert sum(faulty.num_sent for faulty in episodes) > 2 * len(episodes)
    for faulty in episodes:
        assert not faulty.lasting or faulty.num_observed < LONG_RUN, faulty.lasting


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("num_episodes", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_nothing_unsafe_reaches_the_robot_whatever_fails(tmp_path: Path, num_episodes: int) -> None:
    bundle = load_bundle(toy_policy.write_bundle(tmp_path))
    position, *others = CONTRACT.observations
    position = dataclasses.replace(position, low=(-9.0, -9.0), high=(9.0, 9.0))
    contract = dataclasses.replace(CONTRACT, observations=(position, *others))
    manifest = dataclasses.replace(bundle.manifest, contract=contract)
    policy = Policy(dataclasses.replace(bundle, manifest=manifest))
    check_episodes(
        [run_episode(policy, PositionDrive(), seed, RANGE) for seed in range(num_episodes)]
    )


@pytest.mark.parametrize("num_episodes", [12, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_nothing_unsafe_reaches_a_simulated_arm_whatever_fails(num_episodes: int) -> None:
    policy = Policy(load_bundle(POLICY))
    arm = Arm(policy, 0)
    episodes: list[Faulty] = []
    for seed in range(num_episodes):
        arm.restart(seed)
        episodes.append(run_episode(policy, arm, seed, 1.0))
    arm.inner.disconnect()
    check_episodes(episodes)
    assert not arm.checker.unsafe, arm.checker.worst
