"""Packets of Dynamixel's protocol 2.0, on the servo's side (ROBOTIS e-Manual, Protocol 2.0).

    FF FF FD 00 | id | length, 2 bytes | instruction | parameters | CRC, 2 bytes

The length counts everything after itself. Byte stuffing turns FF FF FD within instruction and
parameters into FF FF FD FD, so that the header is unique. Written from the specification,
independently of the SDK that it is tested against.
"""

from typing import NamedTuple

HEADER = b"\xff\xff\xfd"
RESERVED = 0
PING, READ, WRITE, REBOOT, STATUS = 0x01, 0x02, 0x03, 0x08, 0x55
SYNC_READ, SYNC_WRITE = 0x82, 0x83
BROADCAST = 0xFE
POLYNOMIAL = 0x8005
SHORTEST = 10  # bytes of a packet without parameters


class Instruction(NamedTuple):
    """Instruction packet from a controller to one servo or to all."""

    id: int
    code: int
    parameters: bytes


class Damaged(NamedTuple):
    """Packet with a wrong CRC."""

    id: int


def crc16(data: bytes) -> int:
    """Return the CRC of `data`: CRC-16/BUYPASS, initial value 0, bits not reflected."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ POLYNOMIAL if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def stuff(body: bytes) -> bytes:
    """Stuff every header inside `body`."""
    return body.replace(HEADER, HEADER + b"\xfd")


def unstuff(body: bytes) -> bytes:
    """Undo `stuff`."""
    return body.replace(HEADER + b"\xfd", HEADER)


def packet(servo: int, body: bytes) -> bytes:
    """Build the packet of instruction and parameters."""
    stuffed = stuff(body)
    length = len(stuffed) + 2
    head = HEADER + bytes([RESERVED, servo, length & 0xFF, length >> 8])
    data = head + stuffed
    return data + crc16(data).to_bytes(2, "little")


def status(servo: int, error: int, parameters: bytes = b"") -> bytes:
    """Build a status packet, the answer of a servo."""
    return packet(servo, bytes([STATUS, error]) + parameters)


def take_packets(buffer: bytearray) -> list[Instruction | Damaged]:
    """Remove all complete packets from the front of `buffer`, and any bytes before a header."""
    taken: list[Instruction | Damaged] = []
    while (start := buffer.find(HEADER)) >= 0:
        del buffer[:start]
        if len(buffer) < SHORTEST:
            break
        end = 7 + int.from_bytes(buffer[5:7], "little")
        if len(buffer) < end:
            break
        data = bytes(buffer[:end])
        del buffer[:end]
        if crc16(data[:-2]) != int.from_bytes(data[-2:], "little"):
            taken.append(Damaged(data[4]))
        else:
            body = unstuff(data[7:-2])
            taken.append(Instruction(data[4], body[0], body[1:]))
    return taken
