"""A robot's side of the connection: takes requests, one at a time, and asks the robot.

One driver at a time: whoever connects has the robot until it disconnects, or is not heard of for
`SILENT_S`. A command that was overtaken by the driver's next request is old, and is dropped.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from robodreamer_deploy.contract import Array, Contract, SignalError
from robodreamer_deploy.faults import sentence
from robodreamer_deploy.robots import EpisodicRobot, Robot, RobotError, is_episodic, is_stamped
from robodreamer_deploy.robots.remote.address import Address
from robodreamer_deploy.robots.remote.door import Door, Letter
from robodreamer_deploy.robots.remote.keys import Key
from robodreamer_deploy.robots.remote.watch import may_move
from robodreamer_deploy.robots.remote.wire import Message

SILENT_S = 2.0
IDLE_S = 0.5

Reply = tuple[dict[str, Any], Mapping[str, Array]]


class Commands(Protocol):
    """What commands pass on their way to the robot: it holds when they cease."""

    @property
    def command_within_s(self) -> float:
        """How long after a command the next one has to come."""
        ...

    def send_action(self, action: Array) -> Array:
        """See `Robot.send_action`; refuses while held because commands had ceased."""
        ...

    def hold(self) -> Array:
        """See `Robot.hold`."""
        ...

    def advance(self) -> float:
        """Do what is due; return how many seconds there are until something is again."""
        ...


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
        self._session: object = None
        self._heard_s = 0.0
        self._answers: Mapping[str, Callable[[Message], Reply]] = {
            "describe": self._describe,
            "verdict": self._verdict,
            "stop": self._stop,
        }
        self._answers_to_driver: Mapping[str, Callable[[Message], Reply]] = {
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
    def num_malformed(self) -> int:
        """How many messages were none."""
        return self._door.num_malformed

    def serve(self, should_stop: Callable[[], object]) -> None:
        """Answer, and let the robot's own time pass, until told to stop."""
        while not should_stop():
            self.handle(min(IDLE_S, self._commands.advance()))

    def handle(self, timeout_s: float) -> int:
        """Answer what has come, or comes first within a time; return how many messages it was."""
        letters = self._door.receive(timeout_s)
        newest = {letter.message.fields.get("session"): letter for letter in letters}
        for letter in letters:
            request = letter.message
            is_newest = letter is newest[request.fields.get("session")]
            if is_newest or request.kind != "send_action":
                self._door.reply(letter, self._answer(letter))
        return len(letters)

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._door.close()

    def _answer(self, letter: Letter) -> Message:
        number = {"number": letter.message.fields.get("number")}
        try:
            fields, arrays = self._do(letter.message)
        except SignalError as error:
            text = str(error).removeprefix(f"{error.key}: ")
            error_fields = {"cause": "signal", "key": error.key, "text": text}
        except (RobotError, OSError) as error:
            error_fields = {"cause": "robot", "text": sentence(error)}
        except Exception as error:  # noqa: BLE001  a driver raises what it likes
            error_fields = {"cause": "fault", "text": sentence(error)}
        else:
            return Message(kind="answer", fields={**fields, **number}, arrays=arrays)
        return Message(kind="error", fields={**error_fields, **number})

    def _do(self, request: Message) -> Reply:
        session, now = request.fields.get("session"), time.monotonic()
        if request.kind in self._answers:
            return self._answers[request.kind](request)
        if request.kind == "connect":
            return self._connect(session, now)
        if request.kind not in self._answers_to_driver:
            known = ", ".join((*self._answers, "connect", *self._answers_to_driver))
            raise RobotError(f"there is no request {request.kind[:40]!r}, only {known}")
        if self._session is None or session != self._session:
            raise RobotError("the robot's process is another one now, or has another driver")
        self._heard_s = now
        return self._answers_to_driver[request.kind](request)

    def _connect(self, session: object, now: float) -> Reply:
        is_taken = self._session is not None and now - self._heard_s < SILENT_S
        if is_taken and session != self._session:
            raise RobotError(f"the robot has a driver, last heard {now - self._heard_s:.1f} s ago")
        if not isinstance(session, str) or not session:
            raise RobotError("whoever connects names a session")
        self._commands.hold()
        self._session, self._heard_s = session, now
        return self._status(), {}

    def _describe(self, _: Message) -> Reply:
        features = self._robot.observation_features
        return {
            "contract": self._contract.to_dict(),
            "observation_features": {name: list(shape) for name, shape in features.items()},
            "action_features": {k: list(v) for k, v in self._robot.action_features.items()},
            "is_episodic": is_episodic(self._robot),
            "command_within_s": self._commands.command_within_s,
        }, {}

    def _get_observation(self, _: Message) -> Reply:
        begun_s = time.monotonic()
        observation = self._robot.get_observation()
        now = time.monotonic()
        stamps: Mapping[str, float] = {}
        if is_stamped(self._robot):
            stamps = self._robot.observation_stamps
        ages = {name: now - stamps.get(name, now) for name in observation}
        return {"ages_s": ages, "busy_s": now - begun_s, **self._status()}, observation

    def _send_action(self, request: Message) -> Reply:
        action = request.arrays.get("action")
        size = self._contract.action.size
        if action is None or action.shape != (size,) or action.dtype != np.float32:
            raise RobotError(f"an action is float32 of shape ({size},)")
        executed = self._commands.send_action(action)
        return self._status(), {"action": executed}

    def _hold(self, _: Message) -> Reply:
        executed = self._commands.hold()
        return self._status(), {"action": executed}

    def _start_episode(self, request: Message) -> Reply:
        seed = request.fields.get("seed")
        if type(seed) is not int or seed < 0:
            raise RobotError("the seed of an episode is a whole number from 0 on")
        self._require("start_episode")(seed)
        return self._status(), {}

    def _disconnect(self, _: Message) -> Reply:
        self._commands.hold()
        self._session = None
        return {}, {}

    def _verdict(self, _: Message) -> Reply:
        return {"verdict": self._require("verdict")()}, {}

    def _stop(self, _: Message) -> Reply:
        self._require("stop")("somebody pressed its stop")
        return {}, {}

    def _require(self, method: str) -> Callable[..., Any]:
        """Return a method that not every robot has."""
        found = getattr(self._robot, method, None)
        if found is None:
            raise RobotError(f"this robot has no {method}")
        return found

    def _status(self) -> dict[str, Any]:
        robot = self._robot
        episode = _episode_status(robot) if is_episodic(robot) else {}
        return {"is_enabled": may_move(robot), **episode}


def _episode_status(robot: EpisodicRobot) -> dict[str, Any]:
    return {
        "is_over": robot.is_episode_over,
        "episode_return": float(robot.episode_return),
        "success": robot.episode_success,
    }
