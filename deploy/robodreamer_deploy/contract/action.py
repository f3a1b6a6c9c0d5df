"""The action: what a policy sends, and what actuators receive for it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from robodreamer_deploy.contract.signal import Array, Observation
from robodreamer_deploy.joint_mapping import JointMapping, Quantity


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """Action that a policy sends: a vector in [-1, 1], or a one-hot choice.

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
    """Kind of value of every element; empty if unknown."""
    frames: tuple[str, ...] = ()
    """Coordinate frame of every element, such as `world`, or `joint`; empty if nobody said."""
    mapping: JointMapping | None = None
    """Conversion of an action that is a change into actuator commands; None for other actions."""

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
        """Name of what each actuator moves, (U,); empty if unknown."""
        return self.labels if self.mapping is None else self.mapping.labels

    @property
    def actuator_units(self) -> tuple[str, ...]:
        """Unit of what each actuator is sent, (U,); empty if unknown."""
        if self.mapping is None:
            return self.units
        return tuple(target.unit for target in self.mapping.targets)

    @property
    def actuator_quantities(self) -> tuple[Quantity, ...]:
        """Kind of value that each actuator is sent, (U,); empty if unknown."""
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
