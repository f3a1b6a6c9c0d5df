"""What is measured: tasks, sizes and batches that figures in RESULTS.md refer to by name.

The batches are random, of the shapes and types that the real tasks have.

Letters: B batch, T time, K context steps, L = K + T.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from robodreamer.config import (
    AlgorithmConfig,
    DataConfig,
    NetworkConfig,
    TrainConfig,
    named_config,
)
from robodreamer.learning.agent import Agent
from robodreamer.learning.learner import Learner
from robodreamer.models.encoder import stage_multipliers
from robodreamer.models.sampling import RandomSampler
from robodreamer.training.builder import env_options
from robodreamer_deploy.contract import Contract
from robodreamer_sim import make
from robodreamer_sim.options import Observe

EPISODE_STEPS = 50


@dataclass(frozen=True)
class Workload:
    """A run as the command line would make it, and thereby the batches its agent learns from."""

    config: TrainConfig

    @cached_property
    def contract(self) -> Contract:
        """What the task itself says, in the size and look of the run."""
        env = make(self.config.task, env_options(self.config))
        env.close()
        return env.contract

    @cached_property
    def network(self) -> NetworkConfig:
        """Sizes of the networks, with just the CNN stages that pictures of this size go through."""
        network = self.config.network
        stages = [stage_multipliers(s, network) for s in self.contract.observations if s.is_image]
        return dataclasses.replace(network, depth_multipliers=max(stages)) if stages else network

    @property
    def protocol(self) -> DataConfig:
        """Batch and replay."""
        return self.config.data

    @property
    def algorithm(self) -> AlgorithmConfig:
        """How the agent learns."""
        return self.config.algorithm

    @property
    def has_images(self) -> bool:
        """Some signal is a picture."""
        return any(signal.is_image for signal in self.contract.observations)

    @property
    def summary(self) -> str:
        """Say in a line what is learned from which batches."""
        config, data = self.config, self.config.data
        sizes = {f"{s.shape[0]}x{s.shape[1]}" for s in self.contract.observations if s.is_image}
        camera = f"camera {' and '.join(sorted(sizes))}" if sizes else "no camera"
        words = f"size {config.size}, preset {config.preset}, protocol {config.protocol}"
        batch = f"batches {data.batch_size} x {data.batch_length}"
        return f"{config.task}, observe {config.observe}, {camera}; {words}; {batch}"

    def like_peers(self, pooling: str) -> "Workload":
        """Return the same with what peers do in any case: decode all frames, imagine from all."""
        config = self.config
        pooling = pooling if self.has_images else config.network.pooling
        fraction = 1.0 if self.has_images else config.data.decode_fraction
        return Workload(
            dataclasses.replace(
                config,
                network=dataclasses.replace(config.network, pooling=pooling),
                algorithm=dataclasses.replace(config.algorithm, imagination_last=0),
                data=dataclasses.replace(config.data, decode_fraction=fraction),
            )
        )


class Recipe(NamedTuple):
    """The words that a workload stands for, as `robodreamer train` knows them."""

    task: str
    observe: Observe
    size: str
    preset: str
    protocol: str


WORKLOADS = {
    "debug": Recipe("fetch_reach", "both", "debug", "debug", "debug"),
    "cpu": Recipe("fetch_reach", "both", "cpu", "quick", "cpu"),
    "1m": Recipe("dmc_walker_walk", "proprio", "1m", "dreamer_v3", "dmc_proprio"),
    "12m": Recipe("dmc_walker_walk", "camera", "12m", "dreamer_v3", "dmc_vision"),
}
"""`cpu` is what a user gets who types no more than a task on a machine without GPU; `1m` and `12m`
are the published algorithm on the published protocols; `debug` only tries the benchmarks out."""

MEASURED = tuple(name for name in WORKLOADS if name != "debug")


def make_workload(name: str) -> Workload:
    """Return the workload of that name; its task is made when its contract is asked for."""
    task, observe, *words = WORKLOADS[name]
    return Workload(dataclasses.replace(named_config(task, *words), observe=observe))


def make_agent(workload: Workload, device: torch.device) -> Agent:
    """Build the agent, from a fixed seed."""
    torch.manual_seed(0)
    agent = Agent(
        workload.contract, workload.network, workload.algorithm, workload.protocol.decode_fraction
    )
    return agent.to(device)


def make_learner(
    workload: Workload, device: torch.device, dtype: torch.dtype = torch.float32
) -> Learner:
    """Build the agent and what updates it."""
    protocol = workload.protocol
    return Learner(
        make_agent(workload, device),
        workload.algorithm.optimizer,
        replay_context=protocol.replay_context,
        compute_dtype=dtype,
    )


def make_sampler(device: torch.device) -> RandomSampler:
    """Return a fixed source of random draws."""
    return RandomSampler(torch.Generator(device).manual_seed(0))


def make_observation(
    contract: Contract, shape: tuple[int, ...], generator: torch.Generator
) -> dict[str, Tensor]:
    """Return random observations (*shape, ...) with every signal of the contract."""
    return {
        signal.name: torch.randint(
            256, (*shape, *signal.shape), generator=generator, dtype=torch.uint8
        )
        if signal.is_image
        else torch.randn(*shape, *signal.shape, generator=generator)
        for signal in contract.observations
    }


def make_batch(workload: Workload, device: torch.device) -> dict[str, Tensor]:
    """Return a random batch (B, L, ...) with episodes of 50 steps, from a fixed seed."""
    generator = torch.Generator().manual_seed(1)
    network, protocol = workload.network, workload.protocol
    shape = (protocol.batch_size, protocol.replay_context + protocol.batch_length)
    phase = torch.randint(EPISODE_STEPS, shape[:1], generator=generator)
    step = (phase.unsqueeze(1) + torch.arange(shape[1])) % EPISODE_STEPS
    classes = torch.randint(network.classes, (*shape, network.stoch), generator=generator)
    batch = make_observation(workload.contract, shape, generator) | {
        "action": torch.rand(*shape, workload.contract.action.size, generator=generator) * 2 - 1,
        "reward": torch.rand(*shape, generator=generator),
        "is_first": step == 0,
        "is_last": step == EPISODE_STEPS - 1,
        "is_terminal": torch.zeros(shape, dtype=torch.bool),
        "deter": torch.rand(*shape, network.deter, generator=generator) * 2 - 1,
        "stoch": torch.nn.functional.one_hot(classes, network.classes).float(),
    }
    return {name: value.to(device) for name, value in batch.items()}
