"""Requests to a robot: their envelope, and the order in which they are answered.

Whoever can connect sends what he likes, as fast as he likes. The driver's letters are answered
first. Those of everybody else wait, within bounds, and few are read and answered at a time, each
sender in turn, so that the driver waits a few milliseconds for them at most.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from robodreamer_deploy.contract import Array
from robodreamer_deploy.robots.remote.server_socket import Letter
from robodreamer_deploy.robots.remote.wire import WireError, decode

LONGEST_SESSION = 64
LARGEST_NUMBER = 2**63 - 1
OTHERS_AT_ONCE = 4
MAX_WAITING_SENDERS = 64
MAX_WAITING_LETTERS = 16
"""Of each sender; with 64 KiB per letter all that wait take 64 MiB. What exceeds it is dropped."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Message whose envelope is well formed."""

    kind: str
    session: str
    """Name that the sender chose for its connection."""
    number: int
    """Number of the request within its session, from 1 on."""
    fields: Mapping[str, Any]
    arrays: Mapping[str, Array]


def read_request(data: bytes) -> Request:
    """Read a letter.

    Raises:
        WireError: It is no message, or names no session and number.
    """
    message = decode(data)
    session, number = message.fields.get("session"), message.fields.get("number")
    if not isinstance(session, str) or not 0 < len(session) <= LONGEST_SESSION:
        raise WireError(f"its session is no text of 1 to {LONGEST_SESSION} characters")
    if type(number) is not int or not 0 < number <= LARGEST_NUMBER:  # True is an int as well
        raise WireError("its number is no whole number from 1 on")
    return Request(
        kind=message.kind,
        session=session,
        number=number,
        fields=message.fields,
        arrays=message.arrays,
    )


class Queue:
    """Letters that wait to be answered."""

    def __init__(self) -> None:
        self._others: dict[bytes, deque[Letter]] = {}  # by sender; whose turn is next comes first

    def __bool__(self) -> bool:
        """Tell whether letters are waiting."""
        return bool(self._others)

    def next(self, letters: Iterable[Letter], driver: bytes | None) -> list[Letter]:
        """Add letters; return those whose turn it is, first all of the sender `driver`."""
        turn: list[Letter] = []
        for letter in letters:
            if letter.sender == driver:
                turn.append(letter)
            elif letter.sender in self._others or len(self._others) < MAX_WAITING_SENDERS:
                waiting = self._others.setdefault(letter.sender, deque())
                if len(waiting) < MAX_WAITING_LETTERS:
                    waiting.append(letter)
        for sender in list(self._others)[:OTHERS_AT_ONCE]:
            waiting = self._others.pop(sender)
            turn.append(waiting.popleft())
            if waiting:
                self._others[sender] = waiting
        return turn
