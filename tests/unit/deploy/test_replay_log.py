"""Replay: a drive is repeated from its log to the bit; a change shows at its tick."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toy_policy
from recorded_drive import RecordedDrive
from robodreamer_deploy.control.events import Tick
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.recording.event_stream import LogEvent
from robodreamer_deploy.recording.replay import Replay, ReplayResult

NAN = {"proprio/position": np.array([np.nan, 0.0], np.float32)}
BLIND = {"image/eye": None}
READINGS: dict[int, Any] = {6: NAN, 7: NAN, 9: BLIND, 31: BLIND, 32: BLIND, 50: NAN}
BUSY_S = {13: 0.05, 34: 0.03, 55: 0.3}
FEWER = settings(max_examples=settings().max_examples // 3)
Edit = Callable[[Tick], Tick]


@pytest.fixture(scope="module")
def drive(policy: Policy) -> RecordedDrive:
    """Return a drive in which some ticks held, some were blind, and some were skipped."""
    return RecordedDrive(
        policy, change=lambda i: READINGS.get(i, {}), busy_s=lambda i: BUSY_S.get(i, 0.0),
        ramp_s=0.1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def events(drive: RecordedDrive) -> list[LogEvent]:
    """Return three episodes of that drive."""
    recorded: list[LogEvent] = []
    drive.record([recorded.append], range(3, 6), ticks_per_snapshot=4)
    return recorded


def replayed(drive: RecordedDrive, events: list[LogEvent]) -> ReplayResult:
    return Replay(drive.policy, drive.metadata()).run(events)


def changed(events: list[LogEvent], number: int, change: Edit) -> list[LogEvent]:
    """Return the events with one tick changed."""
    tick = events[number].payload
    assert isinstance(tick, Tick)
    return [*events[:number], events[number]._replace(payload=change(tick)), *events[number + 1 :]]


def test_a_drive_is_repeated_to_the_bit(drive: RecordedDrive, events: list[LogEvent]) -> None:
    ticks = [event.payload for event in events if isinstance(event.payload, Tick)]
    limits = {limit for tick in ticks for limit in tick.limits}
    assert limits >= {"rate", "ramp", "warming"}
    assert {tick.skipped for tick in ticks} >= {0, 1, 2}
    assert {None, "posterior", "prior"} == {tick.step and tick.step.kind for tick in ticks}
    assert sum(tick.is_first for tick in ticks) > 3  # the long stall resets the model
    result = replayed(drive, events)
    assert result == ReplayResult(num_ticks=len(ticks), num_repeated=len(ticks))


def next_float(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.nextafter(array, np.float32(-2), dtype=np.float32)


def is_posterior(event: LogEvent) -> bool:
    payload = event.payload
    return (
        isinstance(payload, Tick)
        and payload.step is not None
        and payload.step.kind == "posterior"
        and payload.sent is not None
    )


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda t: t._replace(step=t.step._replace(action=next_float(t.step.action))), "element"),
        (
            lambda t: t._replace(step=t.step._replace(counter=t.step.counter + 1)),
            "of the model, in",
        ),
        (lambda t: t._replace(step=t.step._replace(surprise=t.step.surprise + 1e-9)), "surprise"),
        (lambda t: t._replace(step=t.step._replace(kind="partial")), "a posterior step"),
        (lambda t: t._replace(limits=(*t.limits, "robot")), "limits"),
        (lambda t: t._replace(sent=next_float(t.sent)), "of the command is"),
        (lambda t: t._replace(sent=None), "a hold"),
        (lambda t: t._replace(executed=t.executed + 9), "the limits refuse what was done then"),
        (lambda t: t._replace(observation=dict.fromkeys(t.observation, np.zeros(2))), "refuses"),
        (lambda t: t._replace(is_first=not t.is_first), "in the log"),
        (lambda t: t._replace(skipped=t.skipped + 1), "step"),
        (lambda t: t._replace(missing=("image/eye",)), "a prior step"),
    ],
)
def test_a_changed_tick_is_the_one_that_is_named(
    drive: RecordedDrive, events: list[LogEvent], edit: Edit, what: str
) -> None:
    numbers = [i for i, event in enumerate(events) if is_posterior(event)]
    number = numbers[len(numbers) // 2]
    result = replayed(drive, changed(events, number, edit))
    tick = events[number].payload
    assert isinstance(tick, Tick)
    assert result.difference is not None
    assert (result.difference.episode, result.difference.tick) == (1, tick.index)
    assert what in result.difference.what
    before = sum(isinstance(event.payload, Tick) for event in events[:number])
    assert result.num_repeated == before
    assert result.num_ticks == sum(isinstance(event.payload, Tick) for event in events)


@settings(FEWER)
@given(data=st.data())
def test_a_flipped_bit_of_an_observation_shows_at_its_tick(
    drive: RecordedDrive, events: list[LogEvent], data: st.DataObject
) -> None:
    """Bits of low order may be lost in rounding; the image's are not, and the state knows all."""
    number = data.draw(st.sampled_from([i for i, e in enumerate(events) if is_posterior(e)]))

    def flip(tick: Tick) -> Tick:
        image = tick.observation["image/eye"].copy()
        image.ravel()[data.draw(st.integers(0, image.size - 1))] ^= 128
        return tick._replace(observation={**tick.observation, "image/eye": image})

    result = replayed(drive, changed(events, number, flip))
    tick = events[number].payload
    assert isinstance(tick, Tick)
    assert result.difference is not None
    assert result.difference.tick == tick.index
    assert "surprise" in result.difference.what or "action" in result.difference.what


