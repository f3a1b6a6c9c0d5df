"""Server of a robot: answers requests, one at a time, from the robot's class.

One driver at a time: whoever connects has the robot until it disconnects, or is silent for
`SILENT_S`. A command that was overtaken by the driver's next request is old, and is dropped.
Nothing that arrives ends the process: what is no request is counted, what fails is answered with
the error.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import HungError, RemoteFault, RobotError, SignalError
from robodreamer_deploy.robots.base import (
    EpisodicRobot,
    Robot,
    as_time,
    is_episodic,
    is_limp_when_disconnected,
    is_stamped,
)
from robodreamer_deploy.robots.remote.address import Address
from robodreamer_deploy.robots.remote.command_timeout import may_move
from robodreamer_deploy.robots.remote.keys import Key
from robodreamer_deploy.robots.remote.server_socket import LARGEST_NUMBER, Request, ServerSocket
from robodreamer_deploy.robots.remote.wire import MAX_REPLY_BYTES, Message, encode, error_fields
from robodreamer_deploy.utils.streams import Say

SILENT_S = 2.0
IDLE_S = 0.5
GOODBYE_S = 1.0
"""Time for which a process that ends answers its driver; 5 periods of a 5 Hz robot."""
MAX_SESSIONS = 256
"""Past sessions whose numbers are kept, to refuse requests that are sent again."""

Reply = tuple[dict[str, Any], Mapping[str, Array]]
Around = Callable[[str], AbstractContextManager[object]]
"""Context entered around every call of the robot, made from the kind of request."""


class Commands(Protocol):
    """Command path to a robot, with a timeout; see `CommandTimeout`."""

    @property
    def command_within_s(self) -> float:
        """Time in seconds from an action to the deadline of the next command."""
        ...

    def send_action(self, action: Array) -> Array:
        """See `Robot.send_action`; refuse while held because commands had ceased."""
        ...

    def hold(self) -> Array:
        """See `Robot.hold`."""
        ...

    def advance(self) -> float:
        """Do what is due; return the seconds until something is due again."""
        ...


class Goodbye(NamedTuple):
    """Answers of a process that ends."""

    text: str
    """Sentence about the end, as the error of every request but a hold."""
    held: Array
    """Action (A,) that the last hold returned, as the answer to a hold."""


class Server:
    """Server of a robot that is connected already.

    Args:
        robot: Robot that is read.
        commands: Command path to it; the robot itself if it has a command timeout.
        contract: Contract that the robot was made for.
        address: Address to listen at; port 0 takes any that is free.
        key: The robot's; None admits every process of this machine.

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
        self._socket = ServerSocket(address, key)
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
        """Address that it listens at."""
        return self._socket.address

    @property
    def has_driver(self) -> bool:
        """True from a driver's `connect` to its `disconnect`."""
        return self._session is not None

    @property
    def num_malformed(self) -> int:
        """Number of messages that were refused unanswered."""
        return self._socket.num_malformed

    def serve(self, should_stop: Callable[[], object], around: Around = nullcontext) -> None:
        """Answer, and let the robot's own time pass, until it should stop; then `shut_down`.

        Args:
            should_stop: Called before every wait; returns a reason, or a false value.
            around: Makes the context of every call of the robot.
        """
        while not (reason := should_stop()):
            with around("advance"):
                wait_s = min(IDLE_S, self._commands.advance())
            self.handle(wait_s, around)
        self.shut_down(str(reason), around)

    def handle(self, timeout_s: float, around: Around = nullcontext) -> None:
        """Answer the requests that have come, or the first that comes within a time."""
        requests = self._socket.receive(timeout_s, self._driver)
        newest = {request.session: request for request in requests}
        for request in requests:
            if request is newest[request.session] or request.kind != "send_action":
                with around(request.kind):
                    frames = self._answer(request)
                self._socket.reply(request.sender, frames)

    def shut_down(self, reason: str, around: Around = nullcontext) -> None:
        """Hold, and answer the driver so; without an answer it would assume a crash.

        Waits until the driver has disconnected and closed its connection, for `GOODBYE_S` at most.
        If the hold fails nothing is promised: the caller tries again.
        """
        if not self.has_driver or self._goodbye is not None:
            return
        try:
            with around("hold"):
                held = np.asarray(self._commands.hold(), np.float32)
        except Exception:  # noqa: BLE001  the caller tries again, and reports it
            return
        limp = "; its motors go off" if is_limp_when_disconnected(self._robot) else ""
        text = f"the robot's process ends ({reason}); it has had it hold{limp}"
        self._goodbye = Goodbye(text, held)
        end = time.monotonic() + GOODBYE_S
        with self._socket.watching_departures() as await_departure:
            while self.has_driver and (left_s := end - time.monotonic()) > 0.0:
                self.handle(left_s)
            await_departure(end - time.monotonic())

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._socket.close()

    def _answer(self, request: Request) -> list[bytes]:
        """Return the frames of the answer, whatever the robot's class returns or raises."""
        try:
            return _encode_answer("answer", request, *self._do(request))
        except (KeyboardInterrupt, HungError):  # a second signal, the watchdog
            raise
        except BaseException as error:  # noqa: BLE001  a driver raises what it likes, exits as well
            return _encode_answer("error", request, error_fields(error), {})

    def _do(self, request: Request) -> Reply:
        if self._goodbye is not None:
            return self._answer_at_end(request, self._goodbye)
        if request.kind in self._answers:
            return self._answers[request.kind](request)
        if request.kind == "connect":
            return self._connect(request)
        if request.kind not in self._answers_to_driver:
            known = ", ".join((*self._answers, "connect", *self._answers_to_driver))
            raise RobotError(f"there is no request {request.kind[:40]!r}, only {known}")
        if self._session is None or request.session != self._session:
            raise RobotError("the robot's process is another one now, or has another driver")
        self._count(request)
        self._driver, self._heard_s = request.sender, time.monotonic()
        return self._answers_to_driver[request.kind](request)

    def _count(self, request: Request) -> None:
        """Refuse a request that is not newer than all of its session before it."""
        newest = self._numbers.pop(request.session, 0)
        self._numbers[request.session] = max(newest, request.number)
        if request.number <= newest:
            raise RobotError(
                f"request {request.number} comes after request {newest} of the same session: "
                "it is late, or somebody sends it again"
            )
        if len(self._numbers) > MAX_SESSIONS:
            del self._numbers[next(iter(self._numbers))]

    def _connect(self, request: Request) -> Reply:
        now = time.monotonic()
        is_taken = self._session is not None and now - self._heard_s < SILENT_S
        if is_taken and request.session != self._session:
            raise RobotError(f"the robot has a driver, last heard {now - self._heard_s:.1f} s ago")
        self._count(request)
        self._commands.hold()
        self._session, self._driver, self._heard_s = request.session, request.sender, now
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
        self._commands.hold()  # the driver's last command must not last into the new episode
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

    def _answer_at_end(self, request: Request, goodbye: Goodbye) -> Reply:
        """Confirm the hold to the driver, and refuse everything else."""
        if request.session == self._session and request.kind == "hold":
            return {**self._last_status, "is_enabled": False}, {"action": goodbye.held}
        if request.session == self._session and request.kind == "disconnect":
            self._session = None
            return {}, {}
        raise RemoteFault(goodbye.text)

    def _status(self) -> dict[str, Any]:
        robot = self._robot
        episode = _episode_status(robot) if is_episodic(robot) else {}
        self._last_status = {"is_enabled": may_move(self._commands), **episode}
        return self._last_status


