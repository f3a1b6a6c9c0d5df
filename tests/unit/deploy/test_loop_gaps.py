"""Gaps in what the robot shows: lost frames, lost time, surprise, and what listeners are told."""

import dataclasses
import time
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.contract import Array
from robodreamer_deploy.control.episodes import drive_episodes
from robodreamer_deploy.control.events import EpisodeStart, Tick
from robodreamer_deploy.control.fault_tolerance import FaultTolerance
from robodreamer_deploy.control.limits import rate_limits
from robodreamer_deploy.control.loop import ControlLoop
from robodreamer_deploy.control.safety import Safety, StartupProfile
from robodreamer_deploy.control.surprise import SLOW_RATE, WINDOW, SurpriseGuard
from robodreamer_deploy.control.watchdog import Watchdog
from robodreamer_deploy.errors import HungError
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.policy import Policy
from toy_robot import CONTRACT, Bench, FakeClock

DT = CONTRACT.control_dt_s


class Patchy(Bench):
    """Loses frames, shows NaN, and takes its time, in the ticks that are named."""

    def __init__(
        self,
        *,
        blind: Any = (),
        bad: Any = (),
        late: Any = (),
        seconds: dict[int, float] | None = None,
    ) -> None:
        super().__init__("", CONTRACT)
        self.clock = FakeClock()
        self.num_observed = 0
        self._blind, self._bad, self._late, self._seconds = blind, bad, late, seconds or {}

    @property
    def observation_stamps(self) -> dict[str, float]:
        is_late = self.num_observed - 1 in self._late
        return {"image/eye": self.clock.time - (2 * DT if is_late else 0.0)}

    def get_observation(self) -> dict[str, Array]:
        tick = self.num_observed
        self.num_observed += 1
        self.clock.time += self._seconds.get(tick, 0.0)
        observation = super().get_observation()
        if tick in self._blind:
            del observation["image/eye"]
        if tick in self._bad:
            observation["proprio/position"] = np.full(2, np.nan, np.float32)
        return observation


class Witness:
    """A listener that keeps everything."""

    def __init__(self) -> None:
        self.starts: list[EpisodeStart] = []
        self.ticks: list[Tick] = []
        self.ends: list[str] = []

    def episode_started(self, start: EpisodeStart) -> None:
        self.starts.append(start)

    def ticked(self, tick: Tick) -> None:
        self.ticks.append(tick)

    def episode_ended(self, reason: str) -> None:
        self.ends.append(reason)


def make_loop(
    policy: Policy, robot: Patchy, witness: Witness, *, draw: Any = "mode", **settings: Any
) -> ControlLoop:
    safety = settings.pop("safety", None)
    return ControlLoop(
        Controller(policy, draw=draw),
        safety or Safety(robot, CONTRACT.action, control_dt_s=DT),
        clock=robot.clock,
        stopwatch=robot.clock.now,
        listeners=(witness,),
        **settings,
    )


def drive(
    policy: Policy, robot: Patchy, ticks: int, **settings: Any
) -> tuple[ControlLoop, Witness]:
    loop = make_loop(policy, robot, witness := Witness(), **settings)
    loop.run(robot, lambda: "enough" if robot.num_observed >= ticks else None)
    return loop, witness


def kinds(witness: Witness) -> list[str | None]:
    return [tick.step and tick.step.kind for tick in witness.ticks]


@pytest.mark.parametrize("how", ["blind", "late"])
def test_the_model_dreams_through_a_lost_frame(policy: Policy, how: str) -> None:
    lost = {2, 3}
    robot = Patchy(blind=lost) if how == "blind" else Patchy(late=lost)
    loop, witness = drive(policy, robot, 6)
    assert kinds(witness) == ["posterior"] * 2 + ["prior"] * 2 + ["posterior"] * 2
    assert [tick.missing for tick in witness.ticks[1:4]] == [(), ("image/eye",), ("image/eye",)]
    assert len(robot.sent) == 6
    stats = loop.stats
    assert (stats.prior_steps, stats.held_ticks, len(stats.surprise)) == (2, 0, 4)
    assert stats.missing_frames == {"image/eye": 2}


