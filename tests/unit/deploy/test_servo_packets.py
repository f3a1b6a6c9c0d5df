"""The simulated bus speaks protocol 2.0 as its manual has it, and as ROBOTIS' own code does."""

import re

import pytest
from dynamixel_sdk import Protocol2PacketHandler
from hypothesis import given
from hypothesis import strategies as st

from servo_bus.packets import (
    PING,
    Damaged,
    Instruction,
    crc16,
    packet,
    status,
    stuff,
    take_packets,
    unstuff,
)
from servo_bus.servo import (
    ACCESS,
    ALERT,
    DATA_LENGTH,
    DATA_RANGE,
    OVERLOAD,
    SimulatedServo,
)

HEADERS = st.lists(st.sampled_from([b"\xff", b"\xfd", b"\xff\xff\xfd", b"\x00", b"a"])).map(
    b"".join
)
BODIES = st.one_of(st.binary(min_size=1, max_size=60), HEADERS.filter(bool))


def test_the_manuals_example_of_a_ping_is_reproduced() -> None:
    assert packet(1, bytes([PING])).hex(" ").upper() == "FF FF FD 00 01 03 00 01 19 4E"
    answer = status(1, 0, bytes([0x06, 0x04, 0x26]))
    assert answer.hex(" ").upper() == "FF FF FD 00 01 07 00 55 00 06 04 26 65 5D"


@given(st.binary(max_size=80))
def test_the_crc_is_that_of_the_sdk(data: bytes) -> None:
    assert crc16(data) == Protocol2PacketHandler().updateCRC(0, list(data), len(data))


@given(BODIES)
def test_no_header_survives_stuffing_and_nothing_is_lost(body: bytes) -> None:
    assert unstuff(stuff(body)) == body
    assert not re.search(rb"\xff\xff\xfd(?!\xfd)", stuff(body))


@given(st.lists(st.tuples(st.integers(0, 252), BODIES), max_size=4), st.integers(1, 30))
def test_packets_are_found_however_the_bytes_come_in(
    sent: list[tuple[int, bytes]], chunk: int
) -> None:
    stream = b"\x00\x13" + b"".join(packet(id_, body) for id_, body in sent)
    buffer, found = bytearray(), []
    for start in range(0, len(stream), chunk):
        buffer += stream[start : start + chunk]
        found += take_packets(buffer)
    assert found == [Instruction(id_, body[0], body[1:]) for id_, body in sent]


def test_a_damaged_packet_is_told_from_a_whole_one() -> None:
    data = bytearray(packet(7, bytes([PING])))
    data[-1] ^= 1
    assert take_packets(data + packet(8, bytes([PING]))) == [Damaged(7), Instruction(8, PING, b"")]


def goal(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)


def test_a_servo_refuses_what_a_real_one_refuses() -> None:
    servo = SimulatedServo(1, 2048)
    assert servo.write(116, goal(5000)) == DATA_RANGE
    assert servo.write(116, b"\x00") == DATA_LENGTH
    assert servo.write(132, goal(0)) == ACCESS, "the present position cannot be written"
    assert servo.write(64, b"\x01") == 0
    assert servo.write(11, b"\x01") == ACCESS, "the mode is locked while torque is on"
    servo.fail(OVERLOAD)
    assert (servo.alert, servo.target) == (ALERT, None)
    assert servo.write(64, b"\x01") == ACCESS, "no torque before a reboot"
    servo.reboot()
    assert servo.write(64, b"\x01") == 0


@pytest.mark.parametrize("silence_s", [0.05, 0.11])
def test_its_watchdog_stops_it_and_locks_its_goal_until_it_is_cleared(silence_s: float) -> None:
    servo = SimulatedServo(1, 2048)
    servo.write(64, b"\x01")
    servo.heard(10.0)
    servo.write(98, b"\x05")  # 5 x 20 ms
    servo.write(116, goal(3000))
    servo.check_watchdog(10.0 + silence_s)
    has_struck = silence_s > 0.1
    assert servo.target == (2048 if has_struck else 3000)
    assert servo.write(116, goal(2500)) == (DATA_RANGE if has_struck else 0)
    servo.write(98, b"\x00")
    assert servo.write(116, goal(2500)) == 0
