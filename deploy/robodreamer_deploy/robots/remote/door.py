"""Where a robot takes its mail: sockets, who may enter, and bytes that become messages."""

import logging
import math
from typing import NamedTuple

from robodreamer_deploy.robots import RobotError
from robodreamer_deploy.robots.remote.address import Address
from robodreamer_deploy.robots.remote.keys import Key, require_zmq
from robodreamer_deploy.robots.remote.wire import (
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    Message,
    WireError,
    decode,
    encode,
)

logger = logging.getLogger(__name__)

AUTHENTICATION = "inproc://zeromq.zap.01"
"""Where ZeroMQ asks about everyone who comes, by its RFC 27."""
QUEUE_LENGTH = 16
HANDSHAKE_MS = 2000
AT_ONCE = 64
"""Messages taken in before the robot's own time passes again."""


class Letter(NamedTuple):
    """A message, and where an answer to it goes."""

    sender: bytes
    message: Message


class Door:
    """Listens at an address.

    Raises:
        RobotError: The address cannot be used, or is open to others without a key.
    """

    def __init__(self, address: Address, key: Key | None) -> None:
        require_zmq()
        import zmq

        if key is None and not address.is_loopback:
            raise RobotError(
                f"{address} can be reached by other machines: robodreamer-deploy keys FOLDER makes "
                "keys for both sides, and --key robot.key lets in who has the driver's"
            )
        self.num_malformed = 0
        self._key = key
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._guard = self._context.socket(zmq.REP)
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE_LENGTH)
        self._socket.setsockopt(zmq.SNDHWM, QUEUE_LENGTH)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self._socket.setsockopt(zmq.IPV6, int(address.host.startswith("[")))
        if key is not None:
            self._guard.bind(AUTHENTICATION)  # before anybody can come: without it all may enter
            self._socket.curve_server = True
            self._socket.curve_publickey = key.public.encode()
            self._socket.curve_secretkey = key.secret.encode()
        try:
            self._socket.bind(str(address))
        except zmq.ZMQError as error:
            self.close()
            raise RobotError(f"nothing can listen at {address}: {error}") from error
        endpoint = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes), endpoint
        self.address = address._replace(port=int(endpoint.rpartition(b":")[2].rstrip(b"\0")))

    def receive(self, timeout_s: float) -> list[Letter]:
        """Return what has come, or comes first within a time; lets in who has the key."""
        import zmq

        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._guard, zmq.POLLIN)
        ready = dict(poller.poll(max(0, math.ceil(1e3 * timeout_s))))
        if self._guard in ready:
            self._let_in()
        letters: list[Letter] = []
        for _ in range(AT_ONCE):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                letters.append(_read(parts))
            except WireError as error:
                self.num_malformed += 1
                logger.warning("a message was refused: %s", error)
        return letters

    def reply(self, letter: Letter, message: Message) -> None:
        """Answer; whoever does not take answers in goes without."""
        import zmq

        try:
            data = encode(message, max_bytes=MAX_REPLY_BYTES)
        except WireError as error:
            fields = {"cause": "robot", "text": str(error)}
            number = letter.message.fields.get("number")
            apology = Message(kind="error", fields={**fields, "number": number})
            data = encode(apology, max_bytes=MAX_REPLY_BYTES)
        try:
            self._socket.send_multipart([letter.sender, data], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            logger.warning("an answer was not sent: %s", error)

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._socket.close()
        self._guard.close(linger=0)
        self._context.term()

    def _let_in(self) -> None:
        """Answer ZeroMQ's question whether somebody may enter: with the driver's key only."""
        from zmq.utils import z85

        assert self._key is not None
        version, number, _, _, _, mechanism, *credentials = self._guard.recv_multipart()
        may_enter = mechanism == b"CURVE" and credentials == [z85.decode(self._key.other)]
        status = (b"200", b"OK") if may_enter else (b"400", b"another key")
        self._guard.send_multipart([version, number, *status, b"driver", b""])


def _read(parts: list[bytes]) -> Letter:
    if len(parts) != 2:
        raise WireError(f"it has {len(parts)} parts, not a sender and one frame")
    return Letter(parts[0], decode(parts[1]))
