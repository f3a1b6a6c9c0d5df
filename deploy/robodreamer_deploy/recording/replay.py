"""Replay of a drive from its log, without a robot: the same controller and safety, bit for bit.

Every tick holds the observation and the executed action: from the one the policy's command is
computed again, the other stands in for the robot's answer. At a tick where the command differs, the
log was changed, or the policy, onnxruntime or the machine are not those of the drive. All later
ticks follow from another past, so comparing ends there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from robodreamer_deploy.contract import (
    Array,
)
from robodreamer_deploy.control.events import EpisodeEnd, EpisodeStart, Tick
from robodreamer_deploy.control.fault_tolerance import FaultTolerance
from robodreamer_deploy.control.safety import Executed, Safety, SafetySnapshot
from robodreamer_deploy.control.surprise import SLOW_RATE
from robodreamer_deploy.errors import RobotError, SignalError
from robodreamer_deploy.policy.controller import Controller, NotFiniteError, Snapshot, Step
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.recording.event_stream import DriveSnapshot, LogEvent
from robodreamer_deploy.recording.log_metadata import LogMetadata, logged_safety


class Difference(NamedTuple):
    """First tick at which a replay differs from its log."""

    episode: int
    tick: int  # place on the episode's grid
    what: str

    def __str__(self) -> str:
        return f"episode {self.episode}, tick {self.tick}: {self.what}"


@dataclass
class ReplayResult:
    """Result of repeating a log."""

    num_ticks: int = 0
    """Ticks in the log."""
    num_repeated: int = 0
    """Ticks whose command was computed again and is the same."""
    num_unknown: int = 0
    """Ticks after a gap and before the next snapshot: the model's state is unknown."""
    difference: Difference | None = None
    """The first tick that differs."""


class _LoggedRobot:
    """Robot that answers from the log, as does its dead-man's switch."""

    def __init__(self, size: int) -> None:
        self.answer = np.zeros(size, np.float32)
        self.is_enabled = True

    def send_action(self, action: Array) -> Array:
        del action
        return self.answer

    def hold(self) -> Array:
        return self.answer