def test_a_frame_as_late_as_in_training_is_not_lost(policy: Policy) -> None:
    bundle = policy.bundle
    contract = dataclasses.replace(bundle.contract, delays_s={"image/eye": (DT, 1.1 * DT)})
    manifest = dataclasses.replace(bundle.manifest, contract=contract)
    used = Policy(dataclasses.replace(bundle, manifest=manifest))
    _, witness = drive(used, Patchy(late={2, 3}), 6)
    assert kinds(witness) == ["posterior"] * 6


def test_it_does_not_dream_for_ever(policy: Policy) -> None:
    tolerance = FaultTolerance(missing_in_a_row=3, faults_in_a_row=2)
    robot = Patchy(blind=range(4, 99))
    loop, witness = drive(policy, robot, 100, tolerance=tolerance)
    assert kinds(witness)[4:] == ["prior"] * 3 + [None] * 3
    assert witness.ends == [
        "3 faults in a row, the last one: image/eye: no frame for 6 ticks: none came"
    ]
    assert (len(robot.sent), loop.stats.held_ticks) == (7, 3)


def test_frames_that_come_back_in_time_are_gone_on_with(policy: Policy) -> None:
    tolerance = FaultTolerance(missing_in_a_row=1)
    loop, witness = drive(policy, Patchy(blind={2, 3, 4}), 8, tolerance=tolerance)
    assert kinds(witness)[1:7] == ["posterior", "prior", None, None, "posterior", "posterior"]
    assert loop.safety.stop_reason is None
    assert loop.stats.model_resets == 0


def test_nothing_moves_before_the_first_frame(policy: Policy) -> None:
    _, witness = drive(policy, robot := Patchy(blind={0, 1, 2}), 5)
    assert kinds(witness) == [None] * 3 + ["posterior"] * 2
    assert [tick.is_first for tick in witness.ticks] == [True] * 4 + [False]
    assert [tick.step.counter for tick in witness.ticks if tick.step] == [0, 1]
    assert len(robot.sent) == 2


def test_a_camera_that_starts_slowly_is_waited_for(policy: Policy) -> None:
    """As long as `check-robot` gives it; nothing moves, and nothing of it counts later."""
    wait = round(FaultTolerance().first_frames_s / DT)
    loop, witness = drive(policy, robot := Patchy(blind=range(wait)), wait + 60)
    assert kinds(witness) == [None] * wait + ["posterior"] * 60
    assert {tick.fault for tick in witness.ticks[:wait]} == {
        "image/eye: waiting for its first frame"
    }
    assert len(robot.sent) == 60
    stats = loop.stats
    assert (stats.held_ticks, stats.bad_observations, witness.ends) == (0, {}, ["enough"])
    assert stats.missing_frames == {"image/eye": wait}, "a dry run that is all of this is judged"


def test_a_camera_that_never_starts_and_one_that_stopped_are_not_waited_for(policy: Policy) -> None:
    tolerance = FaultTolerance(first_frames_s=5 * DT, faults_in_a_row=2)
    loop, witness = drive(policy, Patchy(blind=range(99)), 100, tolerance=tolerance)
    assert witness.ends == [
        "3 faults in a row, the last one: image/eye: no frame to begin with: none came"
    ]
    assert (len(witness.ticks), loop.stats.held_ticks) == (5 + 3, 3)
    # The model is reset in the middle: the camera has been there before.
    robot = Patchy(blind=range(3, 99), seconds={2: 9.0 * DT})
    loop, witness = drive(policy, robot, 100, tolerance=tolerance)
    assert loop.stats.model_resets == 1
    assert (len(witness.ticks), loop.stats.held_ticks) == (3 + 3, 3)


