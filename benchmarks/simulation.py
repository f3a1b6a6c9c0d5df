"""Simulation beside its peers: steps per second, and memory of one more environment.

    python benchmarks/simulation.py                        every row
    python benchmarks/simulation.py --rows walker shards --seconds 5 --rounds 5

Ratios are the result; floor and aim stand beside them. Every contender has a process of its own,
all of a row are ready before the first is measured, and they take turns, `--rounds` times. Actions
are random. Rates are by the clock; where other jobs are in the way, the processor time per step, of
all processes of a contender, tells more. Peers are run as they come: default look, one process per
environment (AsyncVectorEnv, spawned), or a thread per core (EnvPool, whose pictures come without
measurements).

Rows:
    walker     dmc_walker_walk, 64x64 and proprioception, 16 environments
    fetch      FetchPickAndPlace, 64x64 and proprioception, 16 environments
    kitchen    FrankaKitchen, 64x64, one environment: a step and a picture
    state      dmc_walker_walk, proprioception only, 16 environments
    shards     as walker: two processes against one; needs two free cores
    memory     64x64: one more environment of a shard, against one more renderer; our first line is
               dmc_walker_walk

EnvPool is no part of `make setup` and is left out where it is not installed:
    .venv/bin/pip install envpool==1.2.5
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from _simulators import ASYNC, CONTENDERS, ENVPOOL, OURS, Measurement
from _timing import describe_origin, make_parser, print_table, write_json

from robodreamer_sim.utils.cores import num_usable_cores

PACKAGES = ("mujoco", "dm_control", "gymnasium", "gymnasium-robotics", "envpool", "numpy")
SCRIPT = Path(__file__).with_name("_simulators.py")


class Bound(NamedTuple):
    """What our figure, divided by a peer's, has to reach."""

    floor: float
    aim: float


BOUNDS: Mapping[str, Mapping[str, Bound]] = {
    "walker": {ASYNC: Bound(12, 18), ENVPOOL: Bound(15, 28)},
    "fetch": {ASYNC: Bound(2, 2.5), ENVPOOL: Bound(2.5, 4)},
    "kitchen": {"render()": Bound(20, 34)},
    "state": {ASYNC: Bound(2, 3.6)},
    "shards": {"1 shard": Bound(1.6, 1.9)},
    "memory": {},
}


class Process:
    """A contender in its own process, idle until it is asked."""

    def __init__(self, row: str, name: str) -> None:
        self._name = f"{row}: {name}"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SCRIPT), row, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._answer()

    def measure(self, seconds: float) -> Measurement:
        """Let it have its turn."""
        questions: IO[str] | None = self._process.stdin
        assert questions is not None, "it was opened"
        print(seconds, file=questions, flush=True)
        return Measurement(*json.loads(self._answer()))

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None, "it was opened"
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} ended with exit code {self._process.wait()}")
        return line.strip()


@contextmanager
def started(row: str, names: list[str]) -> Iterator[dict[str, Process]]:
    """Start the contenders of a row, one after the other; end them after use."""
    with ExitStack() as stack:
        processes: dict[str, Process] = {}
        for name in names:
            processes[name] = Process(row, name)
            stack.callback(processes[name].close)
        yield processes


def measure(row: str, seconds: float, rounds: int) -> dict[str, list[Measurement]]:
    """Return what every contender that is installed measured, round by round."""
    names = [name for name in CONTENDERS[row] if name != ENVPOOL or find_spec("envpool")]
    found: dict[str, list[Measurement]] = {name: [] for name in names}
    with started(row, names) as processes:
        for _ in range(rounds):
            for name, process in processes.items():
                found[name].append(process.measure(seconds))
    return found


def judge(row: str, found: Mapping[str, list[Measurement]]) -> dict[str, dict[str, Any]]:
    """Return every contender's medians, and of peers our ratio to it with what it has to be."""
    figures: dict[str, dict[str, Any]] = {}
    for name, turns in found.items():
        pairs = list(zip(found[OURS], turns, strict=True))
        figures[name] = {
            "median": statistics.median(turn.figure for turn in turns),
            "rounds": [turn.figure for turn in turns],
            "ratio": statistics.median(ours.figure / theirs.figure for ours, theirs in pairs),
        }
        if cpu_ms := [turn.cpu_ms for turn in turns if turn.cpu_ms]:
            figures[name]["cpu_ms"] = statistics.median(cpu_ms)
        if name in BOUNDS[row]:
            bound = BOUNDS[row][name]
            is_met = figures[name]["ratio"] >= bound.floor
            figures[name] |= {**bound._asdict(), "is_met": is_met}
    return figures


def show(row: str, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a row of the table, a line for each contender."""
    lines = []
    for name, found in figures.items():
        bounds = [f"{found['floor']:g}", f"{found['aim']:g}"] if "floor" in found else ["", ""]
        said = ("met" if found["is_met"] else "missed") if "is_met" in found else ""
        spread = f"{min(found['rounds']):,.1f} to {max(found['rounds']):,.1f}"
        cpu_ms, cpu_ratio, ratio = "", "", "" if name == OURS else f"{found['ratio']:.2f}x"
        if "cpu_ms" in found:
            cpu_ms = f"{found['cpu_ms']:.2f}"
            cpu_ratio = "" if name == OURS else f"{found['cpu_ms'] / figures[OURS]['cpu_ms']:.2f}x"
        cells = [name, f"{found['median']:,.1f}", spread, ratio, *bounds, said, cpu_ms, cpu_ratio]
        lines.append(cells)
    unit = "MB" if row == "memory" else "steps/s"
    print()
    print_table(
        [row, unit, "of all rounds", "we are", "floor", "aim", "", "cpu ms/step", "cpu ratio"],
        lines,
    )


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--rows", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="ROW")
    add("--seconds", type=float, default=4.0, help="of every contender in every round")
    add("--rounds", type=int, default=3, help="turns that every contender has")
    return parser.parse_args()


def main() -> None:
    """Measure the rows that the command line names."""
    options = _parse()
    origin = describe_origin(torch.device("cpu"), PACKAGES)
    print(f"{num_usable_cores()} cores may be used")
    if find_spec("envpool") is None:
        print("EnvPool is not installed here, so it is not compared with; see --help")
    table = {}
    for row in options.rows:
        table[row] = judge(row, measure(row, options.seconds, options.rounds))
        show(row, table[row])
    settings = {"seconds": options.seconds, "cores": num_usable_cores()}
    write_json(options.json, {**origin, **settings, "rows": table})


if __name__ == "__main__":
    main()
