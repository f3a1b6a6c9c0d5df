"""Relative actions of a task: of its joints (`Relative`), or of its hand (`Cartesian`).

Both become a `JointMapping` of the contract, which a robot computes as the simulator does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np

from robodreamer_deploy.contract import ActionSpec, Signal
from robodreamer_deploy.joint_mapping import JointMapping, Target
from robodreamer_deploy.kinematics import Chain
from robodreamer_deploy.utils.suggest import closest
from robodreamer_sim.physics.actuators import Meaning, actuator_label, joint_of, meanings
from robodreamer_sim.physics.serial_chain import serial_chain

AXES = ("x", "y", "z")
TURNS = ("turn_x", "turn_y", "turn_z")
DISPLACED = Meaning("displacement", "")


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Position servo of a joint, and the element that measures the joint."""

    actuator: int
    joint: int
    label: str
    unit: str
    measured: int
    low: float
    high: float


class _Robot:
    """Facts about a model that actions need: its servos, and the signal of its joints."""

    def __init__(self, model: mujoco.MjModel, signals: Mapping[str, Signal], signal: str) -> None:
        self.model = model
        name = signal if "/" in signal else f"proprio/{signal}"
        if name not in signals:
            raise ValueError(
                f"the actions start from {name}, which is not observed; this task observes "
                f"{closest(name, list(signals)) or 'no measurement'} (`proprio` of the class, "
                "and observe both, proprio or state)"
            )
        self.signal = signals[name]
        self.labels = [actuator_label(model, i) for i in range(model.nu)]
        self.meanings = meanings(model)
        self.controls = np.array(model.actuator_ctrlrange)

    def find(self, names: Sequence[str]) -> list[int]:
        """Return the actuators of these names.

        Raises:
            ValueError: There is none of a name; lists those that exist.
        """
        for name in names:
            if name not in self.labels:
                raise ValueError(
                    f"there is no actuator {name!r}; there are {closest(name, self.labels)}"
                )
        return [self.labels.index(name) for name in names]

    def place(self, actuator: int) -> _Place:
        """Return the joint that a servo holds, and where it is measured.

        Raises:
            ValueError: It is no position servo of a joint, or nobody measures or limits the joint.
        """
        label, told = self.labels[actuator], self.meanings[actuator]
        joint = joint_of(self.model, actuator)
        if self.model.actuator_gear[actuator, 0] < 0.0:
            raise ValueError(f"actuator {label} has a negative gear; turn its joint's axis instead")
        if joint is None or told.quantity != "position":
            kind = told.quantity if joint is not None else "no joint's"
            raise ValueError(
                f"actuator {label} is sent a value that is {kind}; actions that start from "
                "where joints are need position servos (MJCF <position>, or `set_to_position`); "
                "name those that stay as they are in `absolute`"
            )
        name = self.model.joint(joint).name
        if name not in self.signal.labels or self.signal.unit not in ("rad", "m", ""):
            raise ValueError(
                f"{self.signal.name} does not measure where joint {name} is, which actuator "
                f"{label} moves; it measures {', '.join(self.signal.labels) or 'nothing by name'}"
            )
        low, high = self._range(actuator, joint)
        measured = self.signal.labels.index(name)
        return _Place(
            actuator=actuator, joint=joint, label=name, unit=told.unit, measured=measured,
            low=low, high=high,
        )  # fmt: skip

    def _range(self, actuator: int, joint: int) -> tuple[float, float]:
        """Return the range of a joint's targets: within its own range and its actuator's."""
        ends = np.array([[-np.inf, np.inf]] * 2)
        if self.model.jnt_limited[joint]:
            ends[0] = self.model.jnt_range[joint]
        if self.model.actuator_ctrllimited[actuator]:
            ends[1] = [self.meanings[actuator].to_value(c) for c in self.controls[actuator]]
        low, high = float(ends[:, 0].max()), float(ends[:, 1].min())
        name = self.model.joint(joint).name
        if not (np.isfinite([low, high]).all()):
            raise ValueError(
                f"joint {name} has no limits; give the joint a range or its actuator a ctrlrange, "
                "beyond which it is never sent"
            )
        if low > high:
            raise ValueError(
                f"joint {name} and its actuator have no range in common: {ends.tolist()}"
            )
        return low, high


