"""Policies to be evaluated: a run's agent in torch or an exported folder, alike.

Shapes: N environments, A action.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from robodreamer.config import TrainConfig, choose
from robodreamer.evaluation.evaluate import EVALUATION_SEED, AgentPolicy, Policy
from robodreamer.models.distributions import Mode, Sample
from robodreamer.runs.run_folder import LoadedRun, load_run
from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.policy import policy as onnx
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.manifest import MANIFEST, Draw
from robodreamer_deploy.policy.selftest import replay_golden


class OnnxPolicy:
    """An exported policy in N environments: one controller each, all on the same graphs."""

    def __init__(self, policy: onnx.Policy, num_envs: int, draw: Draw) -> None:
        self.controllers = [
            Controller(policy, draw=draw, seed=EVALUATION_SEED + i) for i in range(num_envs)
        ]
        self.surprise: list[float] = []
        """In nats, of every step taken so far."""

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """Return actions (N, A)."""
        names = [signal.name for signal in self.controllers[0].policy.bundle.contract.inputs]
        steps = [
            controller.step({name: observation[name][i] for name in names}, is_first=bool(first))
            for i, (controller, first) in enumerate(zip(self.controllers, is_first, strict=True))
        ]
        self.surprise.extend(step.surprise for step in steps)
        return np.stack([step.action for step in steps])


class Blindfolded:
    """A policy that sees black where some of its cameras are."""

    def __init__(self, policy: Policy, signals: Sequence[str]) -> None:
        self.policy = policy
        self.signals = tuple(signals)

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """Return actions (N, A)."""
        black = {name: np.zeros_like(observation[name]) for name in self.signals}
        return self.policy.act({**observation, **black}, is_first)


class Candidate(NamedTuple):
    """Something to evaluate."""

    title: str
    runtime: Literal["torch", "onnxruntime"]
    contract: Contract
    make_policy: Callable[[int, Draw], Policy]
    """Takes the number of environments; every call begins with fresh memories."""
    config: TrainConfig | None = None
    """Settings of the run; None for an exported policy, which has neither critic nor rewards."""


def load_candidate(folder: Path, checkpoint: str | None = None) -> Candidate:
    """Load a run's agent or an exported policy.

    Raises:
        ValueError: The folder holds neither, or something that cannot be used.
    """
    if (folder / MANIFEST).is_file():
        if checkpoint:
            raise ValueError(f"{folder} is an exported policy and has no checkpoints")
        return _exported(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is neither a run (no config.json) nor a policy (no {MANIFEST})")
    return _trained(load_finite_run(folder, checkpoint))


def load_finite_run(folder: Path, checkpoint: str | None = None) -> LoadedRun:
    """Load a run's agent, as `load_run` does.

    Raises:
        ValueError: It cannot be loaded, or its training has diverged.
    """
    run = load_run(folder, checkpoint)
    for name, parameter in run.agent.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(
                f"{run.checkpoint.path} holds NaN or infinity in {name}: training has diverged"
            )
    return run


def camera_signals(contract: Contract, names: Sequence[str]) -> list[str]:
    """Return the signals of cameras given with or without their `image/`.

    Raises:
        ValueError: The policy has no such camera.
    """
    signals = [s.name for s in contract.inputs if s.is_image]
    if names and not signals:
        raise ValueError("this policy sees no camera, so none can be blanked")
    cameras = {name.removeprefix("image/"): name for name in signals}
    return [choose("camera", name.removeprefix("image/"), cameras) for name in names]


def _exported(folder: Path) -> Candidate:
    policy = onnx.Policy(load_bundle(folder))
    replay_golden(policy, load_golden(policy.bundle))
    return Candidate(
        title=f"{folder}: run {policy.bundle.manifest.run}, onnxruntime",
        runtime="onnxruntime",
        contract=policy.bundle.contract,
        make_policy=lambda num_envs, draw: OnnxPolicy(policy, num_envs, draw),
    )


def _trained(run: LoadedRun) -> Candidate:
    def make_policy(num_envs: int, draw: Draw) -> Policy:
        generator = torch.Generator().manual_seed(EVALUATION_SEED)
        source = Mode() if draw == "mode" else Sample(generator)
        return AgentPolicy(run.agent, num_envs, source)

    title = f"{run.checkpoint.path}: torch"
    return Candidate(title, "torch", run.contract, make_policy, run.config)
