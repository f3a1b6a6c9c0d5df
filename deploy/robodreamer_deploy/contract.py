"""The contract: what a task shows, what it accepts, and in which units.

A task declares its contract, the agent sizes its networks from it, the export writes it into the
manifest, and the robot checks every tick against it. Because all four read the same object, a
signal cannot mean two things. Needs numpy and the standard library only.

Observations are flat dictionaries with four families of keys:

    image/<camera>      uint8 (H, W, C), red-green-blue
    proprio/<name>      float32 (n,), raw SI units
    goal/<name>         float32 (n,), raw SI units
    privileged/<name>   known in training only; never an input of the policy

A vector with `num_classes` holds class indices (int32) instead of measurements.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.records import parse_json, read_object, read_record

CONTRACT_VERSION = 1
FAMILIES = ("image", "proprio", "goal", "privileged")

Array = NDArray[Any]
Observation = Mapping[str, Array]


def validity_name(image: str) -> str:
    """Return the name of the bit that says whether a camera's frame is there: is_valid/<camera>.

    It is no signal of the contract: who feeds a policy that was trained to do without frames tells.
    """
    return f"is_valid/{image.partition('/')[2]}"


class SignalError(ValueError):
    """A value does not fit its signal: wrong key, shape, type or not finite."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One named array that is observed at every tick."""

    name: str
    """Family and name, such as `proprio/joint_position`."""
    shape: tuple[int, ...]
    """Without batch and time; () for a scalar."""
    dtype: Literal["uint8", "float32", "int32"]
    """Images are uint8, measurements float32, class indices int32."""
    unit: str = ""
    """SI unit of every element, such as `m` or `rad/s`; empty where there is none."""
    frame: str = ""
    """Coordinate frame the values are expressed in, such as `world` or `base`."""
    labels: tuple[str, ...] = ()
    """A name per element, in order: joint names, axes."""
    low: tuple[float, ...] | None = None
    """Lower end of the range that the signal works in, per element; None if unknown. With `high`
    it scales what the networks see, so that small and large units weigh the same."""
    high: tuple[float, ...] | None = None
    """Upper end of the range that the signal works in, per element; None if unknown."""
    num_classes: int = 0
    """Number of classes of a discrete signal; 0 for a measurement."""
    rate_hz: float | None = None
    """How often the sensor delivers; None means once per control step."""
    max_age_s: float | None = None
    """Oldest value that may still be acted on; None means one control step, or one period of a
    slower sensor."""

    def __post_init__(self) -> None:
        """Refuse a signal that no sensor could deliver."""
        family, _, own_name = self.name.partition("/")
        if family not in FAMILIES or not own_name:
            raise ValueError(f"signal {self.name!r}: names are {'/..., '.join(FAMILIES)}/...")
        if min(self.shape, default=1) < 1:
            raise ValueError(f"{self.name}: no axis may be empty, the shape is {self.shape}")
        for what, values in {"labels": self.labels, "low": self.low, "high": self.high}.items():
            if values and len(values) != self.num_elements:
                raise ValueError(
                    f"{self.name}: {len(values)} {what} for {self.num_elements} elements"
                )
        if not np.isfinite([*(self.low or ()), *(self.high or ())]).all():
            raise ValueError(f"{self.name}: limits must be finite; unknown ones are None")

    @property
    def num_elements(self) -> int:
        """Product of the shape; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def family(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def is_image(self) -> bool:
        """Three axes make an image; everything else is a vector."""
        return len(self.shape) == 3

    def check(self, value: Any) -> None:
        """Refuse a value that is not exactly what this signal promises.

        Raises:
            SignalError: No array, wrong shape or type, NaN or infinity, or a class that does not
                exist.
        """
        if not isinstance(value, (np.ndarray, np.generic)):
            raise SignalError(self.name, f"{type(value).__name__}, expected a numpy array")
        value = cast("Array", value)
        if value.shape != self.shape:
            raise SignalError(self.name, f"shape {value.shape}, expected {self.shape}")
        if value.dtype != np.dtype(self.dtype):
            raise SignalError(self.name, f"type {value.dtype}, expected {self.dtype}")
        if self.dtype == "float32" and not np.isfinite(value).all():
            bad = int(np.flatnonzero(~np.isfinite(value.ravel()))[0])
            label = self.labels[bad] if bad < len(self.labels) else str(bad)
            raise SignalError(self.name, f"element {label} is {value.ravel()[bad]}")
        if self.num_classes and (value.min() < 0 or value.max() >= self.num_classes):
            raise SignalError(self.name, f"class outside 0..{self.num_classes - 1}: {value}")


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """What the policy sends: a vector in [-1, 1], or a one-hot choice.

    Continuous: element i maps linearly from [-1, 1] to [low[i], high[i]] of the actuator.
    Discrete: the policy sends a one-hot vector, the actuator receives the index of its largest
    element.
    """

    size: int
    """Number of elements A of the policy's action."""
    kind: Literal["continuous", "discrete"] = "continuous"
    low: tuple[float, ...] = ()
    """Actuator value at -1, per element; empty for a discrete action."""
    high: tuple[float, ...] = ()
    """Actuator value at +1, per element; empty for a discrete action."""
    labels: tuple[str, ...] = ()
    """Actuator or choice names, in order."""
    unit: str = ""
    """Unit of the actuator values."""

    def __post_init__(self) -> None:
        """Refuse a map that has not one finite interval per element."""
        if self.size < 1:
            raise ValueError(f"an action has at least one element, not {self.size}")
        if self.kind == "discrete":
            return
        if len(self.low) != self.size or len(self.high) != self.size:
            raise ValueError(
                f"an action of {self.size} elements needs as many limits, "
                f"got {len(self.low)} low and {len(self.high)} high"
            )
        if not np.isfinite([*self.low, *self.high]).all():
            raise ValueError(f"actuator limits must be finite: low {self.low}, high {self.high}")
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError(f"low lies above high: low {self.low}, high {self.high}")

    def to_actuators(self, action: Array) -> Array:
        """Map a policy action (A,) to actuator values: float64 (A,), or int64 () if discrete.

        Values beyond [-1, 1] are clipped first. NaN is the caller's to refuse.
        """
        if self.kind == "discrete":
            return np.asarray(np.argmax(action))
        low, high = np.asarray(self.low), np.asarray(self.high)
        unit = (np.clip(action.astype(np.float64), -1.0, 1.0) + 1.0) / 2.0
        return np.clip(low + unit * (high - low), low, high)

    def from_actuators(self, values: Array) -> Array:
        """Return the continuous action, float32 (A,), that stands for actuator `values` (A,).

        The inverse of `to_actuators`; beyond [-1, 1] where a value lies beyond its range. An
        element whose range is a single value is 0.
        """
        assert self.kind == "continuous", self.kind
        low, high = np.asarray(self.low), np.asarray(self.high)
        width = np.where(high > low, high - low, 1.0)
        action = np.where(high > low, 2.0 * (values - low) / width - 1.0, 0.0)
        return action.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Geometry of the camera behind an image signal."""

    signal: str
    """Name of the signal, `image/<camera>`."""
    fovy_rad: float | None = None
    """Vertical field of view; None if the model does not tell."""
    mount: str = ""
    """Body or link that carries it; empty for one that stands in the world."""
    color_order: Literal["rgb"] = "rgb"
    depth_range_m: float | None = None
    """For a picture of depth (one channel), the distance along the viewing direction that 255
    stands for; 0 is the camera itself. None for a picture of colours."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Everything that agent, simulator and robot have to agree on."""

    task: str
    """Name of the task, as given on the command line."""
    observations: tuple[Signal, ...]
    """In declared order; lookups go by name."""
    action: ActionSpec
    control_dt_s: float
    """Seconds from one action to the next; the model's time step."""
    max_episode_steps: int | None = None
    """Steps after which an episode is cut (truncated); None if the task sets no limit itself."""
    cameras: tuple[Camera, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Settings the task was made with, plain JSON values, so that it can be made again."""
    knows_success: bool = True
    """Whether the task can tell that its goal is met. Where it cannot, no success is measured,
    written or shown. A contract saved before there was this field lacks it, and reads as True."""
    version: int = CONTRACT_VERSION

    def __post_init__(self) -> None:
        """Refuse two signals of the same name, a camera without image, and a time step of 0."""
        names = [signal.name for signal in self.observations]
        if len(set(names)) != len(names):
            raise ValueError(f"a signal is declared twice: {sorted(names)}")
        for camera in self.cameras:
            if camera.signal not in names:
                raise ValueError(f"camera {camera.signal} is no signal; there are {sorted(names)}")
        if not 0.0 < self.control_dt_s < math.inf:
            raise ValueError(f"control_dt_s must be above 0, got {self.control_dt_s}")

    def __getitem__(self, name: str) -> Signal:
        """Return the signal called `name`."""
        for signal in self.observations:
            if signal.name == name:
                return signal
        known = ", ".join(signal.name for signal in self.observations)
        raise KeyError(f"no signal {name!r}; this contract has {known}")

    @property
    def inputs(self) -> tuple[Signal, ...]:
        """What the policy may see: everything but the privileged signals."""
        return tuple(s for s in self.observations if s.family != "privileged")

    @property
    def privileged(self) -> tuple[Signal, ...]:
        """What only training may see."""
        return tuple(s for s in self.observations if s.family == "privileged")

    def check(self, observation: Observation, *, inputs_only: bool = False) -> None:
        """Refuse an observation that lacks a signal, has one too many, or holds a bad value.

        Raises:
            SignalError: With the key and what is wrong with it.
        """
        signals = self.inputs if inputs_only else self.observations
        names = {signal.name for signal in signals}
        for key in observation:
            if key not in names:
                raise SignalError(key, f"unknown signal; expected {', '.join(sorted(names))}")
        for signal in signals:
            if signal.name not in observation:
                raise SignalError(signal.name, "missing from the observation")
            signal.check(observation[signal.name])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; floats keep every digit."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Contract":
        """Rebuild a contract from `to_dict`'s values, or from its JSON.

        Raises:
            ValueError: Another version, or a missing, unknown or malformed field.
        """
        version = data.get("version")
        if version != CONTRACT_VERSION:
            raise ValueError(f"contract version {version!r}; this release reads {CONTRACT_VERSION}")
        return read_record(cls, data, "contract")

    def to_json(self) -> str:
        """Return the contract as JSON text. Floats are written by repr and read back exactly."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        """Rebuild a contract from its JSON text.

        Raises:
            ValueError: As in `from_dict`, or the text is no JSON object.
        """
        return cls.from_dict(read_object(parse_json(text), "contract"))
