"""Parity: the graphs are the agent; and one wrong number anywhere in them does not pass."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from exported import (
    LIKE_FETCH,
    Exported,
    NumpyNoise,
    corrupt,
    drive_beside_the_agent,
    export_toy,
    initializers,
    passes,
    unnoticed,
)
from robodreamer.config import SIZES
from robodreamer.export.parity import TOLERANCES
from robodreamer.export.reference_steps import ReferenceSteps, probe
from robodreamer.export.torch_trace import RECORDING_SEED, record, trace
from robodreamer.models.sampling import RandomSampler
from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.comparison import TIE_MARGIN, count_ties, lead
from robodreamer_deploy.policy.graph_spec import GRAPHS, SEQUENCES
from robodreamer_deploy.policy.manifest import ActionSelection
from robodreamer_deploy.policy.noise import Noise
from robodreamer_deploy.policy.policy import Policy
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.vector.vector_env import VectorEnv
from toy_agent import make_agent

SPLIT = SEQUENCES["split"]


@pytest.fixture(
    scope="module",
    params=[
        "two cameras",
        pytest.param("discrete", marks=pytest.mark.slow),
        pytest.param("vectors only", marks=pytest.mark.slow),
    ],
)
def exported(request: pytest.FixtureRequest, exported_toy: Callable[[str], Exported]) -> Exported:
    return exported_toy(request.param)


@pytest.mark.parametrize("draw", ["mode", "sample"])
def test_a_controller_drives_for_two_hundred_steps_as_the_agent_acts(
    exported: Exported, draw: ActionSelection
) -> None:
    assert drive_beside_the_agent(exported, draw) >= 200


def test_graphs_and_agent_agree_and_the_worst_errors_are_told(exported: Exported) -> None:
    parity = exported.verify()
    is_discrete = exported.agent.contract.action.kind == "discrete"
    outputs = {*TOLERANCES} - {"action" if is_discrete else "action_logits"}
    outputs -= {"stoch_next", "stoch_prior"}  # compared by class
    assert parity.worst.keys() == outputs
    assert all(0 < error < TOLERANCES[name] / 4 for name, error in parity.worst.items())
    assert parity.free_steps == len(exported.recording.is_first)
    assert parity.num_steps == 2 * parity.free_steps + len(exported.reference.probes.golden)
    assert (parity.num_ties, parity.free_ties) == (0, 0)


def test_one_wrong_element_in_any_tensor_is_refused(exported: Exported, tmp_path: Path) -> None:
    """The graphs of a split step hold every tensor once."""
    kinds = [t.array.dtype.kind for t in initializers(exported.folder) if t.graph in SPLIT]
    assert kinds.count("f") > 40
    assert kinds.count("i") > 10
    assert not unnoticed(exported, tmp_path / "corrupt", SPLIT)


@pytest.mark.slow
def test_one_wrong_element_in_any_tensor_of_the_other_graphs_is_refused(
    exported: Exported, tmp_path: Path
) -> None:
    assert not unnoticed(exported, tmp_path / "corrupt", {*GRAPHS} - {*SPLIT})


@pytest.mark.parametrize("graph", ["rssm_step.onnx", "policy.onnx"])
def test_one_wrong_weight_of_the_larger_graphs_is_refused(
    exported: Exported, tmp_path: Path, graph: str
) -> None:
    tensors = [t for t in initializers(exported.folder) if t.graph == graph]
    largest = max(tensors, key=lambda tensor: tensor.array.size)
    corrupt(exported.folder, tmp_path / "corrupt", graph, largest.name)
    assert not passes(exported, tmp_path / "corrupt", graph)


@pytest.mark.slow
def test_one_wrong_element_in_an_agent_of_a_real_size_is_refused(tmp_path: Path) -> None:
    exported = export_toy(tmp_path, LIKE_FETCH, network=SIZES["cpu"])
    assert not unnoticed(exported, tmp_path / "corrupt", SPLIT)


def test_a_trace_holds_what_the_agent_does(exported: Exported) -> None:
    agent, golden = exported.agent, exported.reference.sample.golden
    carry = agent.initial_carry(1)
    for i in range(70):
        shown = exported.recording.in_segments().rows(slice(i, i + 1))
        tensors = {name: torch.from_numpy(value) for name, value in shown.observations.items()}
        np.testing.assert_array_equal(golden.deter[i], carry.state.deter[0])
        np.testing.assert_array_equal(golden.action_previous[i], carry.action[0].clip(-1, 1))
        noise = NumpyNoise(golden.noise_stoch[i], golden.noise_action[i])
        carry = agent.act(carry, tensors, torch.from_numpy(shown.is_first), noise)
        np.testing.assert_array_equal(golden.deter_next[i], carry.state.deter[0])
        np.testing.assert_array_equal(golden.stoch_next[i], carry.state.stoch[0])
        np.testing.assert_allclose(golden.action[i], carry.action[0].clip(-1, 1), atol=1e-6)
        carry = carry._replace(action=torch.from_numpy(shown.executed))


def test_probes_show_a_class_to_the_actor_that_the_agent_never_takes() -> None:
    agent = make_agent()
    with torch.no_grad():
        agent.world_model.rssm.posterior_output.bias[:4] = torch.tensor([-30.0, 0.0, 0.0, 0.0])
    golden = probe(agent, 200, np.random.default_rng(0)).golden
    for stoch in (golden.stoch, golden.stoch_next):
        assert 0.05 < stoch[:, 0, 0].mean() < 0.4
    assert golden.stoch_next[1::2, 0, 0].mean() < 0.05


def test_probes_keep_the_action_where_errors_show(exported: Exported) -> None:
    golden = exported.reference.probes.golden
    if exported.agent.contract.action.kind == "continuous":
        assert np.abs(golden.action).max() < 0.95
    else:
        gap = exported.reference.probes.action_lead
        assert (golden.action.mean(0) > 0.4).all()  # two choices, in turns
        assert ((gap > TIE_MARGIN) & (gap < 3 * TIE_MARGIN)).all()


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("tokens", 1e-4), ("deter_next", 2e-5), ("prior", 2e-4),
        ("posterior", 2e-4), ("action", 1.5e-5),
    ],
)  # fmt: skip
def test_a_small_error_at_one_step_is_refused(
    exported_toy: Callable[[str], Exported], output: str, error: float
) -> None:
    exported = exported_toy("two cameras")
    mode = exported.reference.mode
    values = getattr(mode.golden, output).copy()
    values[150].flat[0] += error * max(1.0, np.abs(values[150].flat[0]))
    changed = mode._replace(golden=dataclasses.replace(mode.golden, **{output: values}))
    with pytest.raises(BundleError, match=f"{output} is off by .* at step 150 of mode"):
        exported.verify(exported.reference._replace(mode=changed))


def test_the_graphs_run_for_two_hundred_steps_on_nothing_but_their_own_state(
    exported_toy: Callable[[str], Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: dict[tuple[str, ...], list[int]] = {}
    reached = {}

    def watch(self: Policy, values: Mapping[str, Array]) -> dict[str, Array]:
        """Count the steps in a row from the state that the last one reached."""
        graphs = tuple(self.graphs)
        mine = rows.setdefault(graphs, [])
        if values["is_first"][0] or values["deter"] is not reached.get(graphs):
            mine.append(0)
        mine[-1] += 1
        result = step(self, values)
        reached[graphs] = result["deter_next"]
        return result

    step = Policy.step
    monkeypatch.setattr(Policy, "step", watch)
    parity = exported_toy("two cameras").verify()
    assert set(rows) == {*SEQUENCES.values()}
    for row in rows.values():
        assert [count for count in row if count >= 200] == [parity.free_steps] * 2


def with_other_choice(exported: Exported, gap: float) -> ReferenceSteps:
    """Return reference in which the agent once chose the class that is second for the graphs.

    Noise decided for it, of which so much is taken back that it comes to lie `gap` behind.
    """
    recording, i = (
        exported.recording,
        int(np.flatnonzero(exported.recording.in_segments().is_first)[1]) - 1,
    )
    golden = exported.reference.sample.golden
    noise = Noise(golden.noise_stoch.copy(), golden.noise_action)
    scores = golden.posterior[i, 0] + noise.stoch[i, 0]
    first, second = np.argsort(scores)[[-1, -2]]
    difference = scores[first] - scores[second]
    noise.stoch[i, 0, second] += difference + 1.0
    traces = [
        trace(exported.agent, r, noise) for r in (recording.in_segments(), recording.in_one_go())
    ]
    noise.stoch[i, 0, second] -= 1.0 + gap
    cut, free = (
        made._replace(golden=dataclasses.replace(made.golden, noise_stoch=noise.stoch))
        for made in traces
    )
    return exported.reference._replace(sample=cut, free_sample=free)


@pytest.mark.slow
def test_a_tie_is_counted_and_the_free_run_goes_on(exported: Exported) -> None:
    parity = exported.verify(with_other_choice(exported, TIE_MARGIN / 4))
    assert (parity.num_ties, parity.free_ties) == (len(SEQUENCES),) * 2


def test_another_choice_that_was_no_tie_is_refused(exported: Exported) -> None:
    changed = with_other_choice(exported, 4 * TIE_MARGIN)
    with pytest.raises(BundleError, match="latent 0 fell into another class at step 51 of sample"):
        exported.verify(changed)
    changed = exported.reference._replace(free_sample=changed.free_sample)
    with pytest.raises(BundleError, match=r"latent 0 fell .* after 51 free steps of sample"):
        exported.verify(changed)


def test_a_state_that_runs_away_is_refused(exported: Exported) -> None:
    free = exported.reference.free_mode
    deter = free.golden.deter_next.copy()
    deter[150] += 0.2
    elsewhere = free._replace(golden=dataclasses.replace(free.golden, deter_next=deter))
    changed = exported.reference._replace(free_mode=elsewhere)
    with pytest.raises(BundleError, match=r"deter_next is off by 2.* after 150 free steps of mode"):
        exported.verify(changed)


def test_a_tie_excuses_no_other_choice_of_the_same_step() -> None:
    reference = np.eye(3, dtype=np.float32)[[0, 1]]
    chosen = np.eye(3, dtype=np.float32)[[1, 0]]
    leads = np.array([0.5, 2.0]) * TIE_MARGIN
    assert count_ties(chosen[:1], reference[:1], leads[:1], "latent", "here") == 1
    assert count_ties(reference, reference, leads, "latent", "here") == 0
    with pytest.raises(BundleError, match=r"latent 1 fell into .* here, .* led by 2\.0e-04"):
        count_ties(chosen, reference, leads, "latent", "here")


def test_a_single_class_leads_without_bound() -> None:
    scores = np.array([[[2.0, 0.5, 1.5]], [[0.0, 0.0, -1.0]]])
    np.testing.assert_array_equal(lead(scores), [[0.5], [0.0]])
    assert np.isposinf(lead(scores[..., :1])).all()


def test_a_recording_holds_the_actions_that_led_to_its_observations(tmp_path: Path) -> None:
    options = EnvOptions(image_size=(32, 32))
    with VectorEnv("gym:toy_env:Toy-v0", options, num_envs=2, num_workers=0, seed=0) as envs:
        agent = make_agent(envs.contract)
        recording = record(agent, envs, 12)
    assert recording.is_first.tolist() == [True, False, False, False] * 3
    sampler, carry = (
        RandomSampler(torch.Generator().manual_seed(RECORDING_SEED)),
        agent.initial_carry(2),
    )
    again = VectorEnv("gym:toy_env:Toy-v0", options, num_envs=2, num_workers=0, seed=0)
    again.start()
    for i in range(12):
        seen = again.recv()
        for name, values in recording.observations.items():
            np.testing.assert_array_equal(seen[name][0], values[i], err_msg=name)
        observation = {name: torch.from_numpy(seen[name]) for name in recording.observations}
        carry = agent.act(carry, observation, torch.from_numpy(seen["is_first"]), sampler)
        executed = carry.action[0].clip(-1, 1).numpy()
        np.testing.assert_allclose(recording.executed[i], executed, atol=1e-6)
        again.send(carry.action.numpy())
