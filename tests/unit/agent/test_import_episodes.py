"""Import of logs: steps that follow each other, and rewards where they are known."""

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robodreamer.data.datasets.robot_log import UNKNOWN_EPISODE, Segment, segments
from robodreamer.data.episode_records import (
    lay_out,
    make_records,
    side_by_side,
    with_latents,
)
from robodreamer.models.sampling import ModeSampler
from robodreamer_deploy.contract import Array
from robodreamer_deploy.control.events import EpisodeEnd, EpisodeStart, Tick
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.policy.controller import Step
from robodreamer_deploy.recording.event_stream import DriveSnapshot, LogEvent
from robodreamer_deploy.recording.labels import (
    EpisodeLabel,
    EpisodeLabels,
    labels_path,
    read_labels,
    write_label,
)
from robodreamer_sim.env import SignalEvaluation
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.tasks.arm import ArmReach
from toy_agent import make_agent
from toy_robot import CONTRACT

DISTANCE = "privileged/distance"


def observation(value: float) -> dict[str, Array]:
    return {
        "proprio/position": np.full(2, value, np.float32),
        "image/eye": np.full((8, 6, 3), int(value) % 256, np.uint8),
        "goal/target": np.zeros(2, np.float32),
    }


def tick(index: int, **changes: Any) -> Tick:
    """Return a tick whose signals and action follow from its index."""
    action = np.full(2, index / 100, np.float32)
    whole = Tick(
        index=index, skipped=0, time_s=0.02 * index, lateness_s=0.0, sense_to_act_s=0.0,
        is_first=index == 0, observation=observation(index), stamps={}, missing=(),
        step=Step(action, 0.0, index, "posterior"), sent=action, executed=action, limits=(),
        fault=None,
    )  # fmt: skip
    return whole._replace(**changes)


def drive(*episodes: list[Tick]) -> list[LogEvent]:
    payloads: list[Any] = []
    for number, ticks in enumerate(episodes):
        payloads += [EpisodeStart(number, number, "mode"), *ticks, EpisodeEnd("over")]
    return [LogEvent(number, 0.0, payload) for number, payload in enumerate(payloads)]


def indices(segment: Segment) -> list[int]:
    return [int(step["proprio/position"][0]) for step in segment.observations]


def found_segments(events: list[LogEvent]) -> list[tuple[int, list[int], bool]]:
    found = segments(events, CONTRACT).segments
    for segment in found:
        assert [round(100 * float(a[0])) for a in segment.actions] == indices(segment)
    return [(s.episode, indices(s), s.ends_episode) for s in found]


def test_an_episode_is_a_segment_unless_something_is_missing() -> None:
    whole = drive([tick(i) for i in range(4)], [tick(i) for i in range(3)])
    assert found_segments(whole) == [(0, [0, 1, 2, 3], True), (1, [0, 1, 2], True)]
    assert found_segments(whole[:3]) == [(0, [0, 1], False)]  # cut in the middle
    assert found_segments(whole[:2] + whole[4:]) == [
        (0, [0], False),
        (0, [3], True),
        (1, [0, 1, 2], True),
    ]


def test_a_bad_signal_a_missing_frame_and_skipped_ticks_split_a_segment() -> None:
    nan = {**observation(2), "proprio/position": np.array([np.nan, 0], np.float32)}
    blind = {k: v for k, v in observation(4).items() if k != "image/eye"}
    ticks = [tick(i) for i in range(8)]
    ticks[2] = tick(2, observation=nan, step=None)
    ticks[4] = tick(4, observation=blind, missing=("image/eye",))
    ticks[6] = tick(9, skipped=3)
    ticks[7] = tick(10)
    ticks += [tick(11, executed=np.zeros(3, np.float32)), tick(12, executed=np.full(2, np.nan))]
    found = segments(drive(ticks), CONTRACT)
    assert [indices(segment) for segment in found.segments] == [[0, 1], [3], [5], [9, 10]]
    assert found.num_left_out == 4


def judge(signals: Mapping[str, Array]) -> SignalEvaluation | None:
    """Judge the toy: its reward is minus its place, unknown beyond 5; it ends at 3."""
    place = float(signals["proprio/position"][0])
    if place > 5:
        return None
    recorded = {DISTANCE: np.array(place, np.float32)}
    return SignalEvaluation(-place, success=False, is_terminal=place == 3, privileged=recorded)


def records_of(ticks: list[Tick], labels: EpisodeLabels | None = None) -> list[dict[str, Array]]:
    found = segments(drive(ticks), CONTRACT).segments
    return make_records(found, CONTRACT, labels or EpisodeLabels(), judge).steps


