"""Servo bus on a pseudo-terminal, which answers like Dynamixel servos and moves joints."""

import os
import select
import threading
import time
import tty
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self

from servo_bus.packets import (
    BROADCAST,
    PING,
    READ,
    REBOOT,
    SYNC_READ,
    SYNC_WRITE,
    WRITE,
    Damaged,
    Instruction,
    status,
    take_packets,
)
from servo_bus.servo import (
    BAD_CRC,
    BAD_INSTRUCTION,
    FIRMWARE,
    MODEL_NUMBER,
    SimulatedServo,
)

POLL_S = 0.005


class Joints(Protocol):
    """Joints behind the servos, in ticks and in the order of the servos."""

    def advance(self, seconds: float, targets: Sequence[int | None]) -> None:
        """Let time pass while each joint is driven to its target; None lets it go."""
        ...

    def positions(self) -> Sequence[int]:
        """Return the joint positions in ticks."""
        ...

    def velocities(self) -> Sequence[int]:
        """Return the joint velocities in units of 0.229 turns per minute."""
        ...


class SimulatedBus:
    """Context manager with servos on a pseudo-terminal, whose path is `port`.

    Faults can be injected at any time: servos in `silent` do not answer, the next `damaged` answers
    get a wrong CRC, the next `lost` sync writes have no effect, `is_deaf` stops all answers, and
    `unplug` removes the port.

    Args:
        servos: Servos on the bus.
        joints: Joints that the servos move.
    """

    def __init__(self, servos: Sequence[SimulatedServo], joints: Joints) -> None:
        self.servos = {servo.id: servo for servo in servos}
        self.joints = joints
        self.silent: set[int] = set()
        self.damaged = 0
        self.lost = 0
        self.is_deaf = False
        self.num_bad_packets = 0
        """Damaged packets that were received."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._should_stop = threading.Event()
        self._is_plugged = True
        self._moved_s = time.monotonic()
        self._thread = threading.Thread(target=self._serve, name="servo bus", daemon=True)

    def __enter__(self) -> Self:
        self._moved_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def unplug(self) -> None:
        """Remove the port, like a pulled cable; may be called twice."""
        self._should_stop.set()
        self._thread.join()
        if self._is_plugged:
            os.close(self._master)
            os.close(self._slave)
        self._is_plugged = False

    def coast(self, seconds: float) -> None:
        """Let time pass for the servos after `unplug`, without any instruction."""
        steps = round(seconds / POLL_S)
        for _ in range(steps):
            self._moved_s += POLL_S
            for servo in self.servos.values():
                servo.check_watchdog(self._moved_s)
            self._move(POLL_S)

    def _serve(self) -> None:
        buffer = bytearray()
        while not self._should_stop.is_set():
            ready, _, _ = select.select([self._master], [], [], POLL_S)
            if ready:
                buffer += os.read(self._master, 4096)
            self._catch_up()
            for received in take_packets(buffer):
                self._handle(received)

    def _catch_up(self) -> None:
        now = time.monotonic()
        for servo in self.servos.values():
            servo.check_watchdog(now)
        self._move(now - self._moved_s)
        self._moved_s = now

    def _move(self, seconds: float) -> None:
        servos = self.servos.values()
        self.joints.advance(seconds, [servo.target for servo in servos])
        states = zip(servos, self.joints.positions(), self.joints.velocities(), strict=True)
        for servo, position, velocity in states:
            servo.set("present_position", position)
            servo.set("present_velocity", velocity)

    def _handle(self, received: Instruction | Damaged) -> None:
        if isinstance(received, Damaged):
            self.num_bad_packets += 1
            if received.id in self.servos:
                self._answer(self.servos[received.id], BAD_CRC)
            return
        for servo in self.servos.values():
            servo.heard(self._moved_s)
        handlers: Mapping[int, Callable[[Instruction], None]] = {
            SYNC_READ: self._sync_read,
            SYNC_WRITE: self._sync_write,
        }
        if received.id == BROADCAST and received.code in handlers:
            handlers[received.code](received)
        elif received.id in self.servos:
            self._single(self.servos[received.id], received)

    def _single(self, servo: SimulatedServo, asked: Instruction) -> None:
        """Execute an instruction to a single servo."""
        parameters = asked.parameters
        address = int.from_bytes(parameters[:2], "little")
        if asked.code == PING:
            self._answer(servo, 0, MODEL_NUMBER.to_bytes(2, "little") + bytes([FIRMWARE]))
        elif asked.code == READ:
            self._answer(servo, *servo.read(address, int.from_bytes(parameters[2:4], "little")))
        elif asked.code == WRITE:
            self._answer(servo, servo.write(address, parameters[2:]))
        elif asked.code == REBOOT:
            servo.reboot()
            self._answer(servo, 0)
        else:
            self._answer(servo, BAD_INSTRUCTION)

    def _sync_read(self, asked: Instruction) -> None:
        address = int.from_bytes(asked.parameters[:2], "little")
        size = int.from_bytes(asked.parameters[2:4], "little")
        for id_ in asked.parameters[4:]:
            if id_ in self.servos:
                self._answer(self.servos[id_], *self.servos[id_].read(address, size))

    def _sync_write(self, asked: Instruction) -> None:
        if self.lost:
            self.lost -= 1
            return
        address = int.from_bytes(asked.parameters[:2], "little")
        size = int.from_bytes(asked.parameters[2:4], "little")
        rows = asked.parameters[4:]
        for start in range(0, len(rows) - size, size + 1):
            if (id_ := rows[start]) in self.servos:
                self.servos[id_].write(address, rows[start + 1 : start + 1 + size])

    def _answer(self, servo: SimulatedServo, error: int, parameters: bytes = b"") -> None:
        if self.is_deaf or servo.id in self.silent:
            return
        data = bytearray(status(servo.id, error | servo.alert, parameters))
        if self.damaged:
            self.damaged -= 1
            data[-1] ^= 0xFF
        os.write(self._master, data)
