"""Parity: do the exported graphs compute what the agent computes in torch?

Step by step, every graph gets exactly the inputs that the agent had, and all its outputs are
compared. Running freely, over the whole recording, the graphs live on their own state, as on a
robot, where only a new episode starts it anew, and still have to choose the same classes. Where the
agent's own choice led by less than the self-test's `TIE_MARGIN` the graphs may choose otherwise,
because rounding decides there; that is counted, and a free run takes up the agent's state again.

The graphs are run and their errors measured by the robot's own code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from robodreamer.onnx_export.evidence import Evidence
from robodreamer.onnx_export.traces import Trace
from robodreamer_deploy.bundle.bundle import GRAPHS, BundleError, Carry
from robodreamer_deploy.contract import Array
from robodreamer_deploy.inference.policy import Policy
from robodreamer_deploy.inference.selftest import TOLERANCE, count_ties, largest_error

TOLERANCES = {
    "tokens": 5e-5,
    "deter_next": 1e-5,
    "prior_logits": TOLERANCE,
    "posterior_logits": TOLERANCE,
    "action": 1e-5,
}
"""Largest error of an output on identical inputs, relative above 1; several times what was seen
with agents of all sizes. The surer an agent is, the larger its logits and their errors."""
FREE_TOLERANCES = {"deter": 1e-3, "action": 1e-3}
"""Largest error of state and action while running freely, where rounding builds up."""
DIFFERS = "the export differs from the agent"
LATENT, ACTION = f"{DIFFERS}: latent", f"{DIFFERS}: action"


@dataclass
class Parity:
    """What the comparison found; only ties, or it would have been refused."""

    num_steps: int = 0
    """Steps compared on identical inputs."""
    num_choices: int = 0
    """Latents, and discrete actions, among them."""
    num_ties: int = 0
    """Choices that differ within the tie margin."""
    worst: dict[str, float] = field(default_factory=dict[str, float])
    """Largest error by output."""
    free_steps: int = 0
    """Steps of each free run, of which there is one with noise and one without."""
    free_longest: int = 0
    """Most steps among them between two starts of episodes."""
    free_ties: int = 0
    """Ties that differed while running freely; the state was taken up again after each."""
    free_worst: dict[str, float] = field(default_factory=dict[str, float])
    """Largest error of state and action while running freely."""


def verify(policy: Policy, evidence: Evidence) -> Parity:
    """Hold the three graphs against the agent.

    Raises:
        BundleError: A graph is malformed, an error exceeds its tolerance, or a choice differs
            that was no tie.
    """
    for name in GRAPHS:
        check_graph(policy.bundle.folder / name)
    starts = np.flatnonzero(evidence.free_sample.golden.is_first)
    free_steps = len(evidence.free_sample.golden)
    longest = int(np.diff(starts, append=free_steps).max())
    parity = Parity(free_steps=free_steps, free_longest=longest)
    cut = {"sample": evidence.sample, "mode": evidence.mode, "probes": evidence.probes}
    for name, trace in cut.items():
        _check_step_by_step(policy, trace, name, parity)
    for name, trace in {"sample": evidence.free_sample, "mode": evidence.free_mode}.items():
        _check_running_freely(policy, trace, name, parity)
    return parity


def check_graph(path: Path) -> None:
    """Refuse a file that is no ONNX graph, or whose inferred shapes contradict each other.

    Raises:
        BundleError: With what the checker says.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"{path.name} is no valid ONNX graph: {error}") from error


def _check_step_by_step(policy: Policy, trace: Trace, name: str, parity: Parity) -> None:
    golden, lead = trace.golden, trace.action_lead
    latent_lead = trace.latent_lead
    for i in range(len(golden)):
        where = f"at step {i} of {name}"
        step = policy.rssm_step(
            Carry(golden.deter[i], golden.stoch[i], golden.action_previous[i]),
            golden.tokens[i],
            is_first=bool(golden.is_first[i]),
            noise_stoch=golden.noise_stoch[i],
        )
        actual = {
            "tokens": policy.encode({k: v[i] for k, v in golden.observations.items()}),
            "deter_next": step.deter,
            "prior_logits": step.prior_logits,
            "posterior_logits": step.posterior_logits,
        }
        action = policy.act(golden.deter_next[i], golden.stoch_next[i], golden.noise_action[i])
        ties = count_ties(step.stoch, golden.stoch_next[i], latent_lead[i], LATENT, where)
        if _is_discrete(policy):
            reference = golden.action[i : i + 1]
            ties += count_ties(action[None], reference, lead[i : i + 1], ACTION, where)
        else:
            actual["action"] = action
        expected = {key: getattr(golden, key)[i] for key in actual}
        _compare(actual, expected, TOLERANCES, where, parity.worst)
        parity.num_steps += 1
        parity.num_choices += latent_lead.shape[1] + _is_discrete(policy)
        parity.num_ties += ties


def _check_running_freely(policy: Policy, trace: Trace, name: str, parity: Parity) -> None:
    """Run the graphs over a trace; nothing but new episodes and ties resets them."""
    golden, lead = trace.golden, trace.action_lead
    latent_lead = trace.latent_lead
    carry = Carry(golden.deter[0], golden.stoch[0], golden.action_previous[0])
    for i in range(len(golden)):
        where = f"after {i} free steps of {name}"
        step = policy.rssm_step(
            carry,
            policy.encode({k: v[i] for k, v in golden.observations.items()}),
            is_first=bool(golden.is_first[i]),
            noise_stoch=golden.noise_stoch[i],
        )
        action = policy.act(step.deter, step.stoch, golden.noise_action[i])
        reached = {"deter": step.deter, "action": action}
        reference = {"deter": golden.deter_next[i], "action": golden.action[i]}
        ties = count_ties(step.stoch, golden.stoch_next[i], latent_lead[i], LATENT, where)
        if _is_discrete(policy) and not ties:
            expected = golden.action[i : i + 1]
            ties = count_ties(action[None], expected, lead[i : i + 1], ACTION, where)
        if not ties:
            _compare(reached, reference, FREE_TOLERANCES, where, parity.free_worst)
        executed = golden.action_previous[min(i + 1, len(golden) - 1)]
        state = Carry(golden.deter_next[i], golden.stoch_next[i], executed)
        carry = state if ties else Carry(step.deter, step.stoch, executed)
        parity.free_ties += ties


def _compare(
    actual: Mapping[str, Array],
    expected: Mapping[str, Array],
    tolerances: Mapping[str, float],
    where: str,
    worst: dict[str, float],
) -> None:
    """Note the errors of outputs that have a tolerance; raise BundleError if one is exceeded."""
    for key, tolerance in tolerances.items():
        if key not in actual:
            continue
        error = largest_error(actual[key], expected[key])
        if not error <= tolerance:  # NaN fails too
            raise BundleError(
                f"{DIFFERS}: {key} is off by {error:.1e} {where}, allowed are {tolerance:.0e}"
            )
        worst[key] = max(worst.get(key, 0.0), error)


def _is_discrete(policy: Policy) -> bool:
    return policy.bundle.contract.action.kind == "discrete"
