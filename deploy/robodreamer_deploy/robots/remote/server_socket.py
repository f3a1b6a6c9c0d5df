"""Server socket of a robot: authentication, message decoding, and the order of requests.

Whoever can connect sends anything, as fast as possible. The driver's requests come first. Those of
everybody else wait, within bounds, and few are decoded at a time, each sender in turn, so that the
driver waits a few milliseconds for them at most.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import RobotError, describe_error
from robodreamer_deploy.robots.remote.address import Address
from robodreamer_deploy.robots.remote.keys import Key, require_zmq
from robodreamer_deploy.robots.remote.wire import MAX_REQUEST_BYTES, WireError, check_sizes, decode
from robodreamer_deploy.utils.suggest import printable

logger = logging.getLogger(__name__)

QUEUE_LENGTH = 16
HANDSHAKE_MS = 2000
ZAP_DOMAIN = "robot"
AT_ONCE = 64
"""Messages received before the robot's own time passes again; none is decoded before that."""
WARN_EVERY_S = 10.0
MAX_WARNING_CHARACTERS = 200
"""Longest part of a warning; a stranger sends up to 64 KiB."""
MAX_SESSION_CHARACTERS = 64
LARGEST_NUMBER = 2**63 - 1
OTHERS_AT_ONCE = 4
MAX_WAITING_SENDERS = 64
MAX_WAITING_MESSAGES = 16
"""Messages of one sender that wait, the rest is dropped; at 64 KiB each, all take 64 MiB."""

Parts = list[bytes]
"""Received message: the connection it came by, then its frames."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Message whose session and number are well formed."""

    sender: bytes
    """Connection that it came by."""
    kind: str
    session: str
    """Name that the sender chose for itself."""
    number: int
    """Number of the request within its session, from 1 on."""
    fields: Mapping[str, Any]
    arrays: Mapping[str, Array]


class RequestQueue:
    """Received messages that are not decoded yet."""

    def __init__(self) -> None:
        self._others: dict[bytes, deque[Parts]] = {}  # by sender, the next one first

    def __bool__(self) -> bool:
        """Return whether messages are waiting."""
        return bool(self._others)

    def next(self, received: Iterable[Parts], driver: bytes | None) -> list[Parts]:
        """Add messages; return those whose turn it is, first all of the sender `driver`."""
        turn: list[Parts] = []
        for parts in received:
            sender = parts[0]
            if sender == driver:
                turn.append(parts)
            elif sender in self._others or len(self._others) < MAX_WAITING_SENDERS:
                waiting = self._others.setdefault(sender, deque())
                if len(waiting) < MAX_WAITING_MESSAGES:
                    waiting.append(parts)
        for sender in list(self._others)[:OTHERS_AT_ONCE]:
            waiting = self._others.pop(sender)
            turn.append(waiting.popleft())
            if waiting:
                self._others[sender] = waiting
        return turn


