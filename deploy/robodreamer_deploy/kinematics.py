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

MAX_ITERATIONS = 6
"""Newton's steps. A hand that is moved by 3 cm needs 3 or 4 of them away from singular poses."""
TOLERANCE = 1e-8
"""Remaining displacement, in chain lengths or rad, at which the iteration ends."""
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
    """Position of the joint's frame in that of the joint before it (the world for the first), m."""
    quaternion: Quaternion
    """Orientation there: w, x, y, z."""
    axis: Vector
    """Axis of rotation or translation in the joint's own frame; of length 1."""
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
    """Position of the frame in the frame of the last joint, m."""
    quaternion: Quaternion = (1.0, 0.0, 0.0, 0.0)
    """Orientation there: w, x, y, z."""
    axes: Literal["world", "own"] = "world"
    """Whose axes a displacement is told in: the world's, or the frame's where it is measured."""
    rotation: Literal["free", "kept", "commanded"] = "free"
    """Rotation of the frame as it moves: free, kept as it is, or commanded by three numbers
    more: a rotation vector, rad."""
    max_step: float = 0.2
    """Most that a joint may move for one action, rad or m; all are slowed down alike. Near singular
    poses a short way of the frame is a long one of the joints."""
    damping: float = 0.05
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
        return self._jacobian(*self._walk(positions))

    def move(self, positions: Array, displacement: Array, low: Array, high: Array) -> Array:
        """Return joint positions (J,) at which the frame is displaced from where it is.

        Damped least squares: Newton's steps that a singular pose cannot blow up (Nakamura and
        Hanafusa 1986, "Inverse kinematic solutions with singularity robustness"), damped only near
        one, as its smallest singular value tells (Maciejewski and Klein 1988). What the joints
        cannot do is done as nearly as they can; 1 rad counts as the chain's length. A joint that
        stands beyond its range stays there or comes back, by `max_step` at most.

        Args:
            positions: Where the joints are, (J,).
            displacement: (N,), m and rad.
            low: Lowest position that each joint may be sent to, (J,).
            high: Highest one.
        """
        low, high = np.minimum(low, positions), np.maximum(high, positions)
        found, walk = positions, self._walk(positions)
        goal = self._displaced(walk[0], displacement)
        for _ in range(MAX_ITERATIONS):
            error = self._error(goal, walk[0])
            if np.abs(error).max() <= TOLERANCE:
                break
            jacobian = self._jacobian(*walk)[: len(error)]
            jacobian[:3] /= self._length
            step = _damped_least_squares(jacobian, error, self.damping)
            found = np.clip(found + step, low, high)
            walk = self._walk(found)
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
    def _offsets(self) -> list[tuple[Array, Array, Array, Array, Array]]:
        """Per joint: position, rotation, axis, the axis' cross product matrix, its square."""
        crosses = [_cross_matrix(link.axis) for link in self.links]
        return [
            (
                np.array(link.position),
                rotation_matrix(link.quaternion),
                np.array(link.axis),
                cross,
                cross @ cross,
            )
            for link, cross in zip(self.links, crosses, strict=True)
        ]

    @cached_property
    def _tip(self) -> Pose:
        """The frame in the frame of the last joint."""
        return Pose(np.array(self.position), rotation_matrix(self.quaternion))

    @cached_property
    def _turns(self) -> Array:
        """Mask of joints that turn rather than slide, bool (J, 1)."""
        return np.array([[link.kind == "hinge"] for link in self.links])

    def _walk(self, positions: Array) -> tuple[Pose, Array, Array]:
        """Return where the frame is, and every joint's place and axis (J, 3), in the world."""
        place, turn = np.zeros(3), np.eye(3)
        origins, axes = np.empty((2, len(self.links), 3))
        for i, (link, (offset, offset_turn, axis, cross, square)) in enumerate(
            zip(self.links, self._offsets, strict=True)
        ):
            place = place + turn @ offset
            turn = turn @ offset_turn
            origins[i], axes[i] = place, turn @ axis
            moved = float(positions[i]) - link.zero
            if link.kind == "hinge":  # Rodrigues' formula
                turn = turn + turn @ (math.sin(moved) * cross + (1.0 - math.cos(moved)) * square)
            else:
                place = place + axes[i] * moved
        return Pose(place + turn @ self._tip.position, turn @ self._tip.rotation), origins, axes

    def _jacobian(self, tip: Pose, origins: Array, axes: Array) -> Array:
        arms = tip.position - origins
        turning = axes[:, [1, 2, 0]] * arms[:, [2, 0, 1]] - axes[:, [2, 0, 1]] * arms[:, [1, 2, 0]]
        shift = np.where(self._turns, turning, axes)  # a slide shifts along its axis
        return np.concatenate([shift, np.where(self._turns, axes, 0.0)], axis=1).T

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


def _cross_matrix(vector: Vector | Array) -> Array:
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _require_unit(vector: tuple[float, ...], what: str) -> None:
    length = math.hypot(*vector)
    if abs(length - 1.0) > UNIT_TOLERANCE:
        raise ValueError(f"{what} is of length {length:g}, expected 1")
