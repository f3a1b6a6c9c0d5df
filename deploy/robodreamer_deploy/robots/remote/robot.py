"""Robot of another process, as the loop sees it: `--robot tcp://HOST:PORT`.

Every wait is bounded, and ends early when the other process is gone. A reading that does not come
in time holds the robot for a tick; a command that is not confirmed ends the drive. When the
connection comes back within that time, the drive goes on. A robot's process that was restarted, or
has another driver, refuses the commands of this drive.

Clocks are never compared across machines: an answer has the age of each value, counted from the
earliest moment at which the robot can have been asked. Values therefore count as older than they
are, by the travel time of messages at most.
"""

import logging
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.remote.address import parse_address
from robodreamer_deploy.robots.remote.client import Answer, Client
from robodreamer_deploy.robots.remote.keys import load_key
from robodreamer_deploy.robots.remote.wire import Message
from robodreamer_deploy.utils.strict_json import read_record

logger = logging.getLogger(__name__)

CONNECT_WITHIN_S = 2.0
EPISODE_WITHIN_S = 30.0
LEAST_WITHIN_S = 0.2
PERIODS_WITHIN = 4
HOLD_WITHIN_S = 0.5
LATE = 0.6
"""Part of the robot's command timeout after which a hold is sent instead of an action."""

Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class Description:
    """The robot's answer to `describe`."""

    contract: Mapping[str, Any]
    observation_features: Mapping[str, tuple[int, ...]]
    action_features: Mapping[str, tuple[int, ...]]
    is_episodic: bool
    command_within_s: float

    def __post_init__(self) -> None:
        """Refuse a timeout that passes before any command can reach the robot."""
        if self.command_within_s <= 0.0:
            raise ValueError(f"command_within_s is {self.command_within_s}, expected above 0")


@dataclass(frozen=True, kw_only=True)
class _Ages:
    ages_s: Mapping[str, float]
    busy_s: float


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    verdict: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Status:
    is_over: bool
    episode_return: float
    success: bool | None


class RemoteRobot:
    """Robot behind an open `Client`; see `robots.Robot` and `StampedRobot`."""

    def __init__(self, client: Client, description: Description, contract: Contract) -> None:
        self._client = client
        self._description = description
        self._within_s = max(LEAST_WITHIN_S, PERIODS_WITHIN * contract.control_dt_s)
        self._late_s = LATE * description.command_within_s
        self._stamps: dict[str, float] = {}
        self._acted_s: float | None = None
        self._is_connected = False
        self._held: Array = np.zeros(contract.action.size, np.float32)
        if contract.action.kind == "discrete":
            self._held[0] = 1.0
        self._is_enabled = True

    @property
    def observation_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every signal, by contract name."""
        return self._description.observation_features

    @property
    def action_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of an action."""
        return self._description.action_features

    @property
    def observation_stamps(self) -> Mapping[str, float]:
        """Times at which the newest values were measured, in this machine's monotonic seconds."""
        return self._stamps

    @property
    def is_enabled(self) -> bool:
        """True if its dead-man's switch permitted motion at the last answer, or it has none.

        The other side holds by itself while the switch is released; this side ramps afterwards.
        """
        return self._is_enabled

    def connect(self) -> None:
        """Become the robot's driver; it is held.

        Raises:
            RobotError: The robot has another driver, or does not answer.
        """
        self._keep_status(self._client.request("connect", within_s=CONNECT_WITHIN_S))
        self._is_connected = True

    def get_observation(self) -> Mapping[str, Array]:
        """Return the robot's newest values."""
        answer = self._client.request("get_observation", within_s=self._within_s)
        self._keep_status(answer)
        ages = self._read(_Ages, answer)
        read_s = answer.sent_s + max(0.0, ages.busy_s)  # it cannot have been earlier
        before = self._stamps  # no value was measured before the one that it follows
        self._stamps = {
            name: max(read_s - max(0.0, age), before.get(name, -math.inf))
            for name, age in ages.ages_s.items()
        }
        return answer.message.arrays

    def send_action(self, action: Array) -> Array:
        """Send one action; return what was executed.

        An action so late that the robot may hold by itself already is replaced by a hold.

        Raises:
            RobotError: The action was not confirmed; or it is so late that the robot does hold by
                itself, as after this process was suspended.
        """
        now = time.monotonic()
        pause_s = 0.0 if self._acted_s is None else now - self._acted_s
        if pause_s >= self._description.command_within_s:
            raise RobotError(
                f"{pause_s:.2f} s without a command: {self._client.address} has been holding by "
                f"itself since {self._description.command_within_s:g} s after the last one"
            )
        if pause_s > self._late_s:
            logger.warning("%.2f s without a command: held instead", pause_s)
            return self.hold()
        answer = self._client.request(
            "send_action", within_s=self._within_s, arrays={"action": action}
        )
        self._acted_s = now
        return self._executed(answer)

    def hold(self) -> Array:
        """Hold the robot; return the action (A,) that keeps it there.

        Before `connect` nothing is sent: the robot's own process holds it while nobody drives.

        Raises:
            RobotError: The hold was not confirmed; the robot's command timeout still holds it.
        """
        if not self._is_connected:
            return self._held
        try:
            answer = self._client.request("hold", within_s=HOLD_WITHIN_S)
        except RobotError as error:
            within_s = self._description.command_within_s
            raise RobotError(
                f"{error}; if its process still runs, it has been holding since {within_s:g} s "
                "after the last command"
            ) from error
        self._acted_s = None
        self._held = self._executed(answer)
        return self._held

    def disconnect(self) -> None:
        """Release the robot, holding. May be called twice, and after a failed `connect`."""
        try:
            if self._is_connected:
                self._is_connected = False
                self._client.request("disconnect", within_s=HOLD_WITHIN_S)
        finally:
            self._client.close()

    def verdict(self) -> Mapping[str, Any]:
        """Return the verdict of the robot's own command monitor so far.

        Raises:
            RobotError: The robot has no command monitor.
        """
        answer = self._client.request("verdict", within_s=self._within_s)
        return self._read(_Verdict, answer).verdict

    def _executed(self, answer: Answer) -> Array:
        self._keep_status(answer)
        if "action" not in answer.message.arrays:
            raise RobotError(f"{self._client.address} did not return the executed action")
        return answer.message.arrays["action"]

    def _keep_status(self, answer: Answer) -> None:
        """Keep the status that every answer has."""
        self._is_enabled = answer.message.fields.get("is_enabled") is True

    def _read(self, kind: type[Record], answer: Answer) -> Record:
        return _read(kind, answer.message, str(self._client.address))