def test_the_executed_action_matters_from_the_next_tick_on(
    drive: RecordedDrive, events: list[LogEvent]
) -> None:
    number = next(i for i in range(2, len(events)) if all(map(is_posterior, events[i : i + 2])))
    lied = changed(events, number, lambda t: t._replace(executed=-t.executed))
    difference = replayed(drive, lied).difference
    assert difference is not None
    tick = events[number].payload
    assert isinstance(tick, Tick)
    assert difference.tick in (tick.index, tick.index + 1)  # a state is compared right after it


@settings(FEWER)
@given(data=st.data())
def test_after_a_gap_replay_goes_on_from_the_next_snapshot(
    drive: RecordedDrive, events: list[LogEvent], data: st.DataObject
) -> None:
    begin = data.draw(st.integers(0, len(events) - 1))
    end = data.draw(st.integers(begin + 1, len(events)))
    left = events[:begin] + events[end:]
    result = replayed(drive, left)
    assert result.difference is None
    num_ticks = sum(isinstance(event.payload, Tick) for event in left)
    assert result.num_repeated + result.num_unknown == result.num_ticks == num_ticks
    assert result.num_unknown <= 4  # the ticks up to the next state


def test_limits_are_compared_from_the_middle_of_an_episode_too(
    drive: RecordedDrive, events: list[LogEvent]
) -> None:
    """As in a flight recorder's dump, which has no beginning."""
    states = [i for i, event in enumerate(events) if event.snapshot is not None]
    num_judged = 0
    for begin in states:
        rest = events[begin:]
        assert replayed(drive, rest).difference is None
        if len(rest) > 1 and is_posterior(rest[1]):
            num_judged += 1
            lied = changed(
                rest, 1, lambda tick: tick._replace(sent=next_float(np.asarray(tick.sent)))
            )
            difference = replayed(drive, lied).difference
            assert difference is not None
            assert "of the command is" in difference.what
    assert num_judged > 3


def test_the_memory_of_the_limits_is_compared_like_the_models_state(
    drive: RecordedDrive, events: list[LogEvent]
) -> None:
    number = next(i for i, event in enumerate(events) if i > 9 and event.snapshot is not None)
    state = events[number].snapshot
    assert state is not None
    for other in (
        {"ramp_left": state.safety.ramp_left + 1},
        {"change": state.safety.change + np.float32(0.5)},
        {"last": None},
        {"last": np.full(2, 0.25, np.float32)},
    ):
        lie = state._replace(safety=state.safety._replace(**other))
        lied = [*events[:number], events[number]._replace(snapshot=lie), *events[number + 1 :]]
        difference = replayed(drive, lied).difference
        assert difference is not None, other
        assert difference.what.startswith("the memory of the limits after it differs")


def test_another_policy_differs_at_once(
    drive: RecordedDrive, events: list[LogEvent], tmp_path: Path
) -> None:
    folder = toy_policy.write_bundle(tmp_path / "other", weights=toy_policy.make_weights(7))
    difference = Replay(Policy(load_bundle(folder)), drive.metadata()).run(events).difference
    assert difference is not None
    assert (difference.episode, difference.tick) == (0, 0)


def test_a_difference_names_its_tick(drive: RecordedDrive, events: list[LogEvent]) -> None:
    result = replayed(drive, changed(events, 5, lambda t: t._replace(limits=("range",))))
    assert str(result.difference).startswith("episode 0, tick 4: limits ")
    assert dataclasses.is_dataclass(result)
