"""One request to a robot's process and its answer, within a bounded time.

Requests have numbers, by which an answer that comes after its request was given up is recognised
and dropped. ZeroMQ reconnects by itself. What was sent while the connection was lost is dropped,
never delivered late.
"""

import math
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.remote.address import Address
from robodreamer_deploy.robots.remote.keys import Key, require_zmq
from robodreamer_deploy.robots.remote.wire import (
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    Message,
    WireError,
    decode,
    encode,
    raise_error,
)

QUEUE_LENGTH = 4
RECONNECT_MS = 50
HEARTBEAT_MS = 300
DEAD_MS = 1000
"""Silence after which a process counts as gone; ZeroMQ's own thread answers while it is busy."""
SLICE_S = 0.1
"""Time between two checks whether the connection is still there."""
CONNECT_WITHIN_S = 3.0


class Answer(NamedTuple):
    """Answer, and the time of its request."""

    message: Message
    sent_s: float  # monotonic


class Client:
    """Connection to the process of a robot; may be used from several threads.

    Raises:
        RobotError: ZeroMQ is missing, or a key is missing for a robot on another machine.
    """

    def __init__(self, address: Address, key: Key | None) -> None:
        require_zmq()
        import zmq

        if key is None and not address.is_loopback:
            raise RobotError(
                f"{address} is not on this machine: name the driver's key as well, {address}:driver"
            )
        self.address = address
        self._key = key
        self._lock = threading.Lock()
        self._number = 0
        self._session = secrets.token_hex(8)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # without a connection nothing is queued
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_REPLY_BYTES)
        self._socket.setsockopt(zmq.SNDHWM, QUEUE_LENGTH)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE_LENGTH)
        self._socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, DEAD_MS)
        self._socket.setsockopt(zmq.IPV6, int(address.host.startswith("[")))
        if key is not None:
            self._socket.curve_publickey = key.public
            self._socket.curve_secretkey = key.secret
            self._socket.curve_serverkey = key.other

    def open(self) -> Message:
        """Connect, and return the robot's description of itself.

        Raises:
            RobotError: Nobody listens there, or this side is not admitted.
        """
        import zmq
        from zmq.utils.monitor import recv_monitor_message

        monitor = self._socket.get_monitor_socket()
        try:
            self._socket.connect(str(self.address))
            return self.request("describe", within_s=CONNECT_WITHIN_S).message
        except RobotError as error:
            seen: set[int] = set()
            while monitor.poll(0):
                seen.add(recv_monitor_message(monitor, zmq.NOBLOCK)["event"])
            raise RobotError(self._explain_failure(seen) or str(error)) from error
        except zmq.ZMQError as error:
            raise RobotError(f"{self.address}: {error}") from error
        finally:
            self._socket.disable_monitor()  # its events would fill a queue that nobody reads
            monitor.close(0)

    def request(
        self,
        kind: str,
        *,
        within_s: float,
        fields: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
    ) -> Answer:
        """Send a request, and return its answer.

        Raises:
            RobotError: The request cannot be sent, no answer came within `within_s`, it is no
                message, or it reports such an error.
            SignalError: The answer reports one.
            RemoteFault: The robot's code failed.
        """
        end = time.monotonic() + within_s
        if not self._lock.acquire(timeout=within_s):
            raise RobotError(f"{self.address} has been busy for {within_s:g} s")
        try:
            if self._socket.closed:
                raise RobotError(f"{self.address} is disconnected")
            self._number += 1
            about = {"number": self._number, "session": self._session, **(fields or {})}
            message = Message(kind=kind, fields=about, arrays=arrays or {})
            sent_s = self._send(encode(message, max_bytes=MAX_REQUEST_BYTES), end)
            while (answer := self._receive(end)) is None:
                pass
        except TimeoutError:
            raise RobotError(f"{self.address} did not answer within {within_s:g} s") from None
        except ConnectionError:
            raise RobotError(f"{self.address} is no longer there") from None
        finally:
            self._lock.release()
        if answer.kind == "error":
            raise_error(answer.fields)
        return Answer(answer, sent_s)

    def close(self) -> None:
        """Disconnect. May be called twice."""
        with self._lock:
            self._socket.close()
            self._context.term()

    def _send(self, frames: list[bytes], end: float) -> float:
        import zmq

        if not self._socket.poll(_milliseconds(end), zmq.POLLOUT):
            raise TimeoutError
        sent_s = time.monotonic()
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            raise TimeoutError from None
        return sent_s

    def _receive(self, end: float) -> Message | None:
        """Return the next answer, or None if it is that to an older request."""
        import zmq

        while not self._socket.poll(_milliseconds(min(end, time.monotonic() + SLICE_S))):
            if time.monotonic() >= end:
                raise TimeoutError
            if not self._socket.poll(0, zmq.POLLOUT):  # a request could not even be sent now
                raise ConnectionError
        try:
            message = decode(self._socket.recv_multipart(), max_bytes=MAX_REPLY_BYTES)
        except WireError as error:
            raise RobotError(f"{self.address} sent no message of a robot: {error}") from error
        return message if message.fields.get("number") == self._number else None

    def _explain_failure(self, seen: set[int]) -> str | None:
        """Return why a connection failed, by the events of its socket; None if they do not say."""
        import zmq

        failed = {zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
                  zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL}  # fmt: skip
        if zmq.EVENT_CONNECTED not in seen:
            return f"nobody listens at {self.address}"
        if zmq.EVENT_HANDSHAKE_SUCCEEDED in seen:
            return None
        if self._key is None:
            return f"{self.address} admits nobody without a key: {self.address}:driver"
        if failed & seen or zmq.EVENT_DISCONNECTED in seen:
            return f"{self.address} does not admit this key, or has no keys"
        return None


def _milliseconds(end: float) -> int:
    """Return the time until `end` as ZeroMQ counts it, rounded up."""
    return max(0, math.ceil(1e3 * (end - time.monotonic())))
