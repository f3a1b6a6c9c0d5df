"""Does an exported policy drive as its agent does in torch? In closed loop, with the same noise.

    python benchmarks/onboard_parity.py runs/reach policies/reach

Running freely, torch (the run's agent) and ONNX (the policy's folder, through the onboard
controller) drive the same episodes in simulators of their own, each on what it sees itself and on
its own state, with the same noise step by step; `mode` has none. They diverge at the first step at
which an element of the action differs by more than 1e-3: from there on they see different things,
and only the return can be compared. Brackets hold 95 % intervals.

On identical inputs every step of ONNX begins with what torch had: observation, state, executed
action, noise. Where rounding draws another class for a latent, the action belongs to another
state: such steps are counted, and their actions are not compared.

Without a run, an agent with random weights is exported and measured: its returns mean nothing.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from _bundles import write_bundle
from _onboard import load_policy, mean_and_half, seeds
from _timing import describe_origin, make_parser, print_table, write_json
from _workloads import WORKLOADS, make_workload

from robodreamer.evaluation.evaluate import Evaluation
from robodreamer.evaluation.targets import load_finite_run
from robodreamer.export.graphs import GivenNoise
from robodreamer.export.torch_trace import Recording, trace
from robodreamer.learning.agent import Agent
from robodreamer_deploy.contract import Array, Observation
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.manifest import ActionSelection
from robodreamer_deploy.policy.noise import Noise
from robodreamer_deploy.policy.policy import Policy
from robodreamer_sim.robots.in_process import SimulatedRobot, make_robot

DIVERGED = 1e-3
"""Difference of an action's element above which two drives are no longer the same."""
TARGET = 1e-5
"""Wanted: largest error of an action on identical inputs."""
CPU = torch.device("cpu")
DRAWS: tuple[ActionSelection, ...] = ("mode", "sample")
QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
HEADER = ["draw", "runtime", "return", "success"]
MakeNoise = Callable[[int, int], Noise]
"""From seed and step."""


class Driver(Protocol):
    """What decides, and remembers."""

    def reset(self, seed: int) -> None:
        """Forget everything, and draw from `seed` from now on."""
        ...

    def decide(self, observation: Observation, *, is_first: bool) -> Array:
        """Return an action (A,)."""
        ...

    def executed(self, action: Array) -> None:
        """Tell what was really executed, (A,)."""
        ...


