"""Command timeout of a served robot: a deadline that has passed is a stop, whoever looks first."""

import threading
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.cli.serve import watched_commands
from robodreamer_deploy.contract import Array
from robodreamer_deploy.drive_options import DriveOptions
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.remote.command_timeout import GRACE, RETRY_S, Watch
from toy_robot import CONTRACT, Bench, FakeClock

ACTION = np.array([0.5, -0.25], np.float32)
WITHIN_S = 0.1


class Watched:
    """A robot that is watched on a test's own clock."""

    def __init__(self) -> None:
        self.clock, self.robot = FakeClock(), Bench("", CONTRACT)
        self.watch = Watch(self.robot, WITHIN_S, self.clock.now)

    def fail_to_hold(self, times: int) -> None:
        """Let the next holds fail."""
        left = [OSError("the bus is silent")] * times
        hold = self.robot.hold

        def fail() -> Array:
            if left:
                raise left.pop()
            return hold()

        self.robot.hold = fail


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.mark.parametrize("late_s", [WITHIN_S, 1.5, 3600.0])
def test_an_action_after_the_deadline_is_refused_and_held_also_where_nobody_looked_before(
    watched: Watched, late_s: float
) -> None:
    """As after SIGSTOP and SIGCONT of the robot's process: the action waits at the socket."""
    watched.watch.send_action(ACTION)
    watched.clock.time += late_s
    for _ in range(3):
        with pytest.raises(RobotError, match=r"had ceased for 0\.1 s: the robot was held"):
            watched.watch.send_action(ACTION)
    assert (len(watched.robot.sent), watched.robot.num_holds) == (1, 1)
    watched.watch.hold()
    watched.watch.send_action(ACTION)
    assert len(watched.robot.sent) == 2


def test_an_action_whose_process_was_suspended_while_it_was_judged_is_not_sent() -> None:
    """The deadline is looked at once more directly before the robot's class is called."""
    clock, pauses_s = FakeClock(), iter([0.0, 0.9 * WITHIN_S, WITHIN_S])

    class Napping(Bench):
        @property
        def is_enabled(self) -> bool:  # asked while a command is judged
            clock.time += next(pauses_s)
            return True

    robot = Napping("", CONTRACT)
    _, watch = watched_commands(DriveOptions(ramp=0.0), robot, CONTRACT, clock.now)
    assert watch.command_within_s == pytest.approx(WITHIN_S)
    watch.hold()
    for _ in range(2):
        watch.send_action(ACTION)
    with pytest.raises(RobotError, match="had ceased"):
        watch.send_action(ACTION)
    assert len(robot.sent) == 2
    assert robot.num_holds > 1


def test_commands_on_time_are_passed_on(watched: Watched) -> None:
    for _ in range(20):
        watched.watch.send_action(ACTION)
        watched.clock.time += 0.99 * WITHIN_S
        assert 0.0 < watched.watch.advance() <= WITHIN_S
    assert (len(watched.robot.sent), watched.robot.num_holds) == (20, 0)


def test_a_robot_that_stands_has_no_deadline(watched: Watched) -> None:
    watched.watch.send_action(ACTION)
    watched.watch.hold()
    watched.clock.time += 3600.0
    assert watched.watch.advance() == float("inf")
    watched.watch.send_action(ACTION)
    assert watched.robot.num_holds == 1


def test_while_the_robots_class_hangs_the_other_thread_holds_on_time(watched: Watched) -> None:
    watched.watch.send_action(ACTION)
    with watched.watch.busy():  # and never comes back
        watched.clock.time += 0.99 * WITHIN_S
        watched.watch.look_aside()
        assert watched.robot.num_holds == 0
        watched.clock.time += 0.01 * WITHIN_S + 1e-9
        watched.watch.look_aside()
        assert watched.robot.num_holds == 1, "after as many periods as with a silent driver"
    with pytest.raises(RobotError, match="had ceased"):
        watched.watch.send_action(ACTION)


def test_a_server_that_does_not_come_to_it_is_given_some_grace(watched: Watched) -> None:
    watched.watch.send_action(ACTION)
    watched.clock.time += (1.0 + 0.9 * GRACE) * WITHIN_S
    watched.watch.look_aside()
    assert watched.robot.num_holds == 0
    watched.clock.time += 0.2 * GRACE * WITHIN_S
    watched.watch.look_aside()
    assert watched.robot.num_holds == 1


def test_an_action_that_hung_and_goes_out_after_the_hold_is_followed_by_another(
    watched: Watched,
) -> None:
    done: list[str] = []

    def hang(action: Array) -> Array:
        watched.clock.time += 1.0
        watched.watch.look_aside()  # as the other thread does
        done.append("moves")
        return action

    robot: Any = watched.robot
    robot.send_action = hang
    robot.hold = lambda: done.append("holds") or np.zeros(2, np.float32)
    with watched.watch.busy(), pytest.raises(RobotError, match="had ceased"):
        watched.watch.send_action(ACTION)
    assert done == ["holds", "moves", "holds"]


def test_an_action_that_fails_is_followed_by_a_hold_at_once(watched: Watched) -> None:
    def fail(action: Array) -> Array:
        raise ValueError(f"a bug with {action}")

    watched.robot.send_action = fail
    with pytest.raises(ValueError, match="a bug with"):
        watched.watch.send_action(ACTION)
    assert watched.robot.num_holds == 1


def test_a_hold_that_fails_is_tried_again_until_it_works(watched: Watched) -> None:
    watched.watch.send_action(ACTION)
    watched.fail_to_hold(3)
    watched.clock.time += 2 * WITHIN_S
    for _ in range(3):
        assert watched.watch.advance() == RETRY_S
        assert watched.watch.advance() <= RETRY_S, "the other thread does not try at once as well"
        watched.clock.time += RETRY_S + 1e-9
    assert watched.watch.advance() == float("inf")
    assert watched.robot.num_holds == 1


def test_a_slow_hold_of_the_other_thread_takes_no_deadline_of_a_later_action(
    watched: Watched,
) -> None:
    hold = watched.robot.hold

    def slow() -> Array:
        watched.robot.hold = hold
        watched.watch.hold()  # the server's thread has come back meanwhile, and drives on
        watched.watch.send_action(ACTION)
        return hold()

    watched.watch.send_action(ACTION)
    watched.robot.hold = slow
    watched.clock.time += 2 * WITHIN_S
    watched.watch.advance()
    num_holds = watched.robot.num_holds
    watched.clock.time += WITHIN_S
    watched.watch.advance()
    assert watched.robot.num_holds == num_holds + 1


def test_the_thread_acts_by_itself_and_ends() -> None:
    robot, is_held = Bench("", CONTRACT), threading.Event()
    hold = robot.hold
    robot.hold = lambda: (is_held.set(), hold())[1]
    watch = Watch(robot, 0.02)
    with watch:
        watch.send_action(ACTION)
        assert is_held.wait(10.0)
    assert not any(thread.name == "stand-by" for thread in threading.enumerate())
