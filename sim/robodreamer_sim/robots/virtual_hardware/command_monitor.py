"""Independent monitor of the commands that a robot receives.

It shares no code with the driver's `Safety`, has its limits from a file of its own, and sees what
arrives at the robot. It prevents nothing: it counts unsafe commands and keeps the worst of each
kind. Everything is in the policy's units.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_deploy.utils.strict_json import parse_json, read_record

State = Literal["free", "ceased", "stopped"]
"""State of the robot: free to move, held because commands ceased, or stopped."""
TOLERANCE = 1e-4
"""Tolerance of an action in [-1, 1], for single precision and another order of computation."""
LONGEST_GAP = 5
"""Control periods after which the change since the last command is not checked."""


@dataclass(frozen=True, kw_only=True)
class CommandLimits:
    """Limits of a robot's commands, per element; None where there is no limit."""

    max_rate: tuple[float, ...] | None = None
    """Change per second; the full range is 2."""
    max_acceleration: tuple[float, ...] | None = None
    """Change of the rate, per second squared."""

    @classmethod
    def read(cls, path: Path, action: ActionSpec) -> "CommandLimits":
        """Read them from a JSON file.

        Raises:
            ValueError: It cannot be read, or has not one limit per element.
        """
        try:
            limits = read_record(cls, parse_json(path.read_text()), "limits")
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        for name, values in vars(limits).items():
            if values is not None and (len(values) != action.size or min(values) <= 0.0):
                raise ValueError(f"{path}: {name} has not {action.size} numbers above 0")
        return limits


class CommandMonitor:
    """Monitor of commands; see the module.

    Args:
        action: What is commanded.
        control_dt_s: Seconds from one command to the next.
        still_within_s: How long after the last command the robot may go on moving.
        limits: Its own; not those that the driver was given.
    """

    def __init__(
        self,
        action: ActionSpec,
        control_dt_s: float,
        still_within_s: float,
        limits: CommandLimits | None = None,
    ) -> None:
        self._action, self._dt_s = action, control_dt_s
        self._still_within_s = still_within_s
        self._limits = limits or CommandLimits()
        self._last: Array | None = None
        self._last_s = 0.0
        self._rates: list[Array] = []
        self._heard_s: float | None = None
        self._is_told = False
        self.num_actions = self.num_holds = 0
        self.longest_blind_s = 0.0
        """Longest time that the robot moved without a command."""
        self.unsafe: Counter[str] = Counter()
        """Number of unsafe commands by kind."""
        self.worst: dict[str, tuple[float, str]] = {}
        """Worst command of each kind: the excess, and a sentence."""

    def begin(self) -> None:
        """Begin an episode: the next command has no predecessor."""
        self._last, self._rates, self._heard_s, self._is_told = None, [], None, False

    def held(self, now_s: float, executed: Array) -> None:
        """Note a hold, given as the action (A,) that it equals."""
        self.num_holds += 1
        jump = [] if self._last is None else [(executed - self._last) / self._dt_s]
        self._last, self._last_s, self._heard_s = executed.astype(float), now_s, None
        self._rates = [np.zeros(self._action.size), *jump]  # at rest, or on the way there

    def commanded(self, now_s: float, action: Array, state: State) -> None:
        """Check an action (A,) that arrived in a state of the robot.

        A stop of the robot's own the driver learns of by its next command being refused.
        """
        self.num_actions += 1
        if state == "ceased":
            self._blame("after commands had ceased", 1.0, "an action without a hold before it")
        if state == "stopped":
            if self._is_told:
                self._blame("after a stop", 1.0, "an action though the stop had been told")
            self._is_told = True
        if not np.isfinite(action).all():
            self._blame("not finite", np.inf, f"the action {action.tolist()}")
            self._is_told = True  # whoever refuses it says so
            return
        self._judge_range(action)
        if state == "free":
            self._judge_change(now_s, action.astype(float))
            self._heard_s = now_s

    def applied(self, now_s: float, *, is_rest: bool) -> None:
        """Note that the actuators get an action now, the rest action or another."""
        if is_rest or self._heard_s is None:
            return
        blind_s = now_s - self._heard_s
        self.longest_blind_s = max(self.longest_blind_s, blind_s)
        if blind_s > self._still_within_s:
            text = f"moves {blind_s:.3f} s after the last command"
            self._blame("moves without commands", blind_s, text)

    def verdict(self) -> dict[str, Any]:
        """Return the verdict as plain JSON values."""
        return {
            "num_actions": self.num_actions,
            "num_holds": self.num_holds,
            "num_unsafe": self.unsafe.total(),
            "unsafe": dict(self.unsafe),
            "worst": {kind: text for kind, (_, text) in self.worst.items()},
            "longest_blind_s": self.longest_blind_s,
            "still_within_s": self._still_within_s,
        }

    def _judge_range(self, action: Array) -> None:
        if self._action.kind == "discrete":
            off = float(np.abs(np.sort(action) - np.eye(len(action))[-1]).max())
        else:
            off = float(np.abs(action).max() - 1.0)
        if off > TOLERANCE:
            self._blame("out of range", off, f"the action {action.tolist()}")

    def _judge_change(self, now_s: float, action: Array) -> None:
        """Check the change between two actions, in the driver's favour where periods were missed.

        Messages take a while each, so that time is counted in whole control periods; who limits
        the change per command, and who limits it per period passed, are both right.
        """
        last, rates, self._rates = self._last, self._rates, []
        periods = max(1, round((now_s - self._last_s) / self._dt_s))
        self._last, self._last_s = action, now_s
        if last is None or periods > LONGEST_GAP or self._action.kind == "discrete":
            return
        passed_s = [n * self._dt_s for n in range(1, periods + 1)]
        self._rates = [(action - last) / t for t in passed_s]
        if self._limits.max_rate is not None:
            allowed = np.array(self._limits.max_rate) * passed_s[-1] + TOLERANCE
            self._blame_element("too fast", np.abs(action - last) / allowed, "rate")
        if self._limits.max_acceleration is not None and rates:
            self._judge_acceleration(rates, passed_s[-1])

    def _judge_acceleration(self, before: list[Array], passed_s: float) -> None:
        allowed = np.array(self._limits.max_acceleration) * passed_s
        allowed += 2.0 * TOLERANCE / self._dt_s
        excess = [np.abs(new - old) / allowed for new in self._rates for old in before]
        self._blame_element("accelerates too much", np.min(excess, axis=0), "acceleration")

    def _blame_element(self, kind: str, excess: Array, what: str) -> None:
        """Record the element that exceeds its limit most, if one does."""
        index = int(np.argmax(excess))
        if excess[index] > 1.0:
            name = self._action.labels[index] if self._action.labels else str(index)
            text = f"{name} has {excess[index]:.3g} times the {what} that is allowed"
            self._blame(kind, float(excess[index]), text)

    def _blame(self, kind: str, amount: float, text: str) -> None:
        self.unsafe[kind] += 1
        if kind not in self.worst or amount > self.worst[kind][0]:
            self.worst[kind] = (amount, text)


def format_verdict(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Yield a verdict as lines for people."""
    yield (
        f"commands    {verdict['num_actions']} actions, {verdict['num_holds']} holds, "
        f"{verdict['num_unsafe']} unsafe"
    )
    for kind, count in verdict["unsafe"].items():
        yield f"UNSAFE      {count} {kind}; the worst: {verdict['worst'][kind]}"
    yield (
        f"blind       moved on without a command for at most {verdict['longest_blind_s']:.3f} s, "
        f"allowed are {verdict['still_within_s']:.3f} s"
    )
