"""Faults of a robot as entries of the simulator's own randomisation, each of one certain value."""

from fnmatch import fnmatchcase
from typing import NamedTuple

from robodreamer_deploy.contract import Contract, Signal
from robodreamer_sim.randomization import Choice, Entry, Randomization
from robodreamer_sim.randomization.parameters import Operation

CAMERA_SHIFT_M = 0.03
"""To the right, up and backwards: 5 cm in all."""
CAMERA_TURN_RAD = 0.05
"""About each of its axes: 5 degrees in all."""
FRICTION_FACTOR = 3.0
OFFSET_SHARE = 0.05
"""Of a measurement's working range."""
NO_RANGE_OFFSET = 0.05
"""In the measurement's unit, where it has no working range."""


class Payload(NamedTuple):
    """What is put on the robot."""

    body: str
    mass_kg: float


PAYLOADS = {"fetch_*": Payload("robot0:gripper_link", 1.0), "arm_*": Payload("hand", 0.5)}
"""By task."""


def find_payload(task: str) -> Payload:
    """Return what a task's robot can be loaded with.

    Raises:
        ValueError: Not known for this task.
    """
    for pattern, payload in PAYLOADS.items():
        if fnmatchcase(task, pattern):
            return payload
    raise ValueError(f"no payload is known for {task}; give one by --payload, as hand=0.5")


def make_faults(contract: Contract, payload: Payload) -> dict[str, Randomization]:
    """Return every fault by name; those of cameras only where there is one."""
    cameras = tuple(s.name.partition("/")[2] for s in contract.inputs if s.is_image)
    faults: dict[str, tuple[Entry, ...]] = {}
    if cameras:
        faults["frozen camera"] = (_entry("camera_drop", "set", 1.0),)
        faults["shifted camera"] = (
            _entry("camera_position", "add", CAMERA_SHIFT_M, *cameras),
            _entry("camera_rotation", "add", CAMERA_TURN_RAD, *cameras),
        )
    faults["added payload"] = (_entry("mass", "add", payload.mass_kg, payload.body),)
    faults["joint friction x3"] = tuple(
        _entry(field, "scale", FRICTION_FACTOR) for field in ("damping", "friction_loss")
    )
    if offset := _offset(contract):
        faults["sensor offset"] = offset
    return {name: Randomization(entries=entries) for name, entries in faults.items()}


def _offset(contract: Contract) -> tuple[Entry, ...]:
    """Return what puts every number of the first measurement off."""
    measured = [s for s in contract.inputs if s.family == "proprio" and s.dtype == "float32"]
    if not measured:
        return ()
    signal = measured[0]
    name, labels = signal.name.partition("/")[2], signal.labels
    own_names = [f"{name}.{label}" for label in labels or range(signal.num_elements)]
    pairs = zip(own_names, _offsets(signal), strict=True)
    return tuple(_entry("measurement_bias", "add", value, component) for component, value in pairs)


def _offsets(signal: Signal) -> list[float]:
    if signal.low is None or signal.high is None:
        return [NO_RANGE_OFFSET] * signal.num_elements
    ranges = zip(signal.low, signal.high, strict=True)
    return [OFFSET_SHARE * (high - low) for low, high in ranges]


def _entry(field: str, operation: Operation, value: float, *select: str) -> Entry:
    """Return an entry that draws the same value every time."""
    return Entry(
        field=field,
        operation=operation,
        distribution=Choice(values=(value,)),
        select=select or ("*",),
    )
