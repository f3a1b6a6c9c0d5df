"""Server socket of a robot: authentication, bounds, and raw messages with their senders."""

import logging
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.remote.address import Address
from robodreamer_deploy.robots.remote.keys import Key, require_zmq
from robodreamer_deploy.robots.remote.wire import MAX_REQUEST_BYTES
from robodreamer_deploy.utils.suggest import printable

logger = logging.getLogger(__name__)

AUTHENTICATION = "inproc://zeromq.zap.01"
"""Where ZeroMQ asks about everyone who comes, by its RFC 27."""
QUEUE_LENGTH = 16
HANDSHAKE_MS = 2000
AT_ONCE = 64
"""Messages taken in before the robot's own time passes again; none is read before that."""
COMPLAIN_EVERY_S = 10.0
LONGEST_COMPLAINT = 200
"""Characters; what a stranger sends is as long as 64 KiB."""


class Letter(NamedTuple):
    """Bytes that came, unread, and where an answer to them goes."""

    sender: bytes
    data: bytes


class Complaints:
    """Warnings that whoever sends can cause: the first at once, the others counted.

    Everybody who can connect causes as many as he likes; a log or a terminal takes in one in
    `COMPLAIN_EVERY_S` without filling a disk or a pipe that nobody reads.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._quiet_until_s = -math.inf
        self._num_untold = 0

    def add(self, text: str) -> None:
        """Log `text`, or count it."""
        now = self._now()
        if now < self._quiet_until_s:
            self._num_untold += 1
            return
        more = f" (and {self._num_untold} others)" if self._num_untold else ""
        logger.warning("%s%s", printable(text[:LONGEST_COMPLAINT]), more)
        self._quiet_until_s, self._num_untold = now + COMPLAIN_EVERY_S, 0


class Door:
    """Socket that listens at an address.

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
        self._complaints = Complaints()
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
            if len(parts) == 2:
                letters.append(Letter(parts[0], parts[1]))
            else:
                self.refuse(f"it has {len(parts)} parts, not a sender and one frame")
        return letters

    def refuse(self, reason: str) -> None:
        """Count a message that is none."""
        self.num_malformed += 1
        self._complaints.add(f"a message was refused: {reason}")

    def reply(self, sender: bytes, data: bytes) -> None:
        """Send an answer; whoever does not take answers in goes without."""
        import zmq

        try:
            self._socket.send_multipart([sender, data], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            self._complaints.add(f"an answer was not sent: {error}")

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
