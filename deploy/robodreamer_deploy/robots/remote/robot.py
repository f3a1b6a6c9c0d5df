"""A robot of another process, as the loop sees it: `--robot tcp://HOST:PORT`.

Every wait is bounded, and ends early when the other process is gone. A reading that does not come
in time holds the robot for a tick; a command that is not confirmed ends the drive. When the
connection comes back within that, the drive goes on; a robot's process that was begun anew, or has
taken another driver, is not driven on.

Time is never compared across machines: the other side tells how old a value is, and its age counts
from the moment at which it can have been measured at the latest: too old, if anything, by the time
that messages travel.
"""

import logging
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.differences import differences
from robodreamer_deploy.robots.remote.address import parse_address
from robodreamer_deploy.robots.remote.client import Answer, Link
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
"""Part of the time after which the robot holds by itself, and commands are no longer sent."""

Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the other side tells of itself."""

    number: int
    contract: Mapping[str, Any]
    observation_features: Mapping[str, tuple[int, ...]]
    action_features: Mapping[str, tuple[int, ...]]
    is_episodic: bool
    command_within_s: float

    def __post_init__(self) -> None:
        """Refuse a robot that would hold before any command can reach it."""
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
    """A robot behind a `Link` that is open; see `robots.Robot` and `StampedRobot`."""

    def __init__(self, link: Link, description: Description, contract: Contract) -> None:
        self._link = link
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
        """When the newest values were measured, in this machine's monotonic seconds."""
        return self._stamps

    @property
    def is_enabled(self) -> bool:
        """Whether its dead-man's switch, if it has one, was pressed at the last answer.

        The other side holds by itself while it is released; this side goes on through a ramp.
        """
        return self._is_enabled

    def connect(self) -> None:
        """Become its driver; it is held.

        Raises:
            RobotError: It has another driver, or does not answer.
        """
        self._take_in(self._link.request("connect", within_s=CONNECT_WITHIN_S))
        self._is_connected = True

    def get_observation(self) -> Mapping[str, Array]:
        """Return the newest values that the robot has."""
        answer = self._link.request("get_observation", within_s=self._within_s)
        self._take_in(answer)
        ages = self._read(_Ages, answer.message, ("ages_s", "busy_s"))
        told_s = answer.sent_s + max(0.0, ages.busy_s)  # it cannot have been earlier
        before = self._stamps  # no value was measured before the one that it follows
        self._stamps = {
            name: max(told_s - max(0.0, age), before.get(name, -math.inf))
            for name, age in ages.ages_s.items()
        }
        return answer.message.arrays

    def send_action(self, action: Array) -> Array:
        """Send one action; return what was executed.

        One that comes so late that the robot may be holding by itself is not sent: it holds.

        Raises:
            RobotError: It was not confirmed; or it comes so late that the robot does hold by
                itself, as after this process was suspended.
        """
        now = time.monotonic()
        pause_s = 0.0 if self._acted_s is None else now - self._acted_s
        if pause_s >= self._description.command_within_s:
            raise RobotError(
                f"{pause_s:.2f} s without a command: {self._link.address} has been holding by "
                f"itself since {self._description.command_within_s:g} s after the last one"
            )
        if pause_s > self._late_s:
            logger.warning("%.2f s without a command: held instead", pause_s)
            return self.hold()
        answer = self._link.request(
            "send_action", within_s=self._within_s, arrays={"action": action}
        )
        self._acted_s = now
        return self._executed(answer)

    def hold(self) -> Array:
        """Have the robot hold; return the action this amounts to.

        Unconnected nothing is asked of it: its own process has it hold while nobody drives.

        Raises:
            RobotError: It did not confirm: it will stop by itself if it can, since commands cease.
        """
        if not self._is_connected:
            return self._held
        try:
            answer = self._link.request("hold", within_s=HOLD_WITHIN_S)
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
        """Leave the robot to others, holding. May be called twice, and after a failed `connect`."""
        try:
            if self._is_connected:
                self._is_connected = False
                self._link.request("disconnect", within_s=HOLD_WITHIN_S)
        finally:
            self._link.close()

    def verdict(self) -> Mapping[str, Any]:
        """Return what the robot's own checker thinks of the commands so far.

        Raises:
            RobotError: It has none.
        """
        answer = self._link.request("verdict", within_s=self._within_s)
        return self._read(_Verdict, answer.message, ("verdict",)).verdict

    def _executed(self, answer: Answer) -> Array:
        self._take_in(answer)
        if "action" not in answer.message.arrays:
            raise RobotError(f"{self._link.address} does not tell what was executed")
        return answer.message.arrays["action"]

    def _take_in(self, answer: Answer) -> None:
        """Remember what every answer tells."""
        self._is_enabled = answer.message.fields.get("is_enabled") is True

    def _read(self, kind: type[Record], message: Message, names: tuple[str, ...]) -> Record:
        values = {name: message.fields[name] for name in names if name in message.fields}
        return _read(kind, values, str(self._link.address))


class EpisodicRemoteRobot(RemoteRobot):
    """A robot of another process that can start episodes; see `robots.EpisodicRobot`."""

    _status = _Status(is_over=False, episode_return=0.0, success=None)

    @property
    def is_episode_over(self) -> bool:
        """Whether the task had ended at the last answer."""
        return self._status.is_over

    @property
    def episode_return(self) -> float:
        """Sum of rewards until the last answer."""
        return self._status.episode_return

    @property
    def episode_success(self) -> bool | None:
        """Whether the goal was met at the last answer; None if the task does not know."""
        return self._status.success

    def start_episode(self, seed: int) -> None:
        """Begin a new episode."""
        self._acted_s = None
        answer = self._link.request(
            "start_episode", within_s=EPISODE_WITHIN_S, fields={"seed": seed}
        )
        self._take_in(answer)

    def _take_in(self, answer: Answer) -> None:
        super()._take_in(answer)
        self._status = self._read(_Status, answer.message, ("is_over", "episode_return", "success"))


ARGUMENT = re.compile(r"//(\[[^\]]*\]|[^:\[\]]*):[^:]*")


def make_robot(argument: str, contract: Contract) -> RemoteRobot:
    """Make the robot of `--robot tcp://HOST:PORT[:KEY]`; KEY is the driver's key file.

    Raises:
        RobotError: Nobody is there, it does not let this side in, or does not fit the policy.
    """
    place = ARGUMENT.match(argument)
    end = len(argument) if place is None else place.end()
    address, key = parse_address(f"tcp:{argument[:end]}"), argument[end:].removeprefix(":")
    link = Link(address, load_key(Path(key), "driver") if key else None)
    try:
        description = _read(Description, link.open().fields, str(address))
        offered = Contract.from_dict(description.contract)
    except ValueError as error:
        link.close()
        raise RobotError(f"{address} speaks otherwise: {error}") from error
    except BaseException:
        link.close()
        raise
    if found := "; ".join(differences(offered, contract)):
        link.close()
        raise RobotError(f"the policy of {contract.task} cannot drive {address}: {found}")
    kind = EpisodicRemoteRobot if description.is_episodic else RemoteRobot
    return kind(link, description, contract)


def _read(kind: type[Record], values: Mapping[str, Any], where: str) -> Record:
    try:
        return read_record(kind, values, where)
    except ValueError as error:
        raise RobotError(f"{where} sent an answer that is none: {error}") from error
