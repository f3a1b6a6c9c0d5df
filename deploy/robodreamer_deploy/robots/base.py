"""Interface of a robot to the control loop; `loading` finds the one that `--robot` names.

The shape is LeRobot's (features, connect, get_observation, send_action, disconnect) plus `hold`.
Observations carry the contract's names, shapes and types. Actions are the policy's: float32 (A,),
continuous in [-1, 1] or one-hot; `contract.action.to_actuators` turns them into actuator values,
so no robot types a scale a second time.

Errors have two meanings. One reading that failed - `SignalError`, `RobotError` or `OSError` out of
`get_observation`: a lost frame, a timeout - holds the robot for one tick; only too many in a row
stop it. Anything else that a robot raises, and anything out of `send_action`, ends the drive: the
robot is told to hold, again if that fails, and is disconnected.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Protocol, TypeGuard, cast

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import RobotError

logger = logging.getLogger(__name__)


class Robot(Protocol):
    """Robot as the loop needs it: hardware, or a simulator standing in for it."""

    @property
    def observation_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every signal this robot delivers, by contract name; readable unconnected."""
        ...

    @property
    def action_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of what it accepts, `{"action": (A,)}`; readable unconnected."""
        ...

    def connect(self) -> None:
        """Open the hardware and leave it still.

        Raises:
            RobotError: With what is missing and what to do about it.
        """
        ...

    def get_observation(self) -> Mapping[str, Array]:
        """Return the newest value of every signal; raise rather than return stale ones.

        Signals that the policy does not read may be among them. A camera without a new frame may
        be left out: the model dreams on in its place. The caller does not change the arrays, and
        does not keep them beyond the next call.

        Raises:
            SignalError: This signal has no good value now; the robot holds for this tick.
            RobotError: This reading failed as a whole (OSError as well); likewise.
        """
        ...

    def send_action(self, action: Array) -> Array:
        """Send one action, float32 (A,) in the policy's units; return what was really sent.

        The array is the robot's to keep or change. What is returned is in the policy's units too.
        A simulator advances by one control step.
        """
        ...

    def hold(self) -> Array:
        """Bring the robot to rest and keep it there; return the equivalent action (A,).

        Must work at any time, more than once, and while `send_action` fails. A simulator
        advances by one control step, unless its episode is over. If this raises, it is called
        again a few times before the user is told to cut the power.
        """
        ...

    def disconnect(self) -> None:
        """Close the hardware. Must work after a failed `connect`, and more than once."""
        ...


class StampedRobot(Robot, Protocol):
    """A robot that knows how old its readings are."""

    @property
    def observation_stamps(self) -> Mapping[str, float]:
        """Monotonic times in seconds at which each value of the newest observation was measured.

        A signal that is not listed counts as measured when `get_observation` returned it.
        """
        ...


class SteppedRobot(Robot, Protocol):
    """A robot whose time stands still between commands: a simulator in this process.

    A late command does it no harm, so that no watchdog watches over it, and nothing calls it from
    another thread.
    """

    @property
    def is_stepped(self) -> bool:
        """True."""
        ...


class EnabledRobot(Robot, Protocol):
    """A robot with a dead-man's switch: a button, a pedal, a key, a light curtain."""

    @property
    def is_enabled(self) -> bool:
        """True if it may move now; returns at once. The robot holds while this is not `True`.

        Every other value is no: of what numpy compares, return `bool(...)`.
        """
        ...


class EpisodicRobot(Robot, Protocol):
    """Robot that can restart a task and judge how it went: a simulator, or a test bench."""

    def start_episode(self, seed: int) -> None:
        """Begin a new episode; the same seed gives the same one whatever came before."""
        ...

    @property
    def is_episode_over(self) -> bool:
        """True if the task has ended, or its time is out; `get_observation` still works."""
        ...

    @property
    def episode_return(self) -> float:
        """Sum of rewards since `start_episode`."""
        ...

    @property
    def episode_success(self) -> bool | None:
        """True if the goal is met by now; None if the task does not know success."""
        ...


class LimpRobot(Robot, Protocol):
    """A robot that may switch its motors off when it is disconnected, so that it falls."""

    @property
    def is_limp_when_disconnected(self) -> bool:
        """True if `disconnect` switches the motors off; readable while connected.

        Every answer but False, and none, means that they may go off.
        """
        ...


METHODS = ("connect", "get_observation", "send_action", "hold", "disconnect")
"""Methods of every robot."""


