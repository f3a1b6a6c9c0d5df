"""Safety: whatever is sent, what reaches the robot is finite, in range, not too fast, or a hold."""

import logging
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_deploy.control.limits import Limits, contract_limits, rate_limits
from robodreamer_deploy.control.safety import ReadOnly, Safety, StartupProfile
from robodreamer_deploy.control.states import State
from robodreamer_deploy.errors import RobotError

DT = 0.02
SPEC = ActionSpec(size=2, low=(-1.0, -1.0), high=(1.0, 1.0))
CHOICE = ActionSpec(size=3, kind="discrete")
HOLD = np.array([0.25, -0.25], np.float32)


class Recorder:
    """A robot that keeps what it was told, and may clip further itself."""

    def __init__(self, clip: float = 1.0) -> None:
        self.clip = clip
        self.commands: list[Array | str] = []

    def send_action(self, action: Array) -> Array:
        self.commands.append(action.copy())
        return np.clip(action, -self.clip, self.clip)

    def hold(self) -> Array:
        self.commands.append("hold")
        return HOLD

    @property
    def sent(self) -> list[Array]:
        return [command for command in self.commands if not isinstance(command, str)]


def armed(
    robot: Any,
    spec: ActionSpec = SPEC,
    *,
    max_rate: tuple[float, ...] | None = None,
    **settings: Any,
) -> Safety:
    limits = None if max_rate is None else rate_limits(spec, max_rate)
    safety = Safety(robot, spec, control_dt_s=DT, **{"limits": limits, **settings})
    safety.arm()
    return safety


def vector(*values: float) -> Array:
    return np.array(values, np.float32)


def test_a_good_action_passes_untouched() -> None:
    robot = Recorder()
    executed = armed(robot).send(vector(0.5, -1.0))
    np.testing.assert_array_equal(executed.action, vector(0.5, -1.0))
    np.testing.assert_array_equal(robot.sent, [vector(0.5, -1.0)])
    assert executed.limits == ()
    assert executed.action.dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_and_the_robot_holds(bad: float) -> None:
    robot = Recorder()
    executed = armed(robot).send(vector(0.5, bad))
    assert robot.commands == ["hold"]
    np.testing.assert_array_equal(executed.action, HOLD)
    assert executed.limits == ("not finite",)


def test_the_range_is_enforced() -> None:
    robot = Recorder()
    executed = armed(robot).send(vector(3.0, -0.5))
    np.testing.assert_array_equal(robot.sent, [vector(1.0, -0.5)])
    np.testing.assert_array_equal(executed.action, vector(1.0, -0.5))
    assert executed.limits == ("range",)


def test_the_rate_is_enforced_per_element_and_second() -> None:
    robot = Recorder()
    safety = armed(robot, max_rate=(10.0, 50.0))
    assert safety.send(vector(0, 0)).limits == ()  # nothing came before it
    second = safety.send(vector(1, -0.9))
    np.testing.assert_allclose(second.action, vector(0.2, -0.9), rtol=1e-6)
    assert second.limits == ("rate",)
    assert safety.send(vector(7, 0)).limits == ("range", "rate")
    np.testing.assert_allclose(robot.sent[2], vector(0.4, 0), rtol=1e-6)


def test_the_rate_counts_from_what_was_executed() -> None:
    safety = armed(robot := Recorder(), max_rate=(10.0, 10.0))
    safety.send(vector(1, 1))
    safety.hold()
    safety.send(vector(1, -1))
    np.testing.assert_allclose(robot.sent[1], HOLD + vector(0.2, -0.2), rtol=1e-6)


def test_after_a_hold_out_of_range_the_next_action_is_in_range_again() -> None:
    class Bent(Recorder):
        def hold(self) -> Array:
            return vector(3.0, -3.0)

    safety = armed(robot := Bent(), max_rate=(10.0, 10.0))
    held = safety.hold()
    np.testing.assert_array_equal(held.action, vector(1.0, -1.0))  # what the model may know
    assert held.limits == ("hold",)
    assert safety.send(vector(np.nan, 0)).limits == ("not finite", "hold")
    safety.send(vector(0, 0))
    np.testing.assert_allclose(robot.sent, [vector(0.8, -0.8)], rtol=1e-6)


