"""Inspections: figures against independent computations, for every member of the family."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_dream import make_footage

from robodreamer.cli.main import main
from robodreamer.config import PRESETS, SIZES, AlgorithmConfig, preset_parts
from robodreamer.evaluation.calibration import Calibration, follow_values
from robodreamer.evaluation.latent_usage import measure_usage
from robodreamer.evaluation.module_sizes import module_sizes
from robodreamer.learning.agent import Agent
from robodreamer.models.latents import CategoricalLatent, GaussianLatent
from robodreamer.models.sampling import ModeSampler
from robodreamer.visualization.episodes import Footage
from robodreamer.visualization.inspection import Inspection, gradient_norms, inspect_agent
from robodreamer.visualization.inspection_plot import plot_inspection
from robodreamer.visualization.inspection_report import as_json, describe
from robodreamer.visualization.plots import PANEL_IN
from robodreamer.visualization.video import DPI
from toy_agent import VECTORS, make_agent, make_contract
from toy_run import STEP, make_run

STEPS = 9


def categorical(rows: Sequence[Sequence[Sequence[float]]]) -> torch.Tensor:
    return torch.tensor(rows).log()


def test_a_class_that_never_occurs_is_dead_and_a_variable_that_never_changes_has_collapsed() -> (
    None
):
    latent = CategoricalLatent(2, 4, unimix=0.0)
    flips = [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    same = [[0.25, 0.25, 0.25, 0.25]] * 2
    posterior = categorical(list(zip(flips, same, strict=True))).clamp(min=-50)
    found = measure_usage(latent, posterior, posterior)
    half = math.log(2)
    np.testing.assert_allclose(found.posterior_entropy, [half / 2, 2 * half], atol=1e-6)
    # Shares of 1/4, 1/4 and 1/2 have an entropy of 1.5 ln 2, of which it leaves 0.5 ln 2.
    np.testing.assert_allclose(found.information, [half, 0.0], atol=1e-6)
    assert found.collapsed.tolist() == [False, True]
    assert found.dead_classes is not None
    assert found.dead_classes.tolist() == [[False, False, False, True], [False] * 4]
    np.testing.assert_allclose(found.kl, 0.0, atol=1e-6)


def test_the_uniform_share_keeps_no_class_alive() -> None:
    latent = CategoricalLatent(1, 4, unimix=0.01)
    outputs = torch.tensor([[50.0, 0.0, 0.0, 0.0], [0.0, 50.0, 0.0, 0.0]])
    parameters = latent.parameters_of(outputs)
    found = measure_usage(latent, parameters, parameters)
    assert found.dead_classes is not None
    assert found.dead_classes.tolist() == [[False, False, True, True]]


def test_a_normal_variable_tells_by_how_far_its_mean_strays() -> None:
    latent = GaussianLatent(2)
    mean = torch.tensor([[-1.0, 0.3], [1.0, 0.3]])
    std = torch.tensor([[0.5, 0.5], [0.5, 2.0]])
    prior = torch.stack([torch.zeros(2, 2), torch.ones(2, 2)], -1)
    found = measure_usage(latent, torch.stack([mean, std], -1), prior)
    np.testing.assert_allclose(found.information, [0.5 * math.log(1 + 1 / 0.25), 0.0], atol=1e-6)
    assert found.collapsed.tolist() == [False, True]
    assert found.dead_classes is None
    posterior = torch.distributions.Normal(mean, std)
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    np.testing.assert_allclose(found.kl, expected.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.kl_steps, expected.sum(1), rtol=1e-5)


def test_bins_hold_equal_counts_of_ascending_predictions() -> None:
    predicted = np.random.default_rng(0).normal(size=101)
    found = Calibration(predicted, 2 * predicted + 1)
    bins = found.bins()
    assert len(bins.predicted) == 10
    assert (np.diff(bins.predicted) > 0).all()
    np.testing.assert_allclose(bins.observed, 2 * bins.predicted + 1)
    lowest = np.sort(predicted)[:11]
    np.testing.assert_allclose(bins.predicted[0], lowest.mean())
    np.testing.assert_allclose(bins.low[0], 2 * np.quantile(lowest, 0.1) + 1)
    assert found.bias == pytest.approx(float(-predicted.mean() - 1))
    assert found.correlation == pytest.approx(1.0)
    assert len(Calibration(predicted[:7], predicted[:7]).bins().predicted) == 1
    assert Calibration(predicted, np.zeros(101)).correlation is None


@pytest.mark.parametrize("preset", ["dreamer_v1", "dreamer_v2", "dreamer_v3"])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_returns_that_followed_are_sums_of_discounted_rewards(
    preset: str,
    is_terminal: bool,
) -> None:
    critic = make_family_agent(preset).actor_critic
    rewards, values = [0.0, 1.0, 5.0, -2.0, 3.0], [10.0, 20.0, 30.0, 40.0, 50.0]
    found = follow_values(
        critic, torch.tensor(values), torch.tensor(rewards), is_terminal=is_terminal
    )
    assert found is not None
    discount, first = critic.discount, {"dreamer_v1": 1}.get(preset, 0)
    if preset == "dreamer_v3":  # a value is what follows the state
        coming, last = rewards[1:], 0.0 if is_terminal else values[-1]
    else:  # a value holds the reward of its own state
        coming, last = rewards[:-1], rewards[-1] if is_terminal else values[-1]
    expected = [
        sum(discount**k * reward for k, reward in enumerate([*coming[t:], last])) for t in range(4)
    ]
    np.testing.assert_allclose(found.values.observed, expected[first:], rtol=1e-5)
    np.testing.assert_allclose(found.values.predicted, values[first:-1])
    shares = [0.0 if is_terminal else discount ** (4 - t) for t in range(first, 4)]
    np.testing.assert_allclose(found.bootstrapped, shares, rtol=1e-5)


def test_an_episode_of_two_steps_has_no_returns() -> None:
    critic = make_family_agent("dreamer_v1").actor_critic
    assert follow_values(critic, torch.ones(2), torch.ones(2), is_terminal=True) is None


def make_family_agent(preset: str, **changes: Any) -> Agent:
    """Return an agent of a preset without cameras."""
    algorithm: AlgorithmConfig = replace(PRESETS[preset], **changes)
    network = replace(SIZES["debug"], parts=preset_parts(preset))
    return make_agent(make_contract(VECTORS), network=network, algorithm=algorithm).eval()


def no_continuation() -> Any:
    return replace(PRESETS["dreamer_v3"].loss_scales, continuation=0.0)


def intrinsic(kind: Any) -> Any:
    return replace(PRESETS["dreamer_v3"].intrinsic, kind=kind, scale=0.5)


FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "V1": ("dreamer_v1", {}),
    "V2 disagreement": ("dreamer_v2", {"intrinsic": intrinsic("disagreement")}),
    "V3 surprise": ("dreamer_v3", {"intrinsic": intrinsic("surprise")}),
    "Gumbel without end": (
        "dreamer_v3", {"latent": "gumbel", "loss_scales": no_continuation()},
    ),
}  # fmt: skip
LINES = [
    {"step": 10, "grad_norm/model": 3.0, "grad_norm/actor": 0.5, "loss/total": 1.0},
    {"step": 20, "grad_norm/model": 4.0, "grad_norm/actor": math.nan},
    {"step": 20, "evaluation/return": 1.0},
]


@pytest.fixture(scope="module", params=FAMILY)
def agent(request: pytest.FixtureRequest) -> Agent:
    preset, changes = FAMILY[request.param]
    return make_family_agent(preset, **changes)


def episodes(agent: Agent) -> list[Footage]:
    found = [make_footage(agent.contract, STEPS + n, seed=n) for n in range(3)]
    return [f._replace(rewards=np.linspace(-1, 1, f.num_steps)) for f in found]


@pytest.fixture(scope="module")
def found(agent: Agent) -> Inspection:
    return inspect_agent(agent, episodes(agent), ModeSampler(), LINES)


def test_every_parameter_is_counted_once(agent: Agent) -> None:
    sizes = {module.name: module.parameters for module in module_sizes(agent)}
    assert sum(sizes.values()) == sum(p.numel() for p in agent.parameters())
    names = {"encoder", "rssm core", "rssm prior", "rssm posterior", "decoder", "reward", "actor"}
    assert names | {"critic", "slow critic"} <= sizes.keys()
    assert ("continuation" in sizes) == (agent.world_model.continuation is not None)
    assert ("intrinsic" in sizes) == (agent.intrinsic is not None)


@torch.no_grad()
def test_the_model_is_compared_with_what_it_saw(agent: Agent, found: Inspection) -> None:
    assert (found.num_episodes, found.num_steps) == (3, 3 * STEPS + 3)
    assert [len(kl) for kl in found.kl_by_time] == [STEPS, STEPS + 1, STEPS + 2]
    first = episodes(agent)[0]
    carry = agent.initial_carry(1)
    model, rewards = agent.world_model, []
    for step in range(STEPS):
        now = {s.name: torch.from_numpy(first.observations[s.name][step : step + 1])
               for s in agent.contract.inputs}  # fmt: skip
        tokens = model.encoder(now)
        is_first = torch.tensor([step == 0])
        state, posterior = model.rssm.observe_step(
            carry.state, carry.action, tokens, is_first, ModeSampler()
        )
        kl = model.rssm.latent.kl(posterior, model.rssm.prior_parameters(state.deter))
        assert found.kl_by_time[0][step] == pytest.approx(float(kl), rel=1e-3, abs=1e-4)
        rewards.append(float(model.reward.mean(model.reward(state.feature))))
        action = torch.from_numpy(first.actions[step : step + 1])
        carry = carry._replace(state=state, action=action)
    np.testing.assert_allclose(
        found.reward.predicted[: STEPS - 1], rewards[1:], rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(found.reward.observed[: STEPS - 1], first.rewards[1:], rtol=1e-6)
    assert (found.return_range is None) == (agent.algorithm.return_rate == 0)


def test_a_curious_agents_values_are_compared_with_the_sum_of_both_rewards() -> None:
    preset, changes = FAMILY["V3 surprise"]
    agents = make_family_agent(preset), make_family_agent(preset, **changes)
    ended = [episode._replace(is_terminal=True) for episode in episodes(agents[0])]
    plain, curious = (inspect_agent(one, ended, ModeSampler()) for one in agents)
    assert plain.value is not None
    assert curious.value is not None
    np.testing.assert_array_equal(plain.reward.observed, curious.reward.observed)
    assert np.abs(plain.value.observed - curious.value.observed).min() > 1e-3


def test_the_table_fits_80_columns_and_the_figures_are_json(found: Inspection) -> None:
    lines = list(describe(found))
    assert max(map(len, lines)) <= 80
    data = json.loads(json.dumps(as_json(7, found), allow_nan=False))
    assert data["step"] == 7
    assert data["gradient_norms"]["actor"] == {"steps": [10.0, 20.0], "norms": [0.5, None]}
    variables = len(data["latents"]["information"])
    assert len(data["latents"]["collapsed"]) == variables == data["latents"]["shape"][0]
    assert (data["latents"]["dead_classes"] is None) == (data["latents"]["family"] == "gaussian")


@pytest.mark.parametrize("agent", ["V1"], indirect=True)
def test_plots_for_a_phone_stand_below_each_other(found: Inspection) -> None:
    wide, narrow = (plot_inspection(found, is_narrow=is_narrow) for is_narrow in (False, True))
    assert wide.shape[1] == 3 * PANEL_IN[0] * DPI
    assert narrow.shape[1] == PANEL_IN[0] * DPI
    assert narrow.shape[0] == 5 * PANEL_IN[1] * DPI  # there are no classes to draw


def test_gradient_norms_come_by_group() -> None:
    one = dict(gradient_norms([{"step": 5, "grad_norm": 2.0}]))
    assert list(one) == ["all"]
    groups = dict(gradient_norms(LINES))
    assert list(groups) == ["model", "actor"]
    assert groups["model"].norms.tolist() == [3.0, 4.0]
    assert dict(gradient_norms([])) == {}


def files(run: Path) -> set[str]:
    return {path.name for path in (run / "plots").iterdir()}


FILES = {"inspection.png", "inspection-narrow.png", "inspection.json"}


def test_the_command_prints_and_leaves_plots_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "toy")
    words = ["inspect", str(run), "--episodes", "2", "--json", str(tmp_path / "found.json")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert files(run) == FILES
    assert f"step-{STEP:09d}: 2 episodes of" in out
    assert "recorded          8 steps, 2 episodes" in out
    assert (tmp_path / "found.json").read_text() == (run / "plots/inspection.json").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--episodes", "0"], "--episodes is at least 1, got 0"),
        (["--json", "gone/a.json"], "there is no folder gone for a.json"),
        (["--checkpoint", "step-000000121"], f"step-{STEP:09d}"),
    ],
)
def test_what_cannot_be_inspected_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "toy", observe="proprio")
    assert main(["inspect", str(run), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (run / "plots").exists()
