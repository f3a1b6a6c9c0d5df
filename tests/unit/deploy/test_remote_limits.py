"""Commands of another process, checked by the contract and limits of the robot's own process."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodreamer_deploy.contract import ActionSpec, Array, Contract
from robodreamer_deploy.control.limits import Limits, contract_limits, rate_limits
from robodreamer_deploy.control.remote_commands import RemoteCommands
from robodreamer_deploy.control.safety import Safety, StartupProfile
from robodreamer_deploy.drive_options import DriveOptions, make_remote_commands
from robodreamer_deploy.errors import RobotError
from toy_robot import CONTRACT, Bench, FakeClock, Point

DT = CONTRACT.control_dt_s
ONES = np.ones(2, np.float32)
CHOICE = dataclasses.replace(CONTRACT, action=ActionSpec(size=3, kind="discrete"))


class Filtered:
    """A robot whose commands are filtered on a test's own clock."""

    def __init__(
        self, limits: Limits | None = None, ramp_s: float = 0.0, contract: Contract = CONTRACT
    ) -> None:
        self.clock, self.is_enabled = FakeClock(), True
        self.robot = Robot(contract)
        self.commands = RemoteCommands(
            self.robot,
            contract,
            limits=limits or contract_limits(contract.action),
            ramp_s=ramp_s,
            is_enabled=lambda: self.is_enabled,
            now=self.clock.now,
        )
        self.commands.hold()

    def send(self, *action: float, after_s: float = DT) -> list[float]:
        """Send one action after a time; return what was executed."""
        self.clock.time += after_s
        return self.commands.send_action(np.array(action, np.float32)).tolist()


class Robot:
    """A robot that executes what it is sent."""

    def __init__(self, contract: Contract) -> None:
        self.sent: list[Array] = []
        self.num_holds = 0
        self._held = np.zeros(contract.action.size, np.float32)

    def send_action(self, action: Array) -> Array:
        self.sent.append(action.copy())
        return action

    def hold(self) -> Array:
        self.num_holds += 1
        return self.sent[-1] if self.sent else self._held


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ((1e6, 0), r"\[1000000\.0, 0\.0\] is not within \[-1, 1\]; the robot holds"),
        ((1.0001, 0), "is not within"),
        ((0, -1.5), "is not within"),
        ((np.nan, 0), "is not finite; the robot holds"),
        ((0, -np.inf), "is not finite"),
    ],
)
def test_an_action_that_no_policy_sends_raises_a_clear_error_and_is_held(
    action: tuple[float, ...], words: str
) -> None:
    judged = Filtered()
    judged.send(0.5, 0.5)
    num_holds = judged.robot.num_holds
    with pytest.raises(RobotError, match=words):
        judged.send(*action)
    assert (len(judged.robot.sent), judged.robot.num_holds) == (1, num_holds + 1)
    assert judged.send(1.0, -1.0) == [1.0, -1.0]


@pytest.mark.parametrize("action", [(0, 0, 0), (1, 1, 0), (0.5, 0.5, 0), (2, 0, 0), (-1, 1, 1)])
def test_an_action_that_is_no_choice_is_refused(action: tuple[float, ...]) -> None:
    judged = Filtered(contract=CHOICE)
    with pytest.raises(RobotError, match="is not one-hot; the robot holds"):
        judged.send(*action)
    assert judged.robot.sent == []
    assert judged.send(0, 1, 0) == [0.0, 1.0, 0.0]


def test_two_commands_in_one_period_go_no_further_than_one() -> None:
    judged = Filtered(rate_limits(CONTRACT.action, (2.0,)))
    assert judged.send(1, 1) == pytest.approx([0.04, 0.04])
    assert judged.send(1, 1, after_s=0.1 * DT) == pytest.approx([0.044, 0.044])
    assert judged.send(1, 1, after_s=0.9 * DT) == pytest.approx([0.08, 0.08])
    assert judged.send(1, 1, after_s=30 * DT) == pytest.approx([0.12, 0.12])
    assert judged.commands.limits == {"rate": 4}


@given(
    st.lists(
        st.tuples(st.floats(2e-3, 5.0), st.floats(-1, 1, width=32), st.floats(-1, 1, width=32)),
        max_size=40,
    )
)
def test_however_commands_arrive_rate_and_acceleration_hold_in_time(
    arrivals: list[tuple[float, float, float]],
) -> None:
    rate, acceleration = 3.0, 20.0
    full = np.full(2, acceleration)
    judged = Filtered(rate_limits(CONTRACT.action, (rate,))._replace(acceleration=full))
    judged.send(0, 0)
    last, past = np.zeros(2), [(0.0, np.zeros(2))]
    for periods, *action in arrivals:
        done = np.array(judged.send(*action, after_s=periods * DT))
        passed_s = min(periods, 1.0) * DT
        assert np.abs(done - last).max() <= rate * passed_s + 1e-6
        now = np.abs(done - last) / passed_s
        before = np.max([speed for _, speed in past], axis=0)  # of what its speed is measured over
        is_braking_at_the_end = np.abs(done) > 1.0 - 1e-6
        is_within = now - before <= acceleration * passed_s + 1e-3 / periods
        assert (is_braking_at_the_end | is_within).all()
        past = [(ago + passed_s, speed) for ago, speed in past if ago < 2 * DT] + [(0.0, now)]
        last = done


