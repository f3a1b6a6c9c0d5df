"""Joint targets of an action that is a change: of joints from where they are, or of a hand.

The simulator, and whatever drives a robot, call `JointMapping` with the same numbers out of the
contract, so that an action moves both alike. Letters: A action elements, U actuators.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.kinematics import Chain

Array = NDArray[Any]

Quantity = Literal["position", "velocity", "effort", "displacement", "activation", "unknown"]
"""Kind of a value: a position, a velocity, a force or torque, a change of position per control
period, the activation of a muscle or a device without a unit, or not known."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Target of one actuator: its range, and the action element it follows."""

    label: str
    """Name of the actuator's joint, or of the actuator where it moves none."""
    quantity: Quantity
    unit: str = ""
    low: float
    """Lowest value that it is sent."""
    high: float
    """Highest one."""
    element: int | None = None
    """Element of the action that it follows; None for a joint of the chain."""
    measured: int | None = None
    """Element of the signal that tells where it is, to which a displacement is added; None for an
    actuator that is sent the action's value itself."""

    def __post_init__(self) -> None:
        """Refuse a range that is none, and a joint of the chain that nobody measures."""
        if not (np.isfinite([self.low, self.high]).all() and self.low <= self.high):
            raise ValueError(f"{self.label} may go from {self.low} to {self.high}: no range")
        if self.element is None and self.measured is None:
            raise ValueError(f"{self.label} follows no element of the action")


@dataclass(frozen=True, kw_only=True)
class JointMapping:
    """Conversion of action values into actuator commands, from measured joint positions.

    A target is the measured position plus the element's value, clipped to the target's range; or
    the value itself; or what the chain needs to move its frame by the action's first elements. A
    joint that stands beyond its range is sent no further out, and back only as far as the action
    says: clipped to the range, an action of 0 would send it to the edge at full speed.
    """

    signal: str
    """The signal that tells where the joints are, such as `proprio/joint_position`."""
    targets: tuple[Target, ...]
    """Targets of the actuators, in their order."""
    chain: Chain | None = None
    """Moves the targets without an element; its joints bear their labels."""

    def __post_init__(self) -> None:
        """Refuse targets of one name, and a chain whose joints are not those without an element."""
        if twice := sorted({label for label in self.labels if self.labels.count(label) > 1}):
            raise ValueError(f"two targets are called {twice[0]}")
        moved = sorted(target.label for target in self.targets if target.element is None)
        joints = sorted(link.joint for link in self.chain.links) if self.chain else []
        if moved != joints:
            raise ValueError(
                f"the joints of the chain are {', '.join(joints) or 'none'}, the targets "
                f"that follow it are {', '.join(moved) or 'none'}"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the targets, in order."""
        return tuple(target.label for target in self.targets)

    @property
    def elements(self) -> list[int]:
        """Elements of the action that are used, in order; complete where each is used once."""
        of_chain = range(self.chain.num_elements if self.chain else 0)
        return sorted([*of_chain, *(t.element for t in self.targets if t.element is not None)])

    def positions(self, observation: Mapping[str, Array] | None) -> Array:
        """Return where the joints are measured, float64 (U,); 0 where that does not matter.

        Raises:
            ValueError: The observation lacks the signal, or one of the joints is not finite.
        """
        if observation is None or self.signal not in observation:
            raise ValueError(
                f"the action is a change from {self.signal}, so it cannot be carried out without "
                "that signal: pass the observation that the robot has just measured"
            )
        measured = np.asarray(observation[self.signal], np.float64).ravel()
        positions = np.zeros(len(self.targets))
        for i, target in enumerate(self.targets):
            if target.measured is not None:
                if target.measured >= measured.size or not np.isfinite(measured[target.measured]):
                    raise ValueError(f"{self.signal} does not tell where {target.label} is")
                positions[i] = measured[target.measured]
        return positions

    def to_targets(self, values: Array, positions: Array) -> Array:
        """Return what the actuators are sent, (U,), within their ranges or where they are.

        Args:
            values: What the action's elements stand for, (A,).
            positions: Where the joints are, (U,), as `positions` returns it.

        Raises:
            ValueError: They come out not finite, which a clip would let through.
        """
        targets = np.zeros(len(self.targets))
        for i, target in enumerate(self.targets):
            if target.element is not None:
                start = 0.0 if target.measured is None else positions[i]
                targets[i] = start + values[target.element]
        if self.chain is not None:
            places = self._chain_places
            targets[places] = self.chain.move(
                positions[places],
                values[: self.chain.num_elements],
                self.low[places],
                self.high[places],
            )
        if not np.isfinite(targets).all():
            raise ValueError(f"the action leads to {targets} from joints at {positions}")
        low = np.where(self._is_change, np.minimum(self.low, positions), self.low)
        high = np.where(self._is_change, np.maximum(self.high, positions), self.high)
        return np.clip(targets, low, high)

    def to_values(self, targets: Array, positions: Array) -> Array:
        """Return the action's values (A,) that `targets` (U,) amount to from `positions` (U,)."""
        values = np.zeros(len(self.elements))
        for i, target in enumerate(self.targets):
            if target.element is not None:
                start = 0.0 if target.measured is None else positions[i]
                values[target.element] = targets[i] - start
        if self.chain is not None:
            places = self._chain_places
            moved = self.chain.displacement(positions[places], targets[places])
            values[: self.chain.num_elements] = moved
        return values

    @cached_property
    def low(self) -> Array:
        """Lowest value that each actuator is sent, (U,)."""
        return np.array([target.low for target in self.targets])

    @cached_property
    def high(self) -> Array:
        """Highest value that each actuator is sent, (U,)."""
        return np.array([target.high for target in self.targets])

    @cached_property
    def _is_change(self) -> Array:
        """Mask of actuators that are sent a change of their joint's position, bool (U,)."""
        return np.array([target.measured is not None for target in self.targets])

    @cached_property
    def _chain_places(self) -> Array:
        """Places of the chain's joints among the targets, (J,), in the chain's order."""
        assert self.chain is not None
        labels = [target.label if target.element is None else None for target in self.targets]
        return np.array([labels.index(link.joint) for link in self.chain.links])
