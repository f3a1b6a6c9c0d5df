"""Agents with seeded weights, exported; and a way to damage what was exported."""

import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from robodreamer.config import PRESETS, AlgorithmConfig, NetworkConfig, PartsConfig, preset_parts
from robodreamer.export.folder import Origin, choose_golden, stamp, unsealed_policy, write_draft
from robodreamer.export.parity import Parity, verify, verify_sequence
from robodreamer.export.reference_steps import ReferenceSteps, make_reference_steps
from robodreamer.export.torch_trace import Recording
from robodreamer.learning.agent import Agent
from robodreamer_deploy.contract import Array, Contract, Signal
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.bundle import write_manifest
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.graph_spec import GRAPHS, SEQUENCES
from robodreamer_deploy.policy.manifest import ActionSelection, Manifest
from robodreamer_deploy.policy.policy import Policy
from toy_agent import ALGORITHM, NETWORK, make_agent, make_contract, make_observation

NUM_STEPS = 208  # at least 200
VECTORS_ONLY = (
    Signal(name="proprio/joint_position", shape=(3,), dtype="float32"),
    Signal(name="goal/position", shape=(2,), dtype="float32", low=(-1.0, 0.5), high=(1.0, 3.0)),
)
CONTRACTS = {
    "two cameras": make_contract(),
    "discrete": make_contract(discrete=True),
    "vectors only": make_contract(VECTORS_ONLY),
}
LIKE_FETCH = make_contract(
    (
        Signal(name="image/scene", shape=(32, 32, 3), dtype="uint8"),
        Signal(
            name="proprio/gripper_position", shape=(3,), dtype="float32",
            low=(1.19, 0.6, 0.38), high=(1.49, 0.9, 0.69),
        ),
        Signal(name="proprio/finger_position", shape=(2,), dtype="float32"),
        Signal(name="goal/position", shape=(3,), dtype="float32"),
    )
)  # fmt: skip
ACTORS = ("normal", "tanh_normal", "truncated_normal", "discrete")
LATENTS = ("categorical", "gumbel", "gaussian")
CELLS = ("block_gru", "gru", "layer_norm_gru")
CAMERAS = ("same", "valid")


class Toy(NamedTuple):
    """A toy agent before it is made: what it observes and does, and its parts."""

    contract: Contract
    network: NetworkConfig = NETWORK
    algorithm: AlgorithmConfig = ALGORITHM


def make_toy(latent: str, actor: str, cell: str, camera: str) -> Toy:
    """Return a member of the family tree that sees two cameras."""
    is_discrete = actor == "discrete"
    chosen: Any = {"cell": cell, "camera": camera, "actor": "normal" if is_discrete else actor}
    family: Any = {"latent": latent}
    return Toy(
        make_contract(discrete=is_discrete),
        replace(NETWORK, parts=PartsConfig(**chosen)),
        replace(ALGORITHM, **family),
    )


EVERY_PAIR = {
    f"{latent} {actor}": make_toy(latent, actor, CELLS[(i + j) % 3], CAMERAS[(i + j) % 2])
    for i, latent in enumerate(LATENTS)
    for j, actor in enumerate(ACTORS)
}
"""Members with every pair of a latent, an actor, a cell and a camera, by latent and actor."""
PUBLISHED = {
    name: Toy(
        LIKE_FETCH,
        replace(NETWORK, parts=preset_parts(name)),
        replace(PRESETS[name], horizon=4),
    )
    for name in ("dreamer_v1", "dreamer_v2")
}
"""Members as published: without norms, and with vectors in their own scale."""
TOYS = {name: Toy(contract) for name, contract in CONTRACTS.items()} | EVERY_PAIR | PUBLISHED
ORIGIN = Origin(run="toy", commit="0123456")


class Exported(NamedTuple):
    """Graphs as written, what they are to be held against, and the agent they come from."""

    agent: Agent
    recording: Recording
    reference: ReferenceSteps
    folder: Path
    manifest: Manifest

    def policy(self) -> Policy:
        """Load the graphs that a robot runs."""
        return unsealed_policy(self.folder, self.manifest)

    def verify(self, reference: ReferenceSteps | None = None) -> Parity:
        """Hold the graphs against the agent, or against other reference."""
        return verify(self.folder, self.manifest, reference or self.reference)


def make_recording(contract: Contract, num_steps: int = NUM_STEPS, *, seed: int = 0) -> Recording:
    """Return random observations of one long episode."""
    tensors = make_observation(contract, num_steps, seed=seed)
    observations = {s.name: tensors[s.name].numpy() for s in contract.inputs}
    random, size = np.random.default_rng(seed), contract.action.size
    executed = random.uniform(-1.0, 1.0, (num_steps, size)).astype(np.float32)
    if contract.action.kind == "discrete":
        executed = np.eye(size, dtype=np.float32)[executed.argmax(-1)]
    return Recording(observations, np.arange(num_steps) == 0, executed)


