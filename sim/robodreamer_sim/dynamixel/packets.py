"""Packets of Dynamixel's protocol 2.0, as a servo sees them (e-Manual, Protocol 2.0).

    FF FF FD 00 | id | length, 2 bytes | instruction | parameters | CRC, 2 bytes

The length counts everything after itself. Within instruction and parameters FF FF FD is stuffed to
FF FF FD FD, so that a header appears nowhere else. Written from the specification, independently
of the SDK that it is tested against.
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
    """What a controller asks of a servo, or of all."""

    id: int
    code: int
    parameters: bytes


class Damaged(NamedTuple):
    """A packet whose CRC is wrong."""

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
    """Return `body` with every header in it made unlike one."""
    return body.replace(HEADER, HEADER + b"\xfd")


def unstuff(body: bytes) -> bytes:
    """Return what `stuff` was given."""
    return body.replace(HEADER + b"\xfd", HEADER)


def packet(servo: int, body: bytes) -> bytes:
    """Return the packet around instruction and parameters."""
    stuffed = stuff(body)
    length = len(stuffed) + 2
    head = HEADER + bytes([RESERVED, servo, length & 0xFF, length >> 8])
    data = head + stuffed
    return data + crc16(data).to_bytes(2, "little")


def status(servo: int, error: int, parameters: bytes = b"") -> bytes:
    """Return a servo's answer."""
    return packet(servo, bytes([STATUS, error]) + parameters)


def take_packets(buffer: bytearray) -> list[Instruction | Damaged]:
    """Take all complete packets off the front of `buffer`; what precedes a header is dropped."""
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
