"""A bus of Dynamixel servos, protocol 2.0: registers of all of them, read and written together.

Packets are ROBOTIS' own: the package dynamixel-sdk (extra `dynamixel`). What is added here is what
a control loop needs: waits that are bounded by the monotonic clock and do not spin, damaged and
missing answers told apart by servo, retries on a bus that has fallen silent, and a port that
vanishes as a clear error. Registers are those of the X series and of MX with protocol 2.0.
"""

import termios
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.dynamixel.config import Servo, ServoBus

if TYPE_CHECKING:
    from dynamixel_sdk import PortHandler, Protocol2PacketHandler

Result = TypeVar("Result")

ALERT = 0x80
"""Bit of a status packet's error byte: look at `HARDWARE_ERROR_STATUS`."""
READ_WAIT_S = 0.001
"""Longest sleep while bytes are awaited."""
WRITE_TIMEOUT_S = 0.1
SILENCE_S = 0.002
"""A bus without a byte for so long has nobody talking."""

ERRORS = {
    1: "could not do what it was told",
    2: "does not know the instruction",
    3: "received a damaged packet",
    4: "was given a value out of range",
    5: "was given data of the wrong length",
    6: "was given a value beyond its own limits",
    7: "does not allow this access",
}
"""Error numbers of status packets (e-Manual, Protocol 2.0)."""


class Register(NamedTuple):
    """A value in every servo's control table."""

    name: str
    address: int
    size: int  # bytes, little endian
    is_signed: bool = False


OPERATING_MODE = Register("operating mode", 11, 1)
MAX_POSITION_LIMIT = Register("max position limit", 48, 4)
MIN_POSITION_LIMIT = Register("min position limit", 52, 4)
TORQUE_ENABLE = Register("torque enable", 64, 1)
HARDWARE_ERROR_STATUS = Register("hardware error status", 70, 1)
BUS_WATCHDOG = Register("bus watchdog", 98, 1, is_signed=True)
GOAL_POSITION = Register("goal position", 116, 4, is_signed=True)
PRESENT_VELOCITY = Register("present velocity", 128, 4, is_signed=True)
PRESENT_POSITION = Register("present position", 132, 4, is_signed=True)


class BusError(RobotError):
    """The bus or a servo on it does not answer as it should."""


class NoAnswerError(BusError):
    """A servo did not answer, or not properly; the next attempt may succeed."""


