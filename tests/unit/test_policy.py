"""The policy on the robot: the same as the reference, recurrent, and refused when it is not."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import toy_policy
from onnx import numpy_helper
from toy_policy import A, D, E, K, S, make_golden, make_manifest, make_weights, random_observation
from toy_robot import CONTRACT

from robodreamer_deploy.bundle.bundle import BundleError, Carry, Draw, load_bundle, write_manifest
from robodreamer_deploy.bundle.golden import Golden, load_golden
from robodreamer_deploy.contract import Array
from robodreamer_deploy.inference.graph import Graph, Tensor
from robodreamer_deploy.inference.policy import Controller, NotFiniteError, Policy, surprise
from robodreamer_deploy.inference.selftest import TIE_MARGIN, replay_golden

WEIGHTS = [(graph, name) for graph, weights in make_weights().items() for name in weights]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return Policy(load_bundle(toy_policy.write_bundle(tmp_path_factory.mktemp("toy"))))


@pytest.fixture(scope="module")
def golden(policy: Policy) -> Golden:
    return load_golden(policy.bundle)


def observations(num_steps: int, seed: int = 7) -> list[dict[str, Array]]:
    generator = np.random.default_rng(seed)
    return [random_observation(generator) for _ in range(num_steps)]


def actions(controller: Controller, values: list[dict[str, Array]]) -> list[Array]:
    return [controller.step(value, is_first=i == 0).action for i, value in enumerate(values)]


@pytest.mark.parametrize("draw", ["mode", "sample"])
def test_two_hundred_free_running_steps_equal_the_reference(policy: Policy, draw: Draw) -> None:
    weights = make_weights()
    controller = Controller(policy, draw=draw, seed=3)
    carry = policy.bundle.initial
    for i, observation in enumerate(observations(200)):
        is_first = i in (0, 60)
        noise = policy.noise(draw, 3, i)
        tokens = toy_policy.encode(weights["encoder"], observation)
        deter, stoch, prior, posterior = toy_policy.rssm_step(
            weights["rssm_step"], carry, tokens, is_first, noise.stoch
        )
        expected = toy_policy.act(weights["actor"], deter, stoch, noise.action)
        step = controller.step(observation, is_first=is_first)
        np.testing.assert_allclose(step.action, expected, atol=1e-5)
        assert step.surprise == pytest.approx(surprise(posterior, prior), abs=1e-4)
        assert step.counter == i
        executed = (0.5 * expected).astype(np.float32)  # the robot does half of what it is told
        controller.executed(executed)
        carry = Carry(deter, stoch, executed)


def test_the_executed_action_is_what_the_model_remembers(policy: Policy) -> None:
    first, second = observations(2)
    results = []
    for executed in (np.zeros(A, np.float32), np.ones(A, np.float32)):
        controller = Controller(policy, draw="mode")
        controller.step(first, is_first=True)
        controller.executed(executed)
        results.append(controller.step(second, is_first=False).action)
    assert not np.array_equal(*results)


def test_an_episode_start_drops_all_memory(policy: Policy) -> None:
    controller = Controller(policy, draw="mode")
    fresh = controller.step(observations(1)[0], is_first=True).action
    actions(controller, observations(5, seed=1))
    again = controller.step(observations(1)[0], is_first=True).action
    np.testing.assert_array_equal(fresh, again)


def test_a_restored_snapshot_repeats_the_drive_to_the_bit(policy: Policy) -> None:
    controller = Controller(policy, draw="sample", seed=5)
    actions(controller, observations(10))
    snapshot = controller.snapshot()
    rest = observations(20, seed=8)
    first = [controller.step(value, is_first=False) for value in rest]
    controller.restore(snapshot)
    again = [controller.step(value, is_first=False) for value in rest]
    other = Controller(policy, draw="sample")
    other.restore(snapshot)
    elsewhere = [other.step(value, is_first=False) for value in rest]
    for steps in (again, elsewhere):
        np.testing.assert_array_equal([s.action for s in first], [s.action for s in steps])
        assert [s.surprise for s in first] == [s.surprise for s in steps]


def test_controllers_of_one_policy_do_not_touch_each_other(policy: Policy) -> None:
    alone = actions(Controller(policy, draw="sample", seed=1), observations(10))
    one, other = (Controller(policy, draw="sample", seed=s) for s in (1, 2))
    together = []
    for i, (mine, theirs) in enumerate(zip(observations(10), observations(10, 9), strict=True)):
        together.append(one.step(mine, is_first=i == 0).action)
        other.step(theirs, is_first=i == 0)
    np.testing.assert_array_equal(alone, together)


def test_a_reset_starts_the_noise_of_its_seed_anew(policy: Policy) -> None:
    controller = Controller(policy, draw="sample", seed=1)
    first = actions(controller, observations(10))
    assert not np.array_equal(first, actions(controller, observations(10)))
    controller.reset(1)
    np.testing.assert_array_equal(first, actions(controller, observations(10)))
    controller.reset(2)
    assert not np.array_equal(first, actions(controller, observations(10)))


def test_the_draw_is_the_manifests_unless_given(policy: Policy) -> None:
    assert Controller(policy).draw == "mode"
    assert Controller(policy, draw="sample").draw == "sample"


def test_noise_is_gumbel_for_latents_and_normal_for_actions(policy: Policy) -> None:
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


def test_surprise_is_the_divergence_of_posterior_from_prior() -> None:
    prior = np.log(np.full((2, 4), 0.25, np.float32))
    certain = np.log(np.array([[1 - 3e-9, 1e-9, 1e-9, 1e-9]] * 2))
    assert surprise(prior, prior) == 0
    assert surprise(certain, prior) == pytest.approx(2 * np.log(4), rel=1e-6)
    assert surprise(prior, certain) > 10  # not symmetric


def test_warm_up_leaves_every_controller_as_it_is(policy: Policy) -> None:
    controller = Controller(policy, draw="mode")
    actions(controller, observations(3))
    before = controller.snapshot()
    assert len(policy.warm_up(4)) == 4
    assert controller.snapshot() is not before
    for mine, old in zip(controller.snapshot().carry, before.carry, strict=True):
        np.testing.assert_array_equal(mine, old)


def test_a_model_that_is_not_finite_is_a_fault_and_leaves_the_state(policy: Policy) -> None:
    controller = Controller(policy, draw="mode")
    first, second = observations(2)
    controller.step(first, is_first=True)
    before = controller.snapshot()
    blind = {**second, "proprio/position": np.full(2, np.nan, np.float32)}
    with pytest.raises(NotFiniteError, match="step 1"):
        controller.step(blind, is_first=False)
    assert controller.snapshot() == before


# --- golden self-test ----------------------------------------------------------------------------


def test_the_golden_sequence_is_repeated(policy: Policy, golden: Golden) -> None:
    result = replay_golden(policy, golden)
    assert (result.num_steps, result.num_ties) == (32, 0)
    assert 0 < result.worst_error < 1e-5


@pytest.mark.parametrize(("graph", "name"), WEIGHTS)
def test_one_wrong_weight_in_any_tensor_fails_the_self_test(
    tmp_path: Path, graph: str, name: str
) -> None:
    folder = toy_policy.write_bundle(tmp_path)
    path = folder / f"{graph}.onnx"
    model = onnx.load(path)
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[np.abs(values).argmax()] *= -1
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    path.write_bytes(model.SerializeToString())
    write_manifest(folder, make_manifest())  # an honest hash of a wrong file
    bundle = load_bundle(folder)
    with pytest.raises(BundleError, match="golden self-test"):
        replay_golden(Policy(bundle), load_golden(bundle))


@pytest.mark.parametrize(
    "name", ["tokens", "deter_next", "prior_logits", "posterior_logits", "action"]
)
def test_every_output_is_compared(policy: Policy, golden: Golden, name: str) -> None:
    values = getattr(golden, name).copy()
    values[20] += 3e-4
    with pytest.raises(BundleError, match=rf"{name} is off by 3\.\de-04 at step 20"):
        replay_golden(policy, dataclasses.replace(golden, **{name: values}))


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
    perturbed = golden.posterior_logits[3, 1] + noise[3, 1]
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
    ("change", "words"),
    [
        ({"token_size": E + 1}, r"output tokens is tensor\(float\) \(1, 5\), expected .* \(1, 6\)"),
        (
            {"contract": dataclasses.replace(CONTRACT, observations=CONTRACT.observations[1:])},
            "encoder.onnx has the inputs .*proprio/position.*expected",
        ),
        (
            {
                "contract": dataclasses.replace(
                    CONTRACT,
                    observations=(
                        dataclasses.replace(CONTRACT["proprio/position"], dtype="int32"),
                        *CONTRACT.observations[1:],
                    ),
                )
            },
            r"input proprio/position is tensor\(float\) \(1, 2\), expected tensor\(int32\)",
        ),
    ],
)
def test_graphs_that_do_not_fit_the_manifest_are_refused(
    policy: Policy, change: dict[str, Any], words: str
) -> None:
    manifest = dataclasses.replace(policy.bundle.manifest, **change)
    with pytest.raises(BundleError, match=words):
        Policy(dataclasses.replace(policy.bundle, manifest=manifest))


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
    graph = Graph(tmp_path / "damaged.onnx", {"x": Tensor((1, 2))}, {"y": Tensor((1, 1))})
    with pytest.raises(BundleError, match=r"damaged\.onnx cannot be computed: .*Gather"):
        graph.run({"x": np.zeros((1, 2), np.float32)})


def test_the_golden_sequence_covers_what_it_should(golden: Golden) -> None:
    assert golden.is_first.sum() == 2
    assert golden.deter.shape == (32, D)
    assert make_golden(make_weights(1)).action.shape == (32, A)
