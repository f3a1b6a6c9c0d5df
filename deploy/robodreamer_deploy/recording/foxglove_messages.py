"""Messages of Foxglove's own types: pictures, joints by name, cameras with their lens.

    /image/<camera>             foxglove.RawImage, lossless
    /joint_states               foxglove.JointStates, in every tick whose joints could be read
    /calibration/<camera>       foxglove.CameraCalibration, with every snapshot

Only pictures are read back: the others follow from the signals and the manifest.

The chunk that pictures lie in is compressed. Neighbouring frames resemble each other, so a chunk of
raw ones takes less room than each frame as a PNG of its own: a fourth where nothing but the robot
moves, four fifths where every pixel is noisy.

Letters: H height, W width, C channels.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np

from robodreamer_deploy.contract import Array, Signal
from robodreamer_deploy.policy.manifest import Manifest, Pinhole

JOINTS, CALIBRATION = "/joint_states", "/calibration/"
ENCODINGS = {1: "mono8", 3: "rgb8", 4: "rgba8"}
PIECE_BYTES = 3 << 15
"""Bytes that become base64 at once. It takes 0.1 ms, in which Python's interpreter lock is held and
a control loop waits; a multiple of 3, so that the pieces fit together."""
NANO = 1_000_000_000
MEASURES = {
    "rad": "position", "m": "position",
    "rad/s": "velocity", "m/s": "velocity",
    "rad/s^2": "acceleration", "m/s^2": "acceleration",
    "N m": "effort", "Nm": "effort", "N": "effort",
}  # fmt: skip
"""Field of a joint's state, by the unit of a signal."""


def timestamp(time_ns: int) -> dict[str, int]:
    """Return nanoseconds since 1970 in Foxglove's form."""
    return {"sec": time_ns // NANO, "nsec": time_ns % NANO}


def is_picture(value: object) -> bool:
    """Return whether a signal's value is recorded as a picture: uint8 (H, W, C)."""
    if not isinstance(value, np.ndarray):
        return False
    image = cast("Array", value)
    return image.dtype == np.uint8 and image.ndim == 3 and image.size > 0


def image_message(frame_id: str, image: Array, time_ns: int) -> bytes:
    """Return a picture, uint8 (H, W, C), as the content of a JSON message."""
    height, width, channels = image.shape
    fields = {
        "timestamp": timestamp(time_ns),
        "frame_id": frame_id,
        "width": width,
        "height": height,
        "encoding": ENCODINGS.get(channels, f"8UC{channels}"),
        "step": width * channels,
    }
    head = json.dumps(fields, separators=(",", ":")).encode()
    pixels = np.ascontiguousarray(image).data.cast("B")
    places = range(0, len(pixels), PIECE_BYTES)
    pieces = (binascii.b2a_base64(pixels[i : i + PIECE_BYTES], newline=False) for i in places)
    return b"".join([head[:-1], b',"data":"', *pieces, b'"}'])


def read_image(fields: Mapping[str, Any]) -> Array:
    """Return the picture, uint8 (H, W, C), of a message's fields.

    Raises:
        ValueError, KeyError, TypeError: `image_message` did not write it.
    """
    height, width, step = (fields[name] for name in ("height", "width", "step"))
    if not all(type(size) is int and size > 0 for size in (height, width, step)):
        raise ValueError(f"a picture of {width} x {height} with rows of {step} bytes")
    pixels = np.frombuffer(base64.b64decode(fields["data"], validate=True), np.uint8)
    if step % width or pixels.size != height * step:
        raise ValueError(f"a picture of {width} x {height} with {pixels.size} bytes")
    return pixels.reshape(height, width, step // width).copy()


class NamedSignals:
    """Names of a policy's joints and lenses of its cameras, for messages about its signals."""

    def __init__(self, manifest: Manifest) -> None:
        contract = manifest.contract
        self._labels = {s.name: s.labels for s in contract.observations if s.labels}
        self._joints = [s for s in contract.inputs if _is_of_joints(s)]
        self._calibrations = {
            f"{CALIBRATION}{name.partition('/')[2]}": _calibration(name, pinhole)
            for name, pinhole in manifest.pinholes.items()
        }

    def labels(self, name: str, value: object) -> list[str] | None:
        """Return a name per element of a signal's value; None where the contract has none."""
        labels = self._labels.get(name)
        fits = labels is not None and isinstance(value, np.ndarray) and value.size == len(labels)
        return list(labels) if labels is not None and fits else None

    def joint_states(self, observation: Mapping[str, Array], time_ns: int) -> dict[str, Any] | None:
        """Return the states of all joints that were measured, None where there are none."""
        joints: dict[str, dict[str, Any]] = {}
        for signal in self._joints:
            value = observation.get(signal.name)
            if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
                continue
            if value.shape != signal.shape:
                continue
            for label, element in zip(signal.labels, value.ravel().tolist(), strict=True):
                if math.isfinite(element):
                    state = joints.setdefault(label, {"name": label})
                    state[MEASURES[signal.unit]] = element
        if not joints:
            return None
        return {"timestamp": timestamp(time_ns), "joints": list(joints.values())}

    def calibrations(self, time_ns: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield topic and fields of every camera whose lens is known."""
        for topic, calibration in self._calibrations.items():
            yield topic, {"timestamp": timestamp(time_ns), **calibration}


def _is_of_joints(signal: Signal) -> bool:
    return signal.frame == "joint" and bool(signal.labels) and signal.unit in MEASURES


def _calibration(signal: str, pinhole: Pinhole) -> dict[str, Any]:
    """Return a pinhole in OpenCV's form, where whole numbers are the middles of pixels."""
    x, y = pinhole.cx - 0.5, pinhole.cy - 0.5
    return {
        "frame_id": signal,
        "width": pinhole.width,
        "height": pinhole.height,
        "distortion_model": "",
        "D": [],
        "K": [pinhole.fx, 0.0, x, 0.0, pinhole.fy, y, 0.0, 0.0, 1.0],
        "R": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "P": [pinhole.fx, 0.0, x, 0.0, 0.0, pinhole.fy, y, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
