"""Evaluation: every environment's share, honest intervals, black cameras, and clear refusals."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodreamer.evaluation.evaluate import (
    Array,
    Evaluation,
    evaluate,
    make_evaluation_envs,
    require_unchanged,
)
from robodreamer.evaluation.policies import BlankedCameras
from robodreamer.evaluation.report import (
    HEADER,
    as_json,
    evaluate_target,
    format_row,
    make_evaluation_job,
)
from robodreamer.evaluation.scores import score_of_summary
from robodreamer.evaluation.targets import EvaluationTarget, camera_signals, load_target
from robodreamer_deploy.contract import ActionSpec, Contract, Signal
from robodreamer_deploy.policy.manifest import ActionSelection
from robodreamer_sim import EnvOptions, VectorEnv, make
from robodreamer_sim.env import MAX_STEPS

POLE = "gym:CartPole-v1"  # episodes of different lengths: until the pole has fallen


class Lean:
    """Pushes the cart to where the pole leans, with `mode` to where it is falling, too."""

    def __init__(self, draw: ActionSelection = "mode") -> None:
        self.draw = draw
        self.num_first = 0

    def act(self, observation: Mapping[str, Array], is_first: Any) -> Array:
        self.num_first += int(is_first.sum())
        (state,) = (v for k, v in observation.items() if k.startswith("proprio/"))
        right = state[:, 2] + (0.5 * state[:, 3] if self.draw == "mode" else 0.0) > 0
        return np.eye(2, dtype=np.float32)[right.astype(int)]


class Noop:
    """Takes the first choice."""

    def __init__(self, size: int) -> None:
        self.size = size

    def act(self, observation: Mapping[str, Array], is_first: Any) -> Array:
        return np.eye(self.size, dtype=np.float32)[np.zeros(len(is_first), int)]


@pytest.fixture(scope="module")
def contract() -> Contract:
    env = make(POLE, EnvOptions(observe="proprio"))
    env.close()
    return env.contract


@pytest.fixture(scope="module")
def envs(contract: Contract) -> VectorEnv:
    return make_evaluation_envs(contract, 10, num_workers=0)


def test_every_environment_runs_its_share_from_its_first_episode(envs: VectorEnv) -> None:
    policy = Lean("sample")
    one, two = (evaluate(policy, envs, episodes) for episodes in (5, 10))
    assert len(np.unique(two.lengths)) > 4
    assert policy.num_first > 15  # some went on while the last ones finished
    np.testing.assert_array_equal(two.lengths[::2], one.lengths)
    np.testing.assert_array_equal(one.returns, one.lengths)  # CartPole rewards every step


def test_the_same_number_of_episodes_means_the_same_ones(contract: Contract) -> None:
    first, again = (
        evaluate(Lean("sample"), make_evaluation_envs(contract, 6, num_workers=0), 6)
        for _ in range(2)
    )
    assert len(first.returns) == 6
    np.testing.assert_array_equal(first.lengths, again.lengths)


def test_an_evaluation_ends_where_episodes_have_no_limit() -> None:
    env = make("gym:toy_env:ToyBlind-v0", EnvOptions(observe="proprio", action_repeat=3))
    assert env.contract.max_episode_steps is None
    with make_evaluation_envs(env.contract, 2, num_workers=0) as endless:
        policy = Noop(env.contract.action.size)
        result = evaluate(policy, endless, 4)
    assert result.lengths.tolist() == [math.ceil(MAX_STEPS / 3)] * 4


def test_a_policy_is_measured_as_it_was_trained_or_as_is_asked_for() -> None:
    trained = make(POLE, EnvOptions(observe="proprio", randomize="strong")).contract
    entries = trained.options["randomize"]["entries"]
    with make_evaluation_envs(trained, 2, num_workers=0) as envs:
        assert envs.contract == trained
    with make_evaluation_envs(trained, 2, num_workers=0, randomize="none") as envs:
        assert "randomize" not in envs.contract.options
    with make_evaluation_envs(trained, 2, num_workers=0, randomize="mild") as envs:
        assert len(envs.contract.options["randomize"]["entries"]) < len(entries)


def test_episodes_that_cannot_be_shared_are_refused(envs: VectorEnv) -> None:
    with pytest.raises(ValueError, match="7 episodes cannot be shared by 5"):
        evaluate(Lean(), envs, 7)


def test_a_summary_has_wilsons_interval_for_success_and_a_normal_one_for_the_return() -> None:
    successes = np.array([True] * 9 + [False])
    summary = Evaluation(np.arange(10.0), successes, np.full(10, 50), np.ones(10)).summary()
    assert summary["success"] == 0.9
    # 9 of 10 in Wilson's score interval, as in Newcombe's tables
    assert summary["success_low"] == pytest.approx(0.5958, abs=1e-4)
    assert summary["success_high"] == pytest.approx(0.9821, abs=1e-4)
    assert summary["return"] == 4.5
    half = 1.96 * np.std(np.arange(10), ddof=1) / np.sqrt(10)
    assert summary["return_high"] - 4.5 == pytest.approx(half, rel=1e-3)
    assert 4.5 - summary["return_low"] == pytest.approx(half, rel=1e-3)
    assert summary["length"] == 50


def test_one_episode_has_no_spread_and_certain_success_no_upper_gap() -> None:
    summary = Evaluation(np.array([3.0]), np.array([True]), np.array([7]), np.ones(1)).summary()
    assert (summary["return_low"], summary["return_high"]) == (3.0, 3.0)
    assert summary["success_high"] == 1.0
    assert summary["success_low"] == pytest.approx(0.2065, abs=1e-4)


def test_a_summary_of_a_task_without_success_has_no_success() -> None:
    contract = make("gym:Pendulum-v1", EnvOptions(observe="proprio")).contract
    assert not contract.knows_success
    with make_evaluation_envs(contract, 2, num_workers=0) as envs:
        result = evaluate(Noop(contract.action.size), envs, 2)
    assert result.successes is None
    assert not [key for key in result.summary() if "success" in key]
    assert score_of_summary(result.summary()).row("noop")[1:3] == ["-", "-"]
    assert "0%" not in format_row("mode", result)
    json.dumps(result.summary())


def test_a_task_that_begins_to_report_success_is_unchanged_for_the_policy() -> None:
    now = make("gym:Pendulum-v1", EnvOptions(observe="proprio")).contract
    require_unchanged(dataclasses.replace(now, knows_success=True), now)
    with pytest.raises(ValueError, match=r"has changed .*: control_dt_s is "):
        require_unchanged(dataclasses.replace(now, control_dt_s=1.0), now)


class Remember:
    """Keeps what it is shown."""

    def act(self, observation: Mapping[str, Array], is_first: Any) -> Array:
        self.shown = dict(observation)
        return np.zeros((len(is_first), 1), np.float32)


def test_blanked_cameras_show_black_to_the_policy_alone() -> None:
    policy = Remember()
    names = ("image/front", "image/wrist", "proprio/position")
    record = {name: np.full((2, 3), 7, np.uint8) for name in names}
    BlankedCameras(policy, ["image/wrist"]).act(record, np.array([True, False]))
    assert not policy.shown["image/wrist"].any()
    assert policy.shown["image/wrist"].dtype == np.uint8
    assert (policy.shown["image/front"] == 7).all()
    assert (policy.shown["proprio/position"] == 7).all()
    assert (record["image/wrist"] == 7).all()


def camera_contract(*cameras: str) -> Contract:
    signals = [Signal(name=f"image/{name}", shape=(16, 16, 3), dtype="uint8") for name in cameras]
    signals.append(Signal(name="proprio/position", shape=(2,), dtype="float32"))
    return Contract(
        task="toy",
        observations=tuple(signals),
        action=ActionSpec(size=1, low=(-1.0,), high=(1.0,)),
        control_dt_s=0.1,
    )


def test_cameras_are_named_with_or_without_their_family() -> None:
    contract = camera_contract("front", "wrist")
    assert camera_signals(contract, ["wrist", "image/front"]) == ["image/wrist", "image/front"]
    with pytest.raises(ValueError, match="unknown camera 'wirst'; there is wrist, front"):
        camera_signals(contract, ["wirst"])
    assert camera_signals(camera_contract(), []) == []
    with pytest.raises(ValueError, match="sees no camera"):
        camera_signals(camera_contract(), ["wrist"])


def test_both_draws_are_evaluated_on_the_same_episodes(contract: Contract, envs: VectorEnv) -> None:
    target = EvaluationTarget("toy", "torch", contract, lambda _, draw: Lean(draw))
    results = dict(evaluate_target(target, envs, 5, ("mode", "sample")))
    again = dict(evaluate_target(target, envs, 5, ("sample",)))
    assert results["mode"].returns.mean() > 2 * results["sample"].returns.mean()
    np.testing.assert_array_equal(results["sample"].returns, again["sample"].returns)
    for draw, result in results.items():
        line, summary = format_row(draw, result), result.summary()
        assert len(line) == len(HEADER)
        assert line.split()[0] == draw
        assert f"{summary['return']:.2f} [{summary['return_low']:.2f}" in line
    figures = json.loads(json.dumps(as_json(target, results, [])))
    assert figures["draws"]["mode"]["returns"] == results["mode"].returns.tolist()
    assert figures["draws"]["sample"]["successes"] is None, "the task knows no success"


def test_a_policy_with_blanked_signals_does_worse(contract: Contract, envs: VectorEnv) -> None:
    target = EvaluationTarget("toy", "torch", contract, lambda _, draw: Lean(draw))
    names = [signal.name for signal in contract.inputs]
    seeing, blind = (
        dict(evaluate_target(target, envs, 5, ("mode",), black))["mode"] for black in ([], names)
    )
    assert blind.lengths.max() < 12  # the cart is always pushed to the left
    assert seeing.lengths.min() > 50


def test_a_folder_that_is_neither_run_nor_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a run"):
        load_target(tmp_path / "nothing")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="has no checkpoints"):
        load_target(tmp_path, "step-000000100")
    with pytest.raises(ValueError, match="bundle format None"):
        load_target(tmp_path)


@pytest.mark.parametrize(
    ("words", "reason"),
    [({"episodes": 0}, "at least 1"), ({"json_file": Path("/no/where.json")}, "no folder /no")],
)
def test_bad_settings_are_refused_before_anything_is_loaded(
    tmp_path: Path, words: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        make_evaluation_job(tmp_path, **({"episodes": 5, "draws": ("mode",), "say": print} | words))