def export_toy(
    folder: Path,
    contract: Contract,
    *,
    network: NetworkConfig = NETWORK,
    algorithm: AlgorithmConfig = ALGORITHM,
    opset: int = 18,
) -> Exported:
    """Write the graphs of a toy agent, unverified and unsealed."""
    agent = make_agent(contract, network=network, algorithm=algorithm)
    recording = make_recording(contract)
    manifest = write_draft(agent, folder, origin=ORIGIN, opset=opset)
    return Exported(agent, recording, make_reference_steps(agent, recording), folder, manifest)


def seal(exported: Exported, folder: Path) -> Path:
    """Complete an export as `export_policy` does."""
    shutil.copytree(exported.folder, folder)
    choose_golden(exported.reference.sample).save(folder / "golden.npz")
    stamp(folder, exported.manifest)
    write_manifest(folder, exported.manifest)
    return folder


class NumpyNoise:
    """The contract between graphs and noise, once more and by hand: see `robodreamer_deploy`."""

    def __init__(self, *noises: Array) -> None:
        self.noises: Iterator[Array] = iter(noises)

    def category(self, probs: torch.Tensor) -> torch.Tensor:
        scores = np.log(probs.numpy().astype(np.float64)) + next(self.noises)
        return torch.from_numpy(np.argmax(scores, -1))

    def normal(self, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(mean.numpy() + std.numpy() * next(self.noises))

    def gumbel(self, like: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.broadcast_to(next(self.noises), like.shape).copy())

    def uniform(self, like: torch.Tensor) -> torch.Tensor:
        return self.gumbel(like)

    def subset(self, total: int, count: int) -> torch.Tensor:
        raise AssertionError((total, count))


def drive_beside_the_agent(exported: Exported, draw: ActionSelection) -> int:
    """Assert that a controller acts as the agent does, with the same noise; return the steps.

    The robot executes half of every action, and both go on from that.
    """
    policy, agent = exported.policy(), exported.agent
    controller = Controller(policy, draw=draw, seed=4)
    carry = agent.initial_carry(1)
    for i in range(len(exported.recording.is_first)):
        noise = policy.noise(draw, 4, i)
        shown = exported.recording.rows(slice(i, i + 1)).observations
        tensors = {name: torch.from_numpy(value) for name, value in shown.items()}
        first = torch.from_numpy(np.array([i == 0]))
        carry = agent.act(carry, tensors, first, NumpyNoise(noise.stoch, noise.action))
        step = controller.step({k: v[0] for k, v in shown.items()}, is_first=i == 0)
        expected = carry.action[0].numpy().clip(-1.0, 1.0)
        np.testing.assert_allclose(step.action, expected, atol=1e-5)
        executed = (0.5 * expected).astype(np.float32)
        controller.executed(executed)
        carry = carry._replace(action=torch.from_numpy(executed[None]))
    return len(exported.recording.is_first)


class Initializer(NamedTuple):
    """One of the tensors that a graph holds."""

    graph: str
    name: str
    array: Array


def initializers(folder: Path) -> Iterator[Initializer]:
    """Yield every tensor of the graphs in a folder, of whatever type."""
    for name in GRAPHS:
        graph = onnx.load(folder / name).graph
        assert not any(node.op_type == "Constant" for node in graph.node)  # would hide tensors
        for tensor in graph.initializer:
            yield Initializer(name, tensor.name, numpy_helper.to_array(tensor))


def corrupt(source: Path, target: Path, graph: str, name: str) -> None:
    """Copy the graphs, in which one tensor's largest element is wrong.

    A float changes its sign. An integer, a size or an axis mostly, goes one step towards zero; away
    from it some would change no result: the end of a slice that lies beyond its axis, or one more
    row of padding on the far side, which the kernel's stride leaves out. A zero becomes 1.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for other in GRAPHS:
        os.link(source / other, target / other)
    model = onnx.load(source / graph)
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    index = np.unravel_index(np.argmax(np.abs(array)), array.shape)
    step = 2 * array[index] if array.dtype.kind == "f" else np.sign(array[index])
    array[index] = array[index] - step if array[index] else 1
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    (target / graph).unlink()
    onnx.save(model, target / graph)


def unnoticed(exported: Exported, folder: Path, graphs: Collection[str]) -> list[Initializer]:
    """Return the tensors of some graphs whose corruption is not noticed."""
    unseen = []
    for tensor in initializers(exported.folder):
        if tensor.graph in graphs:
            corrupt(exported.folder, folder, tensor.graph, tensor.name)
            if passes(exported, folder, tensor.graph):
                unseen.append(tensor)
    return unseen


def passes(exported: Exported, folder: Path, graph: str) -> bool:
    """Tell whether a sequence that this graph is part of is found to be right."""
    sequence = next(name for name, graphs in SEQUENCES.items() if graph in graphs)
    parity = Parity(num_steps=0, free_steps=0)
    try:
        verify_sequence(folder, exported.manifest, sequence, exported.reference, parity)
    except BundleError:
        return False
    return True
