"""Replay: a drive is repeated from its log to the bit; what was changed is found at its tick."""

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
from robodreamer_deploy.recording.event_stream import Entry
from robodreamer_deploy.recording.replay import Replay, Replayed

NAN = {"proprio/position": np.array([np.nan, 0.0], np.float32)}
BLIND = {"image/eye": None}
READINGS: dict[int, Any] = {6: NAN, 7: NAN, 9: BLIND, 31: BLIND, 32: BLIND, 50: NAN}
BUSY_S = {13: 0.05, 34: 0.03, 55: 0.3}
FEWER = settings(max_examples=settings().max_examples // 3)
Edit = Callable[[Tick], Tick]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return Policy(load_bundle(toy_policy.write_bundle(tmp_path_factory.mktemp("toy"))))


@pytest.fixture(scope="module")
def drive(policy: Policy) -> RecordedDrive:
    """Return a drive in which some ticks held, some were blind, and some were skipped."""
    return RecordedDrive(
        policy, change=lambda i: READINGS.get(i, {}), busy_s=lambda i: BUSY_S.get(i, 0.0),
        ramp_s=0.1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def entries(drive: RecordedDrive) -> list[Entry]:
    """Return three episodes of that drive."""
    told: list[Entry] = []
    drive.record([told.append], range(3, 6), ticks_per_state=4)
    return told


def replayed(drive: RecordedDrive, entries: list[Entry]) -> Replayed:
    return Replay(drive.policy, drive.about()).run(entries)


def changed(entries: list[Entry], number: int, change: Edit) -> list[Entry]:
    """Return the entries, one of whose ticks is another one."""
    tick = entries[number].event
    assert isinstance(tick, Tick)
    return [*entries[:number], entries[number]._replace(event=change(tick)), *entries[number + 1 :]]


def test_a_drive_is_repeated_to_the_bit(drive: RecordedDrive, entries: list[Entry]) -> None:
    ticks = [entry.event for entry in entries if isinstance(entry.event, Tick)]
    limits = {limit for tick in ticks for limit in tick.limits}
    assert limits >= {"rate", "ramp", "warming"}
    assert {tick.skipped for tick in ticks} >= {0, 1, 2}
    assert {None, "posterior", "prior"} == {tick.step and tick.step.kind for tick in ticks}
    assert sum(tick.is_first for tick in ticks) > 3  # the long stall begins the model anew
    result = replayed(drive, entries)
    assert result == Replayed(num_ticks=len(ticks), num_repeated=len(ticks))


def next_float(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.nextafter(array, np.float32(-2), dtype=np.float32)


def is_posterior(entry: Entry) -> bool:
    event = entry.event
    return (
        isinstance(event, Tick)
        and event.step is not None
        and event.step.kind == "posterior"
        and event.sent is not None
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
    drive: RecordedDrive, entries: list[Entry], edit: Edit, what: str
) -> None:
    numbers = [i for i, entry in enumerate(entries) if is_posterior(entry)]
    number = numbers[len(numbers) // 2]
    result = replayed(drive, changed(entries, number, edit))
    tick = entries[number].event
    assert isinstance(tick, Tick)
    assert result.difference is not None
    assert (result.difference.episode, result.difference.tick) == (1, tick.index)
    assert what in result.difference.what
    before = sum(isinstance(entry.event, Tick) for entry in entries[:number])
    assert result.num_repeated == before
    assert result.num_ticks == sum(isinstance(entry.event, Tick) for entry in entries)


@settings(FEWER)
@given(data=st.data())
def test_a_flipped_bit_of_an_observation_shows_at_its_tick(
    drive: RecordedDrive, entries: list[Entry], data: st.DataObject
) -> None:
    """Bits of low order may be lost in rounding; the image's are not, and the state knows all."""
    number = data.draw(st.sampled_from([i for i, e in enumerate(entries) if is_posterior(e)]))

    def flip(tick: Tick) -> Tick:
        image = tick.observation["image/eye"].copy()
        image.ravel()[data.draw(st.integers(0, image.size - 1))] ^= 128
        return tick._replace(observation={**tick.observation, "image/eye": image})

    result = replayed(drive, changed(entries, number, flip))
    tick = entries[number].event
    assert isinstance(tick, Tick)
    assert result.difference is not None
    assert result.difference.tick == tick.index
    assert "surprise" in result.difference.what or "action" in result.difference.what


def test_what_was_really_done_matters_from_the_next_tick_on(
    drive: RecordedDrive, entries: list[Entry]
) -> None:
    number = next(i for i in range(2, len(entries)) if all(map(is_posterior, entries[i : i + 2])))
    lied = changed(entries, number, lambda t: t._replace(executed=-t.executed))
    difference = replayed(drive, lied).difference
    assert difference is not None
    tick = entries[number].event
    assert isinstance(tick, Tick)
    assert difference.tick in (tick.index, tick.index + 1)  # a state is compared right after it


@settings(FEWER)
@given(data=st.data())
def test_after_a_gap_repeating_goes_on_from_the_next_state(
    drive: RecordedDrive, entries: list[Entry], data: st.DataObject
) -> None:
    begin = data.draw(st.integers(0, len(entries) - 1))
    end = data.draw(st.integers(begin + 1, len(entries)))
    left = entries[:begin] + entries[end:]
    result = replayed(drive, left)
    assert result.difference is None
    num_ticks = sum(isinstance(entry.event, Tick) for entry in left)
    assert result.num_repeated + result.num_unknown == result.num_ticks == num_ticks
    assert result.num_unknown <= 4  # the ticks up to the next state


def test_from_the_middle_of_an_episode_on_limits_are_judged_too(
    drive: RecordedDrive, entries: list[Entry]
) -> None:
    """As in a flight recorder's dump, which has no beginning."""
    states = [i for i, entry in enumerate(entries) if entry.state is not None]
    num_judged = 0
    for begin in states:
        rest = entries[begin:]
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


def test_what_the_limits_remember_is_compared_like_the_models_state(
    drive: RecordedDrive, entries: list[Entry]
) -> None:
    number = next(i for i, entry in enumerate(entries) if i > 9 and entry.state is not None)
    state = entries[number].state
    assert state is not None
    for other in (
        {"ramp_left": state.safety.ramp_left + 1},
        {"change": state.safety.change + np.float32(0.5)},
        {"last": None},
        {"last": np.full(2, 0.25, np.float32)},
    ):
        lie = state._replace(safety=state.safety._replace(**other))
        lied = [*entries[:number], entries[number]._replace(state=lie), *entries[number + 1 :]]
        difference = replayed(drive, lied).difference
        assert difference is not None, other
        assert difference.what.startswith("what the limits remember")


def test_another_policy_differs_at_once(
    drive: RecordedDrive, entries: list[Entry], tmp_path: Path
) -> None:
    folder = toy_policy.write_bundle(tmp_path / "other", weights=toy_policy.make_weights(7))
    difference = Replay(Policy(load_bundle(folder)), drive.about()).run(entries).difference
    assert difference is not None
    assert (difference.episode, difference.tick) == (0, 0)


def test_a_tick_is_told_in_words(drive: RecordedDrive, entries: list[Entry]) -> None:
    result = replayed(drive, changed(entries, 5, lambda t: t._replace(limits=("range",))))
    assert str(result.difference).startswith("episode 0, tick 4: limits ")
    assert dataclasses.is_dataclass(result)
