"""A small agent with everything in it: two camera sizes, vectors, classes, a privileged signal."""

from dataclasses import replace

import torch
from torch import Tensor

from robodreamer.config import PRESETS, SIZES, AlgorithmConfig, NetworkConfig
from robodreamer.learning.agent import Agent
from robodreamer_deploy.contract import ActionSpec, Contract, Signal

SIGNALS = (
    Signal(name="image/front", shape=(16, 32, 3), dtype="uint8"),
    Signal(name="image/wrist", shape=(16, 16, 1), dtype="uint8"),
    Signal(name="proprio/joint_position", shape=(3,), dtype="float32", unit="rad"),
    Signal(name="proprio/gripper", shape=(), dtype="int32", num_classes=3),
    Signal(name="goal/position", shape=(2,), dtype="float32", unit="m"),
    Signal(name="privileged/object_position", shape=(3,), dtype="float32", unit="m"),
)
VECTORS = tuple(signal for signal in SIGNALS if not signal.is_image)
NETWORK = replace(SIZES["debug"], depth=2, depth_multipliers=(2, 4))
ALGORITHM = replace(PRESETS["dreamer_v3"], horizon=4)


def make_contract(signals: tuple[Signal, ...] = SIGNALS, *, discrete: bool = False) -> Contract:
    """Return a contract with two continuous actions, or a choice among two."""
    action = (
        ActionSpec(size=2, kind="discrete")
        if discrete
        else ActionSpec(size=2, low=(-1.0, -2.0), high=(1.0, 2.0))
    )
    return Contract(task="toy", observations=signals, action=action, control_dt_s=0.1)


def make_agent(
    contract: Contract | None = None,
    *,
    network: NetworkConfig = NETWORK,
    algorithm: AlgorithmConfig = ALGORITHM,
    decode_fraction: float = 1.0,
    seed: int = 0,
) -> Agent:
    """Return an agent with weights drawn from `seed`, output layers included."""
    torch.manual_seed(seed)
    agent = Agent(contract or make_contract(), network, algorithm, decode_fraction)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return agent


def make_observation(contract: Contract, *shape: int, seed: int = 0) -> dict[str, Tensor]:
    """Return random values of every signal, with leading axes `shape`."""
    generator = torch.Generator().manual_seed(seed)
    values: dict[str, Tensor] = {}
    for signal in contract.observations:
        size = (*shape, *signal.shape)
        if signal.num_classes:
            values[signal.name] = torch.randint(
                signal.num_classes, size, generator=generator, dtype=torch.int32
            )
        elif signal.is_image:
            values[signal.name] = torch.randint(256, size, generator=generator, dtype=torch.uint8)
        else:
            values[signal.name] = torch.randn(size, generator=generator)
    return values


def make_batch(agent: Agent, batch: int = 3, steps: int = 6, *, seed: int = 0) -> dict[str, Tensor]:
    """Return a replayed batch (B, 1 + T, ...) in which one episode ends and another begins."""
    generator = torch.Generator().manual_seed(seed)
    size, shape = agent.contract.action.size, (batch, steps + 1)
    is_last = torch.zeros(shape, dtype=torch.bool)
    is_last[0, 2] = True
    variables, classes = agent.world_model.rssm.latent.shape
    stoch = torch.randn((*shape, variables, classes), generator=generator)
    if agent.world_model.rssm.latent.is_onehot:
        stoch = torch.nn.functional.one_hot(stoch.argmax(-1), classes).float()
    action = torch.rand((*shape, size), generator=generator) * 2 - 1
    if agent.contract.action.kind == "discrete":
        action = torch.nn.functional.one_hot(action.argmax(-1), size).float()
    return make_observation(agent.contract, *shape, seed=seed) | {
        "action": action,
        "reward": torch.randn(shape, generator=generator),
        "is_first": is_last.roll(1, 1),
        "is_last": is_last,
        "is_terminal": is_last.clone(),
        "deter": torch.randn((*shape, agent.world_model.rssm.deter_size), generator=generator),
        "stoch": stoch,
    }
