"""Virtual hardware: its own clock, its own hold, and time stamps of its measurements."""

from collections.abc import Iterator

import numpy as np
import pytest

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.base import (
    is_episodic,
    is_stamped,
)
from robodreamer_sim.robots.virtual_hardware.command_monitor import CommandLimits
from robodreamer_sim.robots.virtual_hardware.firmware import Firmware
from robodreamer_sim.robots.virtual_hardware.sensors import SensorModel, Sensors
from toy_robot import CONTRACT, Point

DT = CONTRACT.control_dt_s
ACTION = np.array([0.5, -0.5], np.float32)


class Plant(Point):
    """Point robot that the firmware moves; its rest action differs from a command of 0."""

    rest_action = np.array([0.0, 0.125], np.float32)


class Clock:
    """Clock that a test advances."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def __call__(self) -> float:
        return self.time_s


class Bench:
    """Firmware on a test's own clock."""

    def __init__(self, **settings: object) -> None:
        self.clock = Clock()
        self.plant = Plant("", CONTRACT)
        self.firmware = Firmware(self.plant, CONTRACT, now=self.clock, **settings)  # pyright: ignore[reportArgumentType]
        self.firmware.connect()
        self.firmware.start_episode(0)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.clock.time_s + seconds
        while (due := self.clock.time_s + self.firmware.advance()) <= end:
            self.clock.time_s = due + 1e-9  # past rounding
        self.clock.time_s = end

    def drive(self, periods: int, action: Array = ACTION) -> Iterator[dict[str, float]]:
        """Tick as a driver does, at the contract's rate; yield the ages of what it sees."""
        for _ in range(periods):
            self.firmware.get_observation()
            stamps = self.firmware.observation_stamps
            yield {name: self.clock.time_s - stamp for name, stamp in stamps.items()}
            self.firmware.send_action(action)
            self.run(DT)


def sent(bench: Bench) -> list[list[float]]:
    return [action.tolist() for action in bench.plant.sent]


def test_it_is_a_robot_with_stamps_and_episodes() -> None:
    firmware = Bench().firmware
    assert (is_episodic(firmware), is_stamped(firmware)) == (True, True)
    assert firmware.command_within_s == pytest.approx(5 * DT)


def test_time_passes_whether_or_not_somebody_commands() -> None:
    bench = Bench()
    bench.run(5.4 * DT)
    assert bench.plant.steps == 5
    assert sent(bench) == [[0.0, 0.125]] * 5  # at rest


def test_every_command_of_a_driver_on_time_counts_for_one_period() -> None:
    bench = Bench()
    actions = [np.array([i / 20, 0], np.float32) for i in range(8)]
    for action in actions:
        list(bench.drive(1, action))
    assert sent(bench) == [action.tolist() for action in actions]


def test_a_driver_on_time_sees_what_was_just_measured() -> None:
    for ages in list(Bench().drive(15))[1:]:
        assert max(ages.values()) < 0.2 * DT


def test_a_command_that_comes_late_acts_a_period_later() -> None:
    bench = Bench()
    bench.run(0.8 * DT)
    bench.firmware.send_action(ACTION)
    bench.run(DT)
    assert sent(bench) == [[0.0, 0.125], ACTION.tolist()]


def test_when_commands_cease_it_holds_within_the_bound() -> None:
    bench = Bench()
    list(bench.drive(3))
    last = bench.clock.time_s - DT
    bench.run(10 * DT)
    moving = [action for action in sent(bench) if action == ACTION.tolist()]
    assert 3 + 4 <= len(moving) <= 3 + 5
    assert sent(bench)[-2:] == [[0.0, 0.125]] * 2
    verdict = bench.firmware.verdict()
    assert (verdict["num_ceased"], verdict["num_unsafe"]) == (1, 0)
    assert 4 * DT < verdict["longest_blind_s"] <= 6 * DT
    assert bench.clock.time_s - last > verdict["still_within_s"]


def test_then_actions_are_refused_until_it_is_told_to_hold() -> None:
    bench = Bench()
    list(bench.drive(1))
    bench.run(8 * DT)
    with pytest.raises(RobotError, match=r"commands had ceased for 0\.1 s: it holds by itself"):
        bench.firmware.send_action(ACTION)
    assert bench.firmware.verdict()["unsafe"] == {"after commands had ceased": 1}
    np.testing.assert_array_equal(bench.firmware.hold(), Plant.rest_action)
    list(bench.drive(1))
    assert sent(bench)[-1] == ACTION.tolist()


def test_a_process_that_was_suspended_does_not_take_the_command_that_waited() -> None:
    bench = Bench()
    list(bench.drive(1))
    bench.clock.time_s += 1.5  # nobody looked
    with pytest.raises(RobotError, match="commands had ceased"):
        bench.firmware.send_action(ACTION)
    assert bench.firmware.verdict()["num_ceased"] == 1


def test_without_its_watchdog_the_checker_would_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.firmware._within_s = 1.0  # broken
    list(bench.drive(1))
    bench.run(10 * DT)
    assert bench.firmware.verdict()["unsafe"].keys() == {"moves without commands"}


def test_a_hold_ends_motion_at_once_and_is_no_cease() -> None:
    bench = Bench()
    list(bench.drive(2))
    np.testing.assert_array_equal(bench.firmware.hold(), Plant.rest_action)
    bench.run(10 * DT)
    assert sent(bench)[2:] == [[0.0, 0.125]] * 10
    assert bench.firmware.verdict()["num_ceased"] == 0


