"""Golden self-test: does this machine compute what the exporting machine computed?

Every graph gets exactly what the reference had. Numbers, Gaussian latents among them, must agree
within a tolerance; a categorical latent may fall into another class only where the reference itself
was undecided. A policy of reduced precision computes something else by intention: of it, the share
of latents that fall into another class, or the error of Gaussian ones, is judged, beside what it
was on the exporting machine.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.comparison import (
    TIE_MARGIN,
    TOLERANCE,
    count_ties,
    largest_error,
    lead,
)
from robodreamer_deploy.policy.golden import LATENTS, Golden
from robodreamer_deploy.policy.graph_spec import GRAPHS
from robodreamer_deploy.policy.latents import Latents
from robodreamer_deploy.policy.manifest import Reduction
from robodreamer_deploy.policy.onnx_graph import Graph
from robodreamer_deploy.policy.policy import Policy, load_graph

REDUCED_FACTOR, REDUCED_SLACK = 2.0, 0.02
"""Allowance over the flip rate and the errors that a policy of reduced precision had when exported;
as much may be reached elsewhere: so many times, and so much more."""
GOLDEN = "golden self-test"


class SelfTest(NamedTuple):
    """Outcome of a golden replay that passed."""

    num_steps: int
    worst_error: float  # of all outputs, relative above 1; of the action in reduced precision
    num_ties: int  # latents that fell into another class within the tie margin
    flip_rate: float  # of the others; above 0 in reduced precision only


class Deviation(NamedTuple):
    """Distance of reduced precision from the reference, step by step from its states."""

    num_choices: int  # categorical latents drawn
    num_ties: int
    num_flips: int  # beside the ties
    latent_error: float  # largest of Gaussian latents, relative above 1
    action_error: float

    @property
    def flip_rate(self) -> float:
        """Share of choices that flipped; 0 where nothing is chosen."""
        return self.num_flips / self.num_choices if self.num_choices else 0.0


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
                graph.run(values),
                values,
                {},
                golden.latents,
                who=f"{GOLDEN}: {name}",
                where=f"at step {i}",
            )
            worst = max(worst, *checked.errors.values())
            num_ties += checked.num_ties
    return worst, num_ties


FROM_LATENTS = ("action_logits", "action")
"""Outputs that depend on the latents drawn in the same step, in the order in which they do."""


class Checked(NamedTuple):
    """Result of a comparison that passed: errors, and choices that differ by a tie."""

    errors: dict[str, float]  # by output that is no choice
    num_choices: int
    num_ties: int


def check_outputs(
    outputs: Mapping[str, Array],
    expected: Mapping[str, Array],
    tolerances: Mapping[str, float],
    latents: Latents,
    *,
    who: str,
    where: str,
) -> Checked:
    """Compare what a graph computed with the values of the reference, all with a batch axis.

    Args:
        outputs: By value.
        expected: All values of the reference's step.
        tolerances: By value, where it is not `TOLERANCE`.
        latents: Family of the latents.
        who: Says in errors whose outputs these are.
        where: Says in errors which step it is.

    Raises:
        BundleError: An error above its tolerance, or another choice that was no tie.
    """
    errors: dict[str, float] = {}
    num_choices = num_ties = 0
    for name in sorted(outputs, key=lambda name: name in FROM_LATENTS):
        leads = _choice_leads(name, expected, latents)
        num_choices += 0 if leads is None else len(leads)
        if name in FROM_LATENTS and num_ties:
            continue  # computed in another state, which was chosen with as much right
        if leads is not None:
            chosen, reference = (
                values[name].reshape(len(leads), -1) for values in (outputs, expected)
            )
            what = "latent" if name in LATENTS else name
            num_ties += count_ties(chosen, reference, leads, f"{who}: {what}", where)
            continue
        error, most = largest_error(outputs[name], expected[name]), tolerances.get(name, TOLERANCE)
        if not error <= most:  # NaN fails too
            raise BundleError(
                f"{who}: {name} is off by {error:.1e} {where}, allowed are {most:.0e}"
            )
        errors[name] = error
    return Checked(errors, num_choices, num_ties)


def _choice_leads(name: str, expected: Mapping[str, Array], latents: Latents) -> Array | None:
    """Return by how much each choice of an output led in the reference, (n,); None for numbers."""
    if name in LATENTS and latents.is_choice:
        return latents.lead(expected[LATENTS[name]], expected["noise_stoch"])[0]
    if name == "action" and "action_logits" in expected:
        return lead(expected["action_logits"] + expected["noise_action"])
    return None


def measure_deviation(policy: Policy, golden: Golden) -> Deviation:
    """Measure how far a policy's latents and actions are from the reference's, in its states."""
    num_choices = num_ties = num_flips = 0
    latent_error = action_error = 0.0
    for i in range(len(golden)):
        values = golden.values(i)
        begin = {name: values[name] for name in golden.begin}
        reached = policy.step(begin)
        for name in LATENTS.keys() & reached.keys():
            leads = _choice_leads(name, values, golden.latents)
            if leads is None:
                error = largest_error(reached[name], values[name])
                latent_error = float(np.maximum(latent_error, error))  # keeps NaN
                continue
            differ = (reached[name][0] != values[name][0]).any(-1)
            num_ties += int((differ & (leads < TIE_MARGIN)).sum())
            num_flips += int((differ & (leads >= TIE_MARGIN)).sum())
            num_choices += len(differ)
        if "actor.onnx" in policy.graphs:  # alone, in a state that is the reference's
            acted = policy.graphs["actor.onnx"].run(values)
            what = "action_logits" if "action_logits" in acted else "action"
            error = largest_error(acted[what], values[what])
            action_error = float(np.maximum(action_error, error))
    return Deviation(num_choices, num_ties, num_flips, latent_error, action_error)


def _replay_reduced(policy: Policy, golden: Golden, reduction: Reduction) -> SelfTest:
    tested = _replay_deviation(policy, golden, reduction)
    for sequence, names in policy.bundle.manifest.sequences.items():
        if not policy.graphs.keys() >= {*names}:
            _replay_deviation(Policy(policy.bundle, sequence=sequence), golden, reduction)
    return tested


def _replay_deviation(policy: Policy, golden: Golden, reduction: Reduction) -> SelfTest:
    found = measure_deviation(policy, golden)
    for what, here, exported in (
        ("share of latents in another class", found.flip_rate, reduction.golden_flip_rate),
        ("error of the latents", found.latent_error, reduction.golden_latent_error),
        ("error of the action", found.action_error, reduction.golden_action_error),
    ):
        most = REDUCED_FACTOR * exported + REDUCED_SLACK
        if not here <= most:  # NaN fails too
            raise BundleError(
                f"{GOLDEN}: the {what} is {here:.3f}, it was {exported:.3f} when exported and may "
                f"be {most:.3f}"
            )
    return SelfTest(len(golden), found.action_error, found.num_ties, found.flip_rate)
