"""Signals as Foxglove's own messages: joints by name, cameras with their lens.

    /joint_states               foxglove.JointStates, in every tick whose joints could be read
    /calibration/<camera>       foxglove.CameraCalibration, with every state

Nothing here is read back: all of it follows from the signals and the manifest.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from robodreamer_deploy.contract import Array, Signal
from robodreamer_deploy.policy.manifest import Manifest, Pinhole
from robodreamer_deploy.recording.raw_image import timestamp

JOINTS, CALIBRATION = "/joint_states", "/calibration/"
MEASURES = {
    "rad": "position", "m": "position",
    "rad/s": "velocity", "m/s": "velocity",
    "rad/s^2": "acceleration", "m/s^2": "acceleration",
    "N m": "effort", "Nm": "effort", "N": "effort",
}  # fmt: skip
"""Field of a joint's state, by the unit of a signal."""


class NamedSignals:
    """Messages about the signals of one policy."""

    def __init__(self, manifest: Manifest) -> None:
        contract = manifest.contract
        self._labels = {s.name: s.labels for s in contract.observations if s.labels}
        self._joints = [s for s in contract.inputs if _is_of_joints(s)]
        self._calibrations = {
            f"{CALIBRATION}{name.partition('/')[2]}": _calibration(name, pinhole)
            for name, pinhole in manifest.pinholes.items()
        }

    def labels(self, name: str, value: object) -> list[str] | None:
        """Return a name per element of a signal's value; None where nobody named them."""
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
    """Return a pinhole as OpenCV has it, where whole numbers are the middles of pixels."""
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
