"""Robot's side of the connection: takes requests, one at a time, and asks the robot.

One driver at a time: whoever connects has the robot until it disconnects, or is not heard of for
`SILENT_S`. A command that was overtaken by the driver's next request is old, and is dropped.
Nothing that arrives ends the process: what is no request is counted, what fails is answered.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from robodreamer_deploy.contract import (
    Array,
    Contract,
)
from robodreamer_deploy.errors import HungError, RobotError, SignalError, describe_error
from robodreamer_deploy.robots.base import (
    EpisodicRobot,
    Robot,
    as_time,
    is_episodic,
    is_limp_when_disconnected,
    is_stamped,
)
from robodreamer_deploy.robots.remote.address import Address
from robodreamer_deploy.robots.remote.answers import PartedError, encode_answer, error_fields
from robodreamer_deploy.robots.remote.command_timeout import may_move
from robodreamer_deploy.robots.remote.keys import Key
from robodreamer_deploy.robots.remote.requests import LARGEST_NUMBER, Queue, Request, read_request
from robodreamer_deploy.robots.remote.server_socket import Door, Letter
from robodreamer_deploy.robots.remote.wire import WireError

SILENT_S = 2.0
IDLE_S = 0.5
GOODBYE_S = 1.0
"""How long a process that ends waits for its driver to be told; 5 periods of a 5 Hz robot."""
MAX_SESSIONS = 256
"""Past sessions whose numbers are remembered, against requests that somebody sends again."""

Reply = tuple[dict[str, Any], Mapping[str, Array]]
Around = Callable[[str], AbstractContextManager[object]]
"""Entered around whatever asks the robot, with the kind of request."""


class Commands(Protocol):
    """What commands pass on their way to the robot: it holds when they cease."""

    @property
    def command_within_s(self) -> float:
        """How long after a command the next one has to come."""
        ...

    def send_action(self, action: Array) -> Array:
        """See `Robot.send_action`; refuse while held because commands had ceased."""
        ...

    def hold(self) -> Array:
        """See `Robot.hold`."""
        ...

    def advance(self) -> float:
        """Do what is due; return how many seconds there are until something is again."""
        ...


class Goodbye(NamedTuple):
    """Last answers of a process that ends."""

    text: str
    held: Array
    """Action that the last hold amounts to."""


class Server:
    """Answers for a robot that is connected already.

    Args:
        robot: What is read.
        commands: What is commanded; the robot itself if it watches its commands.
        contract: What the robot was made for.
        address: Where to listen; port 0 takes any that is free.
        key: The robot's; None lets every process of this machine in.

    Raises:
        RobotError: The address cannot be used, or is open to others without a key.
    """

    def __init__(
        self,
        robot: Robot,
        commands: Commands,
        contract: Contract,
        address: Address,
        key: Key | None,
    ) -> None:
        self._robot, self._commands, self._contract = robot, commands, contract
        self._door = Door(address, key)
        self._queue = Queue()
        self._session: str | None = None
        self._driver: bytes | None = None
        self._heard_s = 0.0
        self._numbers: dict[str, int] = {}  # the newest request of each session
        self._last_status: dict[str, Any] = {}
        self._goodbye: Goodbye | None = None
        self._answers: Mapping[str, Callable[[Request], Reply]] = {
            "describe": self._describe,
            "verdict": self._verdict,
            "stop": self._stop,
        }
        self._answers_to_driver: Mapping[str, Callable[[Request], Reply]] = {
            "get_observation": self._get_observation,
            "send_action": self._send_action,
            "hold": self._hold,
            "start_episode": self._start_episode,
            "disconnect": self._disconnect,
        }

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._door.address

    @property
    def has_driver(self) -> bool:
        """Whether somebody has connected, and has not disconnected since."""
        return self._session is not None

    @property
    def num_malformed(self) -> int:
        """How many messages were none."""
        return self._door.num_malformed

    def serve(self, should_stop: Callable[[], object], around: Around = nullcontext) -> None:
        """Answer, and let the robot's own time pass, until told to stop; then `leave`.

        Args:
            should_stop: Asked before every wait; returns the reason, or what counts as False.
            around: Entered around everything that asks the robot.
        """
        while not (reason := should_stop()):
            with around("advance"):
                wait_s = min(IDLE_S, self._commands.advance())
            self.handle(wait_s, around)
        self.leave(str(reason), around)

    def handle(self, timeout_s: float, around: Around = nullcontext) -> int:
        """Answer what has come, or comes first within a time; return how many letters it was."""
        came = self._door.receive(0.0 if self._queue else timeout_s)
        letters = self._queue.next(came, self._driver)
        requests = [(letter.sender, self._read(letter)) for letter in letters]
        newest = {request.session: request for _, request in requests if request is not None}
        for sender, request in requests:
            if request is None:
                continue
            if request is newest[request.session] or request.kind != "send_action":
                with around(request.kind):
                    data = self._answer(sender, request)
                self._door.reply(sender, data)
        return len(letters)

    def leave(self, reason: str, around: Around = nullcontext) -> None:
        """Hold, and tell the driver so: otherwise it would take a process that ends for a crash.

        Waits until the driver has disconnected, for `GOODBYE_S` at most. Where the robot does not
        hold nothing is told: whoever leaves it tries again.
        """
        if not self.has_driver or self._goodbye is not None:
            return
        try:
            with around("hold"):
                held = np.asarray(self._commands.hold(), np.float32)
        except Exception:  # noqa: BLE001  whoever leaves the robot tries again, and tells
            return
        limp = "; its motors go off" if is_limp_when_disconnected(self._robot) else ""
        text = f"the robot's process ends ({reason}); it has had it hold{limp}"
        self._goodbye = Goodbye(text, held)
        end = time.monotonic() + GOODBYE_S
        while self.has_driver and (left_s := end - time.monotonic()) > 0.0:
            self.handle(left_s)

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._door.close()

    def _read(self, letter: Letter) -> Request | None:
        """Return a letter's request; None, counted, if it is none."""
        try:
            return read_request(letter.data)
        except WireError as error:
            self._door.refuse(str(error))
        except Exception as error:  # noqa: BLE001  whatever a stranger's bytes lead to
            self._door.refuse(describe_error(error))
        return None

    def _answer(self, sender: bytes, request: Request) -> bytes:
        """Return the bytes of the answer, whatever the robot's class returns or raises."""
        try:
            return encode_answer("answer", request, *self._do(sender, request))
        except (KeyboardInterrupt, HungError):  # a second signal, the watchdog
            raise
        except BaseException as error:  # noqa: BLE001  a driver raises what it likes, exits as well
            return encode_answer("error", request, error_fields(error), {})

    def _do(self, sender: bytes, request: Request) -> Reply:
        if self._goodbye is not None:
            return self._part(request, self._goodbye)
        if request.kind in self._answers:
            return self._answers[request.kind](request)
        if request.kind == "connect":
            return self._connect(sender, request)
        if request.kind not in self._answers_to_driver:
            known = ", ".join((*self._answers, "connect", *self._answers_to_driver))
            raise RobotError(f"there is no request {request.kind[:40]!r}, only {known}")
        if self._session is None or request.session != self._session:
            raise RobotError("the robot's process is another one now, or has another driver")
        self._count(request)
        self._driver, self._heard_s = sender, time.monotonic()
        return self._answers_to_driver[request.kind](request)

    def _count(self, request: Request) -> None:
        """Refuse a request that came before, or is older than one that did."""
        newest = self._numbers.pop(request.session, 0)
        self._numbers[request.session] = max(newest, request.number)
        if request.number <= newest:
            raise RobotError(
                f"request {request.number} comes after request {newest} of the same session: "
                "it is late, or somebody sends it again"
            )
        if len(self._numbers) > MAX_SESSIONS:
            del self._numbers[next(iter(self._numbers))]

    def _connect(self, sender: bytes, request: Request) -> Reply:
        now = time.monotonic()
        is_taken = self._session is not None and now - self._heard_s < SILENT_S
        if is_taken and request.session != self._session:
            raise RobotError(f"the robot has a driver, last heard {now - self._heard_s:.1f} s ago")
        self._count(request)
        self._commands.hold()
        self._session, self._driver, self._heard_s = request.session, sender, now
        return self._status(), {}

    def _describe(self, _: Request) -> Reply:
        features = self._robot.observation_features
        return {
            "contract": self._contract.to_dict(),
            "observation_features": {name: list(shape) for name, shape in features.items()},
            "action_features": {k: list(v) for k, v in self._robot.action_features.items()},
            "is_episodic": is_episodic(self._robot),
            "command_within_s": self._commands.command_within_s,
        }, {}

    def _get_observation(self, _: Request) -> Reply:
        begun_s = time.monotonic()
        observation = self._robot.get_observation()
        now = time.monotonic()
        stamps: Any = self._robot.observation_stamps if is_stamped(self._robot) else {}
        if not isinstance(stamps, Mapping):
            raise SignalError("observation_stamps", "no mapping by signal")
        stamps = cast("Mapping[str, object]", stamps)
        ages = {name: now - _time(name, stamps.get(name, now)) for name in observation}
        return {"ages_s": ages, "busy_s": now - begun_s, **self._status()}, observation

    def _send_action(self, request: Request) -> Reply:
        action = request.arrays.get("action")
        size = self._contract.action.size
        if action is None or action.shape != (size,) or action.dtype != np.float32:
            self._commands.hold()
            raise RobotError(f"an action is float32 of shape ({size},); the robot holds")
        executed = self._commands.send_action(action)
        return self._status(), {"action": executed}

    def _hold(self, _: Request) -> Reply:
        executed = self._commands.hold()
        return self._status(), {"action": executed}

    def _start_episode(self, request: Request) -> Reply:
        seed = request.fields.get("seed")
        if type(seed) is not int or not 0 <= seed <= LARGEST_NUMBER:
            raise RobotError("the seed of an episode is a whole number from 0 on")
        start = _method(self._robot, "start_episode")
        self._commands.hold()  # what moves it from now on is not the driver
        start(seed)
        return self._status(), {}

    def _disconnect(self, _: Request) -> Reply:
        self._commands.hold()
        self._session = self._driver = None
        return {}, {}

    def _verdict(self, _: Request) -> Reply:
        return {"verdict": _method(self._commands, "verdict")()}, {}

    def _stop(self, _: Request) -> Reply:
        _method(self._commands, "stop")("somebody pressed its stop")
        return {}, {}

    def _part(self, request: Request, goodbye: Goodbye) -> Reply:
        """Confirm to the driver that the robot holds, and refuse everything else."""
        if request.session == self._session and request.kind == "hold":
            return {**self._last_status, "is_enabled": False}, {"action": goodbye.held}
        if request.session == self._session and request.kind == "disconnect":
            self._session = None
            return {}, {}
        raise PartedError(goodbye.text)

    def _status(self) -> dict[str, Any]:
        robot = self._robot
        episode = _episode_status(robot) if is_episodic(robot) else {}
        self._last_status = {"is_enabled": may_move(self._commands), **episode}
        return self._last_status


def _method(owner: object, name: str) -> Callable[..., Any]:
    """Return a method that not every robot has."""
    found = getattr(owner, name, None)
    if found is None:
        raise RobotError(f"this robot has no {name}")
    return found


def _time(name: str, stamp: object) -> float:
    """Return a signal's stamp in seconds.

    Raises:
        SignalError: It is no time.
    """
    time_s = as_time(stamp)
    if not isinstance(time_s, float) or not math.isfinite(time_s):
        raise SignalError(name, f"its stamp is {time_s!r:.40}, which is no time")
    return time_s


def _episode_status(robot: EpisodicRobot) -> dict[str, Any]:
    """Return Python's own values, also of a robot that compares numpy's."""
    success = robot.episode_success
    return {
        "is_over": bool(robot.is_episode_over),
        "episode_return": float(robot.episode_return),
        "success": None if success is None else bool(success),
    }