def test_a_bad_sensor_is_a_fault_also_while_a_camera_is_waited_for(policy: Policy) -> None:
    tolerance = FaultTolerance(faults_in_a_row=2)
    loop, witness = drive(policy, Patchy(blind=range(99), bad={1, 3, 4}), 100, tolerance=tolerance)
    assert witness.ends[0].startswith("3 faults in a row, the last one: proprio/position: ")
    assert loop.stats.held_ticks == 3  # the tick between them neither counts nor forgives


def test_a_skipped_tick_is_a_step_of_the_model(policy: Policy) -> None:
    loop, witness = drive(policy, Patchy(seconds={2: 3.5 * DT}), 6)
    assert [tick.skipped for tick in witness.ticks] == [0, 0, 0, 3, 0, 0]
    assert [tick.index for tick in witness.ticks] == [0, 1, 2, 6, 7, 8]
    assert [tick.step.counter for tick in witness.ticks if tick.step] == [0, 1, 2, 6, 7, 8]
    assert (loop.stats.skipped_ticks, loop.stats.prior_steps) == (3, 3)


def test_after_too_many_skipped_ticks_the_model_is_reset(policy: Policy) -> None:
    robot = Patchy(seconds={4: 7.5 * DT})
    safety = Safety(
        robot, CONTRACT.action, control_dt_s=DT, startup=StartupProfile(warm_up_ticks=2)
    )
    loop, witness = drive(policy, robot, 9, safety=safety)
    assert [tick.is_first for tick in witness.ticks] == [True, *[False] * 4, True, *[False] * 3]
    warming = [tick.limits == ("warming",) for tick in witness.ticks]
    assert warming == [True, True, False, False, False, True, True, False, False]
    assert (loop.stats.model_resets, loop.stats.prior_steps) == (1, 0)


def test_where_time_stands_still_a_skipped_tick_is_no_step(policy: Policy) -> None:
    loop, witness = drive(policy, Patchy(seconds={2: 3.5 * DT}), 6, is_stepped=True)
    assert [tick.step.counter for tick in witness.ticks if tick.step] == [*range(6)]
    assert {tick.skipped for tick in witness.ticks} == {0}
    assert (loop.stats.skipped_ticks, loop.stats.prior_steps) == (3, 0)


def test_a_held_tick_is_a_step_of_the_model(policy: Policy) -> None:
    _, witness = drive(policy, Patchy(bad={2, 3}), 6)
    assert [tick.step and tick.step.counter for tick in witness.ticks] == [0, 1, None, None, 4, 5]
    faults = [tick.fault for tick in witness.ticks]
    assert faults == [None] * 2 + ["proprio/position: element x is nan"] * 2 + [None] * 2


def test_what_listeners_are_told_repeats_the_drive_bit_for_bit(policy: Policy) -> None:
    """Through lost frames, held and skipped ticks, and a new beginning."""
    robot = Patchy(
        blind={3, 4, 9}, bad={0, 6, 7, 20}, late={12}, seconds={8: 2.5 * DT, 15: 8.0 * DT}
    )
    loop = make_loop(policy, robot, witness := Witness(), draw="sample")
    loop.run(robot, lambda: "enough" if robot.num_observed >= 30 else None, seed=11)
    assert (loop.stats.model_resets, loop.stats.skipped_ticks) == (1, 9)
    assert (witness.starts, witness.ends) == ([EpisodeStart(0, 11, "sample")], ["enough"])
    again = Controller(policy, draw="sample", seed=11)
    for tick in witness.ticks:
        for _ in range(0 if tick.is_first else tick.skipped + (tick.step is None)):
            again.skip()
        if tick.step is not None:
            names = [signal.name for signal in CONTRACT.inputs if signal.name not in tick.missing]
            step = again.step(
                {name: tick.observation[name] for name in names},
                is_first=tick.is_first,
                missing=frozenset(tick.missing),
            )
            np.testing.assert_array_equal(step.action, tick.step.action)
            assert step.counter == tick.step.counter
        again.executed(tick.executed)


