"""Command timeout of a served robot: a passed deadline is a stop, whoever notices first."""

import threading
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.cli.serve import make_command_path
from robodreamer_deploy.contract import Array
from robodreamer_deploy.drive_options import DriveOptions
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.remote.command_timeout import GRACE, RETRY_S, CommandTimeout
from toy_robot import CONTRACT, Bench, FakeClock

ACTION = np.array([0.5, -0.25], np.float32)
WITHIN_S = 0.1


class Timed:
    """A robot with a command timeout, on a test's own clock."""

    def __init__(self) -> None:
        self.clock, self.robot = FakeClock(), Bench("", CONTRACT)
        self.timeout = CommandTimeout(self.robot, WITHIN_S, self.clock.now)

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
def timed() -> Timed:
    return Timed()


@pytest.mark.parametrize("late_s", [WITHIN_S, 1.5, 3600.0])
def test_an_action_after_the_deadline_is_refused_and_held_also_if_nobody_noticed_before(
    timed: Timed, late_s: float
) -> None:
    """As after SIGSTOP and SIGCONT of the robot's process: the action waits at the socket."""
    timed.timeout.send_action(ACTION)
    timed.clock.time += late_s
    for _ in range(3):
        with pytest.raises(RobotError, match=r"had ceased for 0\.1 s: the robot was held"):
            timed.timeout.send_action(ACTION)
    assert (len(timed.robot.sent), timed.robot.num_holds) == (1, 1)
    timed.timeout.hold()
    timed.timeout.send_action(ACTION)
    assert len(timed.robot.sent) == 2


def test_an_action_whose_process_was_suspended_while_it_was_judged_is_not_sent() -> None:
    """The deadline is checked once more directly before the robot's class is called."""
    clock, pauses_s = FakeClock(), iter([0.0, 0.9 * WITHIN_S, WITHIN_S])

    class Napping(Bench):
        @property
        def is_enabled(self) -> bool:  # asked while a command is judged
            clock.time += next(pauses_s)
            return True

    robot = Napping("", CONTRACT)
    _, timeout = make_command_path(DriveOptions(ramp=0.0), robot, CONTRACT, clock.now)
    assert timeout.command_within_s == pytest.approx(WITHIN_S)
    timeout.hold()
    for _ in range(2):
        timeout.send_action(ACTION)
    with pytest.raises(RobotError, match="had ceased"):
        timeout.send_action(ACTION)
    assert len(robot.sent) == 2
    assert robot.num_holds > 1


def test_commands_on_time_are_passed_on(timed: Timed) -> None:
    for _ in range(20):
        timed.timeout.send_action(ACTION)
        timed.clock.time += 0.99 * WITHIN_S
        assert 0.0 < timed.timeout.advance() <= WITHIN_S
    assert (len(timed.robot.sent), timed.robot.num_holds) == (20, 0)


def test_a_robot_that_stands_has_no_deadline(timed: Timed) -> None:
    timed.timeout.send_action(ACTION)
    timed.timeout.hold()
    timed.clock.time += 3600.0
    assert timed.timeout.advance() == float("inf")
    timed.timeout.send_action(ACTION)
    assert timed.robot.num_holds == 1


def test_while_the_robots_class_hangs_the_second_thread_holds_on_time(timed: Timed) -> None:
    timed.timeout.send_action(ACTION)
    with timed.timeout.busy():  # and never comes back
        timed.clock.time += 0.99 * WITHIN_S
        timed.timeout.advance_in_background()
        assert timed.robot.num_holds == 0
        timed.clock.time += 0.01 * WITHIN_S + 1e-9
        timed.timeout.advance_in_background()
        assert timed.robot.num_holds == 1, "after as many periods as with a silent driver"
    with pytest.raises(RobotError, match="had ceased"):
        timed.timeout.send_action(ACTION)


def test_a_late_server_is_given_some_grace(timed: Timed) -> None:
    timed.timeout.send_action(ACTION)
    timed.clock.time += (1.0 + 0.9 * GRACE) * WITHIN_S
    timed.timeout.advance_in_background()
    assert timed.robot.num_holds == 0
    timed.clock.time += 0.2 * GRACE * WITHIN_S
    timed.timeout.advance_in_background()
    assert timed.robot.num_holds == 1


def test_an_action_that_hung_and_goes_out_after_the_hold_is_followed_by_another(
    timed: Timed,
) -> None:
    done: list[str] = []

    def hang(action: Array) -> Array:
        timed.clock.time += 1.0
        timed.timeout.advance_in_background()  # as the second thread does
        done.append("moves")
        return action

    robot: Any = timed.robot
    robot.send_action = hang
    robot.hold = lambda: done.append("holds") or np.zeros(2, np.float32)
    with timed.timeout.busy(), pytest.raises(RobotError, match="had ceased"):
        timed.timeout.send_action(ACTION)
    assert done == ["holds", "moves", "holds"]


def test_an_action_that_fails_is_followed_by_a_hold_at_once(timed: Timed) -> None:
    def fail(action: Array) -> Array:
        raise ValueError(f"a bug with {action}")

    timed.robot.send_action = fail
    with pytest.raises(ValueError, match="a bug with"):
        timed.timeout.send_action(ACTION)
    assert timed.robot.num_holds == 1


def test_a_hold_that_fails_is_tried_again_until_it_works(timed: Timed) -> None:
    timed.timeout.send_action(ACTION)
    timed.fail_to_hold(3)
    timed.clock.time += 2 * WITHIN_S
    for _ in range(3):
        assert timed.timeout.advance() == RETRY_S
        assert timed.timeout.advance() <= RETRY_S, "the second thread does not try at once as well"
        timed.clock.time += RETRY_S + 1e-9
    assert timed.timeout.advance() == float("inf")
    assert timed.robot.num_holds == 1


def test_a_slow_hold_of_the_second_thread_takes_no_deadline_of_a_later_action(
    timed: Timed,
) -> None:
    hold = timed.robot.hold

    def slow() -> Array:
        timed.robot.hold = hold
        timed.timeout.hold()  # the server's thread has come back meanwhile, and drives on
        timed.timeout.send_action(ACTION)
        return hold()

    timed.timeout.send_action(ACTION)
    timed.robot.hold = slow
    timed.clock.time += 2 * WITHIN_S
    timed.timeout.advance()
    num_holds = timed.robot.num_holds
    timed.clock.time += WITHIN_S
    timed.timeout.advance()
    assert timed.robot.num_holds == num_holds + 1


def test_the_thread_acts_by_itself_and_ends() -> None:
    robot, is_held = Bench("", CONTRACT), threading.Event()
    hold = robot.hold
    robot.hold = lambda: (is_held.set(), hold())[1]
    timeout = CommandTimeout(robot, 0.02)
    with timeout:
        timeout.send_action(ACTION)
        assert is_held.wait(10.0)
    assert not any(thread.name == "command-timeout" for thread in threading.enumerate())