class EpisodicRemoteRobot(RemoteRobot):
    """Robot of another process that can start episodes; see `robots.EpisodicRobot`."""

    _status = _Status(is_over=False, episode_return=0.0, success=None)

    @property
    def is_episode_over(self) -> bool:
        """True if the task had ended at the last answer."""
        return self._status.is_over

    @property
    def episode_return(self) -> float:
        """Sum of rewards until the last answer."""
        return self._status.episode_return

    @property
    def episode_success(self) -> bool | None:
        """True if the goal was met at the last answer; None if the task does not know."""
        return self._status.success

    def start_episode(self, seed: int) -> None:
        """Start a new episode."""
        self._acted_s = None
        answer = self._client.request(
            "start_episode", within_s=EPISODE_WITHIN_S, fields={"seed": seed}
        )
        self._keep_status(answer)

    def _keep_status(self, answer: Answer) -> None:
        super()._keep_status(answer)
        self._status = self._read(_Status, answer)


ARGUMENT = re.compile(r"//(\[[^\]]*\]|[^:\[\]]*):[^:]*")


def make_robot(argument: str, contract: Contract) -> RemoteRobot:
    """Make the robot of `--robot tcp://HOST:PORT[:KEY]`; KEY is the driver's folder of keys.

    Raises:
        RobotError: Nobody listens there, this side is not admitted, or the robot does not fit the
            policy.
    """
    place = ARGUMENT.match(argument)
    end = len(argument) if place is None else place.end()
    address, key = parse_address(f"tcp:{argument[:end]}"), argument[end:].removeprefix(":")
    client = Client(address, load_key(Path(key), "driver") if key else None)
    try:
        description = _read(Description, client.open(), str(address))
        offered = Contract.from_dict(description.contract)
    except ValueError as error:
        client.close()
        raise RobotError(f"{address} describes itself in another format: {error}") from error
    except BaseException:
        client.close()
        raise
    if found := "; ".join(offered.differences(contract, for_policy=True)):
        client.close()
        raise RobotError(f"the policy of {contract.task} cannot drive {address}: {found}")
    kind = EpisodicRemoteRobot if description.is_episodic else RemoteRobot
    return kind(client, description, contract)


def _read(kind: type[Record], message: Message, where: str) -> Record:
    """Read those fields of a message that the dataclass `kind` has."""
    names = message.fields.keys() & {field.name for field in fields(cast("Any", kind))}
    try:
        return read_record(kind, {name: message.fields[name] for name in names}, where)
    except ValueError as error:
        raise RobotError(f"{where} sent a malformed answer: {error}") from error
