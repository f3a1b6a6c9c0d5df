"""ONNX graphs: the agent's own step, cut in three, with its randomness as an input.

    encoder.onnx     every input signal, raw                            -> tokens
    rssm_step.onnx   deter, stoch, action, tokens, is_first, noise      -> deter_next, stoch_next,
                                                                   prior_logits, posterior_logits
    actor.onnx       deter, stoch, noise                                -> action in [-1, 1]

Batch 1; `robodreamer_deploy.inference.policy` drives them. Zeros as noise take the mode. Nothing
of the model is written again here: the graphs are traced from the modules that learned.

Shapes: B batch (1 in the files), A action, D deter, E tokens, S stoch variables, K classes.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from robodreamer.agent import Agent
from robodreamer.encoder import Encoder
from robodreamer.heads import Actor
from robodreamer.rssm import RSSM, State

OPSETS = range(18, 24)
"""Operator sets that torch exports to and onnxruntime runs; 18 is the default."""
DTYPES = {"uint8": torch.uint8, "float32": torch.float32, "int32": torch.int32}
NO_LIMIT = 1 << 62


class GivenNoise:
    """A `Draw` whose noise is given: one tensor per draw, in the order the draws are made.

    Gumbel noise for a class, standard normal noise for a normal; zeros are the mode.
    """

    def __init__(self, *noises: Tensor) -> None:
        self._noises = iter(noises)

    def category(self, probs: Float[Tensor, "*batch K"]) -> Int[Tensor, "*batch"]:
        """Return the largest of log-probability plus noise."""
        return (probs.log() + next(self._noises)).argmax(-1)

    def normal(
        self, mean: Float[Tensor, "*batch A"], std: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch A"]:
        """Return the mean, and the noise times the standard deviation."""
        return mean + std * next(self._noises)

    def subset(self, total: int, count: int) -> Int[Tensor, " count"]:
        """Acting chooses no subset."""
        raise AssertionError(f"{count} of {total} positions were asked for while acting")


class EncoderGraph(nn.Module):
    """Takes the signals one by one, in the order of `names`."""

    def __init__(self, encoder: Encoder, names: Sequence[str]) -> None:
        super().__init__()
        self.encoder = encoder
        self.names = tuple(names)

    def forward(self, *signals: Tensor) -> Float[Tensor, "B E"]:
        """Return the tokens of one observation."""
        return self.encoder(dict(zip(self.names, signals, strict=True)))


class RSSMGraph(nn.Module):
    """`RSSM.observe_step`, and what the prior expected."""

    def __init__(self, rssm: RSSM) -> None:
        super().__init__()
        self.rssm = rssm

    def forward(
        self,
        deter: Float[Tensor, "B D"],
        stoch: Float[Tensor, "B S K"],
        action: Float[Tensor, "B A"],
        tokens: Float[Tensor, "B E"],
        is_first: Bool[Tensor, " B"],
        noise: Float[Tensor, "B S K"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return deter_next, stoch_next, prior_logits and posterior_logits."""
        state, posterior = self.rssm.observe_step(
            State(deter, stoch), action, tokens, is_first, GivenNoise(noise)
        )
        return state.deter, state.stoch, self.rssm.prior_log_probs(state.deter), posterior


class ActorGraph(nn.Module):
    """The actor, and the limits that the environment puts on its action."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.actor = actor

    def forward(
        self,
        deter: Float[Tensor, "B D"],
        stoch: Float[Tensor, "B S K"],
        noise: Float[Tensor, "B A"],
    ) -> Float[Tensor, "B A"]:
        """Return the action as it is executed."""
        distribution = self.actor(State(deter, stoch).feature)
        return distribution.sample(GivenNoise(noise)).clamp(-1.0, 1.0)


class _Job(NamedTuple):
    """What the exporter needs to know of one graph."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]


def write_graphs(agent: Agent, folder: Path, *, opset: int, metadata: Mapping[str, str]) -> None:
    """Trace an agent on the CPU into three ONNX files, each complete in itself.

    The agent is in evaluation mode afterwards. `metadata` goes into every file.
    """
    for name, job in _jobs(agent).items():
        model = _export(job, opset)
        _tidy(model)
        model.metadata_props.update(metadata)
        _save(model, folder / f"{name}.onnx")


def _jobs(agent: Agent) -> dict[str, _Job]:
    """List the graphs with example inputs, whose shapes and types are the only ones allowed."""
    model, contract = agent.world_model, agent.contract
    (deter, stoch), action = agent.initial_carry(1)
    observation = {
        s.name: torch.zeros((1, *s.shape), dtype=DTYPES[s.dtype]) for s in contract.inputs
    }
    tokens = torch.zeros(1, model.encoder.size)
    state = {"deter": deter, "stoch": stoch}
    step = {"action": action, "tokens": tokens, "is_first": torch.zeros(1, dtype=torch.bool)}
    return {
        "encoder": _Job(EncoderGraph(model.encoder, list(observation)), observation, ["tokens"]),
        "rssm_step": _Job(
            RSSMGraph(model.rssm),
            {**state, **step, "noise": torch.zeros_like(stoch)},
            ["deter_next", "stoch_next", "prior_logits", "posterior_logits"],
        ),
        "actor": _Job(
            ActorGraph(agent.behavior.actor),
            {**state, "noise": torch.zeros_like(action)},
            ["action"],
        ),
    }


def _export(job: _Job, opset: int) -> Any:
    """Return the graph as an `onnx_ir.Model`."""
    with torch.no_grad(), _quiet_exporter():
        program = torch.onnx.export(
            job.module.eval(),
            tuple(job.inputs.values()),
            input_names=list(job.inputs),
            output_names=list(job.outputs),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "without a file name the exporter returns its program"
    return program.model


def _tidy(model: Any) -> None:
    """Compute once what depends on weights alone, and drop the exporter's traces of our source.

    The exporter itself does the former only up to a size that real agents exceed.
    """
    from onnxscript import optimizer

    optimizer.optimize(model, input_size_limit=NO_LIMIT, output_size_limit=NO_LIMIT)
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()


def _save(model: Any, path: Path) -> None:
    import onnx_ir

    onnx_ir.save(model, path)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep back what the exporter says about itself, by message; everything else is heard."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)  # operators of torchvision, which nothing here uses
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
            yield
    finally:
        logger.setLevel(level)
