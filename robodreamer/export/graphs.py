"""ONNX graphs: the agent's own step, whole and in parts, with its randomness as an input.

    encoder.onnx     every input signal, raw                            -> tokens
    rssm_step.onnx   deter, stoch, action, tokens, is_first, noise      -> deter_next, stoch_next,
                                                                   prior, posterior
    actor.onnx       deter, stoch, noise                                -> action in [-1, 1];
                                                            of a discrete one action_logits too

The same step cut where a robot has to wait, instead of where the modules end:

    core.onnx        deter, stoch, action, is_first                     -> deter_next
    posterior.onnx   deter, tokens, noise                               -> stoch_next,
                                                                   posterior
    prior.onnx       deter, noise                                       -> stoch_next, prior

And all of it as one:

    policy.onnx      signals, deter, stoch, action_previous, is_first,  -> action, deter_next,
                     noise_stoch, noise_action                             stoch_next, prior,
                                                                           posterior

Batch 1; `robodreamer_deploy.policy` drives them. Zeros as noise take the mode. Nothing of the
model is written again here: the whole is traced from the modules that learned, and the parts are
extracted from it.

Shapes: B batch (1 in the files), A action, D deter, E tokens, S stoch variables, K values of each.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from robodreamer.export.subgraphs import extract_subgraph
from robodreamer.learning.agent import Agent
from robodreamer.models.action_distributions import Categorical
from robodreamer.models.rssm import State
from robodreamer_deploy.policy.graph_spec import GraphSpec
from robodreamer_deploy.policy.noise import NoiseKind

OPSETS = range(18, 24)
"""Operator sets that torch exports to and onnxruntime runs; 18 is the default."""
DTYPES = {"uint8": torch.uint8, "float32": torch.float32, "int32": torch.int32}
NO_LIMIT = 1 << 62
OUTPUTS = (
    "tokens", "deter_next", "stoch_next", "stoch_prior", "prior", "posterior",
    "action",
)  # fmt: skip
"""Values of a step that are computed; of a policy that chooses, `action_logits` as well."""


class GivenNoise:
    """A `Sampler` whose noise is given: one tensor per draw, in the order the draws are made.

    Gumbel noise for a class, standard normal noise for a normal, uniform noise where that is asked
    for; zeros are the mode.
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

    def gumbel(self, like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the noise, which has the shape of `like`."""
        return self._next(like)

    def uniform(self, like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the noise, which has the shape of `like`."""
        return self._next(like)

    def subset(self, total: int, count: int) -> Int[Tensor, " count"]:
        """Acting chooses no subset."""
        raise AssertionError(f"{count} of {total} positions were asked for while acting")

    def _next(self, like: Tensor) -> Tensor:
        noise = next(self._noises)
        assert noise.shape == like.shape, (noise.shape, like.shape)
        return noise


class WholeStep(nn.Module):
    """Module of everything that an agent computes in a step, made of its own modules.

    Beside what acting needs it draws a latent from the prior too, with the posterior's noise.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        is_discrete = agent.contract.action.kind == "discrete"
        self.outputs = (*OUTPUTS, "action_logits") if is_discrete else OUTPUTS
        self.encoder = agent.world_model.encoder
        self.rssm = agent.world_model.rssm
        self.actor = agent.actor_critic.actor
        signals = [signal.name for signal in agent.contract.inputs]
        self.names = (*signals, *self.encoder.validity.values())

    def forward(
        self,
        deter: Float[Tensor, "B D"],
        stoch: Float[Tensor, "B S K"],
        action_previous: Float[Tensor, "B A"],
        is_first: Bool[Tensor, " B"],
        noise_stoch: Float[Tensor, "B S K"],
        noise_action: Float[Tensor, "B A"],
        *signals: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return `outputs`; the signals come in the contract's order, then the cameras' bits."""
        tokens = self.encoder(dict(zip(self.names, signals, strict=True)))
        state, posterior = self.rssm.observe_step(
            State(deter, stoch), action_previous, tokens, is_first, GivenNoise(noise_stoch)
        )
        prior = self.rssm.prior_parameters(state.deter)
        stoch_prior = self.rssm.latent.sample(prior, GivenNoise(noise_stoch))
        distribution = self.actor(state.feature)
        action = distribution.sample(GivenNoise(noise_action)).clamp(-1.0, 1.0)
        results = (tokens, state.deter, state.stoch, stoch_prior, prior, posterior, action)
        if isinstance(distribution, Categorical):
            return *results, distribution.log_probs
        return results


@torch.no_grad()
def action_noise_kind(agent: Agent) -> NoiseKind:
    """Return the kind of noise that an agent's actions are drawn with."""
    return agent.actor_critic.actor(agent.world_model.rssm.initial(1).feature).noise_kind


def write_graphs(
    agent: Agent, folder: Path, *, opset: int, graphs: Mapping[str, GraphSpec]
) -> None:
    """Trace an agent on the CPU; write `graphs`, each of them complete in itself, by file name.

    The agent is in evaluation mode afterwards.
    """
    whole = _trace(WholeStep(agent), _example_inputs(agent), opset)
    for name, spec in graphs.items():
        model = extract_subgraph(whole, spec, name)
        (folder / name).write_bytes(model.SerializeToString())


def _example_inputs(agent: Agent) -> dict[str, Tensor]:
    """Return inputs whose shapes and types are the only ones allowed, in the order of `forward`."""
    (deter, stoch), action = agent.initial_carry(1)
    return {
        "deter": deter,
        "stoch": stoch,
        "action_previous": action,
        "is_first": torch.zeros(1, dtype=torch.bool),
        "noise_stoch": torch.zeros(1, *agent.world_model.rssm.latent.noise_shape),
        "noise_action": torch.zeros_like(action),
        **{
            signal.name: torch.zeros((1, *signal.shape), dtype=DTYPES[signal.dtype])
            for signal in agent.contract.inputs
        },
        **{
            bit: torch.ones(1, dtype=torch.bool)
            for bit in agent.world_model.encoder.validity.values()
        },
    }


def _trace(module: WholeStep, inputs: Mapping[str, Tensor], opset: int) -> onnx.ModelProto:
    with torch.no_grad(), _quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(module.outputs),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "without a file name the exporter returns its program"
    _tidy(program.model)
    return onnx_ir.to_proto(program.model)


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
