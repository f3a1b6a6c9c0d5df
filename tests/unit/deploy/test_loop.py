"""The control loop: steady timing, no bursts after a stall, and what happens when a tick fails."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import toy_policy
from robodreamer_deploy.contract import Array
from robodreamer_deploy.control.clock import Grid, VirtualClock
from robodreamer_deploy.control.episodes import Episode, drive, drive_episodes, stop_after
from robodreamer_deploy.control.fault_tolerance import FaultTolerance
from robodreamer_deploy.control.limits import rate_limits
from robodreamer_deploy.control.loop import ControlLoop
from robodreamer_deploy.control.safety import Safety
from robodreamer_deploy.drive_summary import summarize_loop
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.policy import Policy
from toy_robot import CONTRACT, EPISODE_STEPS, Bench, FakeClock, Point

DT = CONTRACT.control_dt_s
NAN_POSITION = {"proprio/position": np.array([0, np.nan], np.float32)}


class SlowBench(Bench):
    """Takes 2 ms to answer, or `tick_seconds`; some answers are wrong, or raise."""

    def __init__(
        self,
        clock: FakeClock,
        tick_seconds: dict[int, float] | None = None,
        bad_ticks: dict[int, Any] | None = None,
    ) -> None:
        super().__init__("", CONTRACT)
        self.clock = clock
        self.tick_seconds = tick_seconds or {}
        self.bad_ticks = bad_ticks or {}
        self.num_observed = 0
        self.times: list[float] = []

    def get_observation(self) -> dict[str, Array]:
        tick = self.num_observed
        self.num_observed += 1
        self.clock.time += self.tick_seconds.get(tick, 0.002)
        observation = super().get_observation()
        if isinstance(bad := self.bad_ticks.get(tick), BaseException):
            raise bad
        return {**observation, **(bad or {})}

    def send_action(self, action: Array) -> Array:
        self.times.append(self.clock.time)
        return super().send_action(action)


def make_loop(policy: Policy, robot: SlowBench, **settings: Any) -> ControlLoop:
    return ControlLoop(
        Controller(policy, draw="mode"),
        Safety(robot, CONTRACT.action, control_dt_s=DT),
        clock=robot.clock,
        stopwatch=robot.clock.now,
        **settings,
    )


def after(robot: SlowBench, ticks: int) -> Callable[[], str | None]:
    return lambda: "enough" if robot.num_observed >= ticks else None


def test_ticks_keep_to_the_grid(policy: Policy) -> None:
    loop = make_loop(policy, robot := SlowBench(clock := FakeClock()))
    reason = loop.run(robot, after(robot, 100))
    stats = loop.stats
    assert (reason, stats.ticks, stats.skipped_ticks, stats.held_ticks) == ("enough", 100, 0, 0)
    assert clock.time == pytest.approx(100 + 100 * DT)  # no drift
    np.testing.assert_allclose(np.diff(robot.times), DT, atol=1e-9)
    np.testing.assert_allclose(stats.sense_to_act_s, 0.002, atol=1e-9)
    np.testing.assert_allclose(stats.lateness_s, 0, atol=1e-9)
    np.testing.assert_allclose(stats.policy_s, 0, atol=1e-9)  # no time passes in there
    assert len(stats.surprise) == 100
    assert summarize_loop(stats, DT)["rate_hz"] == pytest.approx(1 / DT)


def test_a_stall_is_not_followed_by_a_burst(policy: Policy) -> None:
    robot = SlowBench(FakeClock(), tick_seconds={3: 0.111})
    loop = make_loop(policy, robot)
    loop.run(robot, after(robot, 10))
    assert loop.stats.skipped_ticks == 5
    assert loop.stats.ticks == 10
    assert max(loop.stats.sense_to_act_s) == pytest.approx(0.111)
    sense = np.array(robot.times) - 0.002 - 100.0
    np.testing.assert_allclose(sense[4:], DT * np.arange(9, 15), atol=1e-9)  # on the old grid


def test_the_policys_part_of_the_latency_is_told_apart(policy: Policy) -> None:
    robot = SlowBench(FakeClock())
    seconds = iter(range(1000))
    loop = ControlLoop(
        Controller(policy, draw="mode"),
        Safety(robot, CONTRACT.action, control_dt_s=DT),
        clock=robot.clock,
        stopwatch=lambda: float(next(seconds)),  # a second passes from one look to the next
    )
    loop.run(robot, after(robot, 5))
    assert list(loop.stats.policy_s) == [1.0] * 5
    assert list(loop.stats.sense_to_act_s) == [3.0] * 5


def test_every_late_tick_skips_whole_periods(policy: Policy) -> None:
    robot = SlowBench(FakeClock(), tick_seconds=dict.fromkeys(range(20), 1.5 * DT))
    loop = make_loop(policy, robot)
    loop.run(robot, after(robot, 20))
    assert loop.stats.skipped_ticks == 20
    np.testing.assert_allclose(np.diff(robot.times), 2 * DT, atol=1e-9)


def test_a_sleep_that_comes_back_late_is_seen_as_lateness(policy: Policy) -> None:
    class Sluggish(FakeClock):
        def sleep(self, seconds: float, /) -> None:
            super().sleep(seconds + 0.003)

    loop = make_loop(policy, robot := SlowBench(clock := Sluggish()))
    loop.run(robot, after(robot, 50))
    np.testing.assert_allclose(loop.stats.lateness_s[1:], 0.003, atol=1e-9)
    assert clock.time == pytest.approx(100 + 50 * DT + 0.003)  # late every time, never more
    assert loop.stats.skipped_ticks == 0


def test_a_tick_that_ends_exactly_on_the_grid_skips_nothing() -> None:
    clock = FakeClock()
    grid = Grid(clock, 0.1)
    for i in range(1, 50):
        clock.time = 100.0 + i * 0.1
        assert grid.advance() == 0


def test_virtual_time_waits_for_nobody_and_skips_nothing() -> None:
    clock = VirtualClock()
    grid = Grid(clock, DT)
    for _ in range(1000):
        assert grid.advance() == 0
        grid.wait()
    assert clock.now() == pytest.approx(1000 * DT)


@pytest.mark.parametrize("lost", [RobotError("no frame in 20 ms"), TimeoutError("no frame")])
def test_a_lost_frame_holds_for_that_tick_only(policy: Policy, lost: Exception) -> None:
    robot = SlowBench(FakeClock(), bad_ticks={2: lost, 3: lost})
    loop = make_loop(policy, robot)
    assert loop.run(robot, after(robot, 10)) == "enough"
    assert loop.stats.bad_observations == {"observation": 2}
    assert (loop.stats.ticks, loop.stats.held_ticks, len(robot.sent)) == (10, 2, 8)


def test_a_lost_camera_stops_the_robot(policy: Policy) -> None:
    robot = SlowBench(FakeClock(), bad_ticks=dict.fromkeys(range(3, 99), OSError("unplugged")))
    loop = make_loop(policy, robot, tolerance=FaultTolerance(faults_in_a_row=3))
    reason = loop.run(robot, after(robot, 100))
    assert reason == "4 faults in a row, the last one: observation: not read: unplugged"
    assert len(robot.sent) == 3


@pytest.mark.parametrize("error", [ValueError("oops"), KeyboardInterrupt()])
def test_what_nobody_expects_ends_the_run_with_its_figures(
    policy: Policy, error: BaseException
) -> None:
    robot = SlowBench(FakeClock(), bad_ticks={4: error})
    loop = make_loop(policy, robot)
    with pytest.raises(type(error)):
        loop.run(robot, after(robot, 10))
    assert len(robot.sent) == 4
    assert loop.stats.elapsed_s > 0


def test_the_rate_so_far_is_told_in_the_middle_of_a_drive(policy: Policy) -> None:
    robot = SlowBench(FakeClock())
    loop = make_loop(policy, robot)
    rates: list[float | None] = []

    def should_stop() -> str | None:
        rates.append(summarize_loop(loop.stats, DT)["rate_hz"])
        return "enough" if len(rates) % 10 == 0 else None

    for _ in range(3):
        assert loop.run(robot, should_stop) == "enough"
    assert rates[0] is None
    assert rates[1:] == pytest.approx([1 / DT] * 29)


def test_a_hold_at_a_pose_out_of_range_is_counted(policy: Policy) -> None:
    class Bent(SlowBench):
        def hold(self) -> Array:
            return np.full(2, 3.0, np.float32)

    loop = make_loop(policy, robot := Bent(FakeClock(), bad_ticks={1: NAN_POSITION}))
    loop.run(robot, after(robot, 2))
    np.testing.assert_array_equal(loop.controller.snapshot().carry.action, np.ones(2))
    assert loop.stats.limits == {"hold": 1}


def test_the_normal_end_holds_the_robot(policy: Policy) -> None:
    robot = SlowBench(FakeClock())
    make_loop(policy, robot).run(robot, after(robot, 3))
    assert robot.num_holds == 1


def test_a_bad_observation_holds_for_that_tick_only(policy: Policy) -> None:
    bad = {0: NAN_POSITION, 5: NAN_POSITION, 6: {"image/eye": np.zeros((9, 6, 3), np.uint8)}}
    robot = SlowBench(FakeClock(), bad_ticks=bad)
    loop = make_loop(policy, robot)
    loop.run(robot, after(robot, 20))
    stats = loop.stats
    assert stats.bad_observations == {"proprio/position": 2, "image/eye": 1}
    assert (stats.ticks, stats.held_ticks, len(stats.surprise)) == (20, 3, 17)
    assert (len(robot.sent), robot.num_holds) == (17, 4)
    assert np.isfinite(robot.sent).all()


def test_the_model_learns_of_a_hold(policy: Policy) -> None:
    """After a hold the executed action is the robot's, not the one that was never sent."""
    robot = SlowBench(FakeClock(), bad_ticks={1: NAN_POSITION})
    loop = make_loop(policy, robot)
    loop.run(robot, after(robot, 2))
    np.testing.assert_array_equal(loop.controller.snapshot().carry.action, np.zeros(2))