def test_what_the_next_step_needs_is_computed_after_the_command_was_sent(policy: Policy) -> None:
    order: list[str] = []

    class Spied(Controller):
        def step(self, *arguments: Any, **settings: Any) -> Any:
            order.append("step")
            return super().step(*arguments, **settings)

        def executed(self, action: Array) -> None:
            order.append("executed")
            super().executed(action)

        def advance(self) -> None:
            if order[-1] == "executed":  # a step may also ask for it itself
                order.append("advance")
            super().advance()

    class Spying(Patchy):
        def get_observation(self) -> dict[str, Array]:
            order.append("observe")
            return super().get_observation()

        def send_action(self, action: Array) -> Array:
            order.append("send")
            return super().send_action(action)

    robot = Spying()
    safety = Safety(robot, CONTRACT.action, control_dt_s=DT)
    loop = ControlLoop(Spied(policy, draw="mode"), safety, clock=robot.clock)
    loop.run(robot, lambda: "enough" if robot.num_observed >= 3 else None)
    tick = ["observe", "step", "send", "executed", "advance"]
    assert order == tick * 3


def test_an_episode_that_ends_by_an_error_is_told_as_such(policy: Policy) -> None:
    class Frail(Patchy):
        def send_action(self, action: Array) -> Array:
            raise OSError("cable lost")

    robot = Frail()
    loop = make_loop(policy, robot, witness := Witness())
    with pytest.raises(OSError, match="cable lost"):
        loop.run(robot, lambda: None)
    assert witness.ends == ["cable lost"]


