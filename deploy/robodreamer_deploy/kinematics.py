"""Kinematics of a serial chain of joints, from the world to one frame: places, Jacobian, inverse.

A contract carries the chain of a task whose actions move a hand, so that the simulator and the
robot turn such an action into joint positions by the same code and the same numbers. Letters: J
joints of the chain from the world outwards, N numbers of a displacement (3, or 6 with a rotation).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

MAX_ITERATIONS = 8
"""Newton's steps. A hand that is moved by 3 cm needs 3 or 4 of them away from singular poses."""
TOLERANCE = 1e-9
"""What is left of a displacement, in chain lengths or rad, that no further step is spent on."""
UNIT_TOLERANCE = 1e-6


class Pose(NamedTuple):
    """Place of a frame in the world."""

    position: Array  # (3,), m
    rotation: Array  # (3, 3), its columns are the frame's axes


@dataclass(frozen=True, kw_only=True)
class Link:
    """A joint, and where it stands on the link before it."""

    joint: str
    """Label of the joint."""
    kind: Literal["hinge", "slide"]
    position: Vector
    """Of the joint's frame in the frame of the joint before it (of the world for the first), m."""
    quaternion: Quaternion
    """How it is turned there: w, x, y, z."""
    axis: Vector
    """What it turns about, or slides along, in its own frame; of length 1."""
    zero: float = 0.0
    """Joint position, rad or m, at which the joint adds nothing to its frame."""

    def __post_init__(self) -> None:
        """Refuse an axis or a quaternion that is not of length 1."""
        _require_unit(self.axis, f"the axis of {self.joint}")
        _require_unit(self.quaternion, f"the quaternion of {self.joint}")


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Joints between the world and a frame, and how a displacement of the frame is solved for."""

    frame: str
    """Name of the frame that is moved: a site or a body of the model."""
    links: tuple[Link, ...]
    """From the world outwards."""
    position: Vector = (0.0, 0.0, 0.0)
    """Of the frame in the frame of the last joint, m."""
    quaternion: Quaternion = (1.0, 0.0, 0.0, 0.0)
    """How it is turned there: w, x, y, z."""
    axes: Literal["world", "own"] = "world"
    """Whose axes a displacement is told in: the world's, or the frame's where it is measured."""
    rotation: Literal["free", "kept", "commanded"] = "free"
    """Whether the frame may turn as it moves, keeps how it is turned, or is told by three numbers
    more: a rotation vector, rad."""
    max_step: float = 0.2
    """Most that a joint may move for one action, rad or m; all are slowed down alike. Near singular
    poses a short way of the frame is a long one of the joints."""
    damping: float = 0.1
    """Largest damping of the least squares, and singular value below which there is any."""

    def __post_init__(self) -> None:
        """Refuse a chain without joints, and limits that forbid or allow every motion."""
        if not self.links:
            raise ValueError(f"no joint moves {self.frame}")
        _require_unit(self.quaternion, f"the quaternion of {self.frame}")
        if self.max_step <= 0.0 or self.damping <= 0.0:
            raise ValueError(f"max_step {self.max_step} and damping {self.damping} must be above 0")

    @property
    def num_elements(self) -> int:
        """Numbers N of a displacement."""
        return 6 if self.rotation == "commanded" else 3

    def pose(self, positions: Array) -> Pose:
        """Return where the frame is, for joint positions (J,)."""
        return self._walk(positions)[0]

    def jacobian(self, positions: Array) -> Array:
        """Return how the frame moves with the joints, (6, J): m and rad per unit of each joint.

        The first three rows are the velocity of the frame's origin, the last three its angular
        velocity, both along the world's axes.
        """
        tip, origins, axes = self._walk(positions)
        columns = [
            np.concatenate([_cross(axis, tip.position - origin), axis])
            if link.kind == "hinge"
            else np.concatenate([axis, np.zeros(3)])
            for link, origin, axis in zip(self.links, origins, axes, strict=True)
        ]
        return np.stack(columns, axis=1)

    def move(self, positions: Array, displacement: Array, low: Array, high: Array) -> Array:
        """Return joint positions (J,) at which the frame is displaced from where it is.

        Damped least squares: Newton's steps that a singular pose cannot blow up (Nakamura and
        Hanafusa 1986, "Inverse kinematic solutions with singularity robustness"), damped only near
        one, as its smallest singular value tells (Maciejewski and Klein 1988). What the joints
        cannot do is done as nearly as they can; 1 rad counts as the chain's length.

        Args:
            positions: Where the joints are, (J,).
            displacement: (N,), m and rad.
            low: Lowest position that each joint may be sent to, (J,).
            high: Highest one.
        """
        goal = self._displaced(self.pose(positions), displacement)
        found = positions
        for _ in range(MAX_ITERATIONS):
            error = self._error(goal, self.pose(found))
            if np.abs(error).max() <= TOLERANCE:
                break
            step = _damped_least_squares(self._scaled_jacobian(found), error, self.damping)
            found = np.clip(found + step, low, high)
        change = found - positions
        longest = float(np.abs(change).max())
        if longest > self.max_step:
            change *= self.max_step / longest
        return np.clip(positions + change, low, high)

    def displacement(self, positions: Array, targets: Array) -> Array:
        """Return the displacement (N,) between joint positions (J,) and `targets` (J,)."""
        start, end = self.pose(positions), self.pose(targets)
        moved = end.position - start.position
        turned = rotation_vector(end.rotation @ start.rotation.T)
        if self.axes == "own":
            moved, turned = start.rotation.T @ moved, start.rotation.T @ turned
        return np.concatenate([moved, turned])[: self.num_elements]

    @cached_property
    def _length(self) -> float:
        """Sum of the ways from joint to joint, m; 1 for a chain that turns in one place."""
        ways = [*(link.position for link in self.links[1:]), self.position]
        return sum(math.dist((0.0, 0.0, 0.0), way) for way in ways) or 1.0

    @cached_property
    def _offsets(self) -> list[tuple[Array, Array, Array, Array]]:
        """Position and rotation of every joint, its axis, and the axis' cross product matrix."""
        return [
            (
                np.array(link.position),
                rotation_matrix(link.quaternion),
                np.array(link.axis),
                _cross_matrix(link.axis),
            )
            for link in self.links
        ]

    def _walk(self, positions: Array) -> tuple[Pose, list[Array], list[Array]]:
        """Return where the frame is, and every joint's place and axis, in the world."""
        place, turn = np.zeros(3), np.eye(3)
        origins: list[Array] = []
        axes: list[Array] = []
        for link, value, (offset, offset_turn, axis, cross) in zip(
            self.links, positions, self._offsets, strict=True
        ):
            place = place + turn @ offset
            turn = turn @ offset_turn
            origins.append(place)
            axes.append(turn @ axis)
            moved = float(value) - link.zero
            if link.kind == "hinge":  # Rodrigues' formula
                sine, versine = math.sin(moved), 1.0 - math.cos(moved)
                turn = turn + (turn @ cross) * sine + (turn @ cross @ cross) * versine
            else:
                place = place + axes[-1] * moved
        end = Pose(place + turn @ np.array(self.position), turn @ rotation_matrix(self.quaternion))
        return end, origins, axes

    def _displaced(self, start: Pose, displacement: Array) -> Pose:
        moved, turned = displacement[:3], np.zeros(3)
        if self.rotation == "commanded":
            turned = displacement[3:]
        if self.axes == "own":
            moved, turned = start.rotation @ moved, start.rotation @ turned
        return Pose(start.position + moved, rotation_from_vector(turned) @ start.rotation)

    def _error(self, goal: Pose, found: Pose) -> Array:
        """Return what is left to move, (3,) or (6,), in chain lengths and rad."""
        moved = (goal.position - found.position) / self._length
        if self.rotation == "free":
            return moved
        return np.concatenate([moved, rotation_vector(goal.rotation @ found.rotation.T)])

    def _scaled_jacobian(self, positions: Array) -> Array:
        jacobian = self.jacobian(positions)
        jacobian[:3] /= self._length
        return jacobian[:3] if self.rotation == "free" else jacobian