def test_from_a_pose_outside_narrower_limits_the_ramp_is_as_even_as_from_any_other() -> None:
    class Far(Recorder):
        def hold(self) -> Array:
            return vector(0.9, -0.9)

    limits = contract_limits(SPEC)._replace(low=np.full(2, -0.2), high=np.full(2, 0.2))
    safety = armed(robot := Far(), limits=limits, startup=StartupProfile(ramp_s=10 * DT / 0.35))
    safety.send(vector(0, 0))  # the warm-up: held
    names = [safety.send(vector(0.95, -0.95)).limits for _ in range(29)]
    way = np.array(robot.sent)
    np.testing.assert_allclose(way[:, 0], np.linspace(0.9, 0.2, 30)[1:], atol=1e-6)
    np.testing.assert_allclose(way[:, 1], -way[:, 0])
    assert names == [("ramp", "range")] * 28 + [("range",)]


def test_a_new_episode_starts_without_predecessor() -> None:
    safety = armed(robot := Recorder(), max_rate=(1.0, 1.0))
    safety.send(vector(1, 1))
    safety.arm()
    assert safety.send(vector(-1, -1)).limits == ()
    np.testing.assert_array_equal(robot.sent[1], vector(-1, -1))


@given(
    st.lists(
        st.lists(st.floats(width=32), min_size=2, max_size=2),
        min_size=1,
        max_size=20,
    )
)
def test_whatever_is_sent_what_arrives_is_safe(values: list[list[float]]) -> None:
    actions = np.array(values, np.float32)
    safety = armed(robot := Recorder(), max_rate=(5.0, 5.0))
    reached: list[Array] = []
    for action in actions:
        executed = safety.send(action)
        last = robot.commands[-1]
        assert isinstance(last, str) == (not np.isfinite(action).all())
        np.testing.assert_array_equal(executed.action, HOLD if isinstance(last, str) else last)
        reached.append(executed.action)
    for command in robot.sent:
        assert np.isfinite(command).all()
        assert (np.abs(command) <= 1).all()
    moved = np.abs(np.diff(reached, axis=0))
    held = [not np.isfinite(action).all() for action in actions[1:]]
    assert (moved[~np.array(held, bool)] <= 5.0 * DT + 1e-6).all()


def test_what_the_robot_changed_is_reported_and_returned() -> None:
    executed = armed(Recorder(clip=0.3)).send(vector(1.5, 0))
    np.testing.assert_allclose(executed.action, vector(0.3, 0))
    assert executed.limits == ("range", "robot")


def test_a_stop_is_latched_and_keeps_its_first_reason() -> None:
    safety = armed(robot := Recorder())
    safety.send(vector(0, 0))
    assert safety.stop_reason is None
    safety.stop("too warm")
    safety.stop("too late")
    executed = safety.send(vector(0.5, 0.5))
    assert robot.commands[1:] == ["hold"] * 3
    assert executed.limits == ("stopped",)
    np.testing.assert_array_equal(executed.action, HOLD)
    safety.arm()
    safety.send(vector(0.5, 0.5))
    assert len(robot.sent) == 1
    assert safety.stop_reason == "too warm"


def test_a_discrete_action_is_one_choice() -> None:
    safety = armed(ReadOnly(CHOICE), CHOICE)
    untouched = safety.send(vector(0, 1, 0))
    np.testing.assert_array_equal(untouched.action, vector(0, 1, 0))
    assert untouched.limits == ()
    executed = safety.send(vector(0.2, 0.1, 0.7))
    np.testing.assert_array_equal(executed.action, vector(0, 0, 1))
    assert executed.limits == ("one-hot",)


def test_a_driver_may_work_in_place_on_what_it_is_given() -> None:
    class Scaling(Recorder):
        def send_action(self, action: Array) -> Array:
            action *= 0.01
            return super().send_action(action)

    wanted = vector(0.5, -1.0)
    executed = armed(Scaling()).send(wanted)
    np.testing.assert_allclose(executed.action, vector(0.005, -0.01))
    assert executed.limits == ("robot",)
    np.testing.assert_array_equal(wanted, vector(0.5, -1.0))