class ThrottledWarnings:
    """Warnings that a sender can cause: one per `WARN_EVERY_S` is logged, the others are counted.

    Everybody who can connect causes any number of them, which must not fill a disk.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._quiet_until_s = -math.inf
        self._num_suppressed = 0

    def add(self, text: str) -> None:
        """Log `text`, or count it."""
        now = self._now()
        if now < self._quiet_until_s:
            self._num_suppressed += 1
            return
        more = f" (and {self._num_suppressed} others)" if self._num_suppressed else ""
        logger.warning("%s%s", printable(text[:MAX_WARNING_CHARACTERS]), more)
        self._quiet_until_s, self._num_suppressed = now + WARN_EVERY_S, 0


class ServerSocket:
    """Socket that listens at an address, and lets in the drivers whose keys it has.

    Raises:
        RobotError: The address cannot be used, or is open to others without a key.
    """

    def __init__(self, address: Address, key: Key | None) -> None:
        require_zmq()
        import zmq

        if key is None and not address.is_loopback:
            raise RobotError(
                f"{address} can be reached by other machines: robodreamer-deploy keys FOLDER makes "
                "keys for both sides, and --key FOLDER/robot admits the driver with FOLDER/driver"
            )
        self.num_malformed = 0
        self._warnings = ThrottledWarnings()
        self._queue = RequestQueue()
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._authenticator = None
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE_LENGTH)
        self._socket.setsockopt(zmq.SNDHWM, QUEUE_LENGTH)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self._socket.setsockopt(zmq.IPV6, int(address.host.startswith("[")))
        if key is not None:
            self._authenticate(key)
        try:
            self._socket.bind(str(address))
        except zmq.ZMQError as error:
            self.close()
            raise RobotError(f"nothing can listen at {address}: {error}") from error
        endpoint = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes), endpoint
        self.address = address._replace(port=int(endpoint.rpartition(b":")[2].rstrip(b"\0")))

    def receive(self, timeout_s: float, driver: bytes | None) -> list[Request]:
        """Return the requests whose turn it is, those of the sender `driver` first.

        Args:
            timeout_s: How long to wait for a message, in seconds; not at all while some wait.
            driver: Sender that is answered first; None while nobody drives.
        """
        received = self._receive_parts(0.0 if self._queue else timeout_s)
        turn = self._queue.next(received, driver)
        return [request for parts in turn if (request := self._decode(parts)) is not None]

    def reply(self, sender: bytes, frames: Iterable[bytes]) -> None:
        """Send an answer, without waiting for a sender that does not read."""
        import zmq

        try:
            self._socket.send_multipart([sender, *frames], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            self._warnings.add(f"an answer was not sent: {error}")

    @contextmanager
    def watching_departures(self) -> Generator[Callable[[float], bool], None, None]:
        """Return a function that waits so many seconds for a connection to end from now on.

        It returns whether one has ended, at once if that was before the call. ZeroMQ drops what a
        driver has received and not read when its connection ends, so whoever answered last stays.
        """
        import zmq

        monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            yield lambda within_s: bool(monitor.poll(max(0, math.ceil(1e3 * within_s))))
        finally:
            self._socket.disable_monitor()
            monitor.close(0)

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._socket.close()
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()

    def _authenticate(self, key: Key) -> None:
        """Let in the public keys of the key's folder alone, also if the authenticator fails."""
        import zmq
        from zmq.auth.thread import ThreadAuthenticator

        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve(  # pyright: ignore[reportUnknownMemberType]
            domain=ZAP_DOMAIN, location=key.folder
        )
        self._socket.zap_domain = ZAP_DOMAIN.encode()
        self._socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # no authenticator: nobody enters
        self._socket.curve_server = True
        self._socket.curve_publickey = key.public
        self._socket.curve_secretkey = key.secret

    def _receive_parts(self, timeout_s: float) -> list[Parts]:
        """Return messages that have come, or come first within a time."""
        import zmq

        self._socket.poll(max(0, math.ceil(1e3 * timeout_s)))
        received: list[Parts] = []
        for _ in range(AT_ONCE):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                sizes = [len(frame) for frame in parts[1:]]
                check_sizes(sizes, max_bytes=MAX_REQUEST_BYTES)  # before it waits in memory
            except WireError as error:
                self._refuse(str(error))
            else:
                received.append(parts)
        return received

    def _decode(self, parts: Parts) -> Request | None:
        """Return the request of a message; None, counted, if it is none."""
        try:
            return read_request(parts)
        except WireError as error:
            self._refuse(str(error))
        except Exception as error:  # noqa: BLE001  no bytes of a stranger end this process
            self._refuse(describe_error(error))
        return None

    def _refuse(self, reason: str) -> None:
        self.num_malformed += 1
        self._warnings.add(f"a message was refused: {reason}")


def read_request(parts: Parts) -> Request:
    """Read a received message.

    Raises:
        WireError: It is no message, or has no session and number.
    """
    message = decode(parts[1:], max_bytes=MAX_REQUEST_BYTES)
    session, number = message.fields.get("session"), message.fields.get("number")
    if not isinstance(session, str) or not 0 < len(session) <= MAX_SESSION_CHARACTERS:
        raise WireError(f"its session is no text of 1 to {MAX_SESSION_CHARACTERS} characters")
    if type(number) is not int or not 0 < number <= LARGEST_NUMBER:  # True is an int as well
        raise WireError("its number is no whole number from 1 on")
    return Request(
        sender=parts[0],
        kind=message.kind,
        session=session,
        number=number,
        fields=message.fields,
        arrays=message.arrays,
    )
