"""How long a step takes onboard, beside torch eager on one thread, and how long it takes to start.

    python benchmarks/onboard_step.py --sizes 1m 12m

Contenders take turns, one step each: torch, the three graphs, the one graph, and the controller
from the observation to the action, whole, and split: after what can be computed before has been.
Paced at --rate as on a robot, between whose steps caches grow cold, and flat out. Weights are
random, seeded: they cost as much time as any. `ratio` is to torch in the same run. The start is
that of a process without torch, from its launch until the policy is loaded, tested and warm; its
memory is the largest that it occupied.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bundles import write_bundle
from _timing import describe_origin, make_parser, print_table, write_json
from _workloads import (
    WORKLOADS,
    Workload,
    make_agent,
    make_observation,
    make_sampler,
    make_workload,
)

from robodreamer.learning.agent import Agent
from robodreamer_deploy.contract import Array
from robodreamer_deploy.policy.bundle import Bundle
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.graph_spec import FEEDBACK
from robodreamer_deploy.policy.policy import Policy

TARGETS = {"1m": 0.5, "12m": 0.8}
"""Time of the three graphs, and of the one graph, by that of torch: at most."""
SPLIT_TARGET = 0.7
"""Time from sense to act with the split, by that without."""
START_S, MEMORY_MB = 1.5, 150.0
WARM_UP = 20
CPU = torch.device("cpu")
START = """
import sys, time
from pathlib import Path
from robodreamer_deploy.drive import load_policy
load_policy(Path(sys.argv[1]), lambda line: None)
ready = time.monotonic()
status = Path("/proc/self/status").read_text()
(peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
assert "torch" not in sys.modules
print(ready, peak)
"""
Contender = tuple[Callable[[], object], Callable[[], object]]
"""What is timed, and what is done in the slack after it."""


def make_contenders(agent: Agent, bundle: Bundle) -> dict[str, Contender]:
    """Return everything that can take a step, by name; each on an observation of its own."""
    shown = make_observation(agent.contract, (1,), torch.Generator().manual_seed(1))
    arrays = {s.name: shown[s.name].numpy() for s in agent.contract.inputs}
    whole, split = (Controller(Policy(bundle), draw="sample") for _ in range(2))
    single = {name: values[0] for name, values in arrays.items()}

    def nothing() -> None:
        pass

    return {
        "torch": (_torch_step(agent, shown), nothing),
        "three graphs": (_graph_step(bundle, "three graphs", arrays), nothing),
        "one graph": (_graph_step(bundle, "one graph", arrays), nothing),
        "controller whole": (lambda: whole.step(single, is_first=False), nothing),
        "controller split": (lambda: split.step(single, is_first=False), split.advance),
    }


def _torch_step(agent: Agent, shown: Mapping[str, torch.Tensor]) -> Callable[[], None]:
    carry, sampler, is_first = (
        agent.initial_carry(1),
        make_sampler(CPU),
        torch.zeros(1, dtype=torch.bool),
    )

    def step() -> None:
        nonlocal carry
        carry = agent.act(carry, shown, is_first, sampler)

    return step


def _graph_step(bundle: Bundle, sequence: str, shown: Mapping[str, Array]) -> Callable[[], None]:
    """Return a step of bound graphs that draws noise and feeds its state back."""
    policy = Policy(bundle, sequence=sequence)
    specs = [bundle.manifest.graphs[name] for name in policy.graphs]
    tensors = [t for spec in specs for t in (*spec.inputs, *spec.outputs)]
    values = {tensor.value: np.zeros(tensor.shape, tensor.dtype) for tensor in tensors}
    compute = [graph.bind(values) for graph in policy.graphs.values()]
    counter = 0

    def step() -> None:
        nonlocal counter
        noise = policy.noise("sample", 0, counter)
        np.copyto(values["noise_stoch"][0], noise.stoch)
        np.copyto(values["noise_action"][0], noise.action)
        for name, array in shown.items():
            np.copyto(values[name], array)
        for run in compute:
            run()
        for new, old in FEEDBACK.items():
            np.copyto(values[old], values[new])
        counter += 1

    return step


def measure_steps(
    contenders: Mapping[str, Contender], rounds: int, period_s: float
) -> dict[str, dict[str, float]]:
    """Let all take turns, a step each per period (0: flat out); return milliseconds by name."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    due = time.perf_counter()
    for number in range(WARM_UP + rounds):
        for name, (step, slack) in contenders.items():
            due += period_s
            time.sleep(max(0.0, due - time.perf_counter()))
            start = time.perf_counter()
            step()
            end = time.perf_counter()
            slack()
            if number >= WARM_UP:
                seconds[name].append(end - start)
    reference = statistics.median(seconds["torch"])
    return {
        name: {
            "p50_ms": 1e3 * statistics.median(taken),
            "p99_ms": 1e3 * float(np.quantile(taken, 0.99)),
            "ratio": statistics.median(taken) / reference,
        }
        for name, taken in seconds.items()
    }


def measure_start(folder: Path, repeats: int) -> dict[str, float]:
    """Start the onboard process a few times; return the medians of its time and memory."""
    times, peaks = [], []
    for _ in range(1 + repeats):  # the first one may read from a cold disk
        launched = time.monotonic()
        command = [sys.executable, "-c", START, str(folder)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        times.append(float(said[0]) - launched)
        peaks.append(float(said[1]) * 1024 / 1e6)
    return {"start_s": statistics.median(times[1:]), "memory_mb": statistics.median(peaks[1:])}


def measure(name: str, rounds: int, rate_hz: float, repeats: int) -> dict[str, Any]:
    """Measure one size."""
    workload: Workload = make_workload(name)
    print(f"{name}: {workload.summary}; random weights")
    agent = make_agent(workload, CPU)
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(agent, Path(folder))
        contenders = make_contenders(agent, bundle)
        return {
            "paced": measure_steps(contenders, rounds, 1.0 / rate_hz),
            "flat out": measure_steps(contenders, rounds, 0.0),
            "start": measure_start(Path(folder), repeats),
            "bundle_mb": sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6,
        }


def show(name: str, figures: Mapping[str, Any]) -> None:
    """Print the figures of one size, and whether the targets are met."""
    rows = [
        [f"{pace}: {who}", f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", f"{row['ratio']:.2f}"]
        for pace in ("paced", "flat out")
        for who, row in figures[pace].items()
    ]
    print_table([name, "p50 ms", "p99 ms", "ratio"], rows)
    paced, start = figures["paced"], figures["start"]
    ratio = paced["controller split"]["p50_ms"] / paced["controller whole"]["p50_ms"]
    print(f"sense to act, paced: split {ratio:.2f} of whole, at most {SPLIT_TARGET} wanted")
    print(
        f"start to ready {start['start_s']:.2f} s (limit {START_S}), {start['memory_mb']:.0f} MB "
        f"at most (limit {MEMORY_MB:.0f}); the folder has {figures['bundle_mb']:.0f} MB"
    )
    if name in TARGETS:
        worst = max(paced[who]["ratio"] for who in ("three graphs", "one graph"))
        word = "met" if worst <= TARGETS[name] else "missed"
        print(f"three graphs and one, paced: {worst:.2f} of torch, at most {TARGETS[name]}: {word}")


def main() -> None:
    """Measure every size."""
    parser = make_parser(__doc__)
    parser.add_argument("--sizes", nargs="+", choices=WORKLOADS, default=["1m", "12m"])
    parser.add_argument("--rounds", type=int, default=300, help="timed steps of each contender")
    parser.add_argument("--rate", type=float, default=50.0, help="steps per second when paced")
    parser.add_argument("--repeats", type=int, default=5, help="timed starts of the process")
    options = parser.parse_args()
    torch.set_num_threads(1)
    origin = describe_origin(CPU, packages=("torch", "numpy", "onnxruntime"))
    figures: dict[str, Any] = {}
    for name in options.sizes:
        figures[name] = measure(name, options.rounds, options.rate, options.repeats)
        show(name, figures[name])
    write_json(options.json, {**origin, "onboard": json.loads(json.dumps(figures))})


if __name__ == "__main__":
    main()