def rotation_matrix(quaternion: Quaternion) -> Array:
    """Return the rotation (3, 3) of a unit quaternion w, x, y, z."""
    w, x, y, z = quaternion
    cross = _cross_matrix((x, y, z))
    return np.eye(3) + 2.0 * (w * cross + cross @ cross)


def rotation_from_vector(vector: Array) -> Array:
    """Return the rotation (3, 3) about `vector` (3,) by its length in rad."""
    angle = float(np.linalg.norm(vector))
    if angle == 0.0:
        return np.eye(3)
    cross = _cross_matrix(vector / angle)
    return np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)


def rotation_vector(rotation: Array) -> Array:
    """Return the axis of a rotation (3, 3) times its angle, (3,), at most half a turn."""
    twice_sine = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    length = float(np.linalg.norm(twice_sine))
    angle = math.atan2(length, float(np.trace(rotation)) - 1.0)
    if length > 1e-9:
        return twice_sine * (angle / length)
    if angle < 1.0:
        return twice_sine / 2.0
    column = int(np.argmax(np.diag(rotation)))  # half a turn: (R + 1) / 2 is axis times axis
    axis = rotation[:, column] + np.eye(3)[column]
    return math.pi * axis / np.linalg.norm(axis)


def _damped_least_squares(jacobian: Array, error: Array, damping: float) -> Array:
    """Return the step (J,) that makes `error` (N,) small for `jacobian` (N, J).

    The damping grows from 0 at a smallest singular value of `damping` to its square at 0.
    """
    left, singular, right = np.linalg.svd(jacobian, full_matrices=False)
    nearness = max(0.0, 1.0 - (float(singular[-1]) / damping) ** 2)
    filtered = singular / (singular**2 + nearness * damping**2)
    return right.T @ (filtered * (left.T @ error))


def _cross(one: Array, other: Array) -> Array:
    return _cross_matrix(one) @ other


def _cross_matrix(vector: Vector | Array) -> Array:
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _require_unit(vector: tuple[float, ...], what: str) -> None:
    length = math.hypot(*vector)
    if abs(length - 1.0) > UNIT_TOLERANCE:
        raise ValueError(f"{what} is of length {length:g}, expected 1")