def test_the_executed_action_enters_the_model(policy: Policy) -> None:
    class Weak(SlowBench):
        def send_action(self, action: Array) -> Array:
            super().send_action(action)
            return np.full(2, 0.125, np.float32)

    robot = Weak(FakeClock())
    loop = make_loop(policy, robot)
    loop.run(robot, after(robot, 1))
    np.testing.assert_array_equal(loop.controller.snapshot().carry.action, [0.125, 0.125])
    assert loop.stats.limits == {"robot": 1}


def test_the_rate_limit_does_not_reach_into_the_next_episode(policy: Policy) -> None:
    robot = SlowBench(clock := FakeClock())
    limits = rate_limits(CONTRACT.action, (1e-3,))
    safety = Safety(robot, CONTRACT.action, control_dt_s=DT, limits=limits)
    loop = ControlLoop(Controller(policy, draw="sample"), safety, clock=clock)
    loop.run(robot, after(robot, 3))
    assert loop.stats.limits == {"rate": 2}
    loop.run(robot, after(robot, 4), seed=1)  # other noise, so another first action
    assert loop.stats.limits == {"rate": 2}
    assert not np.allclose(robot.sent[2], robot.sent[3], atol=0.01)


def test_too_many_bad_observations_in_a_row_stop_the_robot(policy: Policy) -> None:
    bad = dict.fromkeys([2, 3, 5, 6, 7, 8], NAN_POSITION)
    robot = SlowBench(FakeClock(), bad_ticks=bad)
    loop = make_loop(policy, robot, tolerance=FaultTolerance(faults_in_a_row=3))
    reason = loop.run(robot, after(robot, 100))
    assert reason == "4 faults in a row, the last one: proprio/position: element y is nan"
    assert loop.stats.ticks == 9
    assert loop.run(robot, after(robot, 100)) == reason  # latched
    assert len(robot.sent) == 3


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("image/eye", "image/eye: no frame to begin with"),
        ("goal/target", "goal/target: missing from the observation"),
    ],
)
def test_a_missing_signal_is_a_fault_and_an_extra_one_is_not(
    policy: Policy, lost: str, words: str
) -> None:
    class Blind(SlowBench):
        def get_observation(self) -> dict[str, Array]:
            observation = super().get_observation()
            del observation[lost]
            return {**observation, "image/other": np.zeros((1, 1, 3), np.uint8)}

    robot = Blind(FakeClock())
    loop = make_loop(policy, robot, tolerance=FaultTolerance(first_frames_s=0.2))
    assert words in loop.run(robot, after(robot, 100))
    assert robot.sent == []


