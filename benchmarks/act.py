"""How long the torch agent takes to act: p50 and p99 in milliseconds.

    python benchmarks/act.py --threads 2

One call takes in an observation of every environment and returns their actions, cameras included;
nothing is simulated. The exported policy has a benchmark of its own: robodreamer-deploy.
"""

from typing import Any

import numpy as np
import torch
from _timing import Call, describe_origin, make_parser, print_table, time_call, write_json
from _workloads import MEASURED, Workload, make_agent, make_observation, make_sampler, make_workload

BATCHES = (1, 16)


def measure(
    workload: Workload, num_envs: int, device: torch.device, repeats: int
) -> dict[str, float]:
    """Act `repeats` times after a warm-up; return percentiles in milliseconds."""
    agent, sampler = make_agent(workload, device), make_sampler(device)
    generator = torch.Generator().manual_seed(0)
    values = make_observation(workload.contract, (num_envs,), generator)
    observation = {name: value.to(device) for name, value in values.items()}
    is_first = torch.zeros(num_envs, dtype=torch.bool, device=device)
    carry = agent.initial_carry(num_envs)
    calls: list[Call] = []

    def act() -> None:
        nonlocal carry
        carry = agent.act(carry, observation, is_first, sampler)

    for number in range(repeats + repeats // 10):
        call = time_call(act, device)
        if number >= repeats // 10:
            calls.append(call)
    wall = 1e3 * np.array([call.wall_s for call in calls])
    processor = 1e3 * np.array([call.cpu_s for call in calls])
    return {
        "p50_ms": float(np.percentile(wall, 50)),
        "p99_ms": float(np.percentile(wall, 99)),
        "cpu_p50_ms": float(np.percentile(processor, 50)),
        "cpu_p99_ms": float(np.percentile(processor, 99)),
    }


def main() -> None:
    """Measure every workload at every batch size."""
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=300, help="timed calls")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--device", type=torch.device, default=torch.device("cpu"), help="cpu (default) or cuda"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    origin = describe_origin(options.device)
    workloads = {name: make_workload(name) for name in MEASURED}
    for name, workload in workloads.items():
        print(f"{name}: {workload.summary}")
    figures: dict[str, Any] = {
        f"{name} x{num_envs}": measure(workload, num_envs, options.device, options.repeats)
        for name, workload in workloads.items()
        for num_envs in BATCHES
    }
    keys = ("p50_ms", "p99_ms", "cpu_p50_ms", "cpu_p99_ms")
    rows = [[name, *(f"{row[key]:.2f}" for key in keys)] for name, row in figures.items()]
    print_table(["size x batch", "p50 ms", "p99 ms", "cpu p50", "cpu p99"], rows)
    write_json(options.json, {**origin, "act": figures})


if __name__ == "__main__":
    main()
