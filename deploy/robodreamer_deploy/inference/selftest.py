"""Golden self-test: does this machine compute what the exporting machine computed?

Each step starts from the recorded state. Continuous outputs must agree within a tolerance; a
latent may fall into another class only where the reference itself was undecided.
"""

from typing import NamedTuple

import numpy as np

from robodreamer_deploy.bundle.bundle import BundleError, Carry
from robodreamer_deploy.bundle.golden import Golden
from robodreamer_deploy.contract import Array
from robodreamer_deploy.inference.policy import Policy

TOLERANCE = 1e-4
"""Largest error of an output, relative above 1. Float32 sums in another order (other CPU, other
onnxruntime) differ by 1e-6 to 1e-5 here; a single wrong weight that matters shows above 1e-3."""
TIE_MARGIN = 1e-4
"""Lead of the reference's best class over its second, in perturbed logits, under which rounding
on another CPU may choose the other one."""


class SelfTest(NamedTuple):
    """Outcome of a golden replay that passed."""

    num_steps: int
    worst_error: float  # of all outputs, relative above 1
    num_ties: int  # latents that fell into another class within the tie margin


def replay_golden(policy: Policy, golden: Golden) -> SelfTest:
    """Repeat every golden step from its recorded state.

    Raises:
        BundleError: An output differs by more than the tolerance, or a latent flipped without
            being a tie; with the step and the output.
    """
    worst, num_ties = 0.0, 0
    leads = lead(golden.posterior_logits + golden.noise_stoch)
    for i in range(len(golden)):
        errors, stoch = _replay_step(policy, golden, i)
        for name, error in errors.items():
            if not error <= TOLERANCE:  # NaN fails too
                raise BundleError(
                    f"golden self-test: {name} is off by {error:.1e} at step {i}, "
                    f"allowed are {TOLERANCE:.0e}"
                )
            worst = max(worst, error)
        num_ties += count_ties(
            stoch, golden.stoch_next[i], leads[i], "golden self-test: latent", f"at step {i}"
        )
    return SelfTest(len(golden), worst, num_ties)


def count_ties(chosen: Array, reference: Array, leads: Array, who: str, where: str) -> int:
    """Return how many one-hot choices (n, K) differ from the reference's.

    Raises:
        BundleError: One of them was no tie: the reference's choice led by `leads` (n,). It names
            `who` by number, and `where`.
    """
    differ = (chosen != reference).any(-1)
    for i in np.flatnonzero(differ & (leads >= TIE_MARGIN)):
        raise BundleError(
            f"{who} {i} fell into another class {where}, "
            f"though the reference's choice led by {leads[i]:.1e}"
        )
    return int(differ.sum())


def lead(scores: Array) -> Array:
    """Return largest minus second largest along the last axis; infinite where there is but one."""
    if scores.shape[-1] == 1:
        return np.full(scores.shape[:-1], np.inf, np.float32)
    ordered = np.sort(scores, -1)
    return ordered[..., -1] - ordered[..., -2]


def largest_error(actual: Array, reference: Array) -> float:
    """Return the largest absolute error, relative to references beyond 1."""
    return float(np.max(np.abs(actual - reference) / np.maximum(1.0, np.abs(reference))))


def _replay_step(policy: Policy, golden: Golden, i: int) -> tuple[dict[str, float], Array]:
    """Return the error of every continuous output, and the latents drawn (S, K)."""
    tokens = policy.encode({name: values[i] for name, values in golden.observations.items()})
    latent = policy.rssm_step(
        Carry(golden.deter[i], golden.stoch[i], golden.action_previous[i]),
        tokens,
        is_first=bool(golden.is_first[i]),
        noise_stoch=golden.noise_stoch[i],
    )
    action = policy.act(golden.deter_next[i], golden.stoch_next[i], golden.noise_action[i])
    errors = {
        "tokens": largest_error(tokens, golden.tokens[i]),
        "deter_next": largest_error(latent.deter, golden.deter_next[i]),
        "prior_logits": largest_error(latent.prior_logits, golden.prior_logits[i]),
        "posterior_logits": largest_error(latent.posterior_logits, golden.posterior_logits[i]),
        "action": largest_error(action, golden.action[i]),
    }
    return errors, latent.stoch
