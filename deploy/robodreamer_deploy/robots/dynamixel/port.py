"""The serial port of dynamixel-sdk; its waits go by the monotonic clock and do not spin."""

import time
from typing import TYPE_CHECKING

from robodreamer_deploy.errors import RobotError

if TYPE_CHECKING:
    from dynamixel_sdk import PortHandler, Protocol2PacketHandler


def make_port(
    name: str,
    baud_rate: int,
    response_timeout_s: float,
    read_wait_s: float,
    write_timeout_s: float,
) -> "tuple[PortHandler, Protocol2PacketHandler]":
    """Return a port that is not open yet, and the packets to send through it.

    Raises:
        RobotError: dynamixel-sdk is not installed.
    """
    try:
        from dynamixel_sdk import PortHandler, Protocol2PacketHandler
    except ImportError as error:
        raise RobotError(
            "a servo bus needs the package dynamixel-sdk: pip install 'robodreamer[dynamixel]'"
        ) from error

    class Port(PortHandler):
        """One that no other program shares."""

        def getCurrentTime(self) -> float:  # noqa: N802  the SDK's name
            """Return milliseconds; the SDK takes those of the wall clock."""
            return 1e3 * time.monotonic()

        def setPacketTimeout(self, packet_length: int) -> None:  # noqa: N802
            """Begin to wait for `packet_length` bytes; the SDK adds a fixed 34 ms."""
            self.packet_start_time = self.getCurrentTime()
            self.packet_timeout = self.tx_time_per_byte * packet_length + 1e3 * response_timeout_s

        def setupPort(self, cflag_baud: int) -> bool:  # noqa: N802
            """Open, and have reads sleep until bytes come, and writes end."""
            is_set = super().setupPort(cflag_baud)
            self.ser.exclusive = True
            self.ser.timeout, self.ser.write_timeout = read_wait_s, write_timeout_s
            return is_set

    port = Port(name)
    port.baudrate = baud_rate
    return port, Protocol2PacketHandler()