class DynamixelBus:
    """The servos of a `ServoBus`, in its order; every array has one element for each of them.

    Not for several threads at once.
    """

    def __init__(self, config: ServoBus) -> None:
        self.config = config
        self.last_instruction_s = 0.0
        """Monotonic time in seconds of the last instruction."""
        self.alerted: tuple[Servo, ...] = ()
        """Servos that reported a hardware error in the last reading."""
        self.num_repeated = 0
        """Readings that had to be tried again."""
        self._port: PortHandler | None = None
        self._packets: Protocol2PacketHandler | None = None

    @property
    def is_open(self) -> bool:
        """True if the port is open; a cable may have been pulled since."""
        return self._port is not None

    def open(self) -> None:
        """Open the port for this process alone.

        Raises:
            BusError: No such port (lists those there are), not allowed, in use, or it cannot have
                this baud rate.
        """
        from robodreamer_deploy.robots.dynamixel.port import make_port

        config = self.config
        port, self._packets = make_port(
            config.port, config.baud_rate, config.response_timeout_s, READ_WAIT_S, WRITE_TIMEOUT_S
        )
        try:
            if not port.openPort():
                raise BusError(f"{config.port} cannot run at {config.baud_rate} baud")
        except (OSError, termios.error) as error:
            reason = " ".join(str(error).split())
            raise BusError(f"{config.port} cannot be opened: {reason}; {_ports()}") from error
        self._port = port

    def close(self) -> None:
        """Close the port; may be called twice, and after it has vanished."""
        port, self._port = self._port, None
        if port is not None:
            port.closePort()

    def find_missing(self) -> tuple[Servo, ...]:
        """Return the servos that do not answer a ping."""
        return tuple(servo for servo in self.config.servos if not self._answers(servo))

    def read(self, *registers: Register) -> list[Array]:
        """Return the values of registers, int64 (servos,) each, by one sync read.

        They are given by rising address; what lies between them is read too.

        Raises:
            BusError: A servo did not answer, or not properly, at the last attempt; or the port is
                gone.
        """
        start = registers[0].address
        length = registers[-1].address + registers[-1].size - start
        rows = self._try(lambda: self._sync_read(start, length))
        return [np.array([_number(row, start, r) for row in rows], np.int64) for r in registers]

    def write(self, register: Register, values: Sequence[int] | Array) -> None:
        """Write one value per servo by one sync write, which no servo acknowledges.

        Raises:
            BusError: The port is gone.
        """
        parameters: list[int] = []
        for servo, value in zip(self.config.servos, values, strict=True):
            data = int(value).to_bytes(register.size, "little", signed=register.is_signed)
            parameters += [servo.id, *data]
        with self._wire() as (port, packets):
            packets.syncWriteTxOnly(
                port, register.address, register.size, parameters, len(parameters)
            )

    def write_firmly(self, register: Register, value: int) -> None:
        """Write the same value to all servos, one after the other, each of which confirms it.

        Raises:
            BusError: One does not answer, or refuses; or the port is gone.
        """
        data = list(value.to_bytes(register.size, "little", signed=register.is_signed))
        try:
            for servo in self.config.servos:
                self._try(lambda servo=servo: self._write_one(servo, register, data))
        except NoAnswerError as error:
            raise BusError(f"writing the {register.name}: {error}") from error

    def _answers(self, servo: Servo) -> bool:
        def ping() -> None:
            with self._wire() as (port, packets):
                _, result, _ = packets.ping(port, servo.id)
            self._require(servo, result)

        try:
            self._try(ping)
        except NoAnswerError:
            return False
        return True

    def _sync_read(self, start: int, length: int) -> list[list[int]]:
        servos = self.config.servos
        ids = [servo.id for servo in servos]
        rows: list[list[int]] = []
        alerted: list[Servo] = []
        with self._wire() as (port, packets):
            result = packets.syncReadTx(port, start, length, ids, len(ids), fast_option=False)
            self._require(servos[0], result)
            for servo in servos:
                row, result, error = packets.readRx(port, servo.id, length)
                self._require(servo, result, error)
                if len(row) != length:
                    raise NoAnswerError(f"{_name(servo)} answered with {len(row)} bytes")
                rows.append(row)
                if error & ALERT:
                    alerted.append(servo)
        self.alerted = tuple(alerted)
        return rows

    def _write_one(self, servo: Servo, register: Register, data: list[int]) -> None:
        with self._wire() as (port, packets):
            result, error = packets.writeTxRx(port, servo.id, register.address, len(data), data)
        self._require(servo, result, error)

    def _try(self, attempt: Callable[[], Result]) -> Result:
        """Return what `attempt` does, repeating it as often as the file allows."""
        for left in reversed(range(self.config.num_retries + 1)):
            try:
                return attempt()
            except NoAnswerError as error:  # noqa: PERF203  few tries, and slow ones
                if not left:
                    tries = self.config.num_retries + 1
                    raise NoAnswerError(f"{error} ({tries} tries)") from None
                self.num_repeated += 1
                self._drain()
        raise AssertionError("unreachable")

    def _drain(self) -> None:
        """Wait until the bus is silent, so that a late answer is not taken for the next one."""
        end = time.monotonic() + self.config.response_timeout_s
        quiet_since = time.monotonic()
        with self._wire() as (port, _):
            while time.monotonic() < min(end, quiet_since + SILENCE_S):
                if port.readPort(256):
                    quiet_since = time.monotonic()

    @contextmanager
    def _wire(self) -> "Generator[tuple[PortHandler, Protocol2PacketHandler], None, None]":
        """Lend port and packets for one exchange; name a port that is gone."""
        port, packets = self._port, self._packets
        if port is None or packets is None:
            raise BusError(f"{self.config.port} is not open")
        port.is_using = False  # an error within the SDK leaves it set
        self.last_instruction_s = time.monotonic()
        try:
            yield port, packets
        except (OSError, termios.error) as error:
            reason = " ".join(str(error).split())
            raise BusError(f"{self.config.port} is gone ({reason}); look at its cable") from error

    def _require(self, servo: Servo, result: int, error: int = 0) -> None:
        """Refuse an exchange with a servo that did not succeed."""
        from dynamixel_sdk import COMM_RX_CORRUPT, COMM_RX_TIMEOUT, COMM_SUCCESS

        faults = {
            COMM_RX_TIMEOUT: f"did not answer within {1e3 * self.config.response_timeout_s:g} ms",
            COMM_RX_CORRUPT: "answered with a damaged packet",
        }
        if result != COMM_SUCCESS:
            raise NoAnswerError(f"{_name(servo)} {faults.get(result, f'failed ({result})')}")
        if number := error & ~ALERT:
            told = ERRORS.get(number, f"reports error {number}")
            raise NoAnswerError(f"{_name(servo)} {told}")


def _name(servo: Servo) -> str:
    return f"servo {servo.id} ({servo.label})"


def _number(row: list[int], start: int, register: Register) -> int:
    data: Any = row[register.address - start :][: register.size]
    return int.from_bytes(bytes(data), "little", signed=register.is_signed)


def _ports() -> str:
    """Name the serial ports of this machine."""
    names = sorted(str(p) for kind in ("USB", "ACM") for p in Path("/dev").glob(f"tty{kind}*"))
    return f"there are {', '.join(names)}" if names else "there is no /dev/ttyUSB* or /dev/ttyACM*"
