"""The policy's graphs on the robot: the same as the reference, and refused when they are not."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

import toy_policy
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.bundle import (
    load_bundle,
    write_manifest,
)
from robodreamer_deploy.policy.comparison import TIE_MARGIN
from robodreamer_deploy.policy.golden import Golden, load_golden
from robodreamer_deploy.policy.graph_spec import SEQUENCES, GraphSpec, TensorSpec
from robodreamer_deploy.policy.latents import LatentFamily
from robodreamer_deploy.policy.manifest import derive
from robodreamer_deploy.policy.noise import NoiseKind
from robodreamer_deploy.policy.onnx_graph import Graph
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import replay_golden
from toy_policy import A, D, E, K, S, make_golden, make_manifest, make_weights
from toy_robot import CONTRACT

WEIGHTS = {name for weights in make_weights().values() for name in weights}
IN_GRAPHS = [
    (sequence, graph, tensor.name)
    for sequence, graphs in SEQUENCES.items()
    for graph in graphs
    for tensor in toy_policy.make_graphs(make_weights())[graph].graph.initializer
    if tensor.name in WEIGHTS
]
DRAWN = ("rssm_step.onnx", "prior.onnx", "posterior.onnx")
WITH_FAMILY = [
    *((*place, "categorical") for place in IN_GRAPHS),
    *((*place, "gaussian") for place in IN_GRAPHS if place[1] in DRAWN),
]


@pytest.fixture(scope="module")
def golden(policy: Policy) -> Golden:
    return load_golden(policy.bundle)


def with_noise(policy: Policy, kind: NoiseKind) -> Policy:
    """Return the policy as if its actions were drawn with noise of another kind."""
    noise = {**policy.bundle.manifest.noise, "noise_action": kind}
    manifest = dataclasses.replace(policy.bundle.manifest, noise=noise)
    other = copy.copy(policy)
    other.bundle = dataclasses.replace(policy.bundle, manifest=manifest)
    return other


def test_the_manifest_says_the_noise_of_latents_and_of_actions(
    policy: Policy, gaussian_policy: Policy
) -> None:
    uniform = with_noise(gaussian_policy, "uniform")
    noises = [uniform.noise("sample", 0, i) for i in range(3000)]
    stoch = np.stack([noise.stoch for noise in noises])
    action = np.stack([noise.action for noise in noises])
    assert stoch.shape[1:] == (S, 1)
    assert stoch.mean() == pytest.approx(0, abs=0.05)
    assert stoch.std() == pytest.approx(1, abs=0.05)
    assert action.mean() == pytest.approx(0.5, abs=0.02)
    assert 0 < action.min() < 0.01
    assert 0.99 < action.max() < 1
    mode = uniform.noise("mode", 0, 0)
    assert not mode.stoch.any()
    assert not mode.action.any()
    same, normal = (p.noise("sample", 0, 7).stoch for p in (uniform, gaussian_policy))
    np.testing.assert_array_equal(same, normal)
    assert policy.noise("sample", 0, 7).stoch.shape == (S, K)


def test_noise_is_gumbel_for_classes_and_normal_for_actions(policy: Policy) -> None:
    noises = [policy.noise("sample", 0, i) for i in range(3000)]
    stoch = np.stack([noise.stoch for noise in noises])
    action = np.stack([noise.action for noise in noises])
    assert stoch.shape[1:] == (S, K)
    assert stoch.mean() == pytest.approx(0.5772, abs=0.03)  # Euler's constant
    assert stoch.std() == pytest.approx(np.pi / np.sqrt(6), abs=0.03)
    assert action.mean() == pytest.approx(0, abs=0.05)
    assert action.std() == pytest.approx(1, abs=0.05)
    assert np.abs(np.corrcoef(stoch[:-1, 0, 0], stoch[1:, 0, 0])[0, 1]) < 0.08  # between steps
    assert len(np.unique(stoch)) > 0.99 * stoch.size  # no number serves two steps
    mode = policy.noise("mode", 0, 0)
    assert not mode.stoch.any()
    assert not mode.action.any()


# --- golden self-test ----------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_the_golden_sequence_is_repeated(each_policy: Policy, sequence: str) -> None:
    bundle = each_policy.bundle
    result = replay_golden(Policy(bundle, sequence=sequence), load_golden(bundle))
    assert (result.num_steps, result.num_ties) == (32, 0)
    assert 0 < result.worst_error < 1e-5


@pytest.mark.parametrize(("sequence", "graph", "name", "family"), WITH_FAMILY)
def test_one_wrong_weight_in_any_tensor_fails_the_self_test(
    tmp_path: Path, sequence: str, graph: str, name: str, family: LatentFamily
) -> None:
    folder = toy_policy.write_bundle(tmp_path, family=family)
    path = folder / graph
    model = onnx.load(path)
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[np.abs(values).argmax()] *= -1
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    path.write_bytes(model.SerializeToString())
    write_manifest(folder, make_manifest(family))  # an honest hash of a wrong file
    bundle = load_bundle(folder)
    with pytest.raises(BundleError, match=f"golden self-test: {graph}"):
        replay_golden(Policy(bundle, sequence=sequence), load_golden(bundle))


@pytest.mark.parametrize("name", ["tokens", "deter_next", "prior", "posterior", "action"])
def test_every_output_is_compared(policy: Policy, golden: Golden, name: str) -> None:
    values = getattr(golden, name).copy()
    values[20] += 3e-4
    with pytest.raises(BundleError, match=rf"{name} is off by 3\.\de-04 at step 20"):
        replay_golden(policy, dataclasses.replace(golden, **{name: values}))


@pytest.mark.parametrize("name", ["stoch_next", "prior", "posterior"])
def test_a_gaussian_is_compared_number_by_number(gaussian_policy: Policy, name: str) -> None:
    golden = load_golden(gaussian_policy.bundle)
    values = getattr(golden, name).copy()
    values[20, 1, -1] += 3e-4 * max(1.0, abs(values[20, 1, -1]))
    words = {"prior": "(prior|stoch_prior)"}.get(name, name)  # the prior's draw is not recorded
    with pytest.raises(BundleError, match=rf"{words} is off by \d\.\de-04 at step 20"):
        replay_golden(gaussian_policy, dataclasses.replace(golden, **{name: values}))


def test_a_gaussian_of_which_the_rule_of_classes_would_forgive_all_is_refused(
    gaussian_policy: Policy,
) -> None:
    """Under the rule of classes a single value leads without bound, or any difference is a tie."""
    golden = load_golden(gaussian_policy.bundle)
    shuffled = golden.stoch_next[:, ::-1].copy()
    with pytest.raises(BundleError, match=r"stoch_next is off by \d\.\de[+-]\d\d at step 0"):
        replay_golden(gaussian_policy, dataclasses.replace(golden, stoch_next=shuffled))


@pytest.mark.parametrize("name", ["noise_stoch", "noise_action", "action_previous", "is_first"])
def test_every_input_matters(policy: Policy, golden: Golden, name: str) -> None:
    values = getattr(golden, name).copy()
    values[5] = (
        ~values[5]
        if name == "is_first"
        else values[5] + np.linspace(0, 9, values[5].size)[::-1].reshape(values[5].shape)
    )
    with pytest.raises(BundleError, match="at step 5"):
        replay_golden(policy, dataclasses.replace(golden, **{name: values}))


def with_lead(golden: Golden, lead: float) -> Golden:
    """Return the sequence with a latent at step 3 whose best class leads by `lead`, but lost."""
    noise, chosen = golden.noise_stoch.copy(), golden.stoch_next.copy()
    perturbed = golden.posterior[3, 1] + noise[3, 1]
    second, first = np.argsort(perturbed)[-2:]
    noise[3, 1, second] += perturbed[first] - perturbed[second] - lead
    chosen[3, 1] = np.eye(K, dtype=np.float32)[second]
    # The actor is fed the reference's latent, so its output for the other class is recorded too.
    weights = make_weights()["actor"]
    action = golden.action.copy()
    action[3] = toy_policy.act(weights, golden.deter_next[3], chosen[3], golden.noise_action[3])
    return dataclasses.replace(golden, noise_stoch=noise, stoch_next=chosen, action=action)


def test_a_flip_is_forgiven_only_where_the_reference_was_undecided(
    policy: Policy, golden: Golden
) -> None:
    assert replay_golden(policy, with_lead(golden, 0.5 * TIE_MARGIN)).num_ties == 1
    with pytest.raises(BundleError, match="latent 1 fell into another class at step 3"):
        replay_golden(policy, with_lead(golden, 2 * TIE_MARGIN))


# --- graphs that do not fit ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contract", "token_size", "words"),
    [
        (CONTRACT, E + 1, r"output tokens is tensor\(float\) \(1, 5\), expected .* \(1, 6\)"),
        (
            dataclasses.replace(CONTRACT, observations=CONTRACT.observations[1:]),
            E,
            "encoder.onnx has the inputs .*proprio/position.*expected",
        ),
        (
            dataclasses.replace(
                CONTRACT,
                observations=(
                    dataclasses.replace(CONTRACT["proprio/position"], dtype="int32"),
                    *CONTRACT.observations[1:],
                ),
            ),
            E,
            r"input proprio/position is tensor\(float\) \(1, 2\), expected tensor\(int32\)",
        ),
    ],
)
def test_graphs_that_do_not_fit_the_manifest_are_refused(
    policy: Policy, contract: Contract, token_size: int, words: str
) -> None:
    manifest = policy.bundle.manifest
    manifest = dataclasses.replace(
        manifest, contract=contract, token_size=token_size,
        **derive(contract, manifest.state, token_size, {}),
    )  # fmt: skip
    with pytest.raises(BundleError, match=words):
        Policy(dataclasses.replace(policy.bundle, manifest=manifest), sequence="three graphs")


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    folder = toy_policy.write_bundle(tmp_path)
    (folder / "actor.onnx").write_bytes(b"garbage")
    write_manifest(folder, make_manifest())
    with pytest.raises(BundleError, match=r"actor\.onnx cannot be loaded"):
        Policy(load_bundle(folder))


def test_a_graph_that_fails_only_when_it_runs_is_refused(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        damaged (float[1, 2] x) => (float[1, 1] y) <int64[1] index = {99}> {
            y = Gather <axis = 1> (x, index)
        }""")
    onnx.save(model, tmp_path / "damaged.onnx")
    spec = GraphSpec(
        inputs=(TensorSpec(name="x", value="in", shape=(1, 2), dtype="float32"),),
        outputs=(TensorSpec(name="y", value="out", shape=(1, 1), dtype="float32"),),
    )
    graph = Graph(tmp_path / "damaged.onnx", spec)
    values = {"in": np.zeros((1, 2), np.float32), "out": np.zeros((1, 1), np.float32)}
    for run in (lambda: graph.run(values), graph.bind(values)):
        with pytest.raises(BundleError, match=r"damaged\.onnx cannot be computed: .*Gather"):
            run()


def test_the_golden_sequence_covers_what_it_should(golden: Golden) -> None:
    assert golden.is_first.sum() == 2
    assert golden.deter.shape == (32, D)
    assert make_golden(make_weights(1)).action.shape == (32, A)
