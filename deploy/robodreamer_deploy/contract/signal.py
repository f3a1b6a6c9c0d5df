"""One named array of an observation: its shape, type, unit and the values that it may hold."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.errors import SignalError

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
    """Rate of the sensor; None means once per control step."""
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