@dataclass(frozen=True)
class Relative:
    """Actions that are changes: every joint goes to its measured position plus the action.

    Args:
        change: What an action of 1 adds in a control period, in rad or m: one number for all
            joints, one for each, or one by actuator name.
        signal: The measurement that tells where the joints are, as it is called in `proprio`.
        absolute: Actuators that are sent the action over their control range, as without this.
    """

    change: float | Sequence[float] | Mapping[str, float]
    signal: str = "joint_position"
    absolute: Sequence[str] = ()

    def bind(self, model: mujoco.MjModel, signals: Mapping[str, Signal]) -> ActionSpec:
        """Return the action for a model whose measurements are `signals`.

        Raises:
            ValueError: The model's actuators, joints or signals do not allow it; with the reason.
        """
        robot = _Robot(model, signals, self.signal)
        absolute = robot.find(self.absolute)
        changes = self._changes(robot, [i for i in range(model.nu) if i not in absolute])
        elements: list[_Element] = []
        targets: list[Target] = []
        for i in range(model.nu):
            if i in absolute:
                elements.append(_absolute(robot, i))
                targets.append(_absolute_target(robot, i, element=i))
            else:
                place = robot.place(i)
                elements.append(_Element(place.label, -changes[i], changes[i], place.unit))
                targets.append(_measured_target(place, element=i))
        labels = [target.label for target in targets]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"two actuators move {twice[0]}; name one of them in `absolute`")
        mapping = JointMapping(signal=robot.signal.name, targets=tuple(targets))
        return _action(elements, mapping)

    def _changes(self, robot: _Robot, relative: Sequence[int]) -> dict[int, float]:
        names = [robot.labels[i] for i in relative]
        if not names:
            raise ValueError("every actuator is in `absolute`, so that no action is a change")
        if isinstance(self.change, Mapping):
            if missing := [name for name in names if name not in self.change]:
                raise ValueError(f"`change` says nothing of {', '.join(missing)}")
            robot.find(list(self.change))
            values = [self.change[name] for name in names]
        elif isinstance(self.change, Sequence):
            values = list(self.change)
        else:
            values = [self.change] * len(names)
        if len(values) != len(names):
            raise ValueError(f"{len(values)} changes for {len(names)} joints: {', '.join(names)}")
        for name, value in zip(names, values, strict=True):
            if not 0.0 < value < np.inf:
                raise ValueError(f"the change of {name} is {value}, expected a number above 0")
        return dict(zip(relative, map(float, values), strict=True))


