"""Messages between a policy's process and a robot's: a JSON header and raw arrays, no pickle.

    frame 0    JSON: {"version", "kind", "fields": {...}, "arrays": [{"name", "dtype", "shape"}]}
    frame 1..  elements of one array each, little-endian, C order

A message is a multipart message of ZeroMQ, which bounds the length of each frame before it accepts
it. `decode` bounds the whole message, and compares the header with the frames that are there before
anything is made of either.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import RemoteFault, RobotError, SignalError, describe_error
from robodreamer_deploy.utils.strict_json import parse_json, read_object, read_record

VERSION = 1
MAX_REQUEST_BYTES = 1 << 16
"""Longest message to a robot: an action and a few fields."""
MAX_REPLY_BYTES = 1 << 26
"""Longest message of a robot: all its images at once."""
MAX_HEADER_BYTES = 1 << 20
MAX_ARRAYS = 256
MAX_AXES = 8
DTYPES = ("uint8", "int32", "int64", "float32", "float64")
MAX_ERROR_CHARACTERS = 1000


class WireError(RobotError):
    """Frames that are no message, or values that cannot be sent."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """Request or answer."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Plain JSON values; numbers are finite."""
    arrays: Mapping[str, Array] = field(default_factory=dict[str, Array])
    """Any values, NaN included: the receiver checks them."""


@dataclass(frozen=True, kw_only=True)
class _ArrayHeader:
    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Header:
    version: int
    kind: str
    fields: Mapping[str, Any]
    arrays: tuple[_ArrayHeader, ...]


def encode(message: Message, *, max_bytes: int) -> list[bytes]:
    """Return a message's frames.

    Raises:
        WireError: A field is no JSON, an array is of a type or shape that is not sent, or the
            message is too long.
    """
    if unnamed := [name for name in message.arrays if type(name) is not str]:
        raise WireError(f"{message.kind} cannot be sent: {unnamed[0]!r} is no name of an array")
    arrays = {name: _to_sendable(name, array) for name, array in message.arrays.items()}
    header = {
        "version": VERSION,
        "kind": message.kind,
        "fields": message.fields,
        "arrays": [
            {"name": name, "dtype": array.dtype.name, "shape": array.shape}
            for name, array in arrays.items()
        ],
    }
    try:
        text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"{message.kind} cannot be sent: {error}") from error
    try:
        check_sizes([len(text), *(array.nbytes for array in arrays.values())], max_bytes=max_bytes)
    except WireError as error:
        raise WireError(f"{message.kind} cannot be sent: {error}") from None
    return [text, *(array.tobytes() for array in arrays.values())]


def check_sizes(sizes: Sequence[int], *, max_bytes: int) -> None:
    """Refuse frames that are too many or too long, by their sizes in bytes.

    Raises:
        WireError: With the bound.
    """
    if not 1 <= len(sizes) <= 1 + MAX_ARRAYS:
        raise WireError(f"it has {len(sizes)} frames, expected a header and 0 to {MAX_ARRAYS}")
    if sum(sizes) > max_bytes:
        raise WireError(f"it is {sum(sizes)} bytes long, at most {max_bytes} are sent")
    if sizes[0] > MAX_HEADER_BYTES:
        raise WireError(f"its header is {sizes[0]} bytes long, at most {MAX_HEADER_BYTES}")


def decode(frames: Sequence[bytes], *, max_bytes: int) -> Message:
    """Rebuild a message; its arrays are copies.

    Raises:
        WireError: These frames are no message, are of another version, or hold more or less than
            their header says.
    """
    check_sizes([len(frame) for frame in frames], max_bytes=max_bytes)
    header = _read_header(frames[0])
    if len(header.arrays) != len(frames) - 1:
        raise WireError(
            f"its header names {len(header.arrays)} arrays, {len(frames) - 1} frames follow"
        )
    arrays = {
        about.name: _read_array(about, frame)
        for about, frame in zip(header.arrays, frames[1:], strict=True)
    }
    if len(arrays) != len(header.arrays):
        raise WireError("two of its arrays have the same name")
    return Message(kind=header.kind, fields=header.fields, arrays=arrays)


def error_fields(error: BaseException) -> dict[str, Any]:
    """Return the fields of an answer from which `raise_error` raises a like error."""
    try:
        text = describe_error(error)[:MAX_ERROR_CHARACTERS]
        match error:
            case SignalError():
                key = str(error.key)[:MAX_ERROR_CHARACTERS]
                return {"cause": "signal", "key": key, "text": text.removeprefix(f"{key}: ")}
            case RobotError() | OSError():
                return {"cause": "robot", "text": text}
            case _:
                return {"cause": "fault", "text": text}
    except Exception:  # noqa: BLE001  its own message fails as well
        return {"cause": "fault", "text": type(error).__name__}


def raise_error(fields: Mapping[str, Any]) -> None:
    """Raise the error that an answer reports.

    Raises:
        SignalError: A value of the robot is missing or wrong.
        RobotError: The robot refuses, or fails.
        RemoteFault: The robot's code failed.
    """
    text, cause = str(fields.get("text")), fields.get("cause")
    if cause == "signal":
        raise SignalError(str(fields.get("key")), text)
    raise (RobotError if cause == "robot" else RemoteFault)(text)


def _to_sendable(name: str, array: Array) -> Array:
    try:
        array = np.asarray(array)
    except ValueError as error:  # lists of unequal lengths
        raise WireError(f"{name} is no array: {error}") from error
    if array.dtype.name not in DTYPES:
        raise WireError(f"{name} is of type {array.dtype}; sent are {', '.join(DTYPES)}")
    if array.size == 0 or array.ndim > MAX_AXES:
        raise WireError(f"{name} has {array.size} elements on {array.ndim} axes")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _read_header(frame: bytes) -> _Header:
    try:
        values = read_object(parse_json(frame.decode()), "header")
        version = values.get("version")
        if version != VERSION:  # before fields that only another version has are refused
            raise WireError(f"it is of version {version!r:.20}, this release reads {VERSION}")
        return read_record(_Header, values, "header")
    except ValueError as error:
        raise WireError(f"its header is none: {error}") from error


def _read_array(about: _ArrayHeader, frame: bytes) -> Array:
    shown = f"{about.name[:40]!r} of type {about.dtype[:10]!r}"
    if about.dtype not in DTYPES:
        raise WireError(f"{shown}; read are {', '.join(DTYPES)}")
    if len(about.shape) > MAX_AXES or min(about.shape, default=1) < 1:
        raise WireError(f"{shown} has a shape that no array has")
    dtype = np.dtype(about.dtype).newbyteorder("<")
    if math.prod(about.shape) * dtype.itemsize != len(frame):  # a product too long to be printed
        raise WireError(f"{shown} has another size than its frame of {len(frame)} bytes")
    return np.frombuffer(frame, dtype).reshape(about.shape).astype(about.dtype)
