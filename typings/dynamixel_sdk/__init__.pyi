# The part of ROBOTIS' SDK that `robots/servo_bus.py` uses; it carries no types.
from typing import Any

COMM_SUCCESS: int
COMM_RX_TIMEOUT: int
COMM_RX_CORRUPT: int

class PortHandler:
    is_using: bool
    baudrate: int
    packet_start_time: float
    packet_timeout: float
    tx_time_per_byte: float
    ser: Any
    def __init__(self, port_name: str) -> None: ...
    def openPort(self) -> bool: ...
    def closePort(self) -> None: ...
    def clearPort(self) -> None: ...
    def readPort(self, length: int) -> bytes: ...
    def getCurrentTime(self) -> float: ...
    def setPacketTimeout(self, packet_length: int) -> None: ...
    def setupPort(self, cflag_baud: int) -> bool: ...
    def getCFlagBaud(self, baudrate: int) -> int: ...

class Protocol2PacketHandler:
    def ping(self, port: PortHandler, dxl_id: int) -> tuple[int, int, int]: ...
    def readRx(
        self, port: PortHandler, dxl_id: int, length: int
    ) -> tuple[list[int], int, int]: ...
    def syncReadTx(
        self,
        port: PortHandler,
        start_address: int,
        data_length: int,
        param: list[int],
        param_length: int,
        fast_option: bool,
    ) -> int: ...
    def syncWriteTxOnly(
        self,
        port: PortHandler,
        start_address: int,
        data_length: int,
        param: list[int],
        param_length: int,
    ) -> int: ...
    def writeTxRx(
        self, port: PortHandler, dxl_id: int, address: int, length: int, data: list[int]
    ) -> tuple[int, int]: ...
