"""The conformance suite finds every kind of broken promise, each by the check that is for it."""

import pytest

from conformance_tasks import (
    OPTIONS,
    Boundless,
    Dark,
    Early,
    Fit,
    Forgetful,
    Gullible,
    Late,
    Lengthy,
    Monotonous,
    Moody,
    NoReward,
    NotANumber,
    Shared,
    Shy,
    Still,
)
from robodreamer_sim.tasks.custom.robot_task import RobotTask
from robodreamer_sim.testing.conformance import CHECKS, ConformanceError, TaskUnderTest


def under_test(kind: type[RobotTask]) -> TaskUnderTest:
    return TaskUnderTest(lambda options: kind("turn", options), OPTIONS)


@pytest.mark.parametrize("check", CHECKS)
def test_a_task_that_keeps_its_promises_passes(check: str) -> None:
    subject = under_test(Fit)
    CHECKS[check](subject)
    subject.close()


@pytest.mark.parametrize(
    ("kind", "check", "message"),
    [
        (Lengthy, "contract", "control_dt_s is 0.5 s"),
        (Forgetful, "contract", "made again .* has another contract"),
        (NotANumber, "observations", "step 5: proprio/joint_velocity: element turn is nan"),
        (NoReward, "observations", "step 1: the reward is inf"),
        (Shared, "fresh arrays", "proprio/joint_position of the first observation changed"),
        (Moody, "seeds", "after another episode proprio/joint_position differs at step 0"),
        (Monotonous, "seeds", "seeds 7 and 8 .* the same observation"),
        (Shy, "drawing", "with pictures taken of it step 1 yields"),
        (Dark, "pictures", "image/scene shows nothing: over 21 frames"),
        (Still, "pictures", "image/scene does not change in 21 frames"),
        (Boundless, "actions", "at -3 instead of -1 .* differs"),
        (Gullible, "actions", "was accepted"),
        (Late, "end", "an episode of 25 steps was not cut, though the limit is 25"),
        (Early, "end", "was cut after 24 steps, not after 25"),
    ],
)
def test_a_broken_promise_is_found(kind: type[RobotTask], check: str, message: str) -> None:
    subject = under_test(kind)
    with pytest.raises(ConformanceError, match=message):
        CHECKS[check](subject)
    subject.close()