def test_a_driver_may_use_again_what_it_returned() -> None:
    class Thrifty(Recorder):
        buffer = np.zeros(2, np.float32)

        def send_action(self, action: Array) -> Array:
            self.buffer[:] = action
            return self.buffer

        def hold(self) -> Array:
            return self.buffer

    safety = armed(robot := Thrifty(), max_rate=(10.0, 10.0))
    executed, held = safety.send(vector(0.5, -0.5)), safety.hold()
    robot.buffer[:] = 99
    for told in (executed, held):
        np.testing.assert_array_equal(told.action, vector(0.5, -0.5))
        with pytest.raises(ValueError, match="read-only"):
            told.action[0] = 1.0
    np.testing.assert_allclose(safety.send(vector(1, -1)).action, vector(0.7, -0.7), rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "returned", "words"),
    [
        (SPEC, vector(0.0, 45.0), r"\[ ?0\. +45\.\], expected .* within \[-1, 1\]"),
        (CHOICE, vector(0.0, 0.5, 0.5), "one-hot, not actuator values"),
        (CHOICE, vector(0.0, 2.0, 0.0), "one-hot, not actuator values"),
    ],
)
def test_actuator_values_do_not_enter_the_model_as_an_action(
    spec: ActionSpec, returned: Array, words: str
) -> None:
    class Confused(Recorder):
        def send_action(self, action: Array) -> Array:
            return returned

    with pytest.raises(RobotError, match=words):
        armed(Confused(), spec).send(vector(*[0.0] * (spec.size - 1), 1.0))


def test_rounding_at_the_end_of_the_range_is_no_fault() -> None:
    class Rounding(Recorder):
        def send_action(self, action: Array) -> Array:
            return action * np.float32(1.000005)

    executed = armed(Rounding()).send(vector(1.0, -1.0))
    np.testing.assert_array_equal(executed.action, vector(1.0, -1.0))
    assert executed.limits == ()


@pytest.mark.parametrize("returned", [vector(0), vector(0, np.nan), None])
def test_a_robot_that_reports_nonsense_is_a_fault(returned: Array) -> None:
    class Confused(Recorder):
        def send_action(self, action: Array) -> Array:
            return returned

    with pytest.raises(RobotError, match=r"send_action returned .* 2 finite elements"):
        armed(Confused()).send(vector(0, 0))


