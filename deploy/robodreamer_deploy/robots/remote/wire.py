"""Messages between a policy's process and a robot's: a JSON header and raw arrays, no pickle.

    4 bytes   RDR1: the format, and its version
    4 bytes   length of the header, little-endian
    header    JSON: {"kind": ..., "fields": {...}, "arrays": [{"name", "dtype", "shape"}, ...]}
    arrays    their elements, one array after the other, little-endian, C order

A message is one ZeroMQ frame, whose length ZeroMQ bounds before it takes it in. What the header
says is held against the bytes that are there before anything is made of it.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.utils.strict_json import parse_json, read_record

MAGIC = b"RDR"
VERSION = b"1"
PREFIX = struct.Struct("<4sI")
MAX_REQUEST_BYTES = 1 << 16
"""Of what a robot takes in: an action and a few words."""
MAX_REPLY_BYTES = 1 << 26
"""Of what a robot sends: all its pictures at once."""
MAX_HEADER_BYTES = 1 << 20
MAX_ARRAYS = 256
MAX_AXES = 8
DTYPES = ("uint8", "int32", "int64", "float32", "float64")


class WireError(ValueError):
    """Bytes that are no message, or values that cannot be sent."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """What travels at once."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Plain JSON values; numbers are finite."""
    arrays: Mapping[str, Array] = field(default_factory=dict[str, Array])
    """Any values, NaN included: whoever reads them judges."""


@dataclass(frozen=True, kw_only=True)
class _ArrayHeader:
    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Header:
    kind: str
    fields: Mapping[str, Any]
    arrays: tuple[_ArrayHeader, ...]


def encode(message: Message, *, max_bytes: int) -> bytes:
    """Return a message's bytes.

    Raises:
        WireError: A field is no JSON, an array is of a type that is not sent, or it is too long.
    """
    if unnamed := [name for name in message.arrays if type(name) is not str]:
        raise WireError(f"{message.kind} cannot be sent: {unnamed[0]!r} is no name of an array")
    arrays = {name: _sendable(name, array) for name, array in message.arrays.items()}
    header = {
        "kind": message.kind,
        "fields": message.fields,
        "arrays": [
            {"name": name, "dtype": array.dtype.name, "shape": array.shape}
            for name, array in arrays.items()
        ],
    }
    try:
        text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise WireError(f"{message.kind} cannot be sent: {error}") from error
    size = PREFIX.size + len(text) + sum(array.nbytes for array in arrays.values())
    if size > max_bytes or len(text) > MAX_HEADER_BYTES:
        raise WireError(f"{message.kind} is {size} bytes long, at most {max_bytes} are sent")
    prefix = PREFIX.pack(MAGIC + VERSION, len(text))
    return b"".join((prefix, text, *(array.tobytes() for array in arrays.values())))


def decode(data: bytes) -> Message:
    """Rebuild a message; its arrays are copies.

    Raises:
        WireError: These bytes are none, are of another version, or hold less or more than they say.
    """
    if len(data) < PREFIX.size or data[: len(MAGIC)] != MAGIC:
        raise WireError("it does not begin as a message does")
    format_version, header_size = PREFIX.unpack_from(data)
    if format_version != MAGIC + VERSION:
        spoken = format_version[len(MAGIC) :].decode("ascii", "replace")
        raise WireError(f"it is of version {spoken!r}, this release speaks {VERSION.decode()!r}")
    start = PREFIX.size + header_size
    if header_size > MAX_HEADER_BYTES or start > len(data):
        raise WireError(f"its header of {header_size} bytes is too long, or cut off")
    header = _read_header(data[PREFIX.size : start])
    arrays: dict[str, Array] = {}
    for about in header.arrays:
        arrays[about.name], start = _read_array(about, data, start)
    if start != len(data):
        raise WireError(f"{len(data) - start} bytes are left over")
    return Message(kind=header.kind, fields=header.fields, arrays=arrays)


def _sendable(name: str, array: Array) -> Array:
    try:
        array = np.asarray(array)
    except ValueError as error:  # lists of unequal lengths
        raise WireError(f"{name} is no array: {error}") from error
    if array.dtype.name not in DTYPES:
        raise WireError(f"{name} is of type {array.dtype}; sent are {', '.join(DTYPES)}")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _read_header(text: bytes) -> _Header:
    try:
        header = read_record(_Header, parse_json(text.decode()), "header")
    except (ValueError, RecursionError) as error:
        raise WireError(str(error)) from error
    names = {about.name for about in header.arrays}
    if len(names) != len(header.arrays) or len(names) > MAX_ARRAYS:
        raise WireError(f"it announces {len(header.arrays)} arrays of {len(names)} names")
    return header


def _read_array(about: _ArrayHeader, data: bytes, start: int) -> tuple[Array, int]:
    """Return the array that begins at byte `start`, and where the next one does."""
    shown = f"{about.name[:40]!r} of type {about.dtype[:10]!r}"
    if about.dtype not in DTYPES:
        raise WireError(f"{shown}; read are {', '.join(DTYPES)}")
    if len(about.shape) > MAX_AXES or min(about.shape, default=1) < 1:
        raise WireError(f"{shown} has a shape that no array has")
    dtype = np.dtype(about.dtype).newbyteorder("<")
    count = math.prod(about.shape)
    end = start + count * dtype.itemsize
    if end > len(data):
        raise WireError(f"{shown} is cut off")
    array = np.frombuffer(data, dtype, count, start).reshape(about.shape)
    return array.astype(about.dtype), end
