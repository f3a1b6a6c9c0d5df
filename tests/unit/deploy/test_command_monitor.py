"""The monitor finds what no robot should be commanded, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodreamer_deploy.contract import ActionSpec, Array
from robodreamer_deploy.control.limits import contract_limits
from robodreamer_deploy.control.safety import Safety, StartupProfile
from robodreamer_sim.robots.virtual_hardware.command_monitor import (
    CommandLimits,
    CommandMonitor,
    format_verdict,
)

DT = 0.02
ACTION = ActionSpec(size=2, low=(-1, -1), high=(1, 1), labels=("x", "y"))
LIMITS = CommandLimits(max_rate=(5.0, 10.0), max_acceleration=(100.0, 1000.0))


def action(*values: float) -> Array:
    return np.array(values, np.float32)


@pytest.fixture
def monitor() -> CommandMonitor:
    return CommandMonitor(ACTION, DT, 0.14, LIMITS)


def send(
    monitor: CommandMonitor, *actions: Array, start_s: float = 0.0, every_s: float = DT
) -> None:
    for index, sent in enumerate(actions):
        monitor.commanded(start_s + index * every_s, sent, "free")


def test_commands_within_all_limits_are_safe(monitor: CommandMonitor) -> None:
    monitor.held(0.0, action(0, 0))
    x = np.cumsum([0, 0.04, 0.08, 0.1, 0.1, 0.1, 0.08, 0.04, 0.0]).astype(np.float32)
    send(monitor, *(action(value, -value) for value in x), start_s=DT)
    assert monitor.verdict()["num_unsafe"] == 0
    assert (monitor.num_actions, monitor.num_holds) == (9, 1)


@pytest.mark.parametrize(
    ("kind", "commands", "words"),
    [
        ("not finite", [action(0, np.nan)], "nan"),
        ("not finite", [action(np.inf, 0)], "inf"),
        ("out of range", [action(0, -1.01)], "-1.00999"),
        ("too fast", [action(0, 0), action(0.11, 0)], "x has 1.1 times the rate"),
        ("too fast", [action(0, 0), action(0, -0.25)], "y has 1.25 times the rate"),
        (
            "accelerates too much",
            [action(0, 0)] * 2 + [action(0.06, 0)],
            "x has 1.49 times the acc",
        ),
    ],
)
def test_a_command_that_breaks_a_rule_is_counted_with_what_was_wrong(
    monitor: CommandMonitor, kind: str, commands: list[Array], words: str
) -> None:
    send(monitor, *commands)
    assert monitor.unsafe == {kind: 1}
    assert words in monitor.verdict()["worst"][kind]
    assert any(kind in line and words in line for line in format_verdict(monitor.verdict()))


def test_the_worst_of_each_kind_is_kept(monitor: CommandMonitor) -> None:
    send(monitor, action(1.2, 0), action(3.0, 0), action(1.5, 0))
    assert monitor.unsafe["out of range"] == 3
    assert monitor.worst["out of range"][0] == pytest.approx(2.0)
    assert "3.0" in monitor.worst["out of range"][1]


def test_missed_periods_are_counted_in_the_drivers_favour(monitor: CommandMonitor) -> None:
    send(monitor, action(0, 0), action(0.2, 0), every_s=2 * DT)  # twice the change of one period
    send(monitor, action(0, 0), action(0.1, 0), start_s=9.0, every_s=1.3 * DT)  # jitter
    assert "too fast" not in monitor.unsafe
    send(monitor, action(0, 0), action(0.3, 0), start_s=19.0, every_s=2 * DT)
    assert monitor.unsafe["too fast"] == 1


def test_the_first_command_of_an_episode_follows_nothing(monitor: CommandMonitor) -> None:
    send(monitor, action(-1, -1))
    monitor.begin()
    send(monitor, action(1, 1), start_s=DT)
    assert not monitor.unsafe


def test_after_a_hold_the_robot_is_at_rest(monitor: CommandMonitor) -> None:
    send(monitor, action(0.5, 0))
    monitor.held(DT, action(0, 0))
    send(monitor, action(0.05, 0), start_s=2 * DT)
    assert monitor.unsafe == {"accelerates too much": 1}
    monitor.held(3 * DT, action(0, 0))
    send(monitor, action(0.5, 0), start_s=4 * DT)
    assert monitor.unsafe["too fast"] == 1


def test_a_stop_of_the_robots_own_may_be_learnt_of_once(monitor: CommandMonitor) -> None:
    monitor.commanded(0.0, action(0, 0), "stopped")
    assert not monitor.unsafe
    monitor.commanded(DT, action(0, 0), "stopped")
    monitor.commanded(2 * DT, action(0, 0), "stopped")
    assert monitor.unsafe == {"after a stop": 2}


def test_after_its_own_nan_the_driver_knows(monitor: CommandMonitor) -> None:
    monitor.commanded(0.0, action(0, np.nan), "free")
    monitor.commanded(DT, action(0, 0), "stopped")
    assert monitor.unsafe == {"not finite": 1, "after a stop": 1}


def test_an_action_after_commands_had_ceased_is_unsafe(monitor: CommandMonitor) -> None:
    monitor.commanded(0.0, action(0, 0), "ceased")
    assert monitor.unsafe == {"after commands had ceased": 1}


def test_moving_on_without_commands_is_unsafe_past_the_bound(monitor: CommandMonitor) -> None:
    send(monitor, action(0.5, 0))
    monitor.applied(0.13, is_rest=False)
    assert not monitor.unsafe
    monitor.applied(0.15, is_rest=True)
    assert not monitor.unsafe
    monitor.applied(0.15, is_rest=False)
    assert monitor.unsafe == {"moves without commands": 1}
    assert monitor.verdict()["longest_blind_s"] == pytest.approx(0.15)


class Judged:
    """A robot that does as it is told, and has it judged."""

    def __init__(self, monitor: CommandMonitor) -> None:
        self.monitor, self.now_s = monitor, 0.0

    def send_action(self, action: Array) -> Array:
        self.monitor.commanded(self.now_s, action, "free")
        return action

    def hold(self) -> Array:
        self.monitor.held(self.now_s, action(0, 0))
        return action(0, 0)


WANTED = st.lists(
    st.tuples(st.floats(-2, 2) | st.just(np.nan), st.floats(-2, 2), st.integers(1, 4)),
    min_size=2,
    max_size=40,
)


@given(WANTED, st.floats(0.9, 1.1))
def test_what_safety_lets_through_is_safe(
    wanted: list[tuple[float, float, int]], jitter: float
) -> None:
    """Of both, written apart from each other, each confirms the other."""
    robot = Judged(CommandMonitor(ACTION, DT, 0.14, LIMITS))
    limits = contract_limits(ACTION)._replace(
        rate=np.array(LIMITS.max_rate), acceleration=np.array(LIMITS.max_acceleration)
    )
    safety = Safety(
        robot, ACTION, control_dt_s=DT, limits=limits, startup=StartupProfile(warm_up_ticks=1)
    )
    safety.arm()
    for x, y, periods in wanted:
        safety.send(action(x, y))
        robot.now_s += periods * DT * jitter
    assert robot.monitor.unsafe == {}


@given(WANTED)
def test_the_same_without_limits_is_not(wanted: list[tuple[float, float, int]]) -> None:
    robot = Judged(CommandMonitor(ACTION, DT, 0.14, LIMITS))
    robot.hold()
    for x, y, _ in [*wanted, (0.0, 0.0, 1), (1.0, 1.0, 1)]:
        robot.now_s += DT
        robot.send_action(action(x, y))
    assert robot.monitor.unsafe["too fast"] >= 1


@pytest.mark.parametrize(
    ("choice", "is_safe"), [((0, 1, 0), True), ((0.5, 0.5, 0), False), ((0, 0, 0), False)]
)
def test_a_choice_is_one_hot(choice: tuple[float, ...], is_safe: bool) -> None:
    monitor = CommandMonitor(ActionSpec(size=3, kind="discrete"), DT, 1.0)
    send(monitor, action(*choice), action(1, 0, 0))
    assert (not monitor.unsafe) is is_safe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"max_rate": [1]}', "max_rate has not 2 numbers above 0"),
        ('{"max_acceleration": [1, 0]}', "max_acceleration has not 2 numbers"),
        ('{"max_speed": [1, 1]}', "unknown fields: max_speed"),
        ("rate", "Expecting value"),
    ],
)
def test_a_file_of_limits_that_holds_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "limits.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        CommandLimits.read(path, ACTION)


def test_limits_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    path.write_text('{"max_rate": [5, 10.0]}')
    read: Any = CommandLimits.read(path, ACTION)
    assert read == CommandLimits(max_rate=(5.0, 10.0))
    with pytest.raises(ValueError, match="cannot be read"):
        CommandLimits.read(tmp_path / "none.json", ACTION)