def test_the_task_judges_what_was_measured() -> None:
    records = records_of([tick(i) for i in range(1, 4)])
    assert [float(r["reward"]) for r in records] == [0.0, -2.0, -3.0]  # the first earns nothing
    assert [bool(r["is_terminal"]) for r in records] == [False, False, True]
    assert [bool(r["is_first"]) for r in records] == [True, False, False]
    assert [bool(r["is_last"]) for r in records] == [False, False, True]
    assert [float(r[DISTANCE]) for r in records] == [1.0, 2.0, 3.0]


def test_where_the_task_cannot_judge_every_step_no_reward_is_known() -> None:
    records = records_of([tick(i) for i in range(4, 8)])
    assert all(np.isnan(r["reward"]) for r in records)
    assert [np.isnan(r[DISTANCE]) for r in records] == [False, False, True, True]


def test_an_operators_label_goes_before_the_task() -> None:
    labels = EpisodeLabels(
        episodes={"0": EpisodeLabel(outcome="success", reward=2.5, is_terminal=True)}
    )
    records = records_of([tick(i) for i in range(4, 8)], labels)
    assert [float(r["reward"]) for r in records] == [0.0, 0.0, 0.0, 2.5]
    assert [bool(r["is_terminal"]) for r in records] == [False, False, False, True]


def test_a_labelled_episode_that_was_cut_does_not_earn_its_label_and_is_listed() -> None:
    labels = EpisodeLabels(
        episodes={
            "0": EpisodeLabel(outcome="success", reward=2.5),
            "7": EpisodeLabel(outcome="failure", reward=0),
        }
    )
    cut = segments(drive([tick(0), tick(1)])[:3], CONTRACT).segments
    found = make_records(cut, CONTRACT, labels, judge)
    assert [float(r["reward"]) for r in found.steps] == [0.0, 0.0]
    assert found.unused_labels == [0, 7]


@pytest.mark.parametrize(("num_bad", "is_earned"), [(1, True), (50, True), (51, False)])
def test_where_the_last_ticks_are_bad_the_last_good_step_earns_the_label(
    num_bad: int, *, is_earned: bool
) -> None:
    labels = EpisodeLabels(
        episodes={"0": EpisodeLabel(outcome="success", reward=2.5, is_terminal=True)}
    )
    blind = {k: v for k, v in observation(2).items() if k != "image/eye"}
    bad = [tick(i, observation=blind, missing=("image/eye",)) for i in range(2, 2 + num_bad)]
    events = drive([tick(0), tick(1), *bad], [tick(0)])
    found = make_records(segments(events, CONTRACT).segments, CONTRACT, labels, judge)
    assert [float(r["reward"]) for r in found.steps] == [0.0, 2.5 * is_earned, 0.0]
    assert [bool(r["is_terminal"]) for r in found.steps] == [False, is_earned, False]
    assert found.unused_labels == ([] if is_earned else [0])


def test_steps_after_lost_events_belong_to_the_episode_that_the_log_names() -> None:
    whole = drive([tick(i) for i in range(4)], [tick(i) for i in range(4)])
    start = whole[6].payload
    assert isinstance(start, EpisodeStart)
    cut = whole[:3] + whole[4:5] + whole[8:]  # a tick is lost, and later the end and the beginning
    assert found_segments(cut) == [
        (0, [0, 1], False), (0, [3], False), (UNKNOWN_EPISODE, [1, 2, 3], True),
    ]  # fmt: skip
    controller: Any = None
    recorded = whole[9]._replace(snapshot=DriveSnapshot(start, controller, controller))
    cut = [*whole[:3], whole[8], recorded, *whole[10:]]
    assert found_segments(cut) == [(0, [0, 1], False), (1, [1, 2, 3], True)]


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8), num_envs=st.integers(1, 20))
def test_every_step_and_every_transition_arrives_and_every_reward_once(
    lengths: list[int], num_envs: int
) -> None:
    steps = [
        {
            "i": np.array(i), "reward": np.float32(i),
            "is_first": np.bool_(place == 0), "is_last": np.bool_(place == length - 1),
        }
        for i, (place, length) in enumerate((p, n) for n in lengths for p in range(n))
    ]  # fmt: skip
    layout = lay_out([bool(step["is_first"]) for step in steps], num_envs)
    records = list(side_by_side(steps, layout))
    rewards: list[int] = []
    pairs: set[tuple[int, int]] = set()
    for env in range(num_envs):
        run = [{name: value[env] for name, value in record.items()} for record in records]
        assert run[0]["is_first"]
        assert run[-1]["is_last"]
        rewards += [int(step["i"]) for step in run if not np.isnan(step["reward"])]
        for step, following in itertools.pairwise(run):
            assert following["is_first"] == step["is_last"]
            if not following["is_first"]:
                assert following["i"] == step["i"] + 1
                pairs.add((int(step["i"]), int(following["i"])))
    assert sorted(rewards) == list(range(len(steps)))
    assert pairs == {(i, i + 1) for i, step in enumerate(steps[:-1]) if not step["is_last"]}
    assert layout.num_copies == num_envs * len(records) - len(steps)


