"""Memory of a learner and of its replay: what stays resident, in MB.

    python benchmarks/memory.py --steps 100000

The replay is filled for real with `--steps` records; its figure is scaled to 100,000. Every
learner and every replay has a process of its own, because memory once used is rarely given back:
what an update has used, a replay that comes after it gets for nothing.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import torch
from _timing import describe_origin, make_parser, print_table, write_json
from _workloads import (
    MEASURED,
    Workload,
    make_batch,
    make_learner,
    make_observation,
    make_sampler,
    make_workload,
)

from robodreamer.data.replay import Replay, make_replay

MB = 1e6
PER_STEPS = 100_000
COLUMNS = ("libraries", "learner", "peak", "replay", "computed")


def resident() -> float:
    """Return the memory of this process that is resident now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


def measure_learner(workload: Workload) -> dict[str, float]:
    """Return what libraries and learner hold, and the peak during an update."""
    device, libraries = torch.device("cpu"), resident()
    learner = make_learner(workload, device)
    learner.update(make_batch(workload, device), make_sampler(device))
    after_update = resident()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
    return {
        "libraries": libraries,
        "learner": after_update - libraries,
        "peak": peak - libraries,
    }


def measure_replay(workload: Workload, steps: int) -> dict[str, float]:
    """Return what the replay of the workload's protocol holds, per 100,000 steps.

    Measured, and computed from the sizes of its fields.
    """
    device, protocol = torch.device("cpu"), workload.protocol
    replay = make_replay(
        workload.contract,
        make_learner(workload, device).agent,
        num_envs=protocol.num_envs,
        capacity=max(steps, 2 * protocol.num_envs * (protocol.batch_length + 1)),
        sequence_length=protocol.replay_context + protocol.batch_length,
        seed=0,
        device=device,
    )
    before = resident()
    fill(replay, workload, steps)
    return {
        "replay": (resident() - before) * PER_STEPS / len(replay),
        "computed": replay.bytes_per_step * PER_STEPS / MB,
    }


def fill(replay: Replay, workload: Workload, steps: int) -> None:
    """Add records until there are `steps`."""
    num_envs, network = replay.num_envs, workload.network
    generator = torch.Generator().manual_seed(0)
    flags = dict.fromkeys(("is_first", "is_last", "is_terminal"), torch.zeros(num_envs).bool())
    record = make_observation(workload.contract, (num_envs,), generator) | flags
    record["reward"] = torch.zeros(num_envs)
    record["action"] = torch.zeros(num_envs, workload.contract.action.size)
    record["deter"] = torch.zeros(num_envs, network.deter)
    record["stoch"] = torch.zeros(num_envs, network.stoch, network.classes)
    while replay.num_steps < steps:
        replay.add(record)


def measure_apart(what: str, name: str, steps: int) -> dict[str, float]:
    """Measure learner or replay of one workload in a new process."""
    words = [sys.executable, __file__, "--worker", what, name, "--steps", str(steps)]
    result = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


def _origin_of_replay(steps: int) -> str:
    """Say what was measured and what was only multiplied."""
    if steps == PER_STEPS:
        return "all of them measured"
    return f"scaled by {PER_STEPS / steps:g} from the {steps:,} measured (--steps {PER_STEPS})"


def main() -> None:
    """Measure every workload."""
    parser = make_parser(__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="records to fill the replay with")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        what, name = options.worker
        workload = make_workload(name)
        is_learner = what == "learner"
        found = measure_learner(workload) if is_learner else measure_replay(workload, options.steps)
        print(json.dumps(found))
        return
    origin = describe_origin(torch.device("cpu"))
    figures = {
        name: measure_apart("learner", name, options.steps)
        | measure_apart("replay", name, options.steps)
        for name in MEASURED
    }
    rows = [[name, *(f"{row[key]:,.0f}" for key in COLUMNS)] for name, row in figures.items()]
    print_table(["MB", *COLUMNS], rows)
    print(f"replay: per {PER_STEPS:,} steps, {_origin_of_replay(options.steps)}")
    print("computed: the same from the sizes of the replay's fields")
    print("learner: after an update; peak: during it; both beside the libraries")
    measured = {"steps_measured": options.steps, "replay_is_per_steps": PER_STEPS}
    write_json(options.json, {**origin, **measured, "megabytes": figures})


if __name__ == "__main__":
    main()
