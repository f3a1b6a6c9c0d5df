"""Golden self-test: does this machine compute what the exporting machine computed?

Each step starts from the recorded state. Continuous outputs must agree within a tolerance; a
latent may fall into another class only where the reference itself was undecided.
"""

from typing import NamedTuple

import numpy as np

from robodreamer_deploy.bundle import BundleError, Carry
from robodreamer_deploy.contract import Array
from robodreamer_deploy.golden import Golden
from robodreamer_deploy.policy import Policy

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
    for i in range(len(golden)):
        errors, flips = _replay_step(policy, golden, i)
        for name, error in errors.items():
            if not error <= TOLERANCE:  # NaN fails too
                raise BundleError(
                    f"golden self-test: {name} is off by {error:.1e} at step {i}, "
                    f"allowed are {TOLERANCE:.0e}"
                )
            worst = max(worst, error)
        num_ties += _count_ties(golden, i, flips)
    return SelfTest(len(golden), worst, num_ties)


def _replay_step(policy: Policy, golden: Golden, i: int) -> tuple[dict[str, float], Array]:
    """Return the error of every continuous output and bool (S,), which latents flipped."""
    tokens = policy.encode({name: values[i] for name, values in golden.observations.items()})
    latent = policy.rssm_step(
        Carry(golden.deter[i], golden.stoch[i], golden.action_previous[i]),
        tokens,
        is_first=bool(golden.is_first[i]),
        noise_stoch=golden.noise_stoch[i],
    )
    action = policy.act(golden.deter_next[i], golden.stoch_next[i], golden.noise_action[i])
    errors = {
        "tokens": _error(tokens, golden.tokens[i]),
        "deter_next": _error(latent.deter, golden.deter_next[i]),
        "prior_logits": _error(latent.prior_logits, golden.prior_logits[i]),
        "posterior_logits": _error(latent.posterior_logits, golden.posterior_logits[i]),
        "action": _error(action, golden.action[i]),
    }
    return errors, (latent.stoch != golden.stoch_next[i]).any(-1)


def _count_ties(golden: Golden, i: int, flips: Array) -> int:
    """Count the flipped latents, all of which must have been ties in the reference."""
    perturbed = np.sort(golden.posterior_logits[i] + golden.noise_stoch[i], axis=-1)
    margins = perturbed[:, -1] - perturbed[:, -2]
    for latent in np.flatnonzero(flips):
        if margins[latent] >= TIE_MARGIN:
            raise BundleError(
                f"golden self-test: latent {latent} fell into another class at step {i}, "
                f"though the reference's choice led by {margins[latent]:.1e}"
            )
    return int(flips.sum())


def _error(actual: Array, reference: Array) -> float:
    """Return the largest absolute error, relative to references beyond 1."""
    return float(np.max(np.abs(actual - reference) / np.maximum(1.0, np.abs(reference))))