@dataclass(frozen=True)
class Cartesian:
    """Actions that displace the hand, by all the joints between the world and it.

    The first three elements are metres along x, y and z, the next three (with `radians`) a rotation
    vector. Actuators that move none of these joints, such as a gripper's, follow with what they
    are sent over their control range.

    Args:
        frame: A site or a body of the model: what is displaced.
        metres: What an action of 1 displaces it by in a control period.
        radians: What an action of 1 turns it by; 0 keeps how it is turned, None lets it turn as it
            has to.
        axes: Whose axes the displacement is told in: the `world`'s or the frame's `own`.
        signal: The measurement that tells where the joints are, as it is called in `proprio`.
        joint_step: Most that a joint moves for one action, rad or m: near singular poses a short
            way of the hand is a long one of the joints.
    """

    frame: str
    metres: float
    radians: float | None = None
    axes: Literal["world", "own"] = "world"
    signal: str = "joint_position"
    joint_step: float = 0.2

    def bind(self, model: mujoco.MjModel, signals: Mapping[str, Signal]) -> ActionSpec:
        """Return the action for a model whose measurements are `signals`.

        Raises:
            ValueError: The model's actuators, joints or signals do not allow it; with the reason.
        """
        self._check()
        robot = _Robot(model, signals, self.signal)
        chain = self._chain(model)
        moved = {link.joint for link in chain.links}
        places: dict[int, _Place] = {}
        for i in range(model.nu):
            joint = joint_of(model, i)
            if joint is not None and model.joint(joint).name in moved:
                places[i] = robot.place(i)
        _require_moved(model, self.frame, moved, [place.label for place in places.values()])
        where = "world" if self.axes == "world" else self.frame
        most = self.metres
        elements = [_Element(axis, -most, most, "m", frame=where) for axis in AXES]
        if chain.rotation == "commanded":
            most = float(self.radians or 0.0)
            elements += [_Element(turn, -most, most, "rad", frame=where) for turn in TURNS]
        targets: list[Target] = []
        for i in range(model.nu):
            if i in places:
                targets.append(_measured_target(places[i], element=None))
            else:
                targets.append(_absolute_target(robot, i, element=len(elements)))
                elements.append(_absolute(robot, i))
        mapping = JointMapping(signal=robot.signal.name, targets=tuple(targets), chain=chain)
        return _action(elements, mapping)

    def _check(self) -> None:
        if not 0.0 < self.metres < np.inf:
            raise ValueError(f"metres is {self.metres}, expected a number above 0")
        if self.radians is not None and not 0.0 <= self.radians < np.pi:
            raise ValueError(f"radians is {self.radians}, expected 0 up to half a turn, or None")
        if self.axes not in ("world", "own"):
            raise ValueError(f"axes is {self.axes!r}, expected 'world' or 'own'")

    def _chain(self, model: mujoco.MjModel) -> Chain:
        turn = self.radians
        rotation = "free" if turn is None else "commanded" if turn > 0.0 else "kept"
        return serial_chain(
            model, self.frame, axes=self.axes, rotation=rotation, max_step=self.joint_step
        )


@dataclass(frozen=True)
class _Element:
    """Element of an action."""

    label: str
    low: float
    high: float
    unit: str
    told: Meaning = DISPLACED
    frame: str = "joint"


def _action(elements: Sequence[_Element], mapping: JointMapping) -> ActionSpec:
    return ActionSpec(
        size=len(elements),
        low=tuple(element.low for element in elements),
        high=tuple(element.high for element in elements),
        labels=tuple(element.label for element in elements),
        units=tuple(element.unit for element in elements),
        quantities=tuple(element.told.quantity for element in elements),
        frames=tuple(element.frame for element in elements),
        mapping=mapping,
    )


def _absolute(robot: _Robot, actuator: int) -> _Element:
    told = robot.meanings[actuator]
    label = robot.labels[actuator]
    if not robot.model.actuator_ctrllimited[actuator]:
        raise ValueError(f"actuator {label} has no limits; give it a ctrlrange")
    low, high = (told.to_value(float(control)) for control in robot.controls[actuator])
    return _Element(label, low, high, told.unit, told)


def _absolute_target(robot: _Robot, actuator: int, *, element: int) -> Target:
    one = _absolute(robot, actuator)
    return Target(
        label=one.label, quantity=one.told.quantity, unit=one.unit, low=one.low, high=one.high,
        element=element,
    )  # fmt: skip


def _measured_target(place: _Place, *, element: int | None) -> Target:
    return Target(
        label=place.label, quantity="position", unit=place.unit, low=place.low, high=place.high,
        element=element, measured=place.measured,
    )  # fmt: skip


def _require_moved(
    model: mujoco.MjModel, frame: str, joints: set[str], moved: Sequence[str]
) -> None:
    """Refuse a chain of which a joint has no actuator of its own, or more than one."""
    for joint in sorted(joints):
        if (count := list(moved).count(joint)) != 1:
            what = "no actuator moves" if not count else f"{count} actuators move"
            coupled = [model.actuator(i).name for i in range(model.nu)]
            raise ValueError(
                f"{what} joint {joint}, which lies between the world and {frame}; every joint "
                f"there needs one servo of its own (actuators: {', '.join(coupled)})"
            )
