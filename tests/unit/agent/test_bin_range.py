"""Rewards and returns beyond the outer bins cause a warning in a run, an evaluation, a page."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from robodreamer.config import TrainConfig, named_config
from robodreamer.evaluation.report import make_evaluation_job
from robodreamer.learning.actor_critic import ImaginedRewards
from robodreamer.models.bin_range import describe_figures, describe_range, reach
from robodreamer.models.heads import TwoHotHead
from robodreamer.models.sampling import ModeSampler
from robodreamer.visualization.report import prepare_report
from toy_agent import make_agent
from toy_run import make_run

CPU = named_config("toy", "cpu", "quick", "cpu")
PUBLISHED = named_config("toy", "12m", "dreamer_v3", "default")


@pytest.mark.parametrize("config", [CPU, PUBLISHED])
def test_the_heads_represent_numbers_up_to_their_outer_bins(config: TrainConfig) -> None:
    head = TwoHotHead(8, config.network, layers=1)
    assert reach(config.network.bin_limit) == pytest.approx(float(head.reach), rel=1e-6)
    inside, beyond = head.loss(torch.zeros(2, head.bins.shape[0]), head.reach * torch.ones(2))
    assert inside == beyond


@pytest.mark.parametrize(
    ("config", "reward", "largest_return", "told"),
    [
        (CPU, 402.0, 402.0, None),
        (CPU, 5000.0, 0.0, "a reward of magnitude 5,000 .* end at 402.4 .*new run .*bin-limit 12"),
        (CPU, 30.0, 700.0, "a return of magnitude 700 .* --network.bin-limit 7"),
        (PUBLISHED, 4e8, 4e8, None),
        (PUBLISHED, 1e30, 0.0, "Divide the task's rewards by 1e24 and set --network.bin-limit 20"),
        (CPU, 1e30, 0.0, "Divide the task's rewards by 1e23 and set --network.bin-limit 20"),
    ],
)
def test_a_magnitude_beyond_the_bins_is_reported_with_the_setting_that_helps(
    config: TrainConfig, reward: float, largest_return: float, told: str | None
) -> None:
    warning = describe_range(config, reward, largest_return)
    if told is None:
        assert warning is None
    else:
        assert warning is not None
        assert re.search(told, warning), warning


def test_the_limit_that_is_named_holds_the_returns_that_are_to_be_expected() -> None:
    warning = describe_range(CPU, 5000.0, 0.0)
    assert warning is not None
    limit = float(warning.split("--network.bin-limit ")[-1].split()[0])
    assert reach(limit) > 5000.0 * CPU.algorithm.discount_horizon > reach(limit - 1)


def test_figures_without_rewards_cause_no_warning() -> None:
    assert describe_figures(CPU, {"loss/total": math.inf}) is None
    assert describe_figures(CPU, {"largest_reward": 1e3}) is not None
    assert describe_figures(CPU, {"largest_return": 1e3}) is not None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_returns_beyond_the_bins_are_counted_by_the_critic(sign: float) -> None:
    agent = make_agent()
    actor_critic, rssm = agent.actor_critic, agent.world_model.rssm
    imagined = actor_critic.imagine(rssm, rssm.initial(3), ModeSampler())
    reward = torch.full((3, actor_critic.config.horizon + 1), sign * 1e9)
    _, _, metrics = actor_critic.imagined_losses(
        imagined, ImaginedRewards(reward, torch.ones_like(reward)), ModeSampler()
    )
    assert metrics["returns_beyond_bins"] == 1.0
    assert metrics["largest_return"] >= 1e9


def test_an_evaluation_warns_of_rewards_beyond_the_bins(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    settings = json.loads((run / "config.json").read_text())
    settings["config"]["network"]["bin_limit"] = 0.1
    (run / "config.json").write_text(json.dumps(settings))
    said: list[str] = []
    make_evaluation_job(run, episodes=1, draws=("mode",), say=said.append)()
    rewards = [line for line in said if "beyond the bins" in line]
    assert len(rewards) == 1, said


def test_a_page_warns_of_rewards_beyond_the_bins(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = render_run(run)
    assert "beyond the bins" not in text
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 180, "minutes": 3.0, "largest_reward": 1e30}\n')
    assert "a reward of magnitude 1e+30 lies beyond the bins" in render_run(run)


def render_run(run: Path) -> str:
    prepare_report(run, say=lambda _: None)()
    return (run / "report.html").read_text()