@pytest.mark.parametrize("broken", ["actor", "rssm_step"])
def test_a_policy_that_computes_nan_never_moves_the_robot(
    tmp_path_factory: pytest.TempPathFactory, broken: str
) -> None:
    weights = toy_policy.make_weights()
    for values in weights[broken].values():
        values[0, 0] = np.nan
    folder = toy_policy.write_bundle(
        tmp_path_factory.mktemp("nan"), weights, toy_policy.make_golden(toy_policy.make_weights())
    )
    robot = SlowBench(FakeClock())
    loop = make_loop(
        Policy(load_bundle(folder)), robot, tolerance=FaultTolerance(faults_in_a_row=5)
    )
    reason = loop.run(robot, after(robot, 100))
    assert "not finite" in reason
    assert robot.sent == []
    assert loop.stats.held_ticks == 6
    assert loop.stats.limits.get("not finite", 0) == (6 if broken == "actor" else 0)


def test_after_a_fault_of_the_policy_the_model_starts_afresh(policy: Policy) -> None:
    robot = SlowBench(FakeClock())
    loop = make_loop(policy, robot)
    first = loop.controller.snapshot()
    poisoned = first._replace(carry=first.carry._replace(deter=np.full(toy_policy.D, np.nan)))
    poisoned = poisoned._replace(carry=poisoned.carry._replace(
        deter=poisoned.carry.deter.astype(np.float32)
    ))  # fmt: skip

    class Poisonous:
        def get_observation(self) -> dict[str, Array]:
            if robot.num_observed == 3:
                loop.controller.restore(poisoned)
            return robot.get_observation()

    loop.run(Poisonous(), after(robot, 10))
    assert (loop.stats.ticks, loop.stats.held_ticks, len(robot.sent)) == (10, 1, 9)


