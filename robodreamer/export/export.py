"""Export of a trained agent into a verified folder that drives a robot.

    record      the simulator's observations while the agent acts, on fixed seeds
    trace       the agent's outputs on them, in torch
    write       ONNX graphs, from the same modules
    verify      the graphs against the traces, step by step and running freely
    seal        golden steps, initial state, manifest; load it back as a robot does
    drive       closed-loop episodes through onnxruntime, to choose the draw

Everything happens in a draft beside the target, which takes the target's name at the very end.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from robodreamer.evaluation.evaluate import (
    EVALUATION_SEED,
    Evaluation,
    evaluate,
    make_evaluation_envs,
)
from robodreamer.evaluation.policies import OnnxPolicy
from robodreamer.evaluation.targets import load_finite_run
from robodreamer.export.folder import (
    Origin,
    check_target,
    choose_golden,
    draft_of,
    stamp,
    unsealed_policy,
    write_draft,
)
from robodreamer.export.graphs import OPSETS
from robodreamer.export.parity import TOLERANCES, Parity, verify
from robodreamer.export.reduced_precision import MIN_EPISODES, judge, measure, reduce_graphs
from robodreamer.export.reference_steps import make_reference_steps
from robodreamer.export.torch_trace import Recording, Trace, record
from robodreamer.learning.agent import Agent
from robodreamer.runs.run_folder import BEST, NEWEST, better_than_newest
from robodreamer.utils.formatting import format_success
from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy.bundle import load_bundle, write_manifest
from robodreamer_deploy.policy.describe import latent_cost
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.graph_spec import GRAPHS
from robodreamer_deploy.policy.manifest import (
    ACTION_SELECTIONS,
    ActionSelection,
    DrawResult,
    Manifest,
    Precision,
)
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import replay_golden
from robodreamer_deploy.utils.streams import Say
from robodreamer_sim.vector.vector_env import VectorEnv

MIN_STEPS = 200
QUANTILES = (0.5, 0.9, 0.99, 0.999)


def prepare_export(
    run_folder: Path,
    out: Path | None = None,
    *,
    checkpoint: str | None = None,
    opset: int = 18,
    episodes: int = 10,
    precision: Precision = "float32",
    accept_loss: bool = False,
    say: Say,
) -> Callable[[], Path]:
    """Load a run and its task; return what exports it to `out` and returns that folder.

    By default that is policies/NAME, named as the run's folder, where another run's policy stays:
    it is replaced only if `out` names it.

    Raises:
        ValueError: The run, the target or the operator set cannot be used.
    """
    if opset not in OPSETS:
        raise ValueError(f"opset {opset} is not among {OPSETS[0]} to {OPSETS[-1]}")
    if episodes < 0:
        raise ValueError(f"{episodes} episodes cannot be driven")
    if precision != "float32" and episodes < MIN_EPISODES:
        raise ValueError(
            f"{precision} is judged by its return; --episodes is at least {MIN_EPISODES} then"
        )
    run = load_finite_run(run_folder, checkpoint)
    origin = Origin(run_folder.resolve().name, run.provenance.get("commit", ""))
    target = out or Path("policies") / origin.run
    check_target(target, None if out else origin)
    timeout_s = run.config.env_timeout_s
    envs = make_evaluation_envs(run.contract, episodes, timeout_s=timeout_s)

    def export() -> Path:
        with envs:
            say(f"agent       {run.checkpoint.path}")
            if checkpoint in (None, NEWEST) and (better := better_than_newest(run_folder)):
                say(f"warning     {better}; --checkpoint {BEST} exports it")
            with make_evaluation_envs(run.contract, 1, timeout_s=timeout_s) as env:
                recording = record(run.agent, env)
            export_policy(
                run.agent,
                recording,
                target,
                origin=origin,
                opset=opset,
                precision=precision,
                accept_loss=accept_loss,
                drive=(envs, episodes) if episodes else None,
                say=say,
            )
        return target

    return export


def export_policy(
    agent: Agent,
    recording: Recording,
    out: Path,
    *,
    origin: Origin,
    opset: int = 18,
    precision: Precision = "float32",
    accept_loss: bool = False,
    drive: tuple[VectorEnv, int] | None = None,
    say: Say = lambda _: None,
) -> Manifest:
    """Write an agent on the CPU as a policy folder that has been verified.

    Args:
        agent: In evaluation mode afterwards.
        recording: At least 200 steps that the agent made.
        out: A new or empty folder, or an older policy, which is replaced.
        origin: For the manifest.
        opset: ONNX operator set.
        precision: What weights are kept in; if it is reduced, `drive` has to be given.
        accept_loss: Whether a reduced policy may earn less than the float32 one.
        drive: Environments, and how many episodes to drive in them with either draw.
        say: Takes lines about what was checked.

    Raises:
        ValueError: `out` holds something else, or the recording is too short.
        BundleError: The graphs do not compute what the agent does, or reduced ones earn less than
            they should; `out` is as it was.
    """
    if len(recording.is_first) < MIN_STEPS:
        raise ValueError(f"{len(recording.is_first)} recorded steps prove little, {MIN_STEPS} do")
    check_target(out)
    say(f"recorded    {len(recording.is_first)} steps, {recording.is_first.sum()} episode starts")
    reference = make_reference_steps(agent, recording)
    with draft_of(out) as draft:
        manifest = write_draft(agent, draft, origin=origin, opset=opset)
        say(f"wrote       {len(GRAPHS)} graphs, {_size(draft)}, opset {opset}")
        _describe(verify(draft, manifest, reference), say)
        golden = choose_golden(reference.sample)
        golden.save(draft / "golden.npz")
        manifest = dataclasses.replace(manifest, surprise_quantiles=_quantiles(reference.sample))
        if drive:
            manifest = _drive(unsealed_policy(draft, manifest), manifest, *drive, say)
        if precision != "float32":
            assert drive is not None, "reduced precision is judged by its return"
            reduce_graphs(draft, precision)
            cost = measure(draft, manifest, reference.sample.golden, golden)
            say(
                f"{precision:<12}{latent_cost(cost)}, "
                f"action off by {cost.action_error:.3f} at most; {_size(draft)}"
            )
            manifest = dataclasses.replace(manifest, precision=precision, reduction=cost)
            reduced = _drive(unsealed_policy(draft, manifest), manifest, *drive, say)
            reduced = dataclasses.replace(reduced, default_draw=manifest.default_draw)
            manifest = judge(reduced, accept_loss=accept_loss)
        stamp(draft, manifest)
        manifest = write_manifest(draft, manifest)
        _load_back(draft, say)
    say(f"policy      {out}, {_size(out)}; draws {manifest.default_draw} unless told otherwise")
    return manifest


def _load_back(folder: Path, say: Say) -> None:
    """Load the sealed folder as a robot does, self-test included."""
    policy = Policy(load_bundle(folder))
    test = replay_golden(policy, load_golden(policy.bundle))
    say(f"self-test   passed: {test.num_steps} golden steps, worst error {test.worst_error:.0e}")


def _drive(
    policy: Policy, manifest: Manifest, envs: VectorEnv, episodes: int, say: Say
) -> Manifest:
    """Drive the task with either draw; return the manifest with the results."""
    results: dict[ActionSelection, DrawResult] = {}
    surprises: dict[ActionSelection, list[float]] = {}
    for draw in ACTION_SELECTIONS:
        driver = OnnxPolicy(policy, envs.num_envs, draw, EVALUATION_SEED)
        evaluation = evaluate(driver, envs, episodes)
        results[draw], surprises[draw] = _draw_result(evaluation), driver.surprise
        summary = evaluation.summary()
        say(
            f"{draw:<12}return {summary['return']:.2f}{format_success(summary)} "
            f"in {episodes} episodes through onnxruntime"
        )
    best = better_draw(results)
    return dataclasses.replace(
        manifest,
        draws=results,
        default_draw=best,
        surprise_quantiles=quantiles(np.array(surprises[best])),
    )


def better_draw(results: Mapping[ActionSelection, DrawResult]) -> ActionSelection:
    """Return the draw with more success where that is known; the return breaks ties.

    Ten episodes tell 2 successes from 8 apart, but not a mean return of -2.6 from one of -2.8.
    """

    def rank(draw: ActionSelection) -> tuple[float, float]:
        return (results[draw].success_rate or 0.0, results[draw].return_mean)

    return max(ACTION_SELECTIONS, key=rank)  # mode comes first, so it wins ties


def _draw_result(evaluation: Evaluation) -> DrawResult:
    returns, successes = evaluation.returns, evaluation.successes
    return DrawResult(
        num_episodes=len(returns),
        return_mean=float(returns.mean()),
        return_std=float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
        success_rate=None if successes is None else float(successes.mean()),
    )


def _quantiles(trace: Trace) -> dict[str, float]:
    golden = trace.golden
    pairs = zip(golden.posterior, golden.prior, strict=True)
    return quantiles(np.array([golden.latents.kl(*pair) for pair in pairs]))


def quantiles(surprises: Array) -> dict[str, float]:
    """Return the quantiles of surprise that a manifest holds, in nats."""
    return {str(q): float(np.quantile(surprises, q)) for q in QUANTILES}


def _describe(parity: Parity, say: Say) -> None:
    worst = ", ".join(f"{key} {parity.worst[key]:.0e}" for key in TOLERANCES if key in parity.worst)
    say(
        f"steps       {parity.num_steps:,} on identical inputs, worst errors: {worst}; "
        + (
            f"{parity.num_ties} ties among {parity.num_choices:,} choices, no other difference"
            if parity.num_choices
            else "nothing is chosen by class"
        )
    )
    free = ", ".join(f"{key} {error:.0e}" for key, error in parity.free_worst.items())
    say(
        f"free run    {parity.free_steps:,} steps in one go, with "
        f"noise and again without, in three graphs, split and in one, worst errors: {free}; "
        f"{parity.free_ties} ties, no other difference"
    )


def _size(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.2f} MB"
