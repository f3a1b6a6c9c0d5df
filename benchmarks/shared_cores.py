"""Updates per second by how the learner's threads wait for each other, alone and beside others.

    python benchmarks/shared_cores.py                       alone, and beside two busy neighbours
    python benchmarks/shared_cores.py --neighbours 0 1 2 4 --rounds 5 --json build/shared_cores.json
    python benchmarks/shared_cores.py --nice -20            as root: as if others were not there

Every way is a process of its own, because OpenMP reads its environment once. They take turns, so
that a slow spell hits all. A neighbour is a process that counts, of the learner's own priority.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from _timing import describe_origin, make_parser, print_table, write_json
from _workloads import WORKLOADS, make_batch, make_learner, make_sampler, make_workload

CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
WAYS: Mapping[str, tuple[dict[str, str], int]] = {
    "OpenMP's default": ({}, 0),
    "spin 0": ({"GOMP_SPINCOUNT": "0"}, 0),
    "spin 1,000": ({"GOMP_SPINCOUNT": "1000"}, 0),
    "spin 10,000": ({"GOMP_SPINCOUNT": "10000"}, 0),
    "passive": ({"OMP_WAIT_POLICY": "PASSIVE"}, 0),
    "one thread": ({}, 1),
}
"""Environment and number of threads, 0 for torch's own choice."""
BUSY = "while True: pass"
CPU = torch.device("cpu")


class Turn(NamedTuple):
    """Seconds that a number of updates took."""

    wall_s: float
    cpu_s: float


class Learner:
    """A process that does updates when asked to."""

    def __init__(self, workload: str, way: str) -> None:
        chosen, threads = WAYS[way]
        kept = {name: value for name, value in os.environ.items() if name not in CHOSEN}
        self._process = subprocess.Popen(
            [sys.executable, __file__, workload, "--serve", str(threads)],
            env=kept | chosen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def update(self, num_updates: int) -> Turn:
        """Do updates; return how long they took."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{num_updates}\n")
        process.stdin.flush()
        return Turn(*json.loads(process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def serve(workload: str, threads: int) -> None:
    """Do as many updates as every line asks for, and answer with their seconds."""
    if threads:
        torch.set_num_threads(threads)
    chosen = make_workload(workload)
    learner, batch, sampler = make_learner(chosen, CPU), make_batch(chosen, CPU), make_sampler(CPU)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            learner.update(batch, sampler)
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Keep cores busy."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(
    learners: Mapping[str, Learner], counts: Sequence[int], rounds: int, updates: int
) -> dict[str, dict[str, Any]]:
    """Let all take turns beside every number of neighbours; return figures by number and way."""
    figures: dict[str, dict[str, Any]] = {}
    for learner in learners.values():
        learner.update(1)
    for count in counts:
        turns: dict[str, list[Turn]] = {way: [] for way in learners}
        with neighbours(count):
            for _ in range(rounds):
                for way, learner in learners.items():
                    turns[way].append(learner.update(updates))
        figures[str(count)] = {way: _figures(found, updates) for way, found in turns.items()}
        for way, row in figures[str(count)].items():
            default = turns[next(iter(learners))]
            pairs = zip(turns[way], default, strict=True)
            row["ratio"] = statistics.median(theirs.wall_s / ours.wall_s for ours, theirs in pairs)
    return figures


def _figures(turns: Sequence[Turn], updates: int) -> dict[str, float]:
    wall = statistics.median(turn.wall_s for turn in turns)
    return {
        "updates_per_s": updates / wall,
        "cpu_s_per_update": statistics.median(turn.cpu_s for turn in turns) / updates,
    }


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("workload", nargs="?", choices=WORKLOADS, default="cpu")
    add("--neighbours", type=int, nargs="+", default=[0, 2], help="numbers of busy processes")
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    add("--rounds", type=int, default=3, help="turns of each way")
    add("--updates", type=int, default=4, help="updates per turn")
    add("--nice", type=int, default=0, help="added to the priority of all that is measured")
    add("--serve", type=int, default=None, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure what the command line names."""
    options = _parse()
    if options.serve is not None:
        serve(options.workload, options.serve)
        return
    os.nice(options.nice)
    origin = describe_origin(CPU)
    before = os.getloadavg()[0]
    print(f"{make_workload(options.workload).summary}; load before {before:.1f}")
    with ExitStack() as stack:
        learners = {way: Learner(options.workload, way) for way in options.ways}
        for learner in learners.values():
            stack.callback(learner.close)
        figures = measure(learners, options.neighbours, options.rounds, options.updates)
    for count, rows in figures.items():
        print(f"\nbeside {count} busy processes")
        table = [
            [way, f"{r['updates_per_s']:.2f}", f"{r['cpu_s_per_update']:.2f}", f"{r['ratio']:.2f}"]
            for way, r in rows.items()
        ]
        print_table(["way", "updates/s", "cpu s/update", "x"], table)
    write_json(options.json, {**origin, "load_before": before, "neighbours": figures})


if __name__ == "__main__":
    main()
