"""Contents of the file behind `--robot dynamixel:FILE`: a bus, and a servo per joint."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.utils.strict_json import parse_json, read_object, read_record

TICKS_PER_TURN = 4096
WATCHDOG_STEP_S = 0.02
"""The bus watchdog counts in steps of 20 ms, at most 127 of them (e-Manual, Bus Watchdog (98))."""
MAX_WATCHDOG_S = 127 * WATCHDOG_STEP_S
MAX_ID = 252


@dataclass(frozen=True, kw_only=True)
class Servo:
    """One servo, and how its ticks become the position of a joint.

    position = direction * (ticks - zero_ticks) * units_per_tick
    """

    label: str
    """The joint's name in the policy's signals and action."""
    id: int
    """Number on the bus, 0 to 252."""
    low: float
    """Lowest position the joint is ever sent to, in rad (m for a slide)."""
    high: float
    """Highest one."""
    zero_ticks: int = TICKS_PER_TURN // 2
    """Reading of the servo where the joint's position is 0."""
    direction: int = 1
    """1, or -1 where the joint turns against the servo."""
    units_per_tick: float = 2.0 * math.pi / TICKS_PER_TURN
    """Rad (or m) that one tick moves the joint by; behind a gear, less."""

    def __post_init__(self) -> None:
        """Refuse what no servo can be."""
        if not 0 <= self.id <= MAX_ID:
            raise ValueError(f"{self.label}: id {self.id} is not between 0 and {MAX_ID}")
        if not self.low < self.high:
            raise ValueError(f"{self.label}: low {self.low} is not below high {self.high}")
        if self.direction not in (1, -1):
            raise ValueError(f"{self.label}: direction {self.direction} is neither 1 nor -1")
        if self.units_per_tick <= 0.0:
            raise ValueError(f"{self.label}: units_per_tick {self.units_per_tick} is not above 0")


@dataclass(frozen=True, kw_only=True)
class ServoBus:
    """A serial port with servos on it."""

    port: str
    """Path of the serial port, such as /dev/ttyUSB0."""
    servos: tuple[Servo, ...]
    """Servos on the bus, in any order."""
    baud_rate: int = 1_000_000
    """Baud rate that is set in the servos."""
    command: Literal["position", "velocity"] | None = None
    """Kind of the policy's actions, if their unit does not determine it."""
    watchdog_s: float = 0.2
    """The servos stop by themselves when no instruction has come for this long while they are
    being driven; in steps of 0.02 s, at most 2.54 s."""
    response_timeout_s: float = 0.02
    """Longest wait for answers in seconds, beyond the time that the bytes take on the wire."""
    num_retries: int = 1
    """Number of immediate retries of a reading that failed."""
    release_at_disconnect: bool = False
    """True if the joints are let go (torque off) in the end; else they keep holding."""

    def __post_init__(self) -> None:
        """Refuse a bus on which two servos cannot be told apart, and times that bound nothing."""
        if not self.servos:
            raise ValueError("there are no servos")
        for what in ("label", "id"):
            values = [getattr(servo, what) for servo in self.servos]
            if twice := sorted({str(value) for value in values if values.count(value) > 1}):
                raise ValueError(f"{what} {', '.join(twice)} is given to more than one servo")
        if not WATCHDOG_STEP_S <= self.watchdog_s <= MAX_WATCHDOG_S:
            raise ValueError(
                f"watchdog_s {self.watchdog_s} is not between {WATCHDOG_STEP_S} and "
                f"{MAX_WATCHDOG_S}"
            )
        if not 0.0 < self.response_timeout_s <= 1.0:
            raise ValueError(f"response_timeout_s {self.response_timeout_s} is not in (0, 1]")
        if not 0 <= self.num_retries <= 10:
            raise ValueError(f"num_retries {self.num_retries} is not between 0 and 10")


def read_servo_bus(path: Path) -> ServoBus:
    """Read the description of a bus from its JSON file.

    Raises:
        RobotError: No such file, or not a description; says which field is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return read_record(ServoBus, read_object(parse_json(text), str(path)), str(path))
    except (OSError, ValueError) as error:
        raise RobotError(f"the servo file {path} cannot be read: {error}") from error