def announce(server: Server, key: Key | None, say: Say) -> None:
    """Print who can drive a server's robot, and with which command."""
    who = "this machine's processes, without a key" if key is None else "who has the driver's key"
    suffix = "" if key is None else ":driver"
    say(f"listening   {server.address} for {who}")
    say(f"drive it    robodreamer-deploy POLICY --robot {server.address}{suffix}")


def _encode_answer(
    kind: str, request: Request, fields: Mapping[str, Any], arrays: Mapping[str, Array]
) -> list[bytes]:
    message = Message(kind=kind, fields={**fields, "number": request.number}, arrays=arrays)
    return encode(message, max_bytes=MAX_REPLY_BYTES)


def _method(owner: object, name: str) -> Callable[..., Any]:
    """Return a method that only some robots have."""
    found = getattr(owner, name, None)
    if found is None:
        raise RobotError(f"this robot has no {name}")
    return found


def _time(name: str, stamp: object) -> float:
    """Return a signal's stamp in seconds.

    Raises:
        SignalError: It is not a finite number.
    """
    time_s = as_time(stamp)
    if not isinstance(time_s, float) or not math.isfinite(time_s):
        raise SignalError(name, f"its stamp is {time_s!r:.40}, which is no time")
    return time_s


def _episode_status(robot: EpisodicRobot) -> dict[str, Any]:
    """Return the status as Python's values; a robot may compare numpy's."""
    success = robot.episode_success
    return {
        "is_over": bool(robot.is_episode_over),
        "episode_return": float(robot.episode_return),
        "success": None if success is None else bool(success),
    }
