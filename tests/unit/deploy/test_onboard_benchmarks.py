"""What the onboard benchmarks are made of: ranks, lost frames, faults, and drives side by side."""

import itertools
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robodreamer_deploy.policy.noise import Noise
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.robots.in_process import SimulatedRobot
from toy_agent import NETWORK, make_agent

FOLDER = Path(__file__).parents[3] / "benchmarks"
SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12).map(np.array)
ARM = EnvOptions(image_size=(16, 16), cameras=("scene",))


@pytest.fixture(autouse=True)
def _as_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let benchmarks find their own modules."""
    monkeypatch.syspath_prepend(str(FOLDER))


def imported(module: str) -> Any:
    """Return a module that lies beside the benchmarks."""
    return __import__(module)


@given(negative=SCORES, positive=SCORES)
def test_the_area_is_the_share_of_pairs_in_order_ties_by_half(negative: Any, positive: Any) -> None:
    difference = positive[:, None] - negative
    expected = (difference > 0).mean() + 0.5 * (difference == 0).mean()
    assert imported("_auroc").auroc(negative, positive) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scores", [[], [1.0, np.nan]])
def test_scores_without_a_rank_have_no_area(scores: list[float]) -> None:
    with pytest.raises(ValueError, match=r"0 negative and 1 positive|NaN"):
        imported("_auroc").auroc(np.array(scores), np.ones(1))


def losses(stand_in: str, share: float = 0.3, gap: float | None = None) -> tuple[Any, list[bool]]:
    """Drive two episodes of the arm blindly; return its robot and when its camera was lost."""
    lossy = imported("_lossy")
    robot = lossy.LossyRobot(make("arm_reach", ARM), share, gap, stand_in)
    lost: list[bool] = []
    for seed in range(2):
        robot.start_episode(seed)
        newest = robot.get_observation()["image/scene"]
        assert newest.any()
        for _ in range(40):
            before = robot.num_lost
            robot.send_action(np.ones(robot.contract.action.size, np.float32))
            is_lost = robot.num_lost > before
            true = super(lossy.LossyRobot, robot).get_observation()["image/scene"]
            instead = {"nothing": None, "frozen": newest, "black": np.zeros_like(true)}[stand_in]
            seen = robot.get_observation().get("image/scene")
            assert np.array_equal(seen, instead if is_lost else true)
            newest = newest if is_lost else true
            lost.append(is_lost)
    robot.disconnect()
    return robot, lost


def test_whatever_stands_in_for_a_lost_frame_the_same_ones_are_lost() -> None:
    robot, lost = losses("nothing")
    for stand_in in ("frozen", "black"):
        other, others = losses(stand_in)
        assert (other.num_lost, other.num_frames) == (robot.num_lost, robot.num_frames)
        assert others == lost
    assert robot.num_frames == len(lost) == 80
    assert 0.1 < np.mean(lost) < 0.5
    assert lost[:40] != lost[40:]


def test_gaps_are_as_long_as_asked_for() -> None:
    _, single = losses("nothing", share=0.4, gap=1.0)
    assert not any(a and b for a, b in itertools.pairwise(single[:40]))
    _, long = losses("nothing", share=0.4, gap=30.0)
    assert sum(a != b for a, b in itertools.pairwise(long)) < 12


@pytest.mark.parametrize("name", [pytest.param("fetch_reach", marks=pytest.mark.slow), "arm_push"])
def test_every_fault_changes_what_it_is_named_after_and_nothing_else(name: str) -> None:
    env = make(name, EnvOptions(image_size=(32, 32)))
    env.close()
    faults = imported("_faults")
    found = faults.make_faults(env.contract, faults.find_payload(name))
    assert [*found] == [
        "frozen camera", "shifted camera", "added payload", "joint friction x3", "sensor offset",
    ]  # fmt: skip
    image = next(s.name for s in env.contract.inputs if s.is_image)
    measured = next(s.name for s in env.contract.inputs if s.family == "proprio")
    healthy = first_steps(name, None)
    for title, fault in found.items():
        episode = first_steps(name, fault)
        changed = {k for k in episode[0] if not np.array_equal(episode[0][k], healthy[0][k])}
        if title == "frozen camera":
            assert np.array_equal(episode[0][image], episode[1][image])
        expected = {"shifted camera": image, "sensor offset": measured}.get(title)
        assert {k for k in changed if k in (image, measured)} == ({expected} - {None}), title


def first_steps(task: str, fault: Any) -> list[dict[str, Any]]:
    """Return what the first step of an episode shows, and the twentieth."""
    options = EnvOptions(image_size=(32, 32), randomize=fault or "none")
    env = make(task, options)
    first, _ = env.reset(seed=0)
    later = first
    for _ in range(20):
        later, *_ = env.step(np.ones(env.contract.action.size, np.float32))
    env.close()
    return [first, later]


def test_a_task_whose_load_is_not_known_says_how_to_give_one() -> None:
    with pytest.raises(ValueError, match=r"no payload is known for gym:Ant.* --payload"):
        imported("_faults").find_payload("gym:Ant-v5")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "key", "rows"),
    [("onboard_drops.py", "drops", 7), ("onboard_surprise.py", "surprise", 6)],
)
def test_the_shipped_policy_is_measured(
    name: str, key: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", [name, "--episodes=2", f"--json={file}"])
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    (table,) = json.loads(file.read_text())[key].values()
    assert len(table) == rows


@given(
    lengths=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    step=st.integers(0, 9),
    error=st.sampled_from([-2e-3, 2e-3, np.nan]),
)
def test_drives_diverge_at_the_first_step_at_which_an_action_differs(
    lengths: tuple[int, int], step: int, error: float
) -> None:
    first_divergence = imported("onboard_parity").first_divergence
    one, other = (np.zeros((length, 2), np.float32) for length in lengths)
    other += 5e-4
    end = None if lengths[0] == lengths[1] else min(lengths)
    assert first_divergence(one, other) == end
    if step < min(lengths):
        other[step:, 1] += error
        assert first_divergence(one, other) == step


def test_torch_drives_an_episode_again_to_the_bit_and_otherwise_with_other_noise() -> None:
    parity = imported("onboard_parity")
    env = make("arm_reach", ARM)
    agent = make_agent(env.contract, network=NETWORK)

    def make_noise(seed: int, counter: int) -> Noise:
        random = np.random.default_rng((seed, counter))
        shape = agent.world_model.rssm.latent.shape
        drawn = random.gumbel(size=shape), random.normal(size=env.contract.action.size)
        return Noise(*(values.astype(np.float32) for values in drawn))

    driver, robot = parity.TorchDriver(agent, make_noise), SimulatedRobot(env)
    one, other, again = (parity.drive(driver, robot, seed) for seed in (0, 1, 0))
    other_noise = parity.TorchDriver(agent, lambda seed, counter: make_noise(seed + 9, counter))
    noisy = parity.drive(other_noise, robot, 0)
    robot.disconnect()
    np.testing.assert_array_equal(one.actions, again.actions)
    assert one.episode_return == again.episode_return
    np.testing.assert_array_equal(one.executed, one.actions)
    assert parity.first_divergence(one.actions, other.actions) == 0
    assert parity.first_divergence(one.actions, noisy.actions) == 0
    for name, value in one.observations[0].items():
        np.testing.assert_array_equal(value, noisy.observations[0][name])


def test_what_is_executed_is_what_torch_remembers() -> None:
    agent = make_agent()
    size = agent.contract.action.size
    driver = imported("onboard_parity").TorchDriver(agent, lambda seed, counter: None)
    driver.executed(np.full(size, 0.25, np.float32))
    assert torch.equal(driver._carry.action, torch.full((1, size), 0.25))


@pytest.mark.slow
def test_an_export_drives_as_its_agent_does_and_not_as_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    words = ["--workload=debug", "--episodes=2", "--steps=15", f"--json={file}"]
    monkeypatch.setattr(sys, "argv", ["onboard_parity.py", *words])
    names = runpy.run_path(str(FOLDER / "onboard_parity.py"), run_name="__main__")
    for found in json.loads(file.read_text())["parity"].values():
        assert found["do_returns_overlap"]
        assert found["identical_inputs"]["is_met"]
        assert found["identical_inputs"]["steps"] == 15
        assert len(found["runtimes"]["torch"]["returns"]) == 2
    assert "mode: 2 of 2 episodes never diverge" in capsys.readouterr().out

    agent = names["random_agent"]("debug", seed=0)
    folder = tmp_path / "policy"
    folder.mkdir()
    imported("_bundles").write_bundle(agent, folder)
    policy = names["load_policy"](folder)
    with torch.no_grad():
        for parameter in agent.actor_critic.actor.parameters():
            parameter.add_(0.1)
    options = type("Options", (), {"episodes": 1, "steps": 5})
    for found in names["measure"](agent, policy, options).values():
        assert not found["identical_inputs"]["is_met"]
        assert found["first_divergence"] == [0]
