"""Answers of a robot's process: their bytes, and how errors are told.

Nothing that a robot's class returns or raises keeps a request from being answered.
"""

from collections.abc import Mapping
from typing import Any

from robodreamer_deploy.contract import (
    Array,
)
from robodreamer_deploy.errors import RobotError, SignalError, describe_error
from robodreamer_deploy.robots.remote.requests import Request
from robodreamer_deploy.robots.remote.wire import MAX_REPLY_BYTES, Message, WireError, encode

LONGEST_TEXT = 1000
"""Characters of an error that are sent."""


class PartedError(Exception):
    """A request to a robot whose process ends."""


def encode_answer(
    kind: str, request: Request, fields: Mapping[str, Any], arrays: Mapping[str, Array]
) -> bytes:
    """Return the bytes of the answer to a request.

    Raises:
        WireError: The values cannot be sent.
    """
    message = Message(kind=kind, fields={**fields, "number": request.number}, arrays=arrays)
    return encode(message, max_bytes=MAX_REPLY_BYTES)


def error_fields(error: BaseException) -> dict[str, Any]:
    """Return how the driver is told of an error."""
    try:
        text = describe_error(error)[:LONGEST_TEXT]
        match error:
            case SignalError():
                key = str(error.key)[:LONGEST_TEXT]
                return {"cause": "signal", "key": key, "text": text.removeprefix(f"{key}: ")}
            case PartedError():
                return {"cause": "fault", "text": str(error)}
            case WireError():
                return {"cause": "robot", "text": str(error)[:LONGEST_TEXT]}
            case RobotError() | OSError():
                return {"cause": "robot", "text": text}
            case _:
                return {"cause": "fault", "text": text}
    except Exception:  # noqa: BLE001  its own words fail as well
        return {"cause": "fault", "text": type(error).__name__}
