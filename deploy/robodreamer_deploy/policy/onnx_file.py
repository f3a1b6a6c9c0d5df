"""ONNX files as bytes: what they hold is checked before onnxruntime gets them.

A graph may name other files that hold its weights, and hold loops that turn for as long as it says.
Neither is in what `robodreamer export` writes, so both are refused: nothing is read from a policy's
folder that its manifest does not list, and a step takes as long as its operators do.

Only what is needed for that is read, in protobuf's wire format: a sequence of (field number, wire
type, value), where a message is a value of bytes. Numbers of fields are those of onnx.proto.
"""

from collections.abc import Iterator
from typing import NamedTuple

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
"""Wire types; groups, which no ONNX file has, are refused."""
DOMAINS = {"", "ai.onnx", "com.microsoft"}
"""Domains of operators that onnxruntime brings along."""
READS_FILES = {"EPContext"}
"""Operators that load something from a path that they are given."""


class OnnxFile(NamedTuple):
    """Description of an ONNX file beside its computation."""

    metadata: dict[str, str]


def read_onnx(content: bytes) -> OnnxFile:
    """Check a file, and read its metadata.

    Raises:
        ValueError: It is no ONNX graph, reads other files, or holds what an export never does: a
            loop or a branch, functions, operators of unknown origin.
    """
    if content[4:8] == b"ORTM":
        raise ValueError("it is in onnxruntime's own format")
    metadata: dict[str, str] = {}
    num_graphs = 0
    for number, value in _fields(memoryview(content)):
        if number == 7:
            num_graphs += 1
            _check_graph(_message(value))
        elif number == 14:
            key, text = _read_entry(_message(value))
            if key in metadata:
                raise ValueError(f"its metadata has {key!r} twice")
            metadata[key] = text
        elif number in (20, 25):
            raise ValueError("it holds functions of its own")
    if num_graphs != 1:
        raise ValueError(f"it holds {num_graphs} graphs")
    return OnnxFile(metadata)


def _check_graph(graph: memoryview) -> None:
    for number, value in _fields(graph):
        if number == 1:
            _check_node(_message(value))
        elif number == 5:
            _check_tensor(_message(value))
        elif number == 15:
            raise ValueError("it holds sparse tensors")


def _check_node(node: memoryview) -> None:
    kind, domain = "", ""
    for number, value in _fields(node):
        if number == 4:
            kind = _text(value)
        elif number == 7:
            domain = _text(value)
        elif number == 5:
            _check_attribute(_message(value))
    if domain not in DOMAINS:
        raise ValueError(f"it has an operator {kind} of {domain!r}")
    if kind in READS_FILES:
        raise ValueError(f"its operator {kind} reads another file")


def _check_attribute(attribute: memoryview) -> None:
    for number, value in _fields(attribute):
        if number in (5, 10):
            _check_tensor(_message(value))
        elif number in (6, 11):
            raise ValueError("it has a loop or a branch, which no exported policy has")
        elif number in (22, 23):
            raise ValueError("it holds sparse tensors")


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number == 13 or (number == 14 and value != 0):
            raise ValueError("its weights are in another file")


def _read_entry(entry: memoryview) -> tuple[str, str]:
    key = text = ""
    for number, value in _fields(entry):
        if number == 1:
            key = _text(value)
        elif number == 2:
            text = _text(value)
    return key, text


def _message(value: "int | memoryview") -> memoryview:
    if isinstance(value, int):
        raise ValueError("it is no ONNX graph")  # noqa: TRY004  a malformed file, not a wrong call
    return value


def _text(value: "int | memoryview") -> str:
    return str(_message(value), "utf-8")  # UnicodeDecodeError is a ValueError


def _fields(message: memoryview) -> Iterator[tuple[int, "int | memoryview"]]:
    """Yield the fields of a message: their number, and an integer or bytes."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire not in (EIGHT_BYTES, BYTES, FOUR_BYTES):
            raise ValueError("it is no ONNX graph")
        size = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(wire, 0)
        if wire == BYTES:
            size, place = _varint(message, place)
        if place + size > len(message):
            raise ValueError("it is no ONNX graph, or cut short")
        yield number, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return a number of up to ten bytes, seven bits in each, and the place behind it."""
    value = 0
    for i, byte in enumerate(message[place : place + 10]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, place + i + 1
    raise ValueError("it is no ONNX graph")
