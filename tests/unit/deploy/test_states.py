"""The states of a drive: every transition of the table, and every one that it forbids."""

import itertools

import pytest

from robodreamer_deploy.control.states import TRANSITIONS, State, StateMachine

PAIRS = list(itertools.product(State, State))
WAYS: dict[State, tuple[State, ...]] = {
    State.DISARMED: (),
    State.WARMING: (State.WARMING,),
    State.RAMPING: (State.WARMING, State.RAMPING),
    State.DRIVING: (State.WARMING, State.DRIVING),
    State.HOLDING: (State.WARMING, State.HOLDING),
    State.STOPPED: (State.STOPPED,),
}
"""A way from the beginning to each state."""
ALLOWED = {
    ("disarmed", "warming"), ("disarmed", "stopped"),
    ("warming", "ramping"), ("warming", "driving"), ("warming", "holding"),
    ("warming", "disarmed"), ("warming", "stopped"),
    ("ramping", "driving"), ("ramping", "holding"),
    ("ramping", "disarmed"), ("ramping", "stopped"),
    ("driving", "holding"), ("driving", "disarmed"), ("driving", "stopped"),
    ("holding", "warming"), ("holding", "ramping"), ("holding", "driving"),
    ("holding", "disarmed"), ("holding", "stopped"),
}  # fmt: skip
"""As docs/onboard.md draws them."""


def in_state(state: State) -> StateMachine:
    machine = StateMachine()
    for step in WAYS[state]:
        assert machine.enter(step)
    assert machine.state is state
    return machine


def test_the_table_is_that_of_the_documentation() -> None:
    table = {(a.value, b.value) for a, following in TRANSITIONS.items() for b in following}
    assert table == ALLOWED
    assert TRANSITIONS.keys() == set(State)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_what_the_table_allows_happens_and_nothing_else(before: State, after: State) -> None:
    machine = in_state(before)
    if before is after or (before.value, after.value) in ALLOWED:
        assert machine.enter(after)
        assert machine.state is after
    elif before is State.STOPPED:
        assert not machine.enter(after)
        assert machine.state is State.STOPPED
    else:
        with pytest.raises(AssertionError, match=f"{before.value} to {after.value}"):
            machine.enter(after)
        assert machine.state is before


@pytest.mark.parametrize("before", State)
def test_a_stop_is_possible_from_everywhere_and_final(before: State) -> None:
    machine = in_state(before)
    machine.stop("smoke")
    machine.stop("fire")
    assert (machine.state, machine.stop_reason) == (State.STOPPED, "smoke")
    assert not any(machine.enter(state) for state in State if state is not State.STOPPED)
