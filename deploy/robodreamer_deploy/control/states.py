"""States of a drive and the transitions between them; `docs/onboard.md` draws them."""

import threading
from collections.abc import Mapping
from enum import Enum


class State(Enum):
    """State of the drive."""

    DISARMED = "disarmed"
    """No drive: whatever is sent, the robot holds."""
    WARMING = "warming"
    """The model watches and decides, the robot holds."""
    RAMPING = "ramping"
    """The robot goes over from the pose it holds to what the policy wants."""
    DRIVING = "driving"
    """The robot does what the policy wants, within the limits."""
    HOLDING = "holding"
    """The robot holds because of a fault that may pass."""
    STOPPED = "stopped"
    """The robot holds for good: no state follows."""


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.DISARMED: frozenset({State.WARMING, State.STOPPED}),
    State.WARMING: frozenset(
        {State.RAMPING, State.DRIVING, State.HOLDING, State.DISARMED, State.STOPPED}
    ),
    State.RAMPING: frozenset({State.DRIVING, State.HOLDING, State.DISARMED, State.STOPPED}),
    State.DRIVING: frozenset({State.HOLDING, State.DISARMED, State.STOPPED}),
    State.HOLDING: frozenset(
        {State.WARMING, State.RAMPING, State.DRIVING, State.DISARMED, State.STOPPED}
    ),
    State.STOPPED: frozenset(),
}
"""The states that may follow each; every state may also stay as it is."""


class StateMachine:
    """The state, changed by the loop's thread and, to STOPPED, by the watchdog's."""

    def __init__(self, state: State = State.DISARMED) -> None:
        self._state = state
        self._stop_reason: str | None = None if state is not State.STOPPED else "stopped before"
        self._lock = threading.Lock()

    @property
    def state(self) -> State:
        """The state now."""
        return self._state

    @property
    def stop_reason(self) -> str | None:
        """Reason why the robot was stopped; None while it may move."""
        return self._stop_reason

    def enter(self, state: State) -> bool:
        """Go to `state`; return False, and stay, where the robot has been stopped.

        Raises:
            AssertionError: The table has no such transition, which is a mistake in the program.
        """
        with self._lock:
            if self._state is state:
                return True
            if self._state is State.STOPPED:
                return False
            assert state in TRANSITIONS[self._state], f"{self._state.value} to {state.value}"
            self._state = state
            return True

    def stop(self, reason: str) -> bool:
        """Go to STOPPED, from any thread; return whether it was not so before.

        The first reason is kept.
        """
        with self._lock:
            if self._stop_reason is not None:
                return False
            self._state, self._stop_reason = State.STOPPED, reason
            return True
