"""The newest of what ROS 2 topics have told, with when it was measured.

An executor's thread puts messages in, the control loop's takes them out. A message's stamp is of
the ROS clock; its age, taken when it arrives, makes it one of the monotonic clock.
"""

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from robodreamer_deploy.contract import (
    Array,
)
from robodreamer_deploy.errors import SignalError

AHEAD_S = 0.1
"""A stamp may lie so far in the future, for clocks that differ a little; it counts as now."""
CHANNELS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0),
            "mono8": (0,), "8UC1": (0,)}  # fmt: skip
"""Encodings that are read, and where their red, green and blue (or grey) stand in a pixel."""
PIXEL_BYTES = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1}
FIELDS = ("position", "velocity")
FROM_THE_FUTURE = (
    "its header's stamp lies in the future; synchronise the clocks of the machines (chrony, PTP)"
)


class Stamped(NamedTuple):
    """A message, or a value out of one."""

    value: Any
    stamp_s: float  # monotonic; infinite if the message claims to come from the future


class Inbox:
    """The newest message of every topic, and the newest value of every joint.

    Args:
        now: Monotonic time in seconds.
        ros_now: The node's own time in nanoseconds.
    """

    def __init__(self, now: Callable[[], float], ros_now: Callable[[], int]) -> None:
        self._now, self._ros_now = now, ros_now
        self._lock = threading.Lock()
        self._messages: dict[str, Stamped] = {}
        self._joints: dict[str, dict[str, Stamped]] = {field: {} for field in FIELDS}

    def put(self, topic: str, message: Any) -> None:
        """Keep a message as the newest of its topic."""
        stamped = Stamped(message, self._stamp(message))
        with self._lock:
            self._messages[topic] = stamped

    def put_joints(self, message: Any) -> None:
        """Keep what a JointState tells of its joints, whatever their order and whoever sent it."""
        stamp_s = self._stamp(message)
        with self._lock:
            for field in FIELDS:
                values = getattr(message, field)  # empty where it is not measured
                if len(values) == len(message.name):
                    for name, value in zip(message.name, values, strict=True):
                        self._joints[field][name] = Stamped(float(value), stamp_s)

    def message(self, topic: str, signal: str) -> Stamped | None:
        """Return the newest message of a topic, if one has come.

        Raises:
            SignalError: For `signal`: it claims to come from the future.
        """
        with self._lock:
            stamped = self._messages.get(topic)
        if stamped is not None and stamped.stamp_s == math.inf:
            raise SignalError(signal, FROM_THE_FUTURE)
        return stamped

    def joints(self, field: str, names: Sequence[str], signal: str) -> tuple[Array, float]:
        """Return values of joints by name, and when the oldest of them was measured.

        Raises:
            SignalError: For `signal`: one was never told, or claims to come from the future.
        """
        with self._lock:
            known = self._joints[field]
            if missing := [name for name in names if name not in known]:
                told = ", ".join(sorted(known)) or "none"
                raise SignalError(
                    signal, f"no {field} of joint {missing[0]} was published yet; there is {told}"
                )
            found = [known[name] for name in names]
        values = np.array([one.value for one in found])
        if math.inf in (stamps := [one.stamp_s for one in found]):
            raise SignalError(signal, FROM_THE_FUTURE)
        return values, min(stamps)

    def knows(self, field: str, names: Sequence[str]) -> bool:
        """Return whether a value of every joint has come."""
        with self._lock:
            return all(name in self._joints[field] for name in names)

    def _stamp(self, message: Any) -> float:
        """Return when a message was measured; when it arrived, if nobody has stamped it."""
        now, header = self._now(), getattr(message, "header", None)
        if header is None or not (header.stamp.sec or header.stamp.nanosec):
            return now
        age_s = 1e-9 * (self._ros_now() - 1_000_000_000 * header.stamp.sec - header.stamp.nanosec)
        if age_s < -AHEAD_S:
            return (
                math.inf
            )  # clocks that differ by so much tell nothing: what is old might seem new
        return now - max(age_s, 0.0)


def to_picture(message: Any, signal: str) -> Array:
    """Return the picture (H, W, 3) or (H, W, 1), uint8, of a sensor_msgs/Image.

    Raises:
        SignalError: For `signal`: an encoding that is not read, or fewer bytes than it has pixels.
    """
    encoding = message.encoding
    if encoding not in CHANNELS:
        raise SignalError(signal, f"encoding {encoding}; {', '.join(CHANNELS)} are read")
    height, width, size = message.height, message.width, PIXEL_BYTES[encoding]
    data = np.frombuffer(message.data, np.uint8)
    if message.step < width * size or len(data) < height * message.step:
        raise SignalError(
            signal, f"{len(data)} bytes, {message.step} in a row, are no {height} x {width} pixels"
        )
    rows = data[: height * message.step].reshape(height, message.step)[:, : width * size]
    return rows.reshape(height, width, size)[:, :, CHANNELS[encoding]]
