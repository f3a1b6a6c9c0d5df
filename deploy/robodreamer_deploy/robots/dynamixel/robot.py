"""Joints moved by Dynamixel servos: `--robot dynamixel:FILE`, described by `config`.

Signals are those of the policy whose labels are the servos' and whose unit tells a position or a
velocity; `composite` adds cameras and goals. Servos run in position mode. While they are driven,
each one's own watchdog stops it when instructions cease: a program that hangs or dies, a cable that
is pulled. Holding means that every servo's goal is where it was when holding began.
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.device_lock import DeviceLock
from robodreamer_deploy.robots.dynamixel.bus import (
    BUS_WATCHDOG,
    GOAL_POSITION,
    HARDWARE_ERROR_STATUS,
    MAX_POSITION_LIMIT,
    MIN_POSITION_LIMIT,
    OPERATING_MODE,
    PRESENT_POSITION,
    PRESENT_VELOCITY,
    TORQUE_ENABLE,
    BusError,
    DynamixelBus,
    NoAnswerError,
)
from robodreamer_deploy.robots.dynamixel.config import (
    TICKS_PER_TURN,
    WATCHDOG_STEP_S,
    Servo,
    ServoBus,
    read_servo_bus,
)
from robodreamer_deploy.robots.joints import (
    GoalPositions,
    action_order,
    commanded_quantities,
    joint_signals,
    known_ranges,
)
from robodreamer_deploy.robots.pose_check import FARTHEST, PAUSE_S, PoseCheck

logger = logging.getLogger(__name__)

POSITION_MODE, EXTENDED_POSITION_MODE = 3, 4
TICKS_MAX = 1_048_575
"""Farthest goal in extended position mode, 256 turns either way."""
WRITE_TRIES = 3
TICKS_PER_S = 0.229 / 60.0 * TICKS_PER_TURN
"""One step of Present Velocity, 0.229 turns per minute, as ticks of position per second."""
HARDWARE_ERRORS = {
    0: "wrong input voltage",
    2: "overheating",
    3: "encoder fault",
    4: "electrical shock",
    5: "overload",
}
"""Bits of Hardware Error Status (70), e-Manual of the X series."""


class DynamixelRobot:
    """Servos as one robot; methods may be called from several threads, such as a watchdog's.

    Raises (when it is made):
        RobotError: The policy's action or signals need a joint that has no servo.
    """

    def __init__(self, config: ServoBus, contract: Contract) -> None:
        self.bus = DynamixelBus(config)
        self._contract = contract
        servos = config.servos
        labels = [servo.label for servo in servos]
        self._signals = joint_signals(contract, labels)
        self._order = action_order(contract.action, labels)
        driven = [servos[i] for i in self._order]
        self._goals = GoalPositions(
            contract.action,
            commanded_quantities(contract.action, config.command),
            low=np.array([servo.low for servo in driven]),
            high=np.array([servo.high for servo in driven]),
            dt_s=contract.control_dt_s,
        )
        self._zero = np.array([servo.zero_ticks for servo in servos])
        self._scale = np.array([servo.direction * servo.units_per_tick for servo in servos])
        self._places = {label: i for i, label in enumerate(labels)}
        low, high = known_ranges(contract, tuple(labels), "position")
        # The file's range is that of goals, and may be narrow: an encoder loses half a turn.
        own = np.array([servo.high - servo.low for servo in servos])
        own = np.maximum(own, TICKS_PER_TURN / 2 * np.abs(self._scale))
        span = np.where(np.isfinite(high - low), high - low, own)
        self._check = PoseCheck(
            tuple(labels), low, high, span=span, speed=np.full(len(servos), np.inf)
        )
        self._doubt = ""  # why the newest reading is not believed
        self._measured: Array | None = None  # ticks (servos,), int64: the newest that is
        self._lowest, self._highest = np.full((2, len(servos)), [[-TICKS_MAX], [TICKS_MAX]])
        self._goal: Array | None = None  # ticks (servos,) that the servos were last sent to
        self._is_holding = False
        self._stamp = 0.0
        self._is_watched = False  # whether the servos' own watchdog is armed
        self._bus_in_use = DeviceLock(f"the bus on {config.port}").use

    @property
    def observation_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every signal that the servos make up."""
        return {name: found.signal.shape for name, found in self._signals.items()}

    @property
    def action_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of an action, `{"action": (A,)}`."""
        return {"action": (self._contract.action.size,)}

    @property
    def is_limp_when_disconnected(self) -> bool:
        """True if the joints are let go in the end."""
        return self.bus.config.release_at_disconnect

    @property
    def observation_stamps(self) -> Mapping[str, float]:
        """Monotonic time in seconds at which the servos were asked for the newest observation."""
        return dict.fromkeys(self._signals, self._stamp)

    def connect(self) -> None:
        """Open the port, examine every servo, and have all of them hold where they are.

        Raises:
            RobotError: No port, servos that do not answer, are in another mode, report a hardware
                error, may not go where the file lets them, or stand far beyond their own limits.
        """
        with self._bus_in_use():
            self.bus.open()
            try:
                self._examine()
                self.bus.write_firmly(BUS_WATCHDOG, 0)  # also clears one that has struck
                self._check.reset()
                start = self._measure_first()
                self.bus.write(GOAL_POSITION, start)  # before torque, or it would leap
                self.bus.write_firmly(TORQUE_ENABLE, 1)
                self._is_holding = False
                self.hold()
            except BaseException:
                self.bus.close()
                raise

    def get_observation(self) -> Mapping[str, Array]:
        """Return position and velocity of the joints, as the policy's signals.

        Raises:
            RobotError: A servo does not answer or reports a hardware error, the port is gone, or
                the servos have stopped by themselves for want of instructions; `hold` lets them
                go on.
        """
        with self._bus_in_use():
            if self._has_watchdog_struck():
                raise RobotError(
                    f"no instruction for {self.bus.config.watchdog_s:g} s: the servos stopped"
                )
            asked_s = time.monotonic()
            velocity, ticks = self.bus.read(PRESENT_VELOCITY, PRESENT_POSITION)
            self._stamp = asked_s
            self._take(ticks)
            if self.bus.alerted:
                raise RobotError(self._describe_hardware_errors())
        values = {
            "position": (ticks - self._zero) * self._scale,
            "velocity": velocity * TICKS_PER_S * self._scale,
        }
        return {
            name: values[quantity][[self._places[label] for label in signal.labels]]
            .reshape(signal.shape)
            .astype(np.float32)
            for name, (signal, quantity) in self._signals.items()
        }

    def send_action(self, action: Array) -> Array:
        """Send goal positions, within the file's limits; return the equivalent action.

        Servos that have stopped by themselves are held instead; so are all where the action is a
        change of a pose that is not to be believed.

        Raises:
            RobotError: The port is gone or was never opened.
        """
        with self._bus_in_use():
            if self._has_watchdog_struck():
                return self.hold()
            if self._measured is None or self._goal is None:
                raise RobotError("connect first")
            if self._is_stale():
                self._try_to_measure("no pose to move from")
            if self._goals.starts_from_measured and self._doubt:
                return self.hold()  # a change from where it was is no change from where it is
            goals = self._goals.advance(action, self._driven(self._measured))
            self._goal = self._goal.copy()  # servos that no action drives stay where they are
            self._goal[self._order] = self._to_ticks(goals)
            self._is_holding = False
            self._arm_watchdog()
            self.bus.write(GOAL_POSITION, self._goal)
            return self._goals.executed(goals)

    def hold(self) -> Array:
        """Have every servo stay where it is; return the equivalent action.

        The pose is measured once, however often this is called: a joint that gives way under a
        load does not sink further with every call. One that was moved far away, as by hand, is held
        where it is now. Where measuring fails or a joint seems to have jumped, the last pose to
        believe is held. Before `connect` and after `disconnect` there is nothing to hold.

        Raises:
            RobotError: The port is gone, or a servo does not take the pose; while driven, servos
                stop by themselves then.
        """
        with self._bus_in_use():
            if not self.bus.is_open:
                return np.zeros(self._contract.action.size, np.float32)
            if self._goal is None or not self._is_holding or self._was_moved(self._goal):
                if not self._is_holding:
                    self._try_to_measure("holding at the last known pose")
                if self._measured is None:
                    raise RobotError(f"there is no pose to hold: {self._doubt}")
                self._goal = np.clip(self._measured, self._lowest, self._highest)
                self._is_holding = True
            self._hold_at(self._goal)
            return self._goals.held_at(self._driven(self._goal))

    def disconnect(self) -> None:
        """Hold, or let go where the file says so, and close the port; does not fail."""
        with self._bus_in_use():
            if not self.bus.is_open:
                return
            try:
                self.hold()
                if self.bus.config.release_at_disconnect:
                    self.bus.write_firmly(TORQUE_ENABLE, 0)
            except BusError as error:
                logger.warning("disconnecting: %s", error)
            finally:
                self.bus.close()
                self._is_watched = False

    def _is_stale(self) -> bool:
        """True if an action is a change of a pose that was measured more than a period ago."""
        age_s = time.monotonic() - self._stamp
        return self._goals.starts_from_measured and age_s > self._contract.control_dt_s

    def _measure_first(self) -> Array:
        """Return where the servos are, in ticks, before they are first sent anywhere."""
        self._measured = None
        self._measure()
        if self._measured is None:
            raise RobotError(self._doubt)
        limited = np.clip(self._measured, self._lowest, self._highest)
        for i in np.flatnonzero(np.abs((self._measured - limited) * self._scale) > FARTHEST):
            raise RobotError(
                f"{_names((self.bus.config.servos[i],))} stands at {self._measured[i]} ticks, its "
                f"own limits are {self._lowest[i]} to {self._highest[i]}: it cannot be held there; "
                "move it by hand, or widen them"
            )
        return self._measured

    def _try_to_measure(self, otherwise: str) -> None:
        """Measure the pose, if the servos answer; warn of what is done `otherwise`."""
        self._stamp = time.monotonic()
        try:
            self._measure()
        except BusError as error:
            if self._measured is None:
                raise
            self._doubt = str(error)
        if self._doubt:
            logger.warning("%s: %s", otherwise, self._doubt)

    def _measure(self) -> None:
        """Read the pose; a second time where that tells whether to believe it."""
        self._take(self.bus.read(PRESENT_POSITION)[0])
        if self._check.wants_another:
            self._take(self.bus.read(PRESENT_POSITION)[0])

    def _take(self, ticks: Array) -> None:
        """Take a reading for where the servos are, if it is to be believed."""
        doubt = self._check.doubt((ticks - self._zero) * self._scale, time.monotonic())
        self._doubt = doubt or ""
        if doubt is None:
            self._measured = ticks

    def _was_moved(self, goal: Array) -> bool:
        """True if the joints are far from where they are held; measures after a pause."""
        if time.monotonic() - self._stamp > PAUSE_S:
            self._try_to_measure("holding at the last known pose")
        if self._measured is None or self._doubt:
            return False
        held = np.clip(self._measured, self._lowest, self._highest)
        return self._check.is_far(goal * self._scale, held * self._scale)

    def _driven(self, ticks: Array) -> Array:
        """Return the positions (U,) of the joints that the action drives, in its order."""
        return ((ticks - self._zero) * self._scale)[self._order]

    def _to_ticks(self, positions: Array) -> Array:
        """Return where servos go for joint positions (U,) in the action's order."""
        ticks = positions / self._scale[self._order] + self._zero[self._order]
        own = self._lowest[self._order], self._highest[self._order]  # it ignores what lies beyond
        return np.clip(np.rint(ticks), *own).astype(np.int64)

    # --- the servos' own watchdog -----------------------------------------------------------------

    def _arm_watchdog(self) -> None:
        if self._is_watched:
            return
        steps = round(self.bus.config.watchdog_s / WATCHDOG_STEP_S)
        for _ in range(WRITE_TRIES):
            self.bus.write(BUS_WATCHDOG, [steps] * len(self.bus.config.servos))
            (armed,) = self.bus.read(BUS_WATCHDOG)
            if (armed == steps).all():
                self._is_watched = True
                return
        raise RobotError("the servos' watchdog cannot be armed, so they are not driven")

    def _hold_at(self, ticks: Array) -> None:
        """Send the servos to `ticks` and disarm the watchdog, as at rest nothing has to stop.

        Also makes servos listen again that it stopped. No servo acknowledges such writes, so what
        they know is read back.
        """
        goal = np.full_like(ticks, -1)
        for _ in range(WRITE_TRIES):
            self.bus.write(BUS_WATCHDOG, [0] * len(ticks))
            self._is_watched = False
            self.bus.write(GOAL_POSITION, ticks)
            try:
                watchdog, goal = self.bus.read(BUS_WATCHDOG, GOAL_POSITION)
            except NoAnswerError as error:
                logger.warning("whether all servos hold is unknown: %s", error)
                return
            if (watchdog == 0).all() and (goal == ticks).all():
                return
        servos = self.bus.config.servos
        deaf = tuple(s for s, is_there in zip(servos, goal == ticks, strict=True) if not is_there)
        raise RobotError(f"{_names(deaf or servos)} did not take the pose to hold")

    def _has_watchdog_struck(self) -> bool:
        """Return whether a servo has stopped by itself; asks only after half the time for it."""
        silence_s = time.monotonic() - self.bus.last_instruction_s
        if not self._is_watched or silence_s < self.bus.config.watchdog_s / 2:
            return False
        (state,) = self.bus.read(BUS_WATCHDOG)
        return bool((state < 0).any())

    # --- examination ------------------------------------------------------------------------------

    def _examine(self) -> None:
        """Refuse servos that are missing, broken or set up for something else."""
        bus, config = self.bus, self.bus.config
        if missing := bus.find_missing():
            answering = [str(s.id) for s in config.servos if s not in missing]
            raise RobotError(
                f"on {config.port} at {config.baud_rate} baud {_names(missing)} "
                f"{'does' if len(missing) == 1 else 'do'} not answer; "
                f"{', '.join(answering) or 'none'} did"
            )
        bus.read(HARDWARE_ERROR_STATUS)
        if bus.alerted:
            raise RobotError(self._describe_hardware_errors())
        (modes,) = bus.read(OPERATING_MODE)
        for servo, mode in zip(config.servos, modes, strict=True):
            if mode not in (POSITION_MODE, EXTENDED_POSITION_MODE):
                raise RobotError(
                    f"{_names((servo,))} is in operating mode {mode}; set it to "
                    f"{POSITION_MODE} (position) with Dynamixel Wizard"
                )
        self._compare_limits(modes)

    def _compare_limits(self, modes: Array) -> None:
        """Refuse limits beyond the servo's own: it would ignore such goals without a word."""
        highest, lowest = self.bus.read(MAX_POSITION_LIMIT, MIN_POSITION_LIMIT)
        is_bounded = modes == POSITION_MODE
        self._lowest = np.where(is_bounded, lowest, -TICKS_MAX)
        self._highest = np.where(is_bounded, highest, TICKS_MAX)
        for i, servo in enumerate(self.bus.config.servos):
            bounds = np.array([servo.low, servo.high]) / self._scale[i] + self._zero[i]
            low, high = np.sort(np.rint(bounds))
            if not self._lowest[i] <= low <= high <= self._highest[i]:
                raise RobotError(
                    f"{_names((servo,))} may go from {low:.0f} to {high:.0f} ticks by the file, "
                    f"its own limits are {self._lowest[i]} to {self._highest[i]}"
                )

    def _describe_hardware_errors(self) -> str:
        """Say what the servos that raised an alert complain of."""
        (states,) = self.bus.read(HARDWARE_ERROR_STATUS)
        told: list[str] = []
        for servo, state in zip(self.bus.config.servos, states, strict=True):
            names = [name for bit, name in HARDWARE_ERRORS.items() if state >> bit & 1]
            if state:
                told.append(f"{_names((servo,))} reports {', '.join(names) or f'error {state}'}")
        return f"{'; '.join(told) or 'a servo raised an alert'}; its torque is off until a reboot"


def _names(servos: tuple[Servo, ...]) -> str:
    ids = ", ".join(f"{servo.id} ({servo.label})" for servo in servos)
    return f"servo {ids}" if len(servos) == 1 else f"servos {ids}"


def make_robot(path: str, contract: Contract) -> DynamixelRobot:
    """Make the robot of `--robot dynamixel:FILE` for a policy's contract.

    Raises:
        RobotError: The file is none, or its joints do not serve the policy.
    """
    return DynamixelRobot(read_servo_bus(Path(path)), contract)