@pytest.mark.parametrize("acceleration", [5.0, 70.0])
@pytest.mark.parametrize("rate", [0.7, np.inf])
def test_bursts_and_a_robots_own_rounding_do_not_drive_it_away(
    rate: float, acceleration: float
) -> None:
    """Rounding in what was executed, over the time between two commands, is no speed."""
    full = np.ones(2)
    limits = contract_limits(CONTRACT.action)._replace(
        rate=rate * full, acceleration=acceleration * full
    )
    judged, generator = Filtered(limits), np.random.default_rng(0)
    send = judged.robot.send_action

    def rounded(action: Array) -> Array:
        noise = 1e-4 * generator.standard_normal(2)
        return send(action) + noise.astype(np.float32)

    judged.robot.send_action = rounded
    for tick in range(2000):
        wanted = np.clip(2e-3 * tick, 0.0, 0.1) + 5e-4 * generator.standard_normal(2)
        after_s = DT * generator.choice([1e-3, 0.3, 1.0], p=[0.05, 0.05, 0.9])
        judged.send(*wanted, after_s=after_s)
        assert np.abs(judged.robot.sent[-1] - wanted).max() < 0.02


def test_limits_from_a_file_hold_whoever_sends(tmp_path: Path) -> None:
    file = tmp_path / "limits.json"
    file.write_text('{"elements": {"x": {"low": -0.05, "high": 0.05}}}')
    robot = Bench("", CONTRACT)
    commands = make_remote_commands(DriveOptions(limits=file, ramp=0.0), robot, CONTRACT)
    np.testing.assert_allclose(commands.send_action(ONES), [0.5, 1.0])
    np.testing.assert_allclose(robot.sent, [[0.5, 1.0]])


@pytest.mark.parametrize("ramp_s", [0.0, 1.0])
def test_a_robot_found_outside_narrower_limits_does_not_leap_into_them(ramp_s: float) -> None:
    """A ramp does not help: a driver's ramp knows nothing of these limits."""
    full = np.ones(2)
    limits = contract_limits(CONTRACT.action)._replace(low=-0.2 * full, high=0.2 * full)
    judged = Filtered(limits, ramp_s)
    judged.robot.hold = lambda: 0.9 * ONES
    judged.commands.hold()
    way = np.array([0.9, *(judged.send(0.95, 0.95)[0] for _ in range(60))])
    assert (-np.diff(way) <= 2.0 * DT + 1e-6).all()
    assert way[-1] == pytest.approx(0.2)


@pytest.mark.parametrize(
    "options",
    [DriveOptions(limits=Path("none.json")), DriveOptions(max_rate=(1.0, 2.0, 3.0))],
)
def test_limits_that_cannot_be_raise_a_clear_error(options: DriveOptions) -> None:
    with pytest.raises(RobotError, match=r"--limits: none\.json cannot|--max-rate: 3 rate limits"):
        make_remote_commands(options, Bench("", CONTRACT), CONTRACT)


def test_while_the_switch_is_released_it_holds_and_then_ramps() -> None:
    judged = Filtered(ramp_s=1.0)
    for _ in range(100):
        judged.send(-1, -1)
    judged.is_enabled = False
    num_sent = len(judged.robot.sent)
    for _ in range(100):
        assert judged.send(1, 1) == [-1.0, -1.0]
    assert len(judged.robot.sent) == num_sent
    judged.is_enabled = True
    way = [judged.send(1, 1)[0] for _ in range(50)]
    assert way[0] == pytest.approx(-1.0 + 2.0 / 50)
    assert np.diff(way).max() < 0.15
    assert way[-1] == 1.0
    assert judged.commands.limits["dead-man"] == 100


def test_the_ramp_is_as_long_as_the_hold_was() -> None:
    judged = Filtered(ramp_s=1.0)
    for _ in range(100):
        judged.send(-1, -1)
    judged.commands.hold()
    judged.clock.time += 3 * DT
    way = [judged.send(1, 1)[0] for _ in range(4)]
    assert way[0] == pytest.approx(-0.5)
    assert way[-1] == 1.0


@given(st.lists(st.floats(-1, 1, width=32), min_size=80, max_size=80), st.integers(1, 60))
def test_the_ramp_of_a_driver_passes_unchanged(wanted: list[float], num_held: int) -> None:
    """The driver is on time, and its policy wants anything during the ramp."""
    judged = Filtered(ramp_s=1.0)

    class Far:
        """Robot over the wire, as the driver's own `Safety` sees it."""

        def send_action(self, action: Array) -> Array:
            judged.clock.time += DT
            return judged.commands.send_action(action)

        def hold(self) -> Array:
            judged.clock.time += DT
            return judged.commands.hold()

    safety = Safety(
        Far(),
        CONTRACT.action,
        control_dt_s=DT,
        startup=StartupProfile(warm_up_ticks=num_held, ramp_s=1.0),
    )
    safety.arm()
    for value in wanted:
        safety.send(np.array([value, -value], np.float32))
    assert judged.commands.limits.keys() <= {"range"}


def test_commands_in_a_burst_do_not_shorten_the_ramp() -> None:
    judged = Filtered(ramp_s=1.0)
    judged.clock.time += 1.0
    way = [judged.send(1, 1, after_s=0.01 * DT)[0] for _ in range(100)]
    assert way[-1] < 0.1


def test_a_robot_with_a_switch_of_its_own_ramps_without_being_asked() -> None:
    with_switch: Any = Bench("", CONTRACT)
    with_switch.is_enabled = True
    for robot, first in ((with_switch, 0.04), (Bench("", CONTRACT), 1.0)):
        commands = make_remote_commands(DriveOptions(), robot, CONTRACT)
        commands.hold()
        commands._held_s = -10.0
        assert commands.send_action(ONES)[0] == pytest.approx(first)


def test_where_time_passes_with_commands_each_counts_for_a_period() -> None:
    robot = Point("", CONTRACT)
    options = DriveOptions(max_rate=(5.0,))
    commands = make_remote_commands(options, robot, CONTRACT)
    commands.hold()
    way = [commands.send_action(ONES)[0] for _ in range(5)]
    np.testing.assert_allclose(way, [0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-6)