class TorchDriver:
    """A run's agent, with noise that is given."""

    def __init__(self, agent: Agent, make_noise: MakeNoise) -> None:
        self._agent, self._make_noise = agent, make_noise
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Driver`."""
        self._carry, self._seed, self._counter = self._agent.initial_carry(1), seed, 0

    def decide(self, observation: Observation, *, is_first: bool) -> Array:
        """See `Driver`."""
        names = [signal.name for signal in self._agent.contract.inputs]
        inputs = {name: torch.from_numpy(observation[name][None].copy()) for name in names}
        noise = self._make_noise(self._seed, self._counter)
        sampler = GivenNoise(*(torch.from_numpy(values[None]) for values in noise))
        self._carry = self._agent.act(self._carry, inputs, torch.tensor([is_first]), sampler)
        self._counter += 1
        return self._carry.action[0].clamp(-1.0, 1.0).numpy()

    def executed(self, action: Array) -> None:
        """See `Driver`."""
        self._carry = self._carry._replace(action=torch.from_numpy(action[None].copy()))


class OnnxDriver(Controller):
    """A policy's folder."""

    def decide(self, observation: Observation, *, is_first: bool) -> Array:
        """See `Driver`."""
        return self.step(observation, is_first=is_first).action


class Episode(NamedTuple):
    """An episode as it was driven; T steps, A action."""

    seed: int
    observations: list[dict[str, Array]]
    actions: Array  # (T, A), as decided
    executed: Array  # (T, A)
    episode_return: float
    success: bool | None


def drive(driver: Driver, robot: SimulatedRobot, seed: int) -> Episode:
    """Drive the episode of `seed` to its end."""
    driver.reset(seed)
    robot.start_episode(seed)
    observations: list[dict[str, Array]] = []
    actions: list[Array] = []
    executed: list[Array] = []
    while not robot.is_episode_over:
        observations.append({k: v.copy() for k, v in robot.get_observation().items()})
        actions.append(driver.decide(observations[-1], is_first=not actions))
        executed.append(robot.send_action(actions[-1].copy()).copy())
        driver.executed(executed[-1])
    return Episode(
        seed, observations, np.stack(actions), np.stack(executed),
        robot.episode_return, robot.episode_success,
    )  # fmt: skip


def first_divergence(one: Array, other: Array) -> int | None:
    """Return the first step at which actions (T, A) differ by more than 1e-3; None if none does.

    Drives of different lengths diverge where the shorter one ends, if not before.
    """
    common = min(len(one), len(other))
    differs = ~(np.abs(one[:common] - other[:common]).max(-1) <= DIVERGED)  # NaN differs too
    if differs.any():
        return int(differs.argmax())
    return None if len(one) == len(other) else common


def summarize(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return what a runtime achieved, as `robodreamer evaluate` tells it."""
    known = [episode.success for episode in episodes if episode.success is not None]
    returns = np.array([episode.episode_return for episode in episodes])
    lengths = np.array([len(episode.actions) for episode in episodes])
    largest = np.full(len(returns), np.nan)  # single rewards are not recorded here
    evaluation = Evaluation(returns, np.array(known) if known else None, lengths, largest)
    return {**evaluation.summary(), "returns": returns.tolist()}


def compare_freely(
    agent: Agent, policy: Policy, robot: SimulatedRobot, draw: ActionSelection, episodes: int
) -> tuple[dict[str, Any], list[Episode]]:
    """Let both drive the same episodes; return figures, and torch's episodes."""
    torchs = TorchDriver(agent, lambda seed, counter: policy.noise(draw, seed, counter))
    onnxs = OnnxDriver(policy, draw=draw)
    ours = [drive(torchs, robot, seed) for seed in seeds(episodes)]
    theirs = [drive(onnxs, robot, seed) for seed in seeds(episodes)]
    first = [first_divergence(a.actions, b.actions) for a, b in zip(ours, theirs, strict=True)]
    told = {"torch": summarize(ours), "onnxruntime": summarize(theirs)}
    low = max(figures["return_low"] for figures in told.values())
    high = min(figures["return_high"] for figures in told.values())
    differences = np.subtract(*(figures["returns"] for figures in told.values()))
    figures = {
        "runtimes": told,
        "first_divergence": first,
        "do_returns_overlap": bool(low <= high),
        "difference": mean_and_half(differences),
    }
    return figures, ours


def compare_on_identical_inputs(
    agent: Agent, policy: Policy, driven: Sequence[Episode], draw: ActionSelection, steps: int
) -> dict[str, Any]:
    """Begin every step with what torch had; return the largest error of an action, and flips."""
    recording, noise = record(agent, policy, driven, draw, steps)
    golden = trace(agent, recording, noise).golden
    worst, flipped_steps, flips = 0.0, 0, 0
    for i in range(len(golden)):
        expected = golden.values(i)
        reached = policy.step({name: expected[name] for name in golden.begin})
        differ = 0
        if golden.latents.is_choice:
            differ = int((reached["stoch_next"] != expected["stoch_next"]).any(-1).sum())
        flipped_steps, flips = flipped_steps + bool(differ), flips + differ
        if not differ:
            error = np.abs(reached["action"] - expected["action"]).max()
            worst = float(np.maximum(worst, error))  # keeps NaN
    return {
        "steps": len(golden),
        "action_error": worst,
        "is_met": worst <= TARGET,
        "flipped_latents": flips,
        "steps_with_flips": flipped_steps,
        "latents": len(golden) * golden.stoch.shape[1],
    }


def record(
    agent: Agent, policy: Policy, driven: Sequence[Episode], draw: ActionSelection, steps: int
) -> tuple[Recording, Noise]:
    """Return the first `steps` steps that were driven, and the noise they were driven with."""
    shown = [observation for episode in driven for observation in episode.observations][:steps]
    numbers = [(e.seed, t) for e in driven for t in range(len(e.actions))][:steps]
    observations = {name: np.stack([step[name] for step in shown]) for name in shown[0]}
    bits = agent.world_model.encoder.validity.values()
    recording = Recording(
        {**observations, **{bit: np.ones(len(shown), np.bool_) for bit in bits}},
        np.array([counter == 0 for _, counter in numbers]),
        np.concatenate([episode.executed for episode in driven])[:steps],
    )
    noises = [policy.noise(draw, *number) for number in numbers]
    return recording, Noise(*(np.stack(values) for values in zip(*noises, strict=True)))


def measure(agent: Agent, policy: Policy, options: argparse.Namespace) -> dict[str, Any]:
    """Compare, draw by draw."""
    contract = policy.bundle.contract
    robot = make_robot(contract.task, contract)
    robot.connect()
    figures: dict[str, Any] = {}
    try:
        for draw in DRAWS:
            figures[draw], driven = compare_freely(agent, policy, robot, draw, options.episodes)
            figures[draw]["identical_inputs"] = compare_on_identical_inputs(
                agent, policy, driven, draw, options.steps
            )
    finally:
        robot.disconnect()
    return figures


def show(figures: Mapping[str, Any]) -> None:
    """Print a table of returns, and what was found besides."""
    rows: list[list[str]] = []
    for draw, found in figures.items():
        for runtime, told in found["runtimes"].items():
            interval = f"[{told['return_low']:.3f}, {told['return_high']:.3f}]"
            success = f"{told['success']:.0%}" if "success" in told else ""
            rows.append([draw, runtime, f"{told['return']:.3f} {interval}", success])
    print_table(HEADER, rows)
    for draw, found in figures.items():
        mean, half = found["difference"]
        word = "overlap" if found["do_returns_overlap"] else "DO NOT overlap"
        print(
            f"{draw}: returns {word}; of the same episodes they differ by {mean:.4f} [{half:.4f}]"
        )
        print(f"{draw}: {describe_divergence(found['first_divergence'])}")
        same = found["identical_inputs"]
        print(
            f"{draw}: identical inputs, {same['steps']} steps: action off by "
            f"{same['action_error']:.1e} at most, wanted {TARGET:.0e}: "
            f"{'met' if same['is_met'] else 'missed'}; {same['flipped_latents']} of "
            f"{same['latents']} latents in another class, in {same['steps_with_flips']} steps"
        )


def describe_divergence(first: Sequence[int | None]) -> str:
    """Say when episodes diverged, of which `first` holds the steps."""
    steps = [step for step in first if step is not None]
    words = f"{len(first) - len(steps)} of {len(first)} episodes never diverge"
    if not steps:
        return words
    values = ", ".join(f"{value:.0f}" for value in np.quantile(steps, QUARTILES))
    return f"{words}, the others first at step (least, quartiles, most) {values}"


def random_agent(workload: str, seed: int) -> Agent:
    """Return the agent of a workload before it has learnt anything."""
    made = make_workload(workload)
    torch.manual_seed(seed)
    return Agent(made.contract, made.network, made.algorithm).eval()


def main() -> None:
    """Measure a run and its export, or random weights."""
    parser = make_parser(__doc__)
    parser.add_argument("run", nargs="?", type=Path, help="run folder")
    parser.add_argument("policy", nargs="?", type=Path, help="folder that it was exported to")
    parser.add_argument("--checkpoint", help="that was exported; the newest by default")
    parser.add_argument("--episodes", type=int, default=50, help="of each draw")
    parser.add_argument("--steps", type=int, default=1000, help="on identical inputs, of each draw")
    parser.add_argument("--workload", choices=WORKLOADS, default="cpu", help="of random weights")
    options = parser.parse_args()
    if (options.run is None) != (options.policy is None):
        parser.error("a run and its policy are given together, or neither")
    torch.set_num_threads(1)
    origin = describe_origin(CPU, packages=("torch", "numpy", "onnxruntime", "mujoco"))
    with tempfile.TemporaryDirectory() as folder:
        if options.run is None:
            agent = random_agent(options.workload, seed=0)
            write_bundle(agent, Path(folder))
            policy, title = load_policy(Path(folder)), f"random weights, {options.workload}"
        else:
            run = load_finite_run(options.run, options.checkpoint)
            agent, policy = run.agent, load_policy(options.policy)
            title = f"{run.checkpoint.path} and {options.policy}"
        print(f"{title}: {policy.bundle.contract.task}, {options.episodes} episodes of each draw")
        figures = measure(agent, policy, options)
    show(figures)
    write_json(options.json, {**origin, "title": title, "parity": figures})


if __name__ == "__main__":
    main()
