"""Simulated servo: those parts of the X series' control table that a controller uses."""

from collections.abc import Mapping
from typing import NamedTuple

TABLE_SIZE = 147
MODEL_NUMBER, FIRMWARE = 1060, 45  # an XL430-W250
RESULT_FAIL, BAD_INSTRUCTION, BAD_CRC, DATA_RANGE = 1, 2, 3, 4
DATA_LENGTH, DATA_LIMIT, ACCESS = 5, 6, 7
ALERT = 0x80
OVERLOAD = 1 << 5
WATCHDOG_STEP_S = 0.02
POSITION_MODE, EXTENDED_POSITION_MODE = 3, 4


class Field(NamedTuple):
    """Entry of the control table."""

    address: int
    size: int
    is_signed: bool = False
    is_writable: bool = False
    is_eeprom: bool = False  # locked while torque is on


FIELDS: Mapping[str, Field] = {
    "model_number": Field(0, 2),
    "firmware": Field(6, 1),
    "id": Field(7, 1, is_writable=True, is_eeprom=True),
    "operating_mode": Field(11, 1, is_writable=True, is_eeprom=True),
    "max_position_limit": Field(48, 4, is_writable=True, is_eeprom=True),
    "min_position_limit": Field(52, 4, is_writable=True, is_eeprom=True),
    "torque_enable": Field(64, 1, is_writable=True),
    "hardware_error_status": Field(70, 1),
    "bus_watchdog": Field(98, 1, is_signed=True, is_writable=True),
    "goal_position": Field(116, 4, is_signed=True, is_writable=True),
    "present_velocity": Field(128, 4, is_signed=True),
    "present_position": Field(132, 4, is_signed=True),
}


class SimulatedServo:
    """Control table of a servo and the rules for writing it; the bus moves joints and counts time.

    Args:
        id: Bus id.
        position: Position at power-up, in ticks.
    """

    def __init__(self, id: int, position: int) -> None:  # noqa: A002  the protocol's word
        self.id = id
        self.num_goals = 0
        """Number of accepted goal positions."""
        self._table = bytearray(TABLE_SIZE)
        self._last_instruction_s = 0.0
        for name, value in {
            "model_number": MODEL_NUMBER,
            "firmware": FIRMWARE,
            "id": id,
            "operating_mode": POSITION_MODE,
            "max_position_limit": 4095,
            "present_position": position,
            "goal_position": position,
        }.items():
            self.set(name, value)

    def get(self, name: str) -> int:
        """Return the value of a field."""
        field = FIELDS[name]
        data = self._table[field.address : field.address + field.size]
        return int.from_bytes(data, "little", signed=field.is_signed)

    def set(self, name: str, value: int) -> None:
        """Set a field, ignoring the rules for writes from the bus."""
        field = FIELDS[name]
        data = value.to_bytes(field.size, "little", signed=field.is_signed)
        self._table[field.address : field.address + field.size] = data

    @property
    def target(self) -> int | None:
        """Goal position in ticks; None while torque is off."""
        if not self.get("torque_enable"):
            return None
        return self.get("goal_position")

    @property
    def alert(self) -> int:
        """Alert bit of status packets."""
        return ALERT if self.get("hardware_error_status") else 0

    def fail(self, bits: int) -> None:
        """Raise a hardware error, which switches the torque off until a reboot."""
        self.set("hardware_error_status", bits)
        self.set("torque_enable", 0)

    def reboot(self) -> None:
        """Reset errors and the watchdog, and switch the torque off."""
        for name in ("hardware_error_status", "torque_enable", "bus_watchdog"):
            self.set(name, 0)

    def heard(self, now_s: float) -> None:
        """Note the time of an instruction on the bus, for this servo or another."""
        self.check_watchdog(now_s)
        self._last_instruction_s = now_s

    def check_watchdog(self, now_s: float) -> None:
        """Hold the present position if no instruction has come for too long."""
        steps = self.get("bus_watchdog")
        silence_s = now_s - self._last_instruction_s
        if steps > 0 and self.get("torque_enable") and silence_s > steps * WATCHDOG_STEP_S:
            self.set("bus_watchdog", -1)
            self.set("goal_position", self.get("present_position"))

    def read(self, address: int, size: int) -> tuple[int, bytes]:
        """Return the error number and the data."""
        if address + size > TABLE_SIZE:
            return DATA_RANGE, b""
        return 0, bytes(self._table[address : address + size])

    def write(self, address: int, data: bytes) -> int:
        """Write one field; return the error number."""
        names = [name for name, field in FIELDS.items() if field.address == address]
        if not names or not FIELDS[names[0]].is_writable:
            return ACCESS
        name, field = names[0], FIELDS[names[0]]
        if len(data) != field.size:
            return DATA_LENGTH
        if field.is_eeprom and self.get("torque_enable"):
            return ACCESS
        value = int.from_bytes(data, "little", signed=field.is_signed)
        if error := self._refuse(name, value):
            return error
        self.set(name, value)
        self._after(name, value)
        return 0

    def _refuse(self, name: str, value: int) -> int:
        if name == "goal_position":
            if self.get("bus_watchdog") == -1:
                return DATA_RANGE  # goals are read-only until the watchdog is cleared
            low, high = self.get("min_position_limit"), self.get("max_position_limit")
            if self.get("operating_mode") == POSITION_MODE and not low <= value <= high:
                return DATA_RANGE
        if name == "bus_watchdog" and value < 0:
            return DATA_RANGE
        if name == "torque_enable" and value and self.alert:
            return ACCESS
        return 0

    def _after(self, name: str, value: int) -> None:
        if name == "goal_position":
            self.num_goals += 1
        if name == "torque_enable" and value:
            self.set("goal_position", self.get("present_position"))