class Replay:
    """Repetition of a log's events, in order.

    Args:
        policy: Policy of the drive, or one to compare with it.
        metadata: Metadata of the log.
    """

    def __init__(self, policy: Policy, metadata: LogMetadata) -> None:
        self.result = ReplayResult()
        self._controller = Controller(policy)
        self._contract = policy.bundle.contract
        self._metadata = metadata
        self._robot = _LoggedRobot(self._contract.action.size)
        self._safety: Safety | None = None
        self._is_known = False  # whether the controller's state is the drive's
        self._episode = 0
        self._next_number: int | None = None

    def run(self, events: Iterable[LogEvent]) -> ReplayResult:
        """Repeat everything up to the first difference; later ticks are counted only."""
        for event in events:
            if self._next_number is not None and event.number != self._next_number:
                self._lose_track()
            self._next_number = event.number + 1
            if isinstance(event.payload, EpisodeStart):
                self._start(event.payload)
            elif isinstance(event.payload, EpisodeEnd):
                self._lose_track()
            else:
                self._count(event.payload, event.snapshot)
        return self.result

    def _start(self, start: EpisodeStart) -> None:
        self._controller.draw = start.draw
        self._controller.reset(start.seed)
        self._safety = self._make_safety()
        self._safety.arm()
        self._is_known, self._episode = True, start.number

    def _lose_track(self) -> None:
        self._is_known, self._safety = False, None

    def _count(self, tick: Tick, snapshot: DriveSnapshot | None) -> None:
        result = self.result
        result.num_ticks += 1
        if result.difference is not None:
            return
        if not self._is_known:
            result.num_unknown += 1
        elif what := self._repeat(tick):
            result.difference = Difference(self._episode, tick.index, what)
            return
        else:
            result.num_repeated += 1
        if snapshot is None:
            return
        if what := self._differing_state(snapshot) or self._why_unfit(snapshot):
            result.difference = Difference(self._episode, tick.index, what)
        else:
            self._go_on_from(snapshot)

    def _differing_state(self, snapshot: DriveSnapshot) -> str | None:
        """Return a sentence if the state after a tick differs from the log."""
        if not self._is_known:
            return None
        if _differs(self._controller.snapshot(), snapshot.controller):
            return "the model's state after it differs from the log"
        if self._safety is not None and _has_other_memory(self._safety.snapshot(), snapshot.safety):
            return "the memory of the limits after it differs from the log"
        return None

    def _why_unfit(self, snapshot: DriveSnapshot) -> str | None:
        """Return a sentence if the controller and the limits cannot go on from a snapshot."""
        own = self._controller.snapshot().carry
        sizes = [array.shape for array in snapshot.controller.carry]
        safety = snapshot.safety
        memory = [array for array in (safety.last, safety.change) if array is not None]
        if sizes == [array.shape for array in own] and self._fits(*memory):
            return None
        return "the state after it has other sizes than this policy's"

    def _fits(self, *actions: Array) -> bool:
        return all(action.shape == (self._contract.action.size,) for action in actions)

    def _go_on_from(self, snapshot: DriveSnapshot) -> None:
        self._controller.draw = snapshot.start.draw
        self._controller.restore(snapshot.controller)
        self._safety = self._make_safety()
        self._safety.restore(snapshot.safety)
        self._is_known, self._episode = True, snapshot.start.number

    def _make_safety(self) -> Safety:
        robot = self._robot
        return logged_safety(self._metadata, robot, lambda: robot.is_enabled)

    def _repeat(self, tick: Tick) -> str | None:
        """Compute a tick again; return a sentence about what differs, or None."""
        if what := self._why_impossible(tick):
            return what
        try:
            step = self._step(tick)
        except (SignalError, NotFiniteError) as error:
            return f"the policy refuses what it accepted then: {error}"
        difference = _differing_step(step, tick.step) or self._differing_command(tick)
        self._controller.executed(tick.executed)
        return difference

    def _why_impossible(self, tick: Tick) -> str | None:
        """Return a sentence if no drive can have such a tick."""
        actions = [tick.executed, tick.sent, None if tick.step is None else tick.step.action]
        if not self._fits(*(action for action in actions if action is not None)):
            return f"an action has another number of elements than {self._contract.action.size}"
        if tick.skipped > FaultTolerance.skipped_in_a_row and not tick.is_first:
            return (
                f"{tick.skipped} ticks were skipped before it; after more than "
                f"{FaultTolerance.skipped_in_a_row} a model is reset"
            )
        return None

    def _step(self, tick: Tick) -> Step | None:
        """Advance the model as in the drive, over skipped ticks too."""
        if not tick.is_first:
            self._dream(tick.skipped)
        if tick.step is None:
            if not tick.is_first:
                self._dream(1)
            return None
        read: dict[str, Array] = {}
        for signal in self._contract.inputs:
            if signal.name not in tick.missing:
                read[signal.name] = tick.observation.get(signal.name, np.zeros(0))
                signal.check(read[signal.name])
        missing = frozenset(tick.missing)
        return self._controller.step(read, is_first=tick.is_first, missing=missing)

    def _dream(self, num_steps: int) -> None:
        try:
            for _ in range(num_steps):
                self._controller.skip()
        except NotFiniteError:  # as in the drive: the next step resets the model
            pass

    def _differing_command(self, tick: Tick) -> str | None:
        """Pass the step through the same limits; return how the command differs, or None."""
        assert self._safety is not None, "known as long as the model's state is"
        try:
            executed = self._judge(self._safety, tick)
        except RobotError as error:
            return f"the limits refuse what was done then: {error}"
        if executed.limits != tick.limits:
            return f"limits {_listed(executed.limits)}, in the log {_listed(tick.limits)}"
        if executed.sent is None or tick.sent is None:
            is_same = executed.sent is tick.sent
            return None if is_same else "a command here or there, and a hold in its place"
        return _differing_element("the command", executed.sent, tick.sent)

    def _judge(self, safety: Safety, tick: Tick) -> Executed:
        """Return the executed action; stops and slow-downs are taken from the log."""
        self._robot.answer, self._robot.is_enabled = tick.executed, "dead-man" not in tick.limits
        if tick.is_first:
            safety.restart()
        if tick.step is None:
            return safety.hold()
        if "stopped" in tick.limits:
            safety.stop("as in the log")
        if "surprise" in tick.limits:
            slowed = safety.send(tick.step.action, rate_scale=SLOW_RATE)
            return slowed._replace(limits=("surprise", *slowed.limits))
        return safety.send(tick.step.action)


def _differing_step(step: Step | None, logged: Step | None) -> str | None:
    """Return a sentence if two steps differ in any bit."""
    if step is None or logged is None:
        return None
    if step.kind != logged.kind:
        return f"a {step.kind} step, in the log a {logged.kind} one"
    if step.counter != logged.counter:
        return f"step {step.counter} of the model, in the log {logged.counter}"
    if what := _differing_element("the action", step.action, logged.action):
        return what
    if step.surprise != logged.surprise and step.surprise == step.surprise:
        return f"surprise is {step.surprise!r}, in the log {logged.surprise!r}"
    return None


def _differing_element(what: str, value: Array, logged: Array) -> str | None:
    """Return a sentence if two float32 arrays (A,) differ in any bit; all NaN are the same."""
    differs = value.view(np.uint32) != logged.view(np.uint32)
    differs &= ~(np.isnan(value) & np.isnan(logged))
    if not differs.any():
        return None
    i = int(np.flatnonzero(differs)[0])
    return f"element {i} of {what} is {value[i]}, in the log {logged[i]}"


def _has_other_memory(safety: SafetySnapshot, logged: SafetySnapshot) -> bool:
    def bits(array: Array | None) -> bytes | None:
        return None if array is None else array.tobytes()

    pairs = (safety.last, logged.last), (safety.change, logged.change)
    return safety[:3] != logged[:3] or any(bits(one) != bits(other) for one, other in pairs)


def _differs(state: Snapshot, logged: Snapshot) -> bool:
    pairs = zip(state.carry, logged.carry, strict=True)
    is_same = all(one.tobytes() == other.tobytes() for one, other in pairs)
    return not is_same or (state.seed, state.counter) != (logged.seed, logged.counter)


def _listed(limits: tuple[str, ...]) -> str:
    return ", ".join(limits) or "none"
