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

from robodreamer_deploy.errors import SignalError
from robodreamer_deploy.joint_mapping import JointMapping, Quantity
from robodreamer_deploy.kinematics import Quaternion, Vector
from robodreamer_deploy.utils.strict_json import parse_json, read_object, read_record

CONTRACT_VERSION = 2
FAMILIES = ("image", "proprio", "goal", "privileged")

Array = NDArray[Any]
Observation = Mapping[str, Array]


def validity_name(image: str) -> str:
    """Return the name of the bit that says whether a camera's frame is there: is_valid/<camera>.

    It is no signal of the contract: who feeds a policy that was trained to do without frames tells.
    """
    return f"is_valid/{image.partition('/')[2]}"


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

    Continuous: element i stands linearly for [low[i], high[i]] in its unit. Without a `mapping`
    that is what its actuator is sent; with one it is a change, from which the mapping computes
    what the actuators are sent. Discrete: the policy sends a one-hot vector, the actuator receives
    the index of its largest element.
    """

    size: int
    """Number of elements A of the policy's action."""
    kind: Literal["continuous", "discrete"] = "continuous"
    low: tuple[float, ...] = ()
    """Value at -1, per element, in its unit; empty for a discrete action."""
    high: tuple[float, ...] = ()
    """Value at +1, per element; empty for a discrete action."""
    labels: tuple[str, ...] = ()
    """Actuator or choice names, in order."""
    units: tuple[str, ...] = ()
    """SI unit of every element's value, such as `rad` or `N m`; empty for what has none."""
    quantities: tuple[Quantity, ...] = ()
    """What every element's value is; empty if nobody said."""
    frames: tuple[str, ...] = ()
    """Coordinate frame of every element, such as `world`, or `joint`; empty if nobody said."""
    mapping: JointMapping | None = None
    """How an action that is a change becomes what the actuators are sent."""

    def __post_init__(self) -> None:
        """Refuse a map that has not one finite interval per element."""
        if self.size < 1:
            raise ValueError(f"an action has at least one element, not {self.size}")
        for what in ("labels", "units", "quantities", "frames"):
            if (number := len(getattr(self, what))) not in (0, self.size):
                raise ValueError(f"{number} {what} for an action of {self.size} elements")
        if self.kind == "continuous":
            self._check_limits()
        if self.mapping is not None:
            self._check_mapping(self.mapping)

    def _check_limits(self) -> None:
        if len(self.low) != self.size or len(self.high) != self.size:
            raise ValueError(
                f"an action of {self.size} elements needs as many limits, "
                f"got {len(self.low)} low and {len(self.high)} high"
            )
        if not np.isfinite([*self.low, *self.high]).all():
            raise ValueError(f"actuator limits must be finite: low {self.low}, high {self.high}")
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError(f"low lies above high: low {self.low}, high {self.high}")

    def _check_mapping(self, mapping: JointMapping) -> None:
        if self.kind == "discrete":
            raise ValueError("a choice is no change of position: it takes no mapping")
        if mapping.elements != list(range(self.size)):
            raise ValueError(
                f"the mapping uses the elements {mapping.elements}, "
                f"the action has {self.size}, of which each counts once"
            )

    @property
    def num_actuators(self) -> int:
        """Number U of values that the actuators are sent; A where there is no mapping."""
        return self.size if self.mapping is None else len(self.mapping.targets)

    @property
    def actuator_labels(self) -> tuple[str, ...]:
        """Name of what each actuator moves, (U,); empty if nobody said."""
        return self.labels if self.mapping is None else self.mapping.labels

    @property
    def actuator_units(self) -> tuple[str, ...]:
        """Unit of what each actuator is sent, (U,); empty if nobody said."""
        if self.mapping is None:
            return self.units
        return tuple(target.unit for target in self.mapping.targets)

    @property
    def actuator_quantities(self) -> tuple[Quantity, ...]:
        """What each actuator is sent, (U,); empty if nobody said."""
        if self.mapping is None:
            return self.quantities
        return tuple(target.quantity for target in self.mapping.targets)

    def values(self, action: Array) -> Array:
        """Return what a continuous action (A,) stands for in the elements' units, float64 (A,).

        Values beyond [-1, 1] are clipped first. NaN is the caller's to refuse.
        """
        low, high = np.asarray(self.low), np.asarray(self.high)
        unit = (np.clip(action.astype(np.float64), -1.0, 1.0) + 1.0) / 2.0
        return np.clip(low + unit * (high - low), low, high)

    def to_actuators(self, action: Array, observation: Observation | None = None) -> Array:
        """Map an action (A,) to what the actuators are sent: float64 (U,), or int64 () if discrete.

        Values beyond [-1, 1] are clipped first. NaN is the caller's to refuse.

        Args:
            action: What the policy sends.
            observation: What was measured right before it is carried out; needed where the action
                is a change (`mapping`), and best always passed.

        Raises:
            ValueError: The action is a change, and the observation does not tell from where.
        """
        if self.kind == "discrete":
            return np.asarray(np.argmax(action))
        values = self.values(action)
        if self.mapping is None:
            return values
        return self.mapping.to_targets(values, self.mapping.positions(observation))

    def from_actuators(self, values: Array, observation: Observation | None = None) -> Array:
        """Return the continuous action, float32 (A,), that stands for what actuators were sent.

        The inverse of `to_actuators`; beyond [-1, 1] where a value lies beyond its range. An
        element whose range is a single value is 0.

        Args:
            values: What the actuators were sent.
            observation: What was measured before; needed where the action is a change.

        Raises:
            ValueError: The action is a change, and the observation does not tell from where.
        """
        assert self.kind == "continuous", self.kind
        if self.mapping is not None:
            values = self.mapping.to_values(values, self.mapping.positions(observation))
        return self.from_values(values)

    def from_values(self, values: Array) -> Array:
        """Return the continuous action, float32 (A,), that stands for the elements' `values`."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        width = np.where(high > low, high - low, 1.0)
        action = np.where(high > low, 2.0 * (values - low) / width - 1.0, 0.0)
        return action.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Geometry of the camera behind an image signal, as the model was built: the nominal one."""

    signal: str
    """Name of the signal, `image/<camera>`."""
    fovy_rad: float | None = None
    """Vertical field of view; None if the model does not tell."""
    mount: str = ""
    """Body or link that carries it; empty for one that stands in the world."""
    frame: str = ""
    """Frame of the pose: `world`, which is that of the signals, or the body that carries it, or
    `world axes at` a place that moves. Empty if the pose is not known, or changes with what the
    camera looks at."""
    position: Vector | None = None
    """Of the optical centre in `frame`, m; None if it is not known."""
    quaternion: Quaternion | None = None
    """How the camera is turned in `frame`: w, x, y, z. Its axes are MuJoCo's and OpenGL's: x to the
    right, y up, and it looks along -z."""
    color_order: Literal["rgb"] = "rgb"
    depth_range_m: float | None = None
    """For a picture of depth (one channel), the distance along the viewing direction that 255
    stands for; 0 is the camera itself. None for a picture of colours."""

    def __post_init__(self) -> None:
        """Refuse half a pose."""
        if len({self.position is None, self.quaternion is None, not self.frame}) > 1:
            raise ValueError(f"{self.signal} needs position, quaternion and frame, or none of them")

    @property
    def opencv_quaternion(self) -> Quaternion | None:
        """How it is turned in `frame` with OpenCV's and ROS' optical axes, w, x, y, z.

        There x goes to the right, y down, and it looks along z, as the manifest's pinholes have it.
        """
        if self.quaternion is None:
            return None
        w, x, y, z = self.quaternion  # times (0, 1, 0, 0): half a turn about its own x
        return (-x, w, z, -y) if x <= 0.0 else (x, -w, -z, y)  # the same turn, w not below 0


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
        if self.action.mapping is not None:
            self._check_mapping(self.action.mapping)

    def _check_mapping(self, mapping: JointMapping) -> None:
        """Refuse an action that is a change from what the policy's robot does not measure."""
        known = {signal.name: signal for signal in self.inputs if signal.dtype == "float32"}
        if mapping.signal not in known:
            raise ValueError(
                f"the action is a change from {mapping.signal}, which has to be observed; "
                f"the policy reads {', '.join(known) or 'no measurement'}"
            )
        size = known[mapping.signal].num_elements
        for target in mapping.targets:
            if target.measured is not None and not 0 <= target.measured < size:
                raise ValueError(
                    f"{target.label} is element {target.measured} of {mapping.signal}, "
                    f"which has {size}"
                )

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
            raise ValueError(
                f"contract version {version!r}; this release reads {CONTRACT_VERSION}: train or "
                "export again, or install the release that wrote it"
            )
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