def has(robot: object, name: str) -> bool:
    """Return whether `robot` has a property, also where it cannot be read yet.

    `hasattr` would take a dead-man's switch that opens with `connect` for none at all.
    """
    if hasattr(type(robot), name):
        return True
    try:
        getattr(robot, name)
    except AttributeError:
        return False
    except Exception:  # noqa: BLE001  a driver raises what it likes; it is there
        return True
    return True


def is_episodic(robot: Robot) -> TypeGuard[EpisodicRobot]:
    """Return whether `robot` can start episodes and judge them."""
    return hasattr(robot, "start_episode")


def is_stamped(robot: object) -> TypeGuard[StampedRobot]:
    """Return whether `robot` knows how old its readings are."""
    return has(robot, "observation_stamps")


def as_time(stamp: object) -> object:
    """Return a stamp as a float where it is a number, numpy's included; else as it is.

    A whole number beyond floats is infinite, which is no time.
    """
    if not isinstance(stamp, Real):
        return stamp
    try:
        return float(stamp)
    except OverflowError:
        return math.inf


def is_stepped(robot: Robot) -> bool:
    """Return whether the time of `robot` passes only with its commands."""
    return getattr(robot, "is_stepped", False) is True


def is_limp_when_disconnected(robot: object) -> bool:
    """Return whether nothing may hold `robot` any more once it has been disconnected.

    No is False alone, numpy's included: somebody may rely on a robot that is said to hold.
    """
    try:
        answer: object = getattr(robot, "is_limp_when_disconnected", False)
    except Exception:
        logger.exception("whether the robot's motors stay on cannot be told")
        return True
    return not (isinstance(answer, (bool, np.bool_)) and not answer)


def is_enabling(robot: object) -> TypeGuard[EnabledRobot]:
    """Return whether `robot` has a dead-man's switch."""
    return has(robot, "is_enabled")


def permits(switch: Callable[[], object], told: set[str] | None = None) -> bool:
    """Ask a dead-man's switch whether the robot may move.

    Yes is `True` alone: one that fails says no, and so does any other value, numpy's included.
    "no", NaN and a method that was meant to be a property would otherwise be yes.

    Args:
        switch: Is asked.
        told: What was warned about before, which is not said again; is added to.
    """
    told = set[str]() if told is None else told
    try:
        answer = switch()
    except Exception as error:
        odd = f"failed with {type(error).__qualname__}"
        if odd not in told:
            logger.exception("the dead-man's switch failed")
        told.add(odd)
        return False
    if not isinstance(answer, bool):
        odd = f"says {type(answer).__module__}.{type(answer).__qualname__}"
        if odd not in told:
            logger.warning("the dead-man's switch %s, which counts as no: yes is True alone", odd)
        told.add(odd)
    return answer is True


def check_features(robot: Robot, contract: Contract) -> None:
    """Refuse a robot that cannot serve the policy, before it is connected.

    Raises:
        RobotError: It lacks a method or a signal, a shape differs from the contract's, or it does
            not tell its shapes.
    """
    if missing := [name for name in METHODS if not callable(getattr(robot, name, None))]:
        raise RobotError(
            f"this robot has no {', '.join(missing)}; docs/your-robot.md says what for"
        )
    features = _features(robot, "observation_features")
    for signal in contract.inputs:
        if signal.name not in features:
            raise RobotError(
                f"the policy reads {signal.name}, this robot has "
                f"{', '.join(sorted(map(str, features)))}"
            )
        shape = _shape(features, signal.name)
        if shape != signal.shape:
            raise RobotError(
                f"{signal.name} is {shape} on this robot, "
                f"the policy was trained with {signal.shape}"
            )
    action_shape = _shape(_features(robot, "action_features"), "action")
    if action_shape != (contract.action.size,):
        raise RobotError(
            f"this robot takes actions of shape {action_shape}, "
            f"the policy sends ({contract.action.size},)"
        )


def _features(robot: Robot, name: str) -> Mapping[object, object]:
    try:
        features: object = getattr(robot, name)
    except Exception as error:
        raise RobotError(f"{name} cannot be read before connect: {error!r}") from error
    if not isinstance(features, Mapping):
        raise RobotError(
            f"{name} is {type(features).__name__}, expected a property that returns shapes by name"
        )
    return cast("Mapping[object, object]", features)


def _shape(features: Mapping[object, object], name: str) -> tuple[object, ...]:
    shape: object = features.get(name, ())
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise RobotError(f"{name} is {shape!r:.40} among the features, expected a shape like (6,)")
    return tuple(cast("Sequence[object]", shape))
