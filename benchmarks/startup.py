"""Start-up: seconds that every command takes to print its help.

    python benchmarks/startup.py --repeats 5

Commands are started as a user starts them, with this interpreter; the first start, which may read
from a cold disk, is not counted. The limit is judged by the clock, which is what a user waits for;
where processor time is far below it, other jobs were in the way.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import torch
from _timing import describe_origin, make_parser, print_table, write_json

from robodreamer.cli.main import COMMANDS

AGENT = ("-m", "robodreamer")
DEPLOY = ("-c", "import sys; from robodreamer_deploy.cli.main import main; sys.exit(main())")
LIMIT_S = 0.5


class Start(NamedTuple):
    """How long one start took, in seconds."""

    wall_s: float
    cpu_s: float


def commands() -> dict[str, tuple[str, ...]]:
    """Return the words of every command's help, by how a user types it."""
    found = {"robodreamer --help": (*AGENT, "--help")}
    found |= {f"robodreamer {name} --help": (*AGENT, name, "--help") for name in COMMANDS}
    return found | {"robodreamer-deploy --help": (*DEPLOY, "--help")}


def start(words: tuple[str, ...]) -> Start:
    """Run to the end, once.

    Raises:
        subprocess.CalledProcessError: It did not end well.
    """
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Start(time.perf_counter() - wall, cpu)


def main() -> None:
    """Start every command a few times, in turns."""
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="timed starts of each command")
    options = parser.parse_args()
    origin = describe_origin(torch.device("cpu"))
    table = commands()
    rounds = [
        {name: start(words) for name, words in table.items()} for _ in range(1 + options.repeats)
    ]
    figures = {
        name: {
            "wall_s": statistics.median(starts[name].wall_s for starts in rounds[1:]),
            "cpu_s": statistics.median(starts[name].cpu_s for starts in rounds[1:]),
        }
        for name in table
    }
    rows = [[name, f"{row['wall_s']:.2f}", f"{row['cpu_s']:.2f}"] for name, row in figures.items()]
    print_table(["command", "wall s", "cpu s"], rows)
    slow = [name for name, row in figures.items() if row["wall_s"] > LIMIT_S]
    print(f"over {LIMIT_S} s on the clock: {', '.join(slow) or 'none'}")
    write_json(options.json, {**origin, "startup": figures, "over_limit": slow})


if __name__ == "__main__":
    main()
