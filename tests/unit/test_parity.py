"""Parity: the graphs are the agent; and one wrong number anywhere in them does not pass."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import Exported, corrupt, float_tensors
from toy_agent import make_agent

from robodreamer.onnx_export.evidence import Evidence, probe
from robodreamer.onnx_export.parity import TOLERANCES, count_ties, verify
from robodreamer.rssm import State
from robodreamer_deploy.bundle import BundleError, Draw
from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy import Controller
from robodreamer_deploy.selftest import TIE_MARGIN


@pytest.fixture(
    scope="module",
    params=["two cameras", "discrete", pytest.param("vectors only", marks=pytest.mark.slow)],
)
def exported(request: pytest.FixtureRequest, exported_toy: Callable[[str], Exported]) -> Exported:
    return exported_toy(request.param)


class NumpyNoise:
    """The contract between graphs and noise, once more and by hand: see `robodreamer_deploy`."""

    def __init__(self, *noises: Array) -> None:
        self.noises: Iterator[Array] = iter(noises)

    def category(self, probs: torch.Tensor) -> torch.Tensor:
        scores = np.log(probs.numpy().astype(np.float64)) + next(self.noises)
        return torch.from_numpy(np.argmax(scores, -1))

    def normal(self, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(mean.numpy() + std.numpy() * next(self.noises))

    def subset(self, total: int, count: int) -> torch.Tensor:
        raise AssertionError((total, count))


@pytest.mark.parametrize("draw", ["mode", "sample"])
def test_a_controller_drives_for_two_hundred_steps_as_the_agent_acts(
    exported: Exported, draw: Draw
) -> None:
    policy, agent = exported.policy(), exported.agent
    controller = Controller(policy, draw=draw, seed=4)
    carry = agent.initial_carry(1)
    for i, is_first in enumerate(exported.recording.is_first):
        noise = policy.noise(draw, 4, i)
        shown = exported.recording.rows(slice(i, i + 1)).observations
        tensors = {name: torch.from_numpy(value) for name, value in shown.items()}
        first = torch.from_numpy(np.array([is_first]))
        carry = agent.act(carry, tensors, first, NumpyNoise(noise.stoch, noise.action))
        step = controller.step({k: v[0] for k, v in shown.items()}, is_first=bool(is_first))
        expected = carry.action[0].numpy().clip(-1.0, 1.0)
        np.testing.assert_allclose(step.action, expected, atol=1e-5)
        executed = (0.5 * expected).astype(np.float32)  # the robot does half of what it is told
        controller.executed(executed)
        carry = carry._replace(action=torch.from_numpy(executed[None]))


def test_graphs_and_agent_agree_and_the_worst_errors_are_told(exported: Exported) -> None:
    parity = verify(exported.policy(), exported.evidence)
    is_discrete = exported.agent.contract.action.kind == "discrete"
    outputs = {*TOLERANCES} - ({"action"} if is_discrete else set[str]())
    assert parity.worst.keys() == outputs
    assert all(0 < error < TOLERANCES[name] / 4 for name, error in parity.worst.items())
    assert parity.free_steps == 2 * len(exported.recording.is_first)
    assert parity.num_steps == parity.free_steps + len(exported.evidence.probes.golden)
    assert (parity.num_ties, parity.free_ties) == (0, 0)


def test_one_wrong_element_in_any_tensor_is_refused(exported: Exported, tmp_path: Path) -> None:
    unseen = []
    names = list(float_tensors(exported.folder))
    for graph, name in names:
        corrupt(exported.folder, tmp_path / "corrupt", graph, name)
        try:
            verify(exported.policy(tmp_path / "corrupt"), exported.evidence)
            unseen.append((graph, name))
        except BundleError:
            continue
    assert not unseen
    assert len(names) > 40


def test_a_trace_holds_what_the_agent_does(exported: Exported) -> None:
    agent, golden = exported.agent, exported.evidence.sample.golden
    carry = agent.initial_carry(1)
    for i in range(70):
        shown = exported.recording.rows(slice(i, i + 1))
        tensors = {name: torch.from_numpy(value) for name, value in shown.observations.items()}
        np.testing.assert_array_equal(golden.deter[i], carry.state.deter[0])
        np.testing.assert_array_equal(golden.action_previous[i], carry.action[0].clip(-1, 1))
        noise = NumpyNoise(golden.noise_stoch[i], golden.noise_action[i])
        carry = agent.act(carry, tensors, torch.from_numpy(shown.is_first), noise)
        np.testing.assert_array_equal(golden.deter_next[i], carry.state.deter[0])
        np.testing.assert_array_equal(golden.stoch_next[i], carry.state.stoch[0])
        np.testing.assert_allclose(golden.action[i], carry.action[0].clip(-1, 1), atol=1e-6)


def test_probes_show_a_class_to_the_actor_that_the_agent_never_takes() -> None:
    agent = make_agent()
    with torch.no_grad():
        agent.world_model.rssm.posterior_output.bias[:4] = torch.tensor([-30.0, 0.0, 0.0, 0.0])
    golden = probe(agent, 200, np.random.default_rng(0)).golden
    for stoch in (golden.stoch, golden.stoch_next):
        assert 0.05 < stoch[:, 0, 0].mean() < 0.4
    assert golden.stoch_next[1::2, 0, 0].mean() < 0.05


def test_probes_keep_the_action_where_errors_show(exported: Exported) -> None:
    golden = exported.evidence.probes.golden
    if exported.agent.contract.action.kind == "continuous":
        assert np.abs(golden.action).max() < 0.95
    else:
        lead = exported.evidence.probes.action_lead
        assert (golden.action.mean(0) > 0.4).all()  # two choices, in turns
        assert ((lead > TIE_MARGIN) & (lead < 3 * TIE_MARGIN)).all()


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("tokens", 1e-4), ("deter_next", 2e-5), ("prior_logits", 2e-4),
        ("posterior_logits", 2e-4), ("action", 1.5e-5),
    ],
)  # fmt: skip
def test_a_small_error_at_one_step_is_refused(
    exported_toy: Callable[[str], Exported], output: str, error: float
) -> None:
    exported = exported_toy("two cameras")
    trace = exported.evidence.mode
    values = getattr(trace.golden, output).copy()
    values[150].flat[0] += error * max(1.0, np.abs(values[150].flat[0]))
    changed = trace._replace(golden=dataclasses.replace(trace.golden, **{output: values}))
    with pytest.raises(BundleError, match=f"{output} is off by .* at step 150 of mode"):
        verify(exported.policy(), exported.evidence._replace(mode=changed))


def with_other_choice(exported: Exported, lead: float) -> Evidence:
    """Return evidence in which the agent chose another class than the graphs, which lead by `lead`.

    It did so in the last step of a stretch, so that no later step is concerned.
    """
    trace = exported.evidence.sample
    golden, i = trace.golden, int(np.flatnonzero(trace.golden.is_first)[1]) - 1
    changed = {
        name: getattr(golden, name).copy() for name in ("stoch_next", "noise_stoch", "action")
    }
    scores = golden.posterior_logits[i, 0] + golden.noise_stoch[i, 0]
    first, second = np.argsort(scores)[[-1, -2]]
    changed["noise_stoch"][i, 0, second] += scores[first] - scores[second] - lead
    changed["stoch_next"][i, 0] = np.eye(len(scores))[second]
    state = State(torch.from_numpy(golden.deter_next), torch.from_numpy(changed["stoch_next"]))
    with torch.no_grad():
        distribution = exported.agent.behavior.actor(state.feature)
    noise = NumpyNoise(golden.noise_action)
    changed["action"][i] = distribution.sample(noise)[i].clamp(-1, 1)
    changed_golden = dataclasses.replace(golden, **changed)
    return exported.evidence._replace(sample=trace._replace(golden=changed_golden))


def test_a_tie_is_counted_and_the_free_run_goes_on(exported: Exported) -> None:
    parity = verify(exported.policy(), with_other_choice(exported, TIE_MARGIN / 4))
    assert (parity.num_ties, parity.free_ties) == (1, 1)


def test_another_choice_that_was_no_tie_is_refused(exported: Exported) -> None:
    with pytest.raises(BundleError, match="another class was chosen as latent at step 57"):
        verify(exported.policy(), with_other_choice(exported, 4 * TIE_MARGIN))


def test_a_tie_excuses_no_other_choice_of_the_same_step() -> None:
    reference = np.eye(3, dtype=np.float32)[[0, 1]]
    chosen = np.eye(3, dtype=np.float32)[[1, 0]]
    leads = np.array([0.5, 2.0]) * TIE_MARGIN
    assert count_ties(chosen[:1], reference[:1], leads[:1], "latent") == 1
    assert count_ties(reference, reference, leads, "latent") == 0
    with pytest.raises(BundleError, match=r"led by 2\.0e-04"):
        count_ties(chosen, reference, leads, "latent")
