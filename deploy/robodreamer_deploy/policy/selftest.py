"""Golden self-test: does this machine compute what the exporting machine computed?

Every graph gets exactly what the reference had. Continuous outputs must agree within a tolerance; a
latent may fall into another class only where the reference itself was undecided. A policy of
reduced precision computes something else by intention: of it, the share of latents that fall into
another class is judged, beside what it was on the exporting machine.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.golden import LATENTS, Golden
from robodreamer_deploy.policy.graph_spec import GRAPHS
from robodreamer_deploy.policy.manifest import Reduction
from robodreamer_deploy.policy.onnx_graph import Graph
from robodreamer_deploy.policy.policy import Policy, load_graph

TOLERANCE = 1e-4
"""Largest error of an output, relative above 1. Float32 sums in another order (other CPU, other
onnxruntime) differ by 1e-6 to 1e-5 here; a single wrong weight that matters shows above 1e-3."""
TIE_MARGIN = 1e-4
"""Lead of the reference's best class over its second, in perturbed logits, under which rounding
on another CPU may choose the other one."""
REDUCED_FACTOR, REDUCED_SLACK = 2.0, 0.02
"""Allowance over the flip rate and the action error that a policy of reduced precision had when
exported; as much may be reached elsewhere: so many times, and so much more."""
GOLDEN = "golden self-test"


class SelfTest(NamedTuple):
    """Outcome of a golden replay that passed."""

    num_steps: int
    worst_error: float  # of all outputs, relative above 1; of the action in reduced precision
    num_ties: int  # latents that fell into another class within the tie margin
    flip_rate: float  # of the others; above 0 in reduced precision only


class Flips(NamedTuple):
    """Distance of reduced precision from the reference."""

    num_choices: int
    num_ties: int
    num_flips: int  # beside the ties
    action_error: float

    @property
    def rate(self) -> float:
        """Share of choices that flipped."""
        return self.num_flips / self.num_choices


def replay_golden(policy: Policy, golden: Golden) -> SelfTest:
    """Repeat every golden step from its recorded state, in every graph of the policy's folder.

    Those that the policy has not loaded, which are there for other runtimes, are computed on the
    CPU.

    Raises:
        BundleError: An output differs by more than the tolerance, or a latent or a discrete action
            flipped without being a tie; with the graph, the step and the output. In reduced
            precision: more latents flipped, or an action differs by more, than is allowed.
    """
    bundle = policy.bundle
    if bundle.manifest.reduction is not None:
        return _replay_reduced(policy, golden, bundle.manifest.reduction)
    worst, num_ties = _replay_graphs(policy.graphs, golden)
    for name in GRAPHS:
        if name not in policy.graphs:  # one at a time: they are let go at once
            error, _ = _replay_graphs({name: load_graph(bundle, name)}, golden)  # the same ties
            worst = max(worst, error)
    return SelfTest(len(golden), worst, num_ties, 0.0)


def _replay_graphs(graphs: Mapping[str, Graph], golden: Golden) -> tuple[float, int]:
    """Return the largest error of graphs, and how many ties there were."""
    worst, num_ties = 0.0, 0
    for i in range(len(golden)):
        values = golden.values(i)
        for name, graph in graphs.items():
            checked = check_outputs(
                graph.run(values), values, {}, who=f"{GOLDEN}: {name}", where=f"at step {i}"
            )
            worst = max(worst, *checked.errors.values())
            num_ties += checked.num_ties
    return worst, num_ties


FROM_LATENTS = ("action_logits", "action")
"""Outputs that depend on the latents drawn in the same step, in the order in which they do."""


class Checked(NamedTuple):
    """Result of a comparison that passed: errors, and latents that differ by a tie."""

    errors: dict[str, float]  # by continuous output
    num_ties: int


def check_outputs(
    outputs: Mapping[str, Array],
    expected: Mapping[str, Array],
    tolerances: Mapping[str, float],
    *,
    who: str,
    where: str,
) -> Checked:
    """Compare what a graph computed with the values of the reference, all with a batch axis.

    Args:
        outputs: By value.
        expected: All values of the reference's step.
        tolerances: By value, where it is not `TOLERANCE`.
        who: Says in errors whose outputs these are.
        where: Says in errors which step it is.

    Raises:
        BundleError: An error above its tolerance, or another choice that was no tie.
    """
    errors: dict[str, float] = {}
    num_ties = 0
    for name in sorted(outputs, key=lambda name: name in FROM_LATENTS):
        if name in LATENTS:
            leads = lead(expected[LATENTS[name]][0] + expected["noise_stoch"][0])
            chosen, reference = outputs[name][0], expected[name][0]
            num_ties += count_ties(chosen, reference, leads, f"{who}: latent", where)
        elif name in FROM_LATENTS and num_ties:
            continue  # computed in another state, which was chosen with as much right
        elif name == "action" and "action_logits" in expected:
            leads = lead(expected["action_logits"] + expected["noise_action"])
            num_ties += count_ties(outputs[name], expected[name], leads, f"{who}: action", where)
        else:
            error, most = (
                largest_error(outputs[name], expected[name]),
                tolerances.get(name, TOLERANCE),
            )
            if not error <= most:  # NaN fails too
                raise BundleError(
                    f"{who}: {name} is off by {error:.1e} {where}, allowed are {most:.0e}"
                )
            errors[name] = error
    return Checked(errors, num_ties)


def count_flips(policy: Policy, golden: Golden) -> Flips:
    """Count the latents that a policy draws otherwise than the reference, from the same states."""
    num_choices = num_ties = num_flips = 0
    action_error = 0.0
    for i in range(len(golden)):
        values = golden.values(i)
        begin = {name: values[name] for name in golden.begin}
        reached = policy.step(begin)
        for name in LATENTS.keys() & reached.keys():
            leads = lead(values[LATENTS[name]][0] + values["noise_stoch"][0])
            differ = (reached[name][0] != values[name][0]).any(-1)
            num_ties += int((differ & (leads < TIE_MARGIN)).sum())
            num_flips += int((differ & (leads >= TIE_MARGIN)).sum())
            num_choices += len(differ)
        if "actor.onnx" in policy.graphs:  # alone, in a state that is the reference's
            acted = policy.graphs["actor.onnx"].run(values)
            what = "action_logits" if "action_logits" in acted else "action"
            error = largest_error(acted[what], values[what])
            action_error = float(np.maximum(action_error, error))  # keeps NaN
    return Flips(num_choices, num_ties, num_flips, action_error)


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


def _replay_reduced(policy: Policy, golden: Golden, reduction: Reduction) -> SelfTest:
    tested = _replay_flips(policy, golden, reduction)
    for sequence, names in policy.bundle.manifest.sequences.items():
        if not policy.graphs.keys() >= {*names}:
            _replay_flips(Policy(policy.bundle, sequence=sequence), golden, reduction)
    return tested


def _replay_flips(policy: Policy, golden: Golden, reduction: Reduction) -> SelfTest:
    flips = count_flips(policy, golden)
    for what, found, exported in (
        ("share of latents in another class", flips.rate, reduction.golden_flip_rate),
        ("error of the action", flips.action_error, reduction.golden_action_error),
    ):
        most = REDUCED_FACTOR * exported + REDUCED_SLACK
        if not found <= most:  # NaN fails too
            raise BundleError(
                f"{GOLDEN}: the {what} is {found:.3f}, it was {exported:.3f} when exported and may "
                f"be {most:.3f}"
            )
    return SelfTest(len(golden), flips.action_error, flips.num_ties, flips.rate)
