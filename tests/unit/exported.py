"""Agents with seeded weights, exported; and a way to damage what was exported."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper
from toy_agent import NETWORK, make_agent, make_contract, make_observation

from robodreamer.agent import Agent
from robodreamer.config import NetworkConfig
from robodreamer.onnx_export.evidence import Evidence, gather
from robodreamer.onnx_export.policy_folder import Origin, unsealed_policy, write_draft
from robodreamer.onnx_export.traces import Recording
from robodreamer_deploy.bundle import GRAPHS, Manifest
from robodreamer_deploy.contract import Contract, Signal
from robodreamer_deploy.policy import Policy

NUM_STEPS = 232  # at least 200
STRETCH = 58
VECTORS_ONLY = (
    Signal(name="proprio/joint_position", shape=(3,), dtype="float32"),
    Signal(name="goal/position", shape=(2,), dtype="float32", low=(-1.0, 0.5), high=(1.0, 3.0)),
)
CONTRACTS = {
    "two cameras": make_contract(),
    "discrete": make_contract(discrete=True),
    "vectors only": make_contract(VECTORS_ONLY),
}
ORIGIN = Origin(run="toy", commit="0123456")


class Exported(NamedTuple):
    """Graphs as written, what they are to be held against, and the agent they come from."""

    agent: Agent
    recording: Recording
    evidence: Evidence
    folder: Path
    manifest: Manifest

    def policy(self, folder: Path | None = None) -> Policy:
        """Load the graphs, or those of another folder."""
        return unsealed_policy(folder or self.folder, self.manifest)


def make_recording(contract: Contract, num_steps: int = NUM_STEPS, *, seed: int = 0) -> Recording:
    """Return random observations in stretches of 58 steps."""
    tensors = make_observation(contract, num_steps, seed=seed)
    observations = {s.name: tensors[s.name].numpy() for s in contract.inputs}
    return Recording(observations, np.arange(num_steps) % STRETCH == 0)


def export_toy(
    folder: Path, contract: Contract, *, network: NetworkConfig = NETWORK, opset: int = 18
) -> Exported:
    """Write the graphs of a toy agent, unverified and unsealed."""
    agent = make_agent(contract, network=network)
    recording = make_recording(contract)
    manifest = write_draft(agent, folder, origin=ORIGIN, opset=opset)
    return Exported(agent, recording, gather(agent, recording), folder, manifest)


def float_tensors(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield every float initializer of the graphs in a folder, as graph and name."""
    for graph in GRAPHS:
        for tensor in onnx.load(folder / graph).graph.initializer:
            if numpy_helper.to_array(tensor).dtype.kind == "f":
                yield graph, tensor.name


def corrupt(source: Path, target: Path, graph: str, name: str) -> None:
    """Copy the graphs; one tensor's largest element changes its sign, or becomes 1 if it is 0."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for other in GRAPHS:
        os.link(source / other, target / other)
    model = onnx.load(source / graph)
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    index = np.unravel_index(np.argmax(np.abs(array)), array.shape)
    array[index] = -array[index] if array[index] else 1.0
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    (target / graph).unlink()
    onnx.save(model, target / graph)