@pytest.mark.parametrize(
    ("lengths", "num_envs", "num_records"),
    [([12], 8, 3), ([100] * 16, 16, 100), ([1000], 16, 64), ([3], 16, 2), ([1] * 5, 16, 1)],
)
def test_few_steps_are_repeated(lengths: list[int], num_envs: int, num_records: int) -> None:
    is_first = [place == 0 for length in lengths for place in range(length)]
    assert [len(run) for run in lay_out(is_first, num_envs).runs] == [num_records] * num_envs


def test_latents_are_those_of_acting_with_what_was_executed() -> None:
    images_first = sorted(CONTRACT.observations, key=lambda signal: not signal.is_image)
    agent = make_agent(dataclasses.replace(CONTRACT, observations=tuple(images_first))).eval()
    steps = records_of([tick(i) for i in range(4)])
    layout = lay_out([bool(step["is_first"]) for step in steps], 1)
    found = list(with_latents(side_by_side(steps, layout), agent, ModeSampler()))
    carry = agent.initial_carry(1)
    for i, record in enumerate(found):
        inputs = {s.name: torch.from_numpy(steps[i][s.name])[None] for s in agent.contract.inputs}
        carry = agent.act(carry, inputs, torch.tensor([i == 0]), ModeSampler())
        assert torch.equal(torch.as_tensor(record["deter"]), carry.state.deter)
        assert torch.equal(torch.as_tensor(record["stoch"]), carry.state.stoch)
        carry = carry._replace(action=torch.from_numpy(steps[i]["action"])[None])


def test_labels_lie_beside_the_log_and_replace_each_other(tmp_path: Path) -> None:
    log = tmp_path / "drive.mcap"
    assert read_labels(log) == EpisodeLabels()
    write_label(log, 10, EpisodeLabel(outcome="failure", reward=0.0))
    write_label(log, 2, EpisodeLabel(outcome="failure", reward=-1.0))
    write_label(log, 2, EpisodeLabel(outcome="success", reward=1.0, is_terminal=True))
    labels = read_labels(log)
    assert labels.of(2) == EpisodeLabel(outcome="success", reward=1.0, is_terminal=True)
    assert list(labels.episodes) == ["2", "10"]
    assert labels.of(3) is None
    assert [path.name for path in tmp_path.iterdir()] == ["drive.mcap.labels.json"]
    labels_path(log).write_text('{"episodes": {"2": {"outcome": "draw", "reward": 1}}}')
    with pytest.raises(RobotError, match=r"labels\.episodes\.2\.outcome is 'draw', expected"):
        read_labels(log)


@pytest.mark.parametrize("task", ["fetch_reach", "fetch_reach_sparse", "arm"])
def test_a_task_judges_signals_as_it_judges_its_simulation(task: str) -> None:
    options = EnvOptions(observe="proprio")
    env = RecallingArm("arm_reach", options) if task == "arm" else make(task, options)
    judging = RecallingArm("arm_reach", options) if task == "arm" else make(task, options)
    random = np.random.default_rng(0)
    env.reset(seed=1)
    try:
        for _ in range(8):
            action = random.uniform(-1, 1, env.contract.action.size).astype(np.float32)
            observed, reward, is_terminated, _, info = env.step(action)
            inputs = {s.name: observed[s.name] for s in env.contract.inputs}
            judgement = judging.evaluate_signals(inputs)
            assert judgement is not None
            assert judgement.reward == pytest.approx(reward, abs=1e-6)
            assert judgement.success == info["success"]
            assert judgement.is_terminal == is_terminated
            for name, value in judgement.privileged.items():
                np.testing.assert_allclose(value, observed[name], atol=1e-6)
            assert (
                judging.evaluate_signals({k: v for k, v in inputs.items() if "goal" not in k})
                is None
            )
    finally:
        env.close()
        judging.close()


class RecallingArm(ArmReach):
    """Arm whose reward follows from its pose and its goal."""

    def set_state_from_signals(self, signals: Mapping[str, Array]) -> bool:
        if not {"proprio/joint_position", "goal/position"} <= signals.keys():
            return False
        self.data.qpos[:6] = signals["proprio/joint_position"]
        self.data.mocap_pos[0] = signals["goal/position"]
        return True


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("fetch_push", EnvOptions(observe="proprio")),  # the object is not in what is passed on
        ("fetch_reach", EnvOptions(observe="proprio", action_repeat=2)),
        ("arm_reach", EnvOptions(observe="proprio")),
        ("dmc_cartpole_swingup", EnvOptions(observe="proprio")),
    ],
)
def test_a_task_that_cannot_judge_signals_returns_none(task: str, options: EnvOptions) -> None:
    env = make(task, options)
    observed, _ = env.reset(seed=0)
    robots = {k: v for k, v in observed.items() if "object" not in k and "privileged" not in k}
    assert env.evaluate_signals(robots) is None
    env.close()
