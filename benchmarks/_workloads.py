"""What is measured: tasks, sizes and batches that figures in RESULTS.md refer to by name.

The batches are random, of the shapes and types that the real tasks have.

Letters: B batch, T time, K context steps, L = K + T.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from robodreamer.agent import Agent, Learner
from robodreamer.config import (
    PRESETS,
    PROTOCOLS,
    SIZES,
    AlgorithmConfig,
    NetworkConfig,
    ProtocolConfig,
)
from robodreamer.distributions import Sample
from robodreamer_deploy.contract import ActionSpec, Contract, Signal

EPISODE_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One agent and the batches it learns from."""

    summary: str
    contract: Contract
    network: NetworkConfig
    protocol: ProtocolConfig
    algorithm: AlgorithmConfig = PRESETS["dreamer_v3"]

    def like(self, *, pooling: str, decode_fraction: float) -> "Workload":
        """Return the same workload with other pictures: what peers do differently."""
        return dataclasses.replace(
            self,
            network=dataclasses.replace(self.network, pooling=pooling),
            protocol=dataclasses.replace(self.protocol, decode_fraction=decode_fraction),
        )

    @property
    def has_images(self) -> bool:
        """Some signal is a picture."""
        return any(signal.is_image for signal in self.contract.observations)


def _contract(
    task: str, sizes: Mapping[str, int], cameras: tuple[str, ...], actions: int
) -> Contract:
    vectors = [Signal(name=name, shape=(size,), dtype="float32") for name, size in sizes.items()]
    images = [Signal(name=f"image/{name}", shape=(64, 64, 3), dtype="uint8") for name in cameras]
    limits = (1.0,) * actions
    return Contract(
        task=task,
        observations=(*images, *vectors),
        action=ActionSpec(size=actions, low=tuple(-x for x in limits), high=limits),
        control_dt_s=0.04,
    )


FETCH = {
    "proprio/gripper_position": 3,
    "proprio/finger_position": 2,
    "proprio/gripper_velocity": 3,
    "proprio/finger_velocity": 2,
    "goal/position": 3,
    "privileged/achieved_goal": 3,
}
WALKER = {"proprio/orientations": 14, "proprio/height": 1, "proprio/velocity": 9}

WORKLOADS = {
    "cpu": Workload(
        summary="fetch_reach, camera 64x64 and joints; size and protocol `cpu`",
        contract=_contract("fetch_reach", FETCH, ("scene",), 4),
        network=SIZES["cpu"],
        protocol=PROTOCOLS["cpu"],
    ),
    "1m": Workload(
        summary="dmc_walker_walk, joints only; size `1m`, reference batch",
        contract=_contract("dmc_walker_walk", WALKER, (), 6),
        network=SIZES["1m"],
        protocol=PROTOCOLS["dmc_proprio"],
    ),
    "12m": Workload(
        summary="dmc_walker_walk, camera 64x64 only; size `12m`, reference batch",
        contract=_contract("dmc_walker_walk", {}, ("side",), 6),
        network=SIZES["12m"],
        protocol=PROTOCOLS["dmc_vision"],
    ),
}


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
        protocol.optimizer,
        replay_context=protocol.replay_context,
        compute_dtype=dtype,
    )


def make_draw(device: torch.device) -> Sample:
    """Return a fixed source of random draws."""
    return Sample(torch.Generator(device).manual_seed(0))


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