def test_a_camera_that_is_mostly_too_old_stops_the_robot(
    policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    """One good frame in eight, so that never more than seven ticks in a row go without."""
    robot = Patchy(late={tick for tick in range(400) if tick % 8})
    _, witness = drive(policy, robot, 400)
    (reason,) = witness.ends
    assert reason == (
        "11 faults in a row, the last one: image/eye: no frame to trust in 35 of the last 50 "
        "ticks: 40 ms old, allowed are 20 (--max-age allows older ones)"
    )
    assert len(robot.sent) == 29  # then half of 50 ticks had been without
    warnings = [r.message for r in caplog.records if "the model dreams" in r.message]
    assert len(warnings) == 1
    assert "image/eye: no frame to trust in 6 of the last 50 ticks: 40 ms old" in warnings[0]


@pytest.mark.parametrize("how", ["blind", "late"])
def test_less_than_half_of_the_frames_may_be_lost_for_ever(policy: Policy, how: str) -> None:
    lost = {tick for tick in range(400) if tick % 2}
    robot = Patchy(blind=lost) if how == "blind" else Patchy(late=lost)
    loop, witness = drive(policy, robot, 400)
    assert (witness.ends, loop.stats.held_ticks) == (["enough"], 0)


def test_half_the_rate_is_told_from_the_first_second_on_and_then_stopped(
    policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    robot = Patchy(seconds=dict.fromkeys(range(1000), 1.5 * DT))
    loop, witness = drive(policy, robot, 24)  # of two periods each: not yet a second
    assert (witness.ends, caplog.text) == (["enough"], "")
    loop, witness = drive(policy, robot, 1000)
    assert "of the last 50 periods were skipped" in caplog.text
    assert "reach 25.0 of 50.0 Hz" in caplog.text
    assert loop.stats.ticks == 125
    assert witness.ends[0].startswith("125 of the last 250 periods were skipped: this computer")


def test_a_stall_now_and_then_is_no_rate_that_is_too_low(policy: Policy) -> None:
    robot = Patchy(seconds=dict.fromkeys(range(5, 1000, 50), 4.5 * DT))
    loop, witness = drive(policy, robot, 500)
    assert witness.ends == ["enough"]
    assert loop.stats.skipped_ticks == 40


@pytest.mark.parametrize("when", ["episode_started", "ticked", "episode_ended"])
def test_a_listener_that_raises_ends_no_drive(policy: Policy, when: str) -> None:
    class Fragile(Witness):
        pass

    def fail(*_: object) -> None:
        raise OverflowError("cannot convert float infinity to integer")

    robot = Patchy()
    fragile = Fragile()
    setattr(fragile, when, fail)
    loop = make_loop(policy, robot, witness := Witness())
    loop.add_listener(fragile)
    loop.run(robot, lambda: "enough" if robot.num_observed >= 5 else None)
    assert (len(robot.sent), len(witness.ticks), witness.ends) == (5, 5, ["enough"])
    told = loop.stats.listener_fault
    assert told is not None
    assert told.startswith("Fragile: OverflowError in ")
    assert told.endswith(": cannot convert float infinity to integer")


# --- surprise ------------------------------------------------------------------------------------


def surprised(policy: Policy, response: Any, limit: float) -> tuple[ControlLoop, Witness, Patchy]:
    robot = Patchy()
    limits = rate_limits(CONTRACT.action, (5.0,))
    safety = Safety(robot, CONTRACT.action, control_dt_s=DT, limits=limits)
    guard = SurpriseGuard(limit, response)
    loop, witness = drive(policy, robot, 25, safety=safety, surprise=guard, draw="sample")
    return loop, witness, robot


def test_lasting_surprise_stops_the_robot_if_asked_to(policy: Policy) -> None:
    _, witness, robot = surprised(policy, "stop", limit=0.0)
    assert witness.ends[0].startswith("surprise of ")
    assert witness.ends[0].endswith("nats, the limit is 0.0")
    assert len(robot.sent) == WINDOW - 1


def test_lasting_surprise_slows_the_robot_down_if_asked_to(policy: Policy) -> None:
    loop, _, robot = surprised(policy, "slow", limit=0.0)
    assert loop.stats.limits["surprise"] == 25 - WINDOW + 1
    steps = np.abs(np.diff(robot.sent, axis=0)).max(-1)
    assert steps[: WINDOW - 2].max() == pytest.approx(5.0 * DT, rel=1e-4)
    assert steps[WINDOW - 1 :].max() <= SLOW_RATE * 5.0 * DT + 1e-6


def test_surprise_is_only_measured_unless_asked_to_act(policy: Policy) -> None:
    loop, witness = drive(policy, Patchy(), 25)
    assert (len(loop.stats.surprise), witness.ends) == (25, ["enough"])
    loop, _, _ = surprised(policy, "stop", limit=1e9)
    assert loop.safety.stop_reason is None


# --- hanging -------------------------------------------------------------------------------------


class Hanging(Bench):
    """Hangs in one of its methods once it has moved."""

    def __init__(self, method: str) -> None:
        super().__init__("", CONTRACT)
        self._method = method

    def _maybe(self, method: str) -> None:
        if method == self._method and self.sent:
            time.sleep(30.0)

    def get_observation(self) -> dict[str, Array]:
        self._maybe("get_observation")
        return super().get_observation()

    def send_action(self, action: Array) -> Array:
        self._maybe("send_action")
        return super().send_action(action)


@pytest.mark.parametrize("method", ["get_observation", "send_action"])
def test_a_robot_that_hangs_is_held_and_the_loop_comes_back(policy: Policy, method: str) -> None:
    robot, start = Hanging(method), time.monotonic()
    watchdog = Watchdog(look_s=0.2, give_up=lambda reason, _: pytest.fail(reason))
    loop = ControlLoop(
        Controller(policy, draw="mode"),
        Safety(robot, CONTRACT.action, control_dt_s=DT),
        watchdog=watchdog,
    )
    with watchdog:
        reason = loop.run(robot, lambda: None)
    assert time.monotonic() - start < 5.0
    assert reason.startswith(f"{method} did not come back within 0.2 s: ")
    assert loop.safety.stop_reason == reason
    assert robot.num_holds >= 1
    assert len(robot.sent) == 1


def test_a_last_hold_that_hangs_is_no_good_end(policy: Policy) -> None:
    class Stiff(Bench):
        def hold(self) -> Array:
            if self.sent:
                time.sleep(30.0)
            return super().hold()

    robot = Stiff("", CONTRACT)
    watchdog = Watchdog(look_s=0.2, give_up=lambda reason, _: pytest.fail(reason))
    loop = ControlLoop(
        Controller(policy, draw="mode"),
        Safety(robot, CONTRACT.action, control_dt_s=DT),
        watchdog=watchdog,
        listeners=(witness := Witness(),),
    )
    with watchdog, pytest.raises(HungError, match="hold did not come back within 1 s"):
        loop.run(robot, lambda: "done" if robot.sent else None)
    assert [reason.split(" within")[0] for reason in witness.ends] == ["hold did not come back"]


@pytest.mark.parametrize("where", ["get_observation", "is_enabled", "send_action", "sleep"])
def test_a_drive_that_was_suspended_does_not_go_on(policy: Policy, where: str) -> None:
    """Also where the watchdog's thread has not come to itself yet: here it does not run at all."""

    class Frozen(Patchy):
        is_frozen = False

        def freeze(self, here: str) -> None:
            if here == where and len(self.sent) == 3 and not self.is_frozen:
                self.is_frozen = True
                self.clock.time += 1.5

        def get_observation(self) -> dict[str, Array]:
            observation = super().get_observation()
            self.freeze("get_observation")
            return observation

        def send_action(self, action: Array) -> Array:
            executed = super().send_action(action)
            self.freeze("send_action")
            return executed

        @property
        def is_enabled(self) -> bool:
            self.freeze("is_enabled")
            return True

    robot = Frozen()
    robot.clock.sleep = lambda seconds: [  # type: ignore[method-assign]
        FakeClock.sleep(robot.clock, seconds), robot.freeze("sleep"),
    ]  # fmt: skip
    dog = Watchdog(look_s=0.2, give_up=lambda *_: None, now=robot.clock.now)
    safety = Safety(robot, CONTRACT.action, control_dt_s=DT, is_enabled=lambda: robot.is_enabled)
    loop = make_loop(policy, robot, witness := Witness(), watchdog=dog, safety=safety)
    reason = loop.run(robot, lambda: "enough" if robot.num_observed >= 50 else None)
    assert "did not come back within 0.2 s" in reason
    assert (loop.safety.stop_reason, witness.ends) == (reason, [reason])
    assert len(robot.sent) == 3  # not even the command that was on its way
    assert robot.num_holds >= 1


def test_after_a_pause_between_two_episodes_the_robot_begins_from_rest(policy: Policy) -> None:
    """A reset takes what it takes, and the process may be suspended in it: the robot holds."""

    class Paused(Patchy):
        is_episode_over = False
        episode_return, episode_success = 0.0, None

        def start_episode(self, seed: int) -> None:
            assert seed == 0 or self.held_last
            self.clock.time += 3600.0 * seed
            self.first_of_episode = self.num_observed

        def send_action(self, action: Array) -> Array:
            self.held_last = False
            assert self.num_observed - self.first_of_episode > 5, "before it has warmed up"
            self.is_episode_over = self.num_observed - self.first_of_episode >= 20
            return super().send_action(action)

        def hold(self) -> Array:
            self.held_last, self.is_episode_over = True, False
            return super().hold()

    robot = Paused()
    dog = Watchdog(look_s=0.2, give_up=lambda *_: None, now=robot.clock.now)
    startup = StartupProfile(warm_up_ticks=5, ramp_s=0.2)
    safety = Safety(robot, CONTRACT.action, control_dt_s=DT, startup=startup)
    loop = make_loop(policy, robot, witness := Witness(), watchdog=dog, safety=safety)
    drive_episodes(loop, robot, seeds=range(3), should_stop=lambda: None, finished=lambda _: None)
    assert witness.ends == ["episode over"] * 3
    assert loop.stats.limits["ramp"] > 3 * 5
    assert robot.clock.time > 3 * 3600.0
