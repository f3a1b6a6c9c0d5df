"""The graphs: named and shaped as agreed, free of leftovers, and drawing as they are told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from exported import CONTRACTS, Exported, export_toy
from robodreamer.export.graphs import OPSETS, GivenNoise
from robodreamer.models.sampling import ModeSampler
from robodreamer_deploy.policy.graph_spec import GRAPHS
from toy_agent import NETWORK, SIGNALS

FLOAT, UINT8, INT32, BOOL = (f"tensor({kind})" for kind in ("float", "uint8", "int32", "bool"))
D, S, K, A, E = 32, 4, 4, 2, 16 + (16 // 4) * (32 // 4) * 8 + (16 // 4) * (16 // 4) * 8


@pytest.fixture(scope="module")
def exported(exported_toy: Callable[[str], Exported]) -> Exported:
    return exported_toy("two cameras")


def test_inputs_and_outputs_are_named_typed_and_shaped_as_agreed(exported: Exported) -> None:
    deter, stoch, action = ((1, D), FLOAT), ((1, S, K), FLOAT), ((1, A), FLOAT)
    tokens, is_first = ((1, E), FLOAT), ((1,), BOOL)
    kinds = {"uint8": UINT8, "float32": FLOAT, "int32": INT32}
    signals = {s.name: ((1, *s.shape), kinds[s.dtype]) for s in SIGNALS if s.family != "privileged"}
    state = {"deter": deter, "stoch": stoch}
    logits = {"prior": stoch, "posterior": stoch}
    expected = {
        "encoder.onnx": (signals, {"tokens": tokens}),
        "rssm_step.onnx": (
            {**state, "action": action, "tokens": tokens, "is_first": is_first, "noise": stoch},
            {"deter_next": deter, "stoch_next": stoch, **logits},
        ),
        "actor.onnx": ({**state, "noise": action}, {"action": action}),
        "core.onnx": ({**state, "action": action, "is_first": is_first}, {"deter_next": deter}),
        "prior.onnx": (
            {"deter": deter, "noise": stoch}, {"stoch_next": stoch, "prior": stoch}
        ),
        "posterior.onnx": (
            {"deter": deter, "tokens": tokens, "noise": stoch},
            {"stoch_next": stoch, "posterior": stoch},
        ),
        "policy.onnx": (
            {
                **signals, **state, "action_previous": action, "is_first": is_first,
                "noise_stoch": stoch, "noise_action": action,
            },
            {"action": action, "deter_next": deter, "stoch_next": stoch, **logits},
        ),
    }  # fmt: skip
    assert sorted(expected) == sorted(GRAPHS)
    for name in GRAPHS:
        session = onnxruntime.InferenceSession(
            exported.folder / name, providers=["CPUExecutionProvider"]
        )
        found = tuple(
            {node.name: (tuple(node.shape), node.type) for node in nodes}
            for nodes in (session.get_inputs(), session.get_outputs())
        )
        assert found == expected[name]


def test_every_graph_is_one_file(exported: Exported) -> None:
    assert {path.name for path in exported.folder.iterdir()} == {*GRAPHS, "initial.npz"}
    for name in GRAPHS:
        model = onnx.load(exported.folder / name, load_external_data=False)
        assert not any(t.external_data for t in model.graph.initializer)
        assert {o.domain: o.version for o in model.opset_import}[""] == 18


def test_no_graph_tells_where_the_source_lay(exported: Exported) -> None:
    for name in GRAPHS:
        content = (exported.folder / name).read_bytes()
        assert b"robodreamer/" not in content
        assert b"site-packages" not in content


def computed_from_weights(model: onnx.ModelProto) -> list[str]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if weights.issuperset(node.input)]


def test_nothing_is_computed_from_weights_alone_at_run_time(exported: Exported) -> None:
    for name in GRAPHS:
        assert not computed_from_weights(onnx.load(exported.folder / name))


def test_no_random_operator_is_left_in_a_graph(exported: Exported) -> None:
    for name in GRAPHS:
        operators = {node.op_type for node in onnx.load(exported.folder / name).graph.node}
        assert not [o for o in operators if o.startswith("Random") or o in {"Bernoulli", "If"}]


@pytest.mark.slow
def test_the_newest_operator_set_and_a_larger_agent_do_as_well(tmp_path: Path) -> None:
    network = replace(NETWORK, deter=128, hidden=32)
    exported = export_toy(tmp_path, CONTRACTS["vectors only"], network=network, opset=OPSETS[-1])
    graph = onnx.load(tmp_path / "rssm_step.onnx")
    assert {o.domain: o.version for o in graph.opset_import}[""] == OPSETS[-1]
    assert not computed_from_weights(graph)
    assert exported.verify().free_ties == 0


def test_without_noise_the_mode_is_drawn() -> None:
    probs = torch.softmax(torch.randn(100, 7, generator=torch.Generator().manual_seed(0)), -1)
    silent = GivenNoise(torch.zeros(100, 7), torch.zeros(100, 7))
    torch.testing.assert_close(silent.category(probs), ModeSampler().category(probs))
    torch.testing.assert_close(silent.normal(probs, probs), probs)


def test_gumbel_noise_draws_classes_as_often_as_they_are_probable() -> None:
    count = 40_000
    noise = np.random.default_rng(0).gumbel(size=(count, 3)).astype(np.float32)
    probs = torch.tensor([0.7, 0.25, 0.05])
    classes = GivenNoise(torch.from_numpy(noise)).category(probs.expand(count, 3))
    shares = torch.bincount(classes, minlength=3) / count
    torch.testing.assert_close(shares, probs, atol=0.01, rtol=0)  # four standard deviations


def test_noises_are_used_in_the_order_of_the_draws() -> None:
    sampler = GivenNoise(torch.tensor([0.0, 9.0]), torch.tensor([2.0, -1.0]))
    assert sampler.category(torch.tensor([0.9, 0.1])) == 1
    drawn = sampler.normal(torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.1]))
    torch.testing.assert_close(drawn, torch.tensor([2.0, 0.9]))


def test_gumbel_and_uniform_noise_is_the_given_one_of_the_shape_that_is_asked_for() -> None:
    gumbel, uniform = torch.randn(3, 4), torch.rand(3, 2)
    sampler = GivenNoise(gumbel, uniform)
    assert torch.equal(sampler.gumbel(torch.zeros(3, 4)), gumbel)
    assert torch.equal(sampler.uniform(torch.ones(3, 2)), uniform)
    with pytest.raises(AssertionError, match=r"\[3, 4\].*\[4\]"):
        GivenNoise(gumbel).gumbel(torch.zeros(4))
