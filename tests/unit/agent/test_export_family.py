"""Every family of latents and every distribution of actions is exported, tested and driven."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from exported import (
    EVERY_PAIR,
    ORIGIN,
    PUBLISHED,
    TOYS,
    Exported,
    corrupt,
    drive_beside_the_agent,
    initializers,
    make_toy,
    seal,
    unnoticed,
)
from robodreamer.evaluation.evaluate import evaluate
from robodreamer.evaluation.policies import AgentPolicy
from robodreamer.evaluation.targets import load_target
from robodreamer.export.export import export_policy
from robodreamer.export.folder import choose_golden, stamp
from robodreamer.export.parity import Parity, verify_sequence
from robodreamer.export.reduced_precision import measure, reduce_graphs
from robodreamer.export.reference_steps import make_noise, probe, random_observations
from robodreamer.export.torch_trace import record
from robodreamer.models.sampling import ModeSampler
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.bundle import load_bundle, write_manifest
from robodreamer_deploy.policy.describe import describe
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.graph_spec import SEQUENCES
from robodreamer_deploy.policy.manifest import DrawResult
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import measure_deviation, replay_golden
from robodreamer_sim import EnvOptions, VectorEnv
from toy_agent import make_agent

QUICK = "gaussian truncated_normal"
SLOW = [name for name in (*EVERY_PAIR, *PUBLISHED) if name != QUICK]
MEMBERS = [QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
PARTS = {name: tuple(name.split()) for name in EVERY_PAIR} | {
    "dreamer_v1": ("gaussian", "tanh_normal"), "dreamer_v2": ("categorical", "truncated_normal"),
}  # fmt: skip
"""Latent and actor of every member."""
KINDS = {
    "normal": "normal", "tanh_normal": "normal", "truncated_normal": "uniform",
    "discrete": "gumbel",
}  # fmt: skip
MOMENTS = {
    "gumbel": (np.euler_gamma, np.pi / np.sqrt(6)), "normal": (0.0, 1.0),
    "uniform": (0.5, 1 / np.sqrt(12)),
}  # fmt: skip


@pytest.fixture(params=MEMBERS)
def member(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def exported(member: str, exported_toy: Callable[[str], Exported]) -> Exported:
    return exported_toy(member)


@pytest.fixture
def gaussian(exported_toy: Callable[[str], Exported]) -> Exported:
    return exported_toy(QUICK)


def test_the_graphs_are_the_agent_and_a_robot_accepts_them(
    member: str, exported: Exported, tmp_path: Path
) -> None:
    latent, actor = PARTS[member]
    parity = exported.verify()
    assert parity.free_ties == parity.num_ties == 0
    assert ({"stoch_next", "stoch_prior"} <= parity.worst.keys()) == (latent == "gaussian")
    assert bool(parity.num_choices) == (latent != "gaussian" or actor == "discrete")
    bundle = load_bundle(seal(exported, tmp_path / "sealed"))
    test = replay_golden(Policy(bundle), load_golden(bundle))
    assert test.num_steps == 32
    assert 0 < test.worst_error < 1e-5


def test_a_robot_drives_it_for_two_hundred_steps_as_the_agent_acts(exported: Exported) -> None:
    assert drive_beside_the_agent(exported, "sample") >= 200


def test_the_manifest_states_its_latents_and_its_noise(member: str, exported: Exported) -> None:
    latent, actor = PARTS[member]
    manifest, shape = exported.manifest, exported.agent.world_model.rssm.latent.shape
    is_gaussian = latent == "gaussian"
    assert manifest.state.family == ("gaussian" if is_gaussian else "categorical")
    assert manifest.state.stoch == shape
    assert manifest.state.parameters == ((shape[0], 2) if is_gaussian else shape)
    assert manifest.noise == {
        "noise_stoch": "normal" if is_gaussian else "gumbel", "noise_action": KINDS[actor],
    }  # fmt: skip
    words = "\n".join(describe(manifest))
    variables = "4 Gaussian variables" if is_gaussian else "4 categorical variables of 4 classes"
    assert f"{variables}, sampled with {manifest.noise['noise_stoch']} noise" in words
    assert f"an action is sampled with {KINDS[actor]} noise" in words


def test_the_export_draws_the_noise_that_the_manifest_states(exported: Exported) -> None:
    noise = make_noise(exported.agent, 6000, np.random.default_rng(0))
    for values, kind in zip(noise, exported.manifest.noise.values(), strict=True):
        mean, std = MOMENTS[kind]
        assert values.mean() == pytest.approx(mean, abs=0.05)
        assert values.std() == pytest.approx(std, rel=0.05)


def test_without_noise_latents_and_action_are_the_mode(exported: Exported) -> None:
    golden, agent = exported.reference.mode.golden, exported.agent
    assert not golden.noise_stoch.any()
    assert not golden.noise_action.any()
    mode = agent.world_model.rssm.latent.mode(torch.from_numpy(golden.posterior))
    np.testing.assert_array_equal(golden.stoch_next, mode)
    feature = np.concatenate([golden.deter_next, golden.stoch_next.reshape(len(golden), -1)], -1)
    with torch.no_grad():
        action = agent.actor_critic.actor(torch.from_numpy(feature)).mode
    np.testing.assert_allclose(golden.action, action.clamp(-1, 1), atol=1e-6)


def test_probes_land_where_errors_of_the_action_show(exported: Exported) -> None:
    golden = exported.reference.probes.golden
    if exported.agent.contract.action.kind == "discrete":
        assert (golden.action.mean(0) > 0.4).all()  # two choices, in turns
    else:
        assert np.abs(golden.action).max() < 0.95
        assert golden.action.std() > 0.4


@pytest.mark.parametrize(("name", "largest"), [("dreamer_v1", 5.0), ("two cameras", 147.5)])
def test_measurements_of_probes_are_as_large_as_the_network_can_read(
    name: str, largest: float
) -> None:
    """A scale that compresses takes e^5 - 1 times a range, a raw one 5 times."""
    toy = TOYS[name]
    agent = make_agent(toy.contract, network=toy.network, algorithm=toy.algorithm)
    shown = random_observations(agent, 2000, np.random.default_rng(0)).observations
    for signal in toy.contract.inputs:
        if signal.is_image or signal.num_classes:
            continue
        values = shown[signal.name][~np.isneginf(shown[signal.name]).any(-1)]
        low, high = signal.low or (-1.0,), signal.high or (1.0,)
        times = np.abs(values - np.add(low, high) / 2) / (np.subtract(high, low) / 2)
        assert 0.95 * largest < times.max() < 1.001 * largest


def test_probes_of_a_gaussian_begin_with_numbers_and_force_no_class(gaussian: Exported) -> None:
    golden = probe(gaussian.agent, 300, np.random.default_rng(0)).golden
    assert len(np.unique(golden.stoch)) == golden.stoch.size
    assert np.abs(golden.noise_stoch).max() < 6  # standard deviations, not the 50 of a forced class


@pytest.mark.slow
def test_one_wrong_element_in_any_weight_is_refused(exported: Exported, tmp_path: Path) -> None:
    """Constants may pass: 5 tanh(x / 5) is even in its 5, and a tail may never be drawn."""
    unseen = unnoticed(exported, tmp_path / "corrupt", SEQUENCES["split"])
    assert not [tensor.name for tensor in unseen if len(np.unique(tensor.array)) > 1]


@pytest.mark.parametrize("graph", ["rssm_step.onnx", "prior.onnx", "posterior.onnx", "policy.onnx"])
def test_one_wrong_weight_of_a_gaussian_is_refused(
    gaussian: Exported, tmp_path: Path, graph: str
) -> None:
    sequence = {"rssm_step.onnx": "three graphs", "policy.onnx": "one graph"}.get(graph, "split")
    names = [t.name for t in initializers(gaussian.folder) if t.graph == graph]
    outputs = [name for name in names if "output.bias" in name]  # mean and deviation
    assert outputs
    for name in outputs:
        corrupt(gaussian.folder, tmp_path / "corrupt", graph, name)
        parity = Parity(num_steps=0, free_steps=0)
        with pytest.raises(BundleError, match=graph):
            verify_sequence(
                tmp_path / "corrupt", gaussian.manifest, sequence, gaussian.reference, parity
            )


def test_a_gaussian_that_is_off_is_refused_step_by_step_and_running_freely(
    gaussian: Exported,
) -> None:
    for name, error, words in (
        ("sample", 3e-4, "stoch_next is off by .* at step 150 of sample"),
        ("free_sample", 3e-3, "stoch_next is off by .* after 150 free steps of sample"),
    ):
        trace = getattr(gaussian.reference, name)
        stoch = trace.golden.stoch_next.copy()
        stoch[150, 1] += error * np.maximum(1.0, np.abs(stoch[150, 1]))
        elsewhere = trace._replace(golden=dataclasses.replace(trace.golden, stoch_next=stoch))
        with pytest.raises(BundleError, match=words):
            gaussian.verify(gaussian.reference._replace(**{name: elsewhere}))


def test_of_a_reduced_gaussian_the_error_of_the_latents_is_judged(
    gaussian: Exported, tmp_path: Path
) -> None:
    folder, steps = tmp_path / "reduced", gaussian.reference.sample
    shutil.copytree(gaussian.folder, folder)
    golden = choose_golden(steps)
    golden.save(folder / "golden.npz")
    exact = measure_deviation(gaussian.policy(), golden)
    assert (exact.num_choices, exact.flip_rate) == (0, 0.0)
    assert 0 < exact.latent_error < 1e-5
    reduce_graphs(folder, "int8")
    result = DrawResult(num_episodes=9, return_mean=1.0, return_std=1.0, success_rate=None)
    manifest = dataclasses.replace(gaussian.manifest, draws={"mode": result})
    cost = measure(folder, manifest, steps.golden, golden)
    assert (cost.num_choices, cost.flip_rate, cost.golden_flip_rate) == (0, 0.0, 0.0)
    assert 1e-4 < cost.golden_latent_error <= cost.latent_error < 0.5
    manifest = dataclasses.replace(manifest, precision="int8", reduction=cost)
    assert f"latents off by {cost.latent_error:.3f} at most" in "\n".join(describe(manifest))
    stamp(folder, manifest)
    write_manifest(folder, manifest)
    bundle = load_bundle(folder)
    replay_golden(Policy(bundle), load_golden(bundle))
    model = onnx.load(folder / "posterior.onnx")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind in "fi" and values.size > 100:
            tensor.CopyFrom(numpy_helper.from_array(values[::-1].copy(), tensor.name))
    onnx.save(model, folder / "posterior.onnx")
    write_manifest(folder, manifest)
    bundle = load_bundle(folder)
    with pytest.raises(BundleError, match=r"the error of the latents is .* when exported and may"):
        replay_golden(Policy(bundle), load_golden(bundle))


@pytest.mark.slow
def test_a_gaussian_with_truncated_actions_earns_in_onnxruntime_what_it_earns_in_torch(
    tmp_path: Path,
) -> None:
    options, said = EnvOptions(observe="proprio"), list[str]()
    with VectorEnv("gym:Pendulum-v1", options, num_envs=2, num_workers=0, seed=1_000_003) as envs:
        toy = make_toy("gaussian", "truncated_normal", "layer_norm_gru", "valid")
        agent = make_agent(envs.contract, network=toy.network, algorithm=toy.algorithm)
        manifest = export_policy(
            agent, record(agent, envs), tmp_path / "policy", origin=ORIGIN, drive=(envs, 2),
            say=said.append,
        )  # fmt: skip
        onnx_ = evaluate(load_target(tmp_path / "policy").make_policy(2, "mode"), envs, 2)
        torch_ = evaluate(AgentPolicy(agent, 2, ModeSampler()), envs, 2)
    np.testing.assert_allclose(onnx_.returns, torch_.returns, rtol=1e-4)
    assert len(np.unique(onnx_.returns)) == 2
    assert manifest.draws["mode"].return_mean == onnx_.returns.mean()
    assert 0 < manifest.surprise_quantiles["0.5"] < manifest.surprise_quantiles["0.999"]
    assert "0 ties among 0 choices" not in "\n".join(said)
