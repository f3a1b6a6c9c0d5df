"""Readings that are numbers and cannot be true; those of good robots pass, whatever they do."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.contract import (
    Signal,
)
from robodreamer_deploy.control.plausibility import Plausibility
from robodreamer_deploy.errors import SignalError
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.randomization import read_word
from robodreamer_sim.registry import make

DEGREE = np.pi / 180
DT = 0.04
JOINTS = Signal(
    name="proprio/joint_position", shape=(2,), dtype="float32", unit="rad",
    labels=("elbow", "wrist_roll"), low=(-170 * DEGREE,) * 2, high=(170 * DEGREE,) * 2,
)  # fmt: skip
ROUND = dataclasses.replace(JOINTS, low=(-np.pi,) * 2, high=(np.pi,) * 2)
HAND = Signal(
    name="proprio/gripper_position", shape=(2,), dtype="float32", unit="m",
    labels=("x", "y"), low=(1.19, 0.6), high=(1.49, 0.9),
)  # fmt: skip
SPEED = dataclasses.replace(HAND, name="proprio/gripper_velocity", unit="m/s")
GOAL = dataclasses.replace(HAND, name="goal/position")
UNKNOWN = dataclasses.replace(HAND, low=None, high=None)


class Readings:
    """A robot's readings, one per period."""

    def __init__(self, *signals: Signal) -> None:
        self.time = 100.0
        self.judged = Plausibility(signals, lambda: self.time)

    def read(self, signal: Signal, *values: float) -> str | None:
        self.time += DT
        try:
            self.judged.check(signal.name, np.array(values, np.float32))
        except SignalError as error:
            return str(error)
        return None


@pytest.mark.parametrize(
    ("signal", "good", "bad", "words"),
    [
        (JOINTS, (0.0, 2.9), (0.0, 3276.8 * DEGREE), "wrist_roll is 57.1.* rad.* -2.967 .. 2.967"),
        (JOINTS, (0.0, 2.9), (-1e30, 2.9), "elbow is -1e.30 rad"),
        (HAND, (1.3, 0.7), (11.3, 0.7), "x is 11.3 m, which no robot has .* 1.19 .. 1.49"),
        (HAND, (1.3, 0.7), (1.3, 1.5), "y changed by 0.8 m"),
        (SPEED, (0.0, 0.0), (1e6, 0.0), "x is 1e.06 m/s"),
        (GOAL, (1.3, 0.7), (1.3, 1e30), "y is 1e.30 m"),
    ],
)
def test_what_no_robot_can_have_is_refused_by_name(
    signal: Signal, good: Any, bad: Any, words: str
) -> None:
    readings = Readings(signal)
    assert readings.read(signal, *good) is None
    with pytest.raises(ValueError, match=f"{signal.name}: element {words}"):
        raise ValueError(readings.read(signal, *bad))
    assert readings.read(signal, *good) is None  # one bad reading spoils nothing


def test_an_encoder_that_has_wrapped_is_refused_for_as_long_as_that_lasts() -> None:
    readings = Readings(JOINTS)
    assert readings.read(JOINTS, 0.0, 179 * DEGREE) is None
    for angle in (-180.0, -179.0, -178.0, -170.0) * 10:
        assert "did an encoder wrap" in str(readings.read(JOINTS, 0.0, angle * DEGREE))
    assert readings.read(JOINTS, 0.0, 178 * DEGREE) is None


def test_an_angle_that_goes_once_around_may_jump_from_end_to_end() -> None:
    """As in training: its range is a whole turn."""
    readings = Readings(ROUND)
    assert readings.read(ROUND, 0.0, 179 * DEGREE) is None
    assert readings.read(ROUND, 0.0, -179 * DEGREE) is None


@pytest.mark.parametrize("speed", [5.0, -20.0])
def test_a_joint_without_limits_may_turn_on_and_on(speed: float) -> None:
    """MuJoCo counts its turns, and its range is a single one."""
    readings = Readings(ROUND)
    for step in range(5000):
        assert readings.read(ROUND, speed * DT * step, 0.0) is None
    assert "wrist_roll is 1e+30 rad" in str(readings.read(ROUND, speed * DT * 5000, 1e30))
    assert "elbow changed by" in str(readings.read(ROUND, 3276.8, 0.0))


def test_only_an_angle_may_go_around() -> None:
    """A speed or a place whose range happens to be as long is judged by it."""
    for unit in ("rad/s", "m"):
        readings = Readings(other := dataclasses.replace(ROUND, unit=unit))
        assert "wrist_roll is 1000" in str(readings.read(other, 0.0, 1000.0))


def test_a_goal_is_set_somewhere_else_and_a_speed_changes_at_once() -> None:
    readings = Readings(GOAL, SPEED)
    for signal in (GOAL, SPEED):
        assert readings.read(signal, 1.1, 0.5) is None
        assert readings.read(signal, 2.3, 1.7) is None


def test_a_signal_of_unknown_range_is_not_judged() -> None:
    readings = Readings(UNKNOWN)
    assert readings.read(UNKNOWN, 0.0, 0.0) is None
    assert readings.read(UNKNOWN, 1e30, -1e30) is None


def test_a_range_without_extent_forbids_nothing() -> None:
    still = dataclasses.replace(HAND, low=(1.0, 1.0), high=(1.0, 1.0))
    readings = Readings(still)
    assert readings.read(still, 1.0, 1.0) is None
    assert readings.read(still, 1.2, 0.8) is None


def test_a_robot_is_somewhere_else_in_another_episode() -> None:
    readings = Readings(JOINTS)
    assert readings.read(JOINTS, -2.9, -2.9) is None
    readings.judged.begin()
    assert readings.read(JOINTS, 2.9, 2.9) is None


@pytest.mark.parametrize("word", ["none", "strong"])
@pytest.mark.parametrize(
    "task",
    [
        "fetch_reach",
        "arm_reach",
        *(
            pytest.param(task, marks=pytest.mark.slow)
            for task in ("fetch_pick_and_place", "arm_push", "franka_kitchen", "hand_reach",
                         "adroit_relocate", "ant_maze_umaze")
        ),
    ],
)  # fmt: skip
def test_nothing_that_happens_in_simulation_is_refused(task: str, word: str) -> None:
    """Also not where actions are random, and kept at their ends for long."""
    options = EnvOptions(observe="proprio")
    if word != "none":
        options = dataclasses.replace(options, randomize=read_word(word))
    env = make(task, options)
    size, dt, rng = env.contract.action.size, env.contract.control_dt_s, np.random.default_rng(0)
    clock = [0.0]
    judged = Plausibility(env.contract.inputs, lambda: clock[0])
    for episode in range(4):
        judged.begin()
        observation, _ = env.reset(seed=episode)
        action = np.zeros(size, np.float32)
        for step in range(80):
            for signal in env.contract.inputs:
                judged.check(signal.name, observation[signal.name])
            if episode % 2 == 0:
                action = rng.uniform(-1.0, 1.0, size).astype(np.float32)
            elif step % 20 == 0:
                action = rng.choice([-1.0, 1.0], size).astype(np.float32)
            clock[0] += dt
            observation, _, is_terminated, is_truncated, _ = env.step(action)
            if is_terminated or is_truncated:
                break
    env.close()
