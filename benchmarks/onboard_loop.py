"""Does the onboard loop keep its time? `robodreamer-deploy` itself, paced, on one core.

    python benchmarks/onboard_loop.py --size 12m --ticks 10000

The policy has random weights and the robot costs nothing: what is left is the loop and the policy.
Four drives, each a process of its own that is kept to one core: alone; alone and with `--log`; and
beside a process that burns that very core, with and without real-time scheduling. A late tick is
accounted for if the report says so: ticks and skipped ticks together are the grid's.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from _bundles import write_random_policy
from _timing import describe_origin, make_parser, print_table, write_json
from _workloads import WORKLOADS

ROBOT = Path(__file__).with_name("_still_robot.py")
DEPLOY = "import sys; from robodreamer_deploy.cli.main import main; sys.exit(main())"
HOG = "while True: pass"
LATENESS_P99_MS = 1.0
"""At most, beside a hog, where real-time scheduling is granted."""
SHARES = {"alone": 1.0, "alone, --log": 0.3, "hog": 0.3, "hog, --no-real-time": 0.1}
"""Drives, and how many of the ticks each is given."""


@contextmanager
def hog(core: int) -> Generator[None, None, None]:
    """Keep a core busy meanwhile, at ordinary priority."""
    process = subprocess.Popen([sys.executable, "-c", HOG])
    os.sched_setaffinity(process.pid, {core})
    try:
        yield
    finally:
        process.kill()
        process.wait()


def drive(policy: Path, seconds: float, core: int, *words: str) -> dict[str, Any]:
    """Drive for so long in a process of its own; return its report."""
    report = policy.parent / "report.json"
    command = [sys.executable, "-c", DEPLOY, policy, "--robot", f"{ROBOT}:StillRobot"]
    command += ["--seconds", str(seconds), "--core", str(core), "--report", report, *words]
    # A hog without real time may starve the loop for longer than a robot should be left alone.
    command += ["--ramp", "0", "--watchdog", "500"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return json.loads(report.read_text())


def measure(policy: Path, rate_hz: float, ticks: int, core: int) -> dict[str, dict[str, Any]]:
    """Return the report of every drive."""
    seconds = {name: share * ticks / rate_hz for name, share in SHARES.items()}
    log = policy.parent / "drive.mcap"
    found = {"alone": drive(policy, seconds["alone"], core)}
    found["alone, --log"] = drive(policy, seconds["alone, --log"], core, "--log", str(log))
    with hog(core):
        found["hog"] = drive(policy, seconds["hog"], core)
        words = ["--no-real-time"]
        found["hog, --no-real-time"] = drive(policy, seconds["hog, --no-real-time"], core, *words)
    for report in found.values():
        grid = round(report["elapsed_s"] * rate_hz)
        report["unaccounted_ticks"] = grid - report["ticks"] - report["skipped_ticks"]
    return found


def show(figures: dict[str, dict[str, Any]]) -> None:
    """Print a row per drive, and whether the limits are met."""
    names = ["ticks", "skipped", "unaccounted", "late p50", "p99", "p99.9", "max", "act p50", "p99"]
    rows: list[list[str]] = []
    for name, report in figures.items():
        late, act = report["lateness_ms"], report["sense_to_act_ms"]
        counts = (report["ticks"], report["skipped_ticks"], report["unaccounted_ticks"])
        times = (*(late[q] for q in ("p50", "p99", "p99.9", "max")), act["p50"], act["p99"])
        rows.append([name, *(str(count) for count in counts), *(f"{t:.2f}" for t in times)])
    print_table(["drive", *names], rows)
    for name, privilege in figures["hog"]["real_time"].items():
        print(f"{name}: {'granted' if privilege['is_granted'] else 'refused'}")
    p99 = figures["hog"]["lateness_ms"]["p99"]
    word = "met" if p99 < LATENESS_P99_MS else "missed"
    print(f"lateness p99 beside a hog {p99:.2f} ms, below {LATENESS_P99_MS:g} wanted: {word}")


def main() -> None:
    """Measure one size."""
    parser = make_parser(__doc__)
    parser.add_argument("--size", choices=WORKLOADS, default="12m")
    parser.add_argument("--ticks", type=int, default=10_000, help="of the first drive")
    parser.add_argument("--rate", type=float, default=50.0, help="control steps per second")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    options = parser.parse_args()
    origin = describe_origin(torch.device("cpu"), packages=("numpy", "onnxruntime"))
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder, "policy")
        policy.mkdir()
        write_random_policy(options.size, policy, options.rate)
        figures = measure(policy, options.rate, options.ticks, options.core)
    show(figures)
    write_json(options.json, {**origin, "size": options.size, "loop": figures})


if __name__ == "__main__":
    main()
