"""The conformance suite: what every robot promises, whoever wrote it.

`robodreamer-deploy check-robot POLICY --robot SPEC` runs it on any robot; the tests run it on all
that are built in. A check is a function that takes a `RobotUnderTest` and raises a
`ConformanceError` with a sentence. The robot holds and is sent the action that its hold stands for,
so that hardware stays where it is; `reach` lets the checks go further.
"""

import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from robodreamer_deploy.contract import (
    Array,
    Contract,
)
from robodreamer_deploy.errors import HungError, RobotError, SignalError, describe_error
from robodreamer_deploy.robots.base import (
    Robot,
    check_features,
    is_enabling,
    is_episodic,
    is_stamped,
)
from robodreamer_deploy.robots.image_fit import is_one_colour

logger = logging.getLogger(__name__)

NUM_READINGS = 30
NUM_TIMED = 30
MOST_OLD = {True: 0.5, False: 0.1}
"""Share of readings that may be too old: of a camera, whose frames the model dreams in the place
of, and of what has to be there."""
MOST_SLOW = 0.25
"""Share of readings and commands that may take longer than a period."""
CONNECT_WITHIN_S = 15.0
CALL_WITHIN_S = 1.0
DISCONNECT_WITHIN_S = 5.0
CAMERA_WITHIN_S = 2.0
SAME_POSE = 1e-3
"""Largest difference of two actions that stand for holding in the same place."""


Watched = Callable[[float, str], AbstractContextManager[object]]
"""Breaks off what takes longer than so many seconds; the text says what is being done."""


class ConformanceError(Exception):
    """A robot breaks one of its promises."""


class SkippedCheckError(Exception):
    """A check does not apply to this robot; the message says why."""


class RobotUnderTest:
    """A robot under examination.

    Args:
        make: Makes it, unconnected.
        contract: Of the policy that it shall serve.
        reach: How far from the action of holding the checks may go, of 1.
        make_unreachable: Makes one whose `connect` fails, as with a cable that is not plugged in.
        max_ages_s: Largest age of each signal's values in seconds; those not named are not judged.
        watched: What a robot is left in, whatever was broken off before; by default nothing is
            broken off.
    """

    def __init__(
        self,
        make: Callable[[], Robot],
        contract: Contract,
        *,
        reach: float = 0.0,
        make_unreachable: Callable[[], Robot] | None = None,
        max_ages_s: Mapping[str, float] | None = None,
        watched: Watched = lambda _seconds, _doing: nullcontext(),
    ) -> None:
        self.make = make
        self.contract = contract
        self.reach = reach
        self.make_unreachable = make_unreachable
        self.max_ages_s = max_ages_s or {}
        self.watched = watched

    @contextmanager
    def connected(self) -> Generator[Robot, None, None]:
        """Lend a robot that is connected, and hold and disconnect it afterwards."""
        robot = self.make()
        try:
            _call(robot.connect, "connect", CONNECT_WITHIN_S)
            yield robot
        finally:
            try:
                with self.watched(CALL_WITHIN_S, "hold"):
                    robot.hold()
            except (Exception, HungError) as error:  # noqa: BLE001  closing matters now
                logger.error("hold failed: %s", describe_error(error))  # noqa: TRY400
            with self.watched(DISCONNECT_WITHIN_S, "disconnect"):
                robot.disconnect()

    def holding_action(self, returned: Any, method: str) -> Array:
        """Return an action (A,) that `method` returned, in the policy's range; refuse any other."""
        size = self.contract.action.size
        action = np.asarray(returned)
        if action.shape != (size,) or action.dtype.kind != "f" or not np.isfinite(action).all():
            raise ConformanceError(f"{method} returned {returned}, not {size} finite floats")
        if self.contract.action.kind == "discrete":
            return np.eye(size, dtype=np.float32)[int(np.argmax(action))]
        return np.clip(action, -1.0, 1.0).astype(np.float32)


def check_unconnected(specimen: RobotUnderTest) -> None:
    """Features can be read, hold and disconnect called, before anything is connected."""
    robot = specimen.make()
    try:
        try:
            check_features(robot, specimen.contract)
        except RobotError as error:
            raise ConformanceError(str(error)) from error
        for _ in range(2):
            specimen.holding_action(_call(robot.hold, "hold before connect"), "hold before connect")
    finally:
        with specimen.watched(DISCONNECT_WITHIN_S, "disconnect"):
            _call(robot.disconnect, "disconnect before connect")


