"""Policies with random weights, seeded: they cost as much time as any that learnt something."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from _workloads import make_observation, make_workload

from robodreamer.export.folder import Origin, stamp, write_draft
from robodreamer.export.reference_steps import make_noise
from robodreamer.export.torch_trace import Recording, trace
from robodreamer.learning.agent import Agent
from robodreamer_deploy.policy.bundle import Bundle, load_bundle, write_manifest

GOLDEN_STEPS = 32


def write_bundle(agent: Agent, folder: Path) -> Bundle:
    """Write an agent with random weights as a policy; unverified, but for its golden steps."""
    generator = torch.Generator().manual_seed(0)
    shown = make_observation(agent.contract, (GOLDEN_STEPS,), generator)
    observations = {s.name: shown[s.name].numpy() for s in agent.contract.inputs}
    executed = np.zeros((GOLDEN_STEPS, agent.contract.action.size), np.float32)
    recording = Recording(observations, np.arange(GOLDEN_STEPS) == 0, executed)
    noise = make_noise(agent, GOLDEN_STEPS, np.random.default_rng(0))
    manifest = write_draft(agent, folder, origin=Origin("random weights", ""), opset=18)
    trace(agent, recording, noise).golden.save(folder / "golden.npz")
    stamp(folder, manifest)
    write_manifest(folder, manifest)
    return load_bundle(folder)


def write_random_policy(workload: str, folder: Path, rate_hz: float) -> Bundle:
    """Write the policy of a workload as one that is driven at `rate_hz`."""
    made = make_workload(workload)
    contract = dataclasses.replace(made.contract, control_dt_s=1.0 / rate_hz)
    torch.manual_seed(0)
    agent = Agent(contract, made.network, made.algorithm, made.protocol.decode_fraction)
    return write_bundle(agent, folder)