@pytest.mark.parametrize(
    ("spec", "rate", "words"),
    [
        (SPEC, (1.0,) * 3, "3 rate limits for 2 action elements"),
        (SPEC, (1.0, 0.0), "above 0 and finite"),
        (SPEC, (1.0, np.nan), "above 0 and finite"),
        (CHOICE, (1.0,) * 3, "a discrete action has no rate"),
    ],
)
def test_limits_that_do_not_fit_are_refused(
    spec: ActionSpec, rate: tuple[float, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        rate_limits(spec, rate)


def test_a_dry_run_repeats_what_it_was_told() -> None:
    robot = ReadOnly(SPEC)
    np.testing.assert_array_equal(robot.hold(), vector(0, 0))
    np.testing.assert_array_equal(ReadOnly(CHOICE).hold(), vector(1, 0, 0))
    np.testing.assert_array_equal(robot.send_action(vector(0.5, 0.1)), vector(0.5, 0.1))
    np.testing.assert_array_equal(robot.hold(), vector(0.5, 0.1))


# --- setting in motion ---------------------------------------------------------------------------

FAR = vector(1.0, -1.0)


def states_of(safety: Safety, actions: list[Array]) -> list[State]:
    states: list[State] = []
    for action in actions:
        safety.send(action)
        states.append(safety.state)
    return states


def test_nothing_moves_before_it_is_armed_nor_after_it_is_disarmed() -> None:
    safety = Safety(robot := Recorder(), SPEC, control_dt_s=DT)
    assert safety.send(FAR).limits == ("disarmed",)
    safety.hold()
    assert (safety.state, robot.sent) == (State.DISARMED, [])
    safety.arm()
    assert safety.state is State.WARMING
    safety.send(FAR)
    safety.disarm()
    assert safety.send(FAR).limits == ("disarmed",)
    assert (safety.state, len(robot.sent)) == (State.DISARMED, 1)


def test_the_robot_is_ramped_in_from_the_pose_it_holds() -> None:
    startup = StartupProfile(warm_up_ticks=2, ramp_s=4 * DT)
    safety = armed(robot := Recorder(), startup=startup)
    assert states_of(safety, [FAR] * 7) == [
        *[State.WARMING] * 2, *[State.RAMPING] * 4, State.DRIVING,
    ]  # fmt: skip
    assert robot.commands[:2] == ["hold", "hold"]
    ramp = HOLD + (FAR - HOLD) * np.array([[1], [2], [3], [4], [4]]) / 4
    np.testing.assert_allclose(robot.sent, ramp, atol=1e-6)


def test_what_a_ramp_changes_is_reported_and_so_is_the_warm_up() -> None:
    safety = armed(
        Recorder(), startup=StartupProfile(ramp_s=2 * DT)
    )  # which needs a pose: one tick to watch
    limits = [safety.send(FAR).limits for _ in range(4)]
    assert limits == [("warming",), ("ramp",), (), ()]


def test_the_ramp_after_a_hold_is_as_long_as_the_hold() -> None:
    safety = armed(robot := Recorder(), startup=StartupProfile(ramp_s=4 * DT))
    states_of(safety, [FAR] * 6)
    safety.hold()
    assert states_of(safety, [FAR]) == [State.RAMPING]
    np.testing.assert_array_equal(robot.sent[-1], FAR)
    for _ in range(9):
        safety.hold()
    assert states_of(safety, [FAR] * 5) == [State.RAMPING] * 4 + [State.DRIVING]
    np.testing.assert_allclose(robot.sent[-5], HOLD + (FAR - HOLD) / 4, atol=1e-6)


def test_a_fault_in_the_warm_up_does_not_cut_it_short() -> None:
    safety = armed(Recorder(), startup=StartupProfile(warm_up_ticks=3))
    bad = vector(np.nan, 0)
    assert states_of(safety, [FAR, bad, FAR, FAR, FAR]) == [
        State.WARMING, State.HOLDING, State.WARMING, State.WARMING, State.DRIVING,
    ]  # fmt: skip


@pytest.mark.parametrize("num_sent", [2, 4, 9])
def test_a_model_that_is_reset_is_warmed_up_again(num_sent: int) -> None:
    safety = armed(Recorder(), startup=StartupProfile(warm_up_ticks=2, ramp_s=3 * DT))
    states_of(safety, [FAR] * num_sent)
    safety.restart()
    assert states_of(safety, [FAR] * 6) == [
        *[State.WARMING] * 2, *[State.RAMPING] * 3, State.DRIVING,
    ]  # fmt: skip


def test_a_choice_is_warmed_up_but_not_ramped() -> None:
    safety = armed(ReadOnly(CHOICE), CHOICE, startup=StartupProfile(warm_up_ticks=1, ramp_s=1.0))
    assert states_of(safety, [vector(0, 0, 1)] * 2) == [State.WARMING, State.DRIVING]


@pytest.mark.parametrize("num_sent", range(5))
def test_a_stop_holds_from_every_state(num_sent: int) -> None:
    safety = armed(robot := Recorder(), startup=StartupProfile(warm_up_ticks=1, ramp_s=2 * DT))
    states_of(safety, [FAR] * num_sent)
    moved = len(robot.sent)
    safety.stop("smoke")
    assert states_of(safety, [FAR] * 3) == [State.STOPPED] * 3
    safety.arm()
    safety.disarm()
    safety.restart()
    assert safety.send(FAR).limits == ("stopped",)
    assert len(robot.sent) == moved
    assert robot.commands[-1] == "hold"


def test_the_acceleration_is_limited_from_rest() -> None:
    unlimited = contract_limits(SPEC)
    limits = unlimited._replace(acceleration=np.array([10.0, np.inf]))
    safety = armed(robot := Recorder(), limits=limits, startup=StartupProfile(warm_up_ticks=1))
    safety.send(FAR)
    assert safety.send(FAR).limits == ("acceleration",)
    safety.send(FAR)
    steps = np.diff([HOLD, *robot.sent], axis=0)
    np.testing.assert_allclose(steps[:, 0], [10 * DT**2, 20 * DT**2], atol=1e-6)
    np.testing.assert_allclose(robot.sent[0][1], -1.0)
    safety.hold()  # at another place, but at rest
    safety.send(FAR)
    np.testing.assert_allclose(robot.sent[-1][0], HOLD[0] + 10 * DT**2, atol=1e-6)


def test_a_users_range_is_kept() -> None:
    limits = Limits(*(np.array(v) for v in ([-0.5, -1.0], [0.5, 1.0], [np.inf] * 2, [np.inf] * 2)))
    executed = armed(robot := Recorder(), limits=limits).send(FAR)
    assert executed.limits == ("range",)
    np.testing.assert_array_equal(robot.sent[-1], vector(0.5, -1.0))


# --- two threads ---------------------------------------------------------------------------------


class Slow(Recorder):
    """Hangs in `send_action` until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_in, self.may_go = threading.Event(), threading.Event()

    def send_action(self, action: Array) -> Array:
        self.is_in.set()
        assert self.may_go.wait(5.0)
        return super().send_action(action)


def test_a_stop_from_another_thread_does_not_wait_for_a_command_that_hangs() -> None:
    safety = armed(robot := Slow())
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(safety.send(FAR)))
    thread.start()
    assert robot.is_in.wait(5.0)
    start = time.monotonic()
    safety.stop("hung")
    assert time.monotonic() - start < 2.0
    assert robot.commands == ["hold"]
    robot.may_go.set()
    thread.join(5.0)
    (executed,) = results
    assert executed.limits == ("stopped",)
    assert [type(command) for command in robot.commands] == [str, np.ndarray, str]  # held again


class Deaf(logging.Handler):
    """A terminal that takes nothing in, as after Ctrl-S."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        assert self.goes_on.wait(5.0), record


def test_a_stop_does_not_wait_for_a_terminal_that_takes_nothing_in() -> None:
    safety = armed(robot := Recorder())
    deaf, logger = Deaf(), logging.getLogger("robodreamer_deploy.control")
    logger.addHandler(deaf)
    thread = threading.Thread(target=safety.stop, args=("hung",))
    try:
        thread.start()
        thread.join(0.3)
        assert robot.commands == ["hold"]
    finally:
        deaf.goes_on.set()
        thread.join(5.0)
        logger.removeHandler(deaf)


def test_a_stop_is_told_once_also_where_the_robot_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Array:
        raise OSError("no bus")

    safety = armed(robot := Recorder())
    monkeypatch.setattr(robot, "hold", fail)
    for reason in ("smoke", "fire"):
        with pytest.raises(OSError, match="no bus"):
            safety.stop(reason)
    assert [record.message for record in caplog.records] == ["robot stopped: smoke"]


@given(
    values=st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=12),
    place=st.integers(0, 11),
)
def test_a_restored_one_judges_as_the_other_would_have(values: list[float], place: int) -> None:
    def make() -> tuple[Safety, Recorder]:
        limits = Limits(*(np.full(2, value) for value in (-0.9, 0.8, 5.0, 80.0)))
        robot = Recorder()
        startup = StartupProfile(warm_up_ticks=2, ramp_s=3 * DT)
        return Safety(robot, SPEC, control_dt_s=DT, limits=limits, startup=startup), robot

    one, robot = make()
    one.arm()
    snapshots, executed = [one.snapshot()], []
    for value in values:
        executed.append(one.send(vector(value, -value)))
        snapshots.append(one.snapshot())
    place = min(place, len(values))
    other, another_robot = make()
    other.restore(snapshots[place])
    for value, expected in zip(values[place:], executed[place:], strict=True):
        found = other.send(vector(value, -value))
        assert found.limits == expected.limits
        np.testing.assert_array_equal(found.action, expected.action)
        assert (found.sent is None) == (expected.sent is None)
    np.testing.assert_array_equal(other.snapshot().change, one.snapshot().change)
    num_sent = len(another_robot.sent)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(robot.sent[len(robot.sent) - num_sent :], another_robot.sent, strict=True)
    )


def test_only_one_that_is_disarmed_takes_over_from_another() -> None:
    with pytest.raises(AssertionError, match="no robot is set in motion like this"):
        armed(Recorder()).restore(armed(Recorder()).snapshot())


def test_what_was_sent_is_told_and_a_hold_is_no_command() -> None:
    safety = armed(Recorder(clip=0.5))
    executed = safety.send(vector(0.9, 2.0))
    assert executed.sent is not None
    np.testing.assert_allclose(executed.sent, [0.9, 1.0])
    np.testing.assert_allclose(executed.action, [0.5, 0.5])
    assert safety.send(vector(np.nan, 0.0)).sent is None
