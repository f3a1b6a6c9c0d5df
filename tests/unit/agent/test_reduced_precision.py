"""Reduced precision: near the agent, judged by its return, and held to that on the robot."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exported import Exported
from robodreamer.export.folder import choose_golden, stamp, unsealed_policy
from robodreamer.export.reduced_precision import Reduced, interval, judge, measure, reduce_graphs
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.bundle import (
    load_bundle,
    write_manifest,
)
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.graph_spec import GRAPHS
from robodreamer_deploy.policy.manifest import DrawResult, Manifest, Reduction
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import measure_deviation, replay_golden

RESULT = DrawResult(num_episodes=10, return_mean=5.0, return_std=1.0, success_rate=None)
COST = Reduction(
    num_choices=100, flip_rate=0.01, latent_error=0.0, action_error=0.1, golden_flip_rate=0.01,
    golden_latent_error=0.0, golden_action_error=0.1, float32_draws={"mode": RESULT},
    float32_interval=interval(RESULT), is_loss_accepted=False,
)  # fmt: skip


def reduced(toy: Exported, folder: Path, precision: Reduced) -> tuple[Path, Manifest]:
    """Return a sealed policy of reduced precision, and its manifest."""
    shutil.copytree(toy.folder, folder)
    steps = toy.reference.sample.golden
    golden = choose_golden(toy.reference.sample)
    golden.save(folder / "golden.npz")
    reduce_graphs(folder, precision)
    before = dataclasses.replace(toy.manifest, draws={"mode": RESULT})
    cost = measure(folder, before, steps, golden)
    manifest = dataclasses.replace(before, precision=precision, reduction=cost)
    stamp(folder, manifest)
    return folder, write_manifest(folder, manifest)


@pytest.fixture(scope="module", params=["int8", "float16"])
def policy_folder(
    request: pytest.FixtureRequest,
    exported_toy: Callable[[str], Exported],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("reduced") / request.param
    return reduced(exported_toy("two cameras"), folder, request.param)


def test_a_reduced_policy_is_near_the_agent_and_passes_its_self_test(
    policy_folder: tuple[Path, Manifest],
) -> None:
    folder, manifest = policy_folder
    cost = manifest.reduction
    assert cost is not None
    assert 0 <= cost.flip_rate < 0.1
    assert 0 < cost.action_error < 0.1
    bundle = load_bundle(folder)
    assert bundle.manifest == manifest
    test = replay_golden(Policy(bundle), load_golden(bundle))
    assert test.flip_rate == pytest.approx(cost.golden_flip_rate, abs=0.01)


def test_every_graph_is_smaller_and_keeps_its_tensors(
    policy_folder: tuple[Path, Manifest], exported_toy: Callable[[str], Exported]
) -> None:
    folder, manifest = policy_folder
    wide = exported_toy("two cameras").folder
    kind = {"int8": onnx.TensorProto.INT8, "float16": onnx.TensorProto.FLOAT16}[manifest.precision]
    for name in GRAPHS:
        small, large = onnx.load(folder / name), onnx.load(wide / name)
        assert list(small.graph.input) == list(large.graph.input)
        assert list(small.graph.output) == list(large.graph.output)
        assert kind in {tensor.data_type for tensor in small.graph.initializer}


@pytest.mark.parametrize("graph", ["core.onnx", "posterior.onnx", "actor.onnx"])
def test_a_reduced_policy_with_wrong_weights_does_not_drive(
    policy_folder: tuple[Path, Manifest], tmp_path: Path, graph: str
) -> None:
    folder, manifest = policy_folder
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    model = onnx.load(damaged / graph)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind in "fi" and values.size > 100:
            tensor.CopyFrom(numpy_helper.from_array(values[::-1].copy(), tensor.name))
    onnx.save(model, damaged / graph)
    write_manifest(damaged, manifest)
    bundle = load_bundle(damaged)
    with pytest.raises(BundleError, match=r"golden self-test: the .* when exported and may be"):
        replay_golden(Policy(bundle), load_golden(bundle))


def test_float32_flips_nothing(exported_toy: Callable[[str], Exported]) -> None:
    toy = exported_toy("two cameras")
    found = measure_deviation(
        unsealed_policy(toy.folder, toy.manifest), choose_golden(toy.reference.sample)
    )
    assert (found.num_flips, found.num_choices) == (0, 32 * 2 * toy.manifest.state.stoch[0])
    assert found.action_error < 1e-5


def with_return(manifest: Manifest, value: float) -> Manifest:
    draws = {"mode": dataclasses.replace(RESULT, return_mean=value)}
    return dataclasses.replace(manifest, precision="int8", reduction=COST, draws=draws)


def test_a_return_below_float32s_interval_is_refused_unless_that_is_accepted(
    exported_toy: Callable[[str], Exported],
) -> None:
    manifest = exported_toy("two cameras").manifest
    low, _ = COST.float32_interval
    assert low == pytest.approx(5.0 - 1.96 / np.sqrt(10), abs=1e-3)
    good, bad = with_return(manifest, low + 1e-6), with_return(manifest, low - 1e-6)
    assert judge(good, accept_loss=False) == good
    assert judge(good, accept_loss=True) == good
    with pytest.raises(BundleError, match=r"in int8 the return is 4\.38, .* --accept-loss"):
        judge(bad, accept_loss=False)
    reduction = judge(bad, accept_loss=True).reduction
    assert reduction is not None
    assert reduction.is_loss_accepted


def test_precision_and_its_cost_go_together(exported_toy: Callable[[str], Exported]) -> None:
    manifest = exported_toy("two cameras").manifest
    for change in ({"precision": "int8"}, {"reduction": COST}):
        with pytest.raises(ValueError, match="contradict each other"):
            dataclasses.replace(manifest, **change)
    text = dataclasses.replace(manifest, precision="int8", reduction=COST).to_json()
    assert Manifest.from_json(text).reduction == COST
