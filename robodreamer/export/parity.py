"""Parity of the exported graphs with the agent in torch.

Step by step, every graph gets exactly the inputs that the agent had, and all its outputs are
compared. Running freely, over the whole recording in one go, the graphs keep their own state, as
on a robot, and still have to choose the same classes and stay near the same numbers, in every
sequence of graphs that makes up a step. Where the agent's own choice led by less than the
self-test's `TIE_MARGIN` the graphs may choose otherwise, because rounding decides there; that is
counted, and a free run continues from the agent's state. Gaussian latents are numbers: they choose
nothing, and have a tolerance.

The graphs are run and their errors measured by the robot's own code.
"""

from dataclasses import dataclass, field
from pathlib import Path

from robodreamer.export.folder import unsealed_policy
from robodreamer.export.reference_steps import ReferenceSteps
from robodreamer.export.torch_trace import Trace
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.comparison import TOLERANCE
from robodreamer_deploy.policy.graph_spec import SEQUENCES
from robodreamer_deploy.policy.manifest import Manifest
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import Checked, check_outputs

TOLERANCES = {
    "tokens": 5e-5,
    "deter_next": 1e-5,
    "prior": TOLERANCE,
    "posterior": TOLERANCE,
    "stoch_next": TOLERANCE,
    "stoch_prior": TOLERANCE,
    "action": 1e-5,
    "action_logits": TOLERANCE,
}
"""Largest error of an output on identical inputs, relative above 1; several times what was seen
with agents of all sizes. The surer an agent is, the larger its logits and their errors. Latents
have one where they are Gaussian."""
FREE_TOLERANCES = {"deter_next": 1e-3, "stoch_next": 1e-3, "action": 1e-3}
"""Largest error of state and action while running freely, where rounding builds up."""
DIFFERS = "the export differs from the agent"


@dataclass(kw_only=True)
class Parity:
    """Result of a comparison that passed: its size, and the largest errors."""

    num_steps: int
    """Steps compared on identical inputs, in every graph."""
    free_steps: int
    """Steps of each free run, taken in one go; every sequence of graphs makes one with noise and
    one without."""
    num_choices: int = 0
    """Categorical latents drawn and discrete actions chosen by the graphs."""
    num_ties: int = 0
    """Choices that differ within the tie margin."""
    worst: dict[str, float] = field(default_factory=dict[str, float])
    """Largest error by output."""
    free_ties: int = 0
    """Ties that differed while running freely; each was followed by the agent's state."""
    free_worst: dict[str, float] = field(default_factory=dict[str, float])
    """Largest error of state and action while running freely."""

    def note(self, checked: Checked) -> None:
        """Count the choices of one graph run, and keep its largest errors."""
        self.num_choices += checked.num_choices
        self.num_ties += checked.num_ties
        for key, error in checked.errors.items():
            self.worst[key] = max(self.worst.get(key, 0.0), error)


def verify(folder: Path, manifest: Manifest, reference: ReferenceSteps) -> Parity:
    """Compare the graphs with the agent, in every sequence in which they make up a step.

    Raises:
        BundleError: A graph is malformed, an error exceeds its tolerance, or a choice differs
            that was no tie.
    """
    single_steps = (reference.sample, reference.mode, reference.probes)
    parity = Parity(
        num_steps=sum(len(trace.golden) for trace in single_steps),
        free_steps=len(reference.free_sample.golden),
    )
    for sequence in SEQUENCES:
        verify_sequence(folder, manifest, sequence, reference, parity)
    return parity


def verify_sequence(
    folder: Path, manifest: Manifest, sequence: str, reference: ReferenceSteps, parity: Parity
) -> None:
    """Compare one sequence of graphs with the agent; add what is found to `parity`."""
    for name in SEQUENCES[sequence]:
        check_graph(folder / name)
    policy = unsealed_policy(folder, manifest, sequence)
    cut = {"sample": reference.sample, "mode": reference.mode, "probes": reference.probes}
    for name, trace in cut.items():
        _check_step_by_step(policy, trace, name, parity)
    for name, trace in {"sample": reference.free_sample, "mode": reference.free_mode}.items():
        _check_running_freely(policy, trace, name, parity)


def check_graph(path: Path) -> None:
    """Raise for a file that is no ONNX graph, or whose inferred shapes contradict each other.

    Raises:
        BundleError: The message is the checker's.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"{path.name} is no valid ONNX graph: {error}") from error


def _check_step_by_step(policy: Policy, trace: Trace, name: str, parity: Parity) -> None:
    """Run every graph on the agent's inputs; compare all its outputs."""
    for i in range(len(trace.golden)):
        values = trace.golden.values(i)
        for file, graph in policy.graphs.items():
            checked = check_outputs(
                graph.run(values),
                values,
                TOLERANCES,
                trace.golden.latents,
                who=f"{DIFFERS}: {file}",
                where=f"at step {i} of {name}",
            )
            parity.note(checked)


def _check_running_freely(policy: Policy, trace: Trace, name: str, parity: Parity) -> None:
    """Run the graphs over a trace on their own state; after a tie, continue from the agent's."""
    golden = trace.golden
    state = {}
    for i in range(len(golden)):
        expected = golden.values(i)
        begin = {name: expected[name] for name in golden.begin} | state
        reached = policy.step(begin)
        checked = check_outputs(
            {key: reached[key] for key in ("stoch_next", "deter_next", "action")},
            expected,
            FREE_TOLERANCES,
            golden.latents,
            who=DIFFERS,
            where=f"after {i} free steps of {name} in {len(policy.graphs)} graphs",
        )
        took_over = expected if checked.num_ties else reached
        state = {"deter": took_over["deter_next"], "stoch": took_over["stoch_next"]}
        parity.free_ties += checked.num_ties
        for key, error in checked.errors.items():
            parity.free_worst[key] = max(parity.free_worst.get(key, 0.0), error)