def check_observations(specimen: RobotUnderTest) -> None:
    """Every signal arrives as the contract says, cameras within two seconds and not black."""
    contract = specimen.contract
    names = {signal.name for signal in contract.inputs}
    cameras = {signal.name for signal in contract.inputs if signal.is_image}
    with specimen.connected() as robot:
        start, seen, number = time.monotonic(), set[str](), 0
        showing: set[str] = set()
        while number < NUM_READINGS or cameras - showing:
            observation = _call(robot.get_observation, "get_observation")
            seen |= observation.keys()
            _check_reading(observation, contract, names - cameras)
            here = cameras & observation.keys()
            showing |= {name for name in here if not is_one_colour(observation[name])}
            number += 1
            if cameras - showing:  # it may only just have been opened, or adapt to the light
                if time.monotonic() - start > CAMERA_WITHIN_S:
                    break
                time.sleep(contract.control_dt_s)
    if missing := cameras - seen:
        raise ConformanceError(f"{min(missing)} showed nothing in {CAMERA_WITHIN_S:g} s")
    if plain := cameras - showing:
        raise ConformanceError(
            f"{min(plain)} is all one colour in {number} readings: is the lens covered, or the "
            "light off?"
        )


def check_stamps(specimen: RobotUnderTest) -> None:
    """Stamps belong to signals, run forwards and not ahead, and are young enough to be used."""
    with specimen.connected() as robot:
        if not is_stamped(robot):
            raise SkippedCheckError("it does not stamp its values: their age is unknown")
        before: Mapping[str, float] = {}
        ages_s: dict[str, list[float]] = {}
        for _ in range(NUM_READINGS):
            start = time.monotonic()
            robot.get_observation()
            stamps, now = dict(robot.observation_stamps), time.monotonic()
            for name, stamp in stamps.items():
                if name not in robot.observation_features:
                    raise ConformanceError(f"{name} is stamped, but no signal")
                if not np.isfinite(stamp):
                    raise ConformanceError(f"{name} is stamped {stamp}, which is no time")
                if not stamp <= now:
                    raise ConformanceError(
                        f"{name} is stamped {stamp - now:.3g} s after now; time.monotonic is meant"
                    )
                if stamp < before.get(name, stamp):
                    raise ConformanceError(f"the stamp of {name} ran backwards")
                ages_s.setdefault(name, []).append(now - stamp)
            before = stamps
            time.sleep(max(0.0, start + specimen.contract.control_dt_s - time.monotonic()))
    _check_ages(ages_s, specimen)


def check_actions(specimen: RobotUnderTest) -> None:
    """An action comes back as it was executed: in the policy's units and in range."""
    with specimen.connected() as robot:
        _begin(robot)
        held = specimen.holding_action(_call(robot.hold, "hold"), "hold")
        for sign in (1.0, -1.0, 0.0):
            action = held
            if specimen.contract.action.kind == "continuous":
                action = np.clip(held + np.float32(sign * specimen.reach), -1.0, 1.0)
            robot.get_observation()
            sent = action.astype(np.float32)
            executed = _call(lambda sent=sent: robot.send_action(sent.copy()), "send_action")
            done = specimen.holding_action(executed, "send_action")
            if np.abs(np.asarray(executed) - done).max() > SAME_POSE:
                raise ConformanceError(
                    f"send_action returned {np.asarray(executed)}, beyond [-1, 1]: the executed "
                    "action is meant, not actuator values"
                )


def check_hold(specimen: RobotUnderTest) -> None:
    """Hold works after connect, after an action, and again and again, in the same place."""
    with specimen.connected() as robot:
        _begin(robot)
        for _ in range(2):
            poses = [specimen.holding_action(_call(robot.hold, "hold"), "hold") for _ in range(3)]
            moved = float(np.abs(np.stack(poses) - poses[0]).max())
            if moved > SAME_POSE:
                raise ConformanceError(
                    f"hold called again holds elsewhere: its action changed by {moved:.3g}; "
                    "measure the pose once"
                )
            robot.get_observation()
            robot.send_action(poses[0].copy())


def check_times(specimen: RobotUnderTest) -> None:
    """One reading and one command fit into a control period, in the middle of many."""
    period_s = specimen.contract.control_dt_s
    took: list[float] = []
    with specimen.connected() as robot:
        _begin(robot)
        action = specimen.holding_action(robot.hold(), "hold")
        for _ in range(NUM_TIMED):
            start = time.monotonic()
            robot.get_observation()
            robot.send_action(action.copy())
            took.append(time.monotonic() - start)
            if is_episodic(robot) and robot.is_episode_over:
                break
            time.sleep(max(0.0, period_s - took[-1]))
    median, slow = float(np.median(took)), sum(seconds > period_s for seconds in took)
    if median > period_s or slow > MOST_SLOW * len(took):
        raise ConformanceError(
            f"reading and sending take {1e3 * median:.1f} ms, at most {1e3 * max(took):.1f} ms, "
            f"{slow} of {len(took)} times longer than a period, which has {1e3 * period_s:.1f} ms"
        )