def test_a_nan_stops_it_for_good() -> None:
    bench = Bench()
    list(bench.drive(2))
    for words in (r"is not finite", r"it was stopped: the action \[nan, 0\.0\] is not finite"):
        with pytest.raises(RobotError, match=words):
            bench.firmware.send_action(np.array([np.nan, 0], np.float32))
    bench.firmware.hold()
    with pytest.raises(RobotError, match="it was stopped"):
        bench.firmware.send_action(ACTION)
    with pytest.raises(RobotError, match="it was stopped"):
        bench.firmware.start_episode(1)
    bench.run(3 * DT)
    assert sent(bench)[2:] == [[0.0, 0.125]] * 3
    assert bench.firmware.verdict()["unsafe"] == {"not finite": 2, "after a stop": 2}


def test_a_pressed_stop_is_latched_and_its_first_refusal_is_nobodys_fault() -> None:
    bench = Bench()
    list(bench.drive(2))
    bench.firmware.stop("somebody pressed its stop")
    bench.firmware.stop("again")
    with pytest.raises(RobotError, match="it was stopped: somebody pressed its stop"):
        bench.firmware.send_action(ACTION)
    bench.firmware.hold()
    assert bench.firmware.verdict()["num_unsafe"] == 0
    bench.run(3 * DT)
    assert sent(bench)[2:] == [[0.0, 0.125]] * 3


def test_what_the_actuators_cannot_do_is_told() -> None:
    bench = Bench()
    executed = bench.firmware.send_action(np.array([3.0, -0.5], np.float32))
    np.testing.assert_array_equal(executed, np.array([1.0, -0.5], np.float32))
    assert bench.firmware.verdict()["unsafe"] == {"out of range": 1}


def test_the_checker_has_limits_of_its_own() -> None:
    bench = Bench(limits=CommandLimits(max_rate=(10.0, 10.0)))
    list(bench.drive(1, ACTION))
    list(bench.drive(1, -ACTION))
    assert bench.firmware.verdict()["unsafe"] == {"too fast": 1}


def test_an_action_delay_counts_periods_and_a_hold_is_not_delayed() -> None:
    bench = Bench(sensor_model=SensorModel(action_delay=2))
    list(bench.drive(4))
    bench.firmware.hold()
    bench.run(2 * DT)
    rest = [0.0, 0.125]
    assert sent(bench) == [rest, rest, ACTION.tolist(), ACTION.tolist(), rest, rest]


def test_an_episode_ends_and_the_driver_that_hears_of_it_late_does_no_harm() -> None:
    bench = Bench()
    for _ in bench.drive(25):
        pass
    assert bench.firmware.is_episode_over
    assert bench.plant.steps == 20
    bench.run(10 * DT)
    assert bench.firmware.verdict()["num_ceased"] == 0
    bench.firmware.start_episode(3)
    assert not bench.firmware.is_episode_over
    near = Point("", CONTRACT)
    near.start_episode(3)
    for _ in bench.drive(20):
        if not near.is_episode_over:
            near.send_action(ACTION)
    assert bench.firmware.episode_return == near.episode_return
    assert bench.firmware.verdict()["num_unsafe"] == 0


def test_cycles_that_were_missed_are_skipped_and_counted() -> None:
    bench = Bench()
    bench.run(2 * DT)
    bench.clock.time_s += 7 * DT  # the process was stopped
    bench.run(2 * DT)
    assert bench.firmware.verdict()["num_late_cycles"] in (6, 7)
    assert bench.plant.steps <= 5  # no burst


def test_a_lost_picture_leaves_the_last_one_which_ages() -> None:
    bench = Bench(sensor_model=SensorModel(camera_drop=0.5))
    ages = list(bench.drive(20))
    eye = [age.get("image/eye") for age in ages]
    assert any(age is not None and age > 1.5 * DT for age in eye)
    assert all(age["proprio/position"] < DT for age in ages)


def test_a_camera_without_any_picture_is_left_out() -> None:
    bench = Bench(sensor_model=SensorModel(camera_drop=1.0))
    for ages in bench.drive(3):
        assert ages.keys() == {"proprio/position", "goal/target"}


def test_late_pictures_say_how_late_they_are() -> None:
    sensors = Sensors(CONTRACT, SensorModel(camera_delay=2, measurement_delay=1))
    plant = Plant("", CONTRACT)
    sensors.begin(0)
    for step in range(6):
        plant.position[:] = step
        sensors.measure(plant.get_observation(), float(step))
    assert sensors.stamps == {"image/eye": 3.0, "proprio/position": 4.0, "goal/target": 4.0}
    np.testing.assert_array_equal(sensors.values["proprio/position"], [4.0, 4.0])


def test_what_was_measured_stays_though_the_plant_reuses_its_arrays() -> None:
    sensors = Sensors(CONTRACT, SensorModel())
    sensors.begin(0)
    reading = Plant("", CONTRACT).get_observation()
    sensors.measure(reading, 0.0)
    reading["proprio/position"][:] = 9.0
    np.testing.assert_array_equal(sensors.values["proprio/position"], [0.0, 0.0])


def test_what_gets_lost_is_a_function_of_the_seed() -> None:
    def ages(seed: int) -> list[float]:
        bench = Bench(sensor_model=SensorModel(camera_drop=0.5))
        bench.firmware.start_episode(seed)
        return [round(age.get("image/eye", -1.0), 6) for age in bench.drive(18)]

    assert ages(4) == ages(4) != ages(5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"camera_drop": 1.5}, "camera_drop lies between 0 and 1, got 1.5"),
        ({"camera_drop": float("nan")}, "camera_drop lies between"),
        ({"action_delay": -1}, "action_delay is 0 to 100 control periods, got -1"),
    ],
)
def test_imperfections_that_cannot_be_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SensorModel(**settings)  # pyright: ignore[reportArgumentType]