# --- episodes -----------------------------------------------------------------------------------


def drive_point(policy: Policy, seeds: range, stop: Callable[[], str | None]) -> list[Episode]:
    robot = Point("", CONTRACT)
    loop = ControlLoop(
        Controller(policy, draw="sample"),
        Safety(robot, CONTRACT.action, control_dt_s=DT),
        clock=VirtualClock(),
    )
    episodes: list[Episode] = []
    drive_episodes(loop, robot, seeds=seeds, should_stop=stop, finished=episodes.append)
    return episodes


def test_an_episode_depends_on_its_seed_alone(policy: Policy) -> None:
    episodes = drive_point(policy, range(3, 6), lambda: None)
    assert [episode.seed for episode in episodes] == [3, 4, 5]
    assert {episode.ticks for episode in episodes} == {EPISODE_STEPS}
    assert len({episode.episode_return for episode in episodes}) == 3
    (again,) = drive_point(policy, range(4, 5), lambda: None)
    assert again._replace(number=1) == episodes[1]


def test_an_unfinished_episode_does_not_count(policy: Policy) -> None:
    calls = iter(range(1000))
    stop_in_second = lambda: "enough" if next(calls) > EPISODE_STEPS + 5 else None  # noqa: E731
    assert len(drive_point(policy, range(10), stop_in_second)) == 1


def test_seconds_are_those_of_the_clock(policy: Policy) -> None:
    robot = SlowBench(clock := FakeClock())
    loop = make_loop(policy, robot)
    reason = drive(loop, robot, seed=0, should_stop=stop_after(clock, 1.0))
    assert reason == "1 s are over"
    assert loop.stats.ticks == pytest.approx(1 / DT, abs=1)


def test_no_episode_is_prepared_once_there_is_a_reason_to_stop(policy: Policy) -> None:
    class Unready(Point):
        def start_episode(self, seed: int) -> None:
            raise AssertionError("started")

    robot = Unready("", CONTRACT)
    safety = Safety(robot, CONTRACT.action, control_dt_s=DT)
    loop = ControlLoop(Controller(policy), safety, clock=VirtualClock())
    settings: Any = {"should_stop": lambda: "SIGTERM", "finished": print}
    assert drive_episodes(loop, robot, seeds=range(3), **settings) == "SIGTERM"
