"""Targets of an evaluation: a run's agent in torch or an exported policy folder, alike."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from robodreamer.config import TrainConfig, choose
from robodreamer.evaluation.evaluate import EVALUATION_SEED
from robodreamer.evaluation.policies import AgentPolicy, OnnxPolicy, VectorPolicy
from robodreamer.models.sampling import ModeSampler, RandomSampler
from robodreamer.runs.run_folder import LoadedRun, load_run
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.manifest import MANIFEST, ActionSelection
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import replay_golden


class EvaluationTarget(NamedTuple):
    """Policy to evaluate, with its task and a title for tables."""

    title: str
    runtime: Literal["torch", "onnxruntime"]
    contract: Contract
    make_policy: Callable[[int, ActionSelection], VectorPolicy]
    """Builds the policy for a number of environments, each call with fresh memories."""
    config: TrainConfig | None = None
    """Settings of the run; None for an exported policy, which has no critic or reward head."""


def load_target(folder: Path, checkpoint: str | None = None) -> EvaluationTarget:
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
    """Load a run's agent, as `load_run` does, and check its weights.

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


def _exported(folder: Path) -> EvaluationTarget:
    policy = Policy(load_bundle(folder))
    replay_golden(policy, load_golden(policy.bundle))
    return EvaluationTarget(
        title=f"{folder}: run {policy.bundle.manifest.run}, onnxruntime",
        runtime="onnxruntime",
        contract=policy.bundle.contract,
        make_policy=lambda num_envs, draw: OnnxPolicy(policy, num_envs, draw, EVALUATION_SEED),
    )


def _trained(run: LoadedRun) -> EvaluationTarget:
    def make_policy(num_envs: int, draw: ActionSelection) -> VectorPolicy:
        generator = torch.Generator().manual_seed(EVALUATION_SEED)
        sampler = ModeSampler() if draw == "mode" else RandomSampler(generator)
        return AgentPolicy(run.agent, num_envs, sampler)

    title = f"{run.checkpoint.path}: torch"
    return EvaluationTarget(title, "torch", run.contract, make_policy, run.config)