def check_switch(specimen: RobotUnderTest) -> None:
    """A dead-man's switch says True or False, and nothing that only looks like it."""
    with specimen.connected() as robot:
        if not is_enabling(robot):
            raise SkippedCheckError("it has no dead-man's switch")
        answer: object = _call(lambda: robot.is_enabled, "is_enabled")
        if not isinstance(answer, bool):
            raise ConformanceError(
                f"is_enabled says {type(answer).__name__}, which counts as no: yes is True alone"
            )


def check_disconnect(specimen: RobotUnderTest) -> None:
    """Disconnect works twice, and hold after it."""
    robot = specimen.make()
    _call(robot.connect, "connect", CONNECT_WITHIN_S)
    _call(robot.hold, "hold")
    for _ in range(2):
        _call(robot.disconnect, "disconnect")
    specimen.holding_action(_call(robot.hold, "hold after disconnect"), "hold after disconnect")


def check_failed_connect(specimen: RobotUnderTest) -> None:
    """Check that a robot that is not there raises a clear error, and can be disconnected."""
    if specimen.make_unreachable is None:
        raise SkippedCheckError("tried in tests alone, with hardware that is not there")
    robot = specimen.make_unreachable()
    start = time.monotonic()
    try:
        robot.connect()
    except (RobotError, OSError):
        pass
    except Exception as error:
        raise ConformanceError(
            f"connect raised {describe_error(error)}, expected RobotError"
        ) from error
    else:
        robot.disconnect()
        raise ConformanceError("connect did not fail where there is no robot")
    _require_bound("connect", start, CONNECT_WITHIN_S)
    for _ in range(2):
        _call(robot.disconnect, "disconnect after a failed connect")


Check = Callable[[RobotUnderTest], None]

CHECKS: Mapping[str, Check] = {
    "unconnected": check_unconnected,
    "observations": check_observations,
    "stamps": check_stamps,
    "actions": check_actions,
    "hold": check_hold,
    "times": check_times,
    "switch": check_switch,
    "disconnect": check_disconnect,
    "failed connect": check_failed_connect,
}
"""All checks by name, in the order of how basic they are; the docstrings say what holds."""


class Finding(NamedTuple):
    """Result of one check."""

    name: str
    fault: str | None  # None if the promise is kept, or the check does not apply
    skipped: str | None  # why it does not apply; None if it does


def examine(name: str, specimen: RobotUnderTest) -> Finding:
    """Run the check `name`, on a robot that is made for it; return the finding."""
    try:
        CHECKS[name](specimen)
    except SkippedCheckError as reason:
        return Finding(name, None, str(reason))
    except ConformanceError as error:
        return Finding(name, str(error), None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a driver raises what it likes
        return Finding(name, describe_error(error), None)
    return Finding(name, None, None)


def _begin(robot: Robot) -> None:
    if is_episodic(robot):
        robot.start_episode(0)


def _check_reading(
    observation: Mapping[str, Array], contract: Contract, required: set[str]
) -> None:
    if missing := sorted(required - observation.keys()):
        raise ConformanceError(f"the observation lacks {missing[0]}")
    for signal in contract.inputs:
        if signal.name in observation:
            try:
                signal.check(observation[signal.name])
            except SignalError as error:
                raise ConformanceError(str(error)) from error


def _check_ages(ages_s: Mapping[str, list[float]], specimen: RobotUnderTest) -> None:
    """Refuse values that are mostly too old to be driven with, reading for reading."""
    for signal in specimen.contract.inputs:
        ages, limit = ages_s.get(signal.name, []), specimen.max_ages_s.get(signal.name, np.inf)
        old = sum(age > limit for age in ages)
        if old > MOST_OLD[signal.is_image] * len(ages):
            raise ConformanceError(
                f"{signal.name} is too old in {old} of {len(ages)} readings, "
                f"{1e3 * float(np.median(ages)):.0f} ms in the median, allowed are "
                f"{1e3 * limit:.0f}: it needs a faster sensor, or --max-age {signal.name}=..."
            )


def _call(method: Callable[[], Any], name: str, within_s: float | None = None) -> Any:
    """Call a method that has to work, within a time."""
    start = time.monotonic()
    try:
        result = method()
    except Exception as error:
        raise ConformanceError(f"{name} failed: {describe_error(error)}") from error
    _require_bound(name, start, CALL_WITHIN_S if within_s is None else within_s)
    return result


def _require_bound(name: str, start: float, within_s: float) -> None:
    took = time.monotonic() - start
    if took > within_s:
        raise ConformanceError(f"{name} took {took:.1f} s, at most {within_s:g} s are allowed")
