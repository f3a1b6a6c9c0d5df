"""Sizes of an agent's modules: what goes through each, and how many parameters it has."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import nn

from robodreamer.learning.agent import Agent
from robodreamer.utils.formatting import plural


class ModuleSize(NamedTuple):
    """One module of an agent."""

    name: str
    """Name, such as `rssm core`."""
    size: str
    """Sizes in words, such as `deter 256, 16 latents of 16 classes`."""
    parameters: int
    """Numbers that training changes; of a slow critic those that follow the critic's."""


def module_sizes(agent: Agent) -> list[ModuleSize]:
    """Return the modules that an agent has, in the order in which data goes through them."""
    words = _sizes(agent)
    found = []
    for name, module in _modules(agent):
        count = sum(parameter.numel() for parameter in module.parameters())
        if count:
            found.append(ModuleSize(name.replace("_", " "), words.get(name, ""), count))
    return found


def _modules(agent: Agent) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules by name; the RSSM comes in the parts that the papers draw."""
    model = agent.world_model
    for name, module in model.named_children():
        if module is model.rssm:
            yield "rssm core", model.rssm.core
            yield "rssm prior", nn.ModuleList([model.rssm.prior, model.rssm.prior_output])
            posterior = [model.rssm.posterior, model.rssm.posterior_output]
            yield "rssm posterior", nn.ModuleList(posterior)
        else:
            yield name, module
    yield from agent.actor_critic.named_children()
    if agent.intrinsic is not None:
        yield "intrinsic", agent.intrinsic


def _sizes(agent: Agent) -> Mapping[str, str]:
    model, action = agent.world_model, agent.contract.action
    signals = list(model.decoder.signals.values())
    cameras = sum(signal.is_image for signal in signals)
    decoded = [plural(cameras, "camera")] * bool(cameras)
    decoded += [plural(len(signals) - cameras, "vector")] * (len(signals) > cameras)
    variables, classes = model.rssm.latent.shape
    kind = f"{classes} classes" if model.rssm.latent.is_onehot else "mean and deviation"
    words = {
        "encoder": f"{model.encoder.size} tokens",
        "rssm core": f"deter {model.rssm.deter_size}",
        "rssm prior": f"{plural(variables, 'variable')}, {kind}",
        "decoder": ", ".join(decoded),
        "actor": "a choice of " + str(action.size)
        if action.kind == "discrete"
        else plural(action.size, "action"),
    }
    return words | {"rssm posterior": words["rssm prior"]}
