"""What threads of a robot cost the loop on a busy computer, with and without its priority.

    python benchmarks/onboard_threads.py --seconds 15 --load 12

A drive at 50 Hz with random weights, beside so many processes that burn the processor: without
threads, with a 200 Hz encoder and a 60 Hz camera in threads of normal priority, and with the same
two raised to the loop's by `raise_to_loop`.
"""

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from _bundles import write_random_policy
from _timing import describe_origin, make_parser, print_table, write_json
from _workloads import WORKLOADS

ROBOT = Path(__file__).with_name("_threaded_robot.py")
DEPLOY = "import sys; from robodreamer_deploy.cli.main import main; sys.exit(main())"
HOG = "while True: pass"
KINDS = ("none", "normal", "raised")


def drive(policy: Path, seconds: float, kind: str) -> dict[str, Any]:
    """Drive for so long in a process of its own; return its report."""
    report = policy.parent / "report.json"
    command = [sys.executable, "-c", DEPLOY, policy, "--robot", f"{ROBOT}:ThreadedRobot:{kind}"]
    command += ["--seconds", seconds, "--report", report, "--ramp", 0, "--watchdog", 500]
    subprocess.run([str(word) for word in command], check=False, capture_output=True)
    return json.loads(report.read_text())


def main() -> None:
    """Measure the three kinds in turns."""
    parser = make_parser(__doc__)
    parser.add_argument("--size", choices=WORKLOADS, default="1m")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each drive")
    parser.add_argument("--load", type=int, default=12, help="processes beside it")
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    origin = describe_origin(torch.device("cpu"), packages=("numpy", "onnxruntime"))
    found: list[tuple[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as beside:
        policy = Path(folder, "policy")
        policy.mkdir()
        write_random_policy(options.size, policy, 50.0)
        for _ in range(options.load):
            process = subprocess.Popen([sys.executable, "-c", HOG])
            beside.callback(process.kill)
        for _ in range(options.turns):
            found += [(kind, drive(policy, options.seconds, kind)) for kind in KINDS]
    rows = []
    for kind, report in found:
        late = report["lateness_ms"]
        times = (f"{late[q]:.2f}" for q in ("p50", "p99", "p99.9", "max"))
        rows.append([kind, str(report["ticks"]), str(report["skipped_ticks"]), *times])
    print_table(["threads", "ticks", "skipped", "late p50", "p99", "p99.9", "max"], rows)
    print(f"FIFO: {found[0][1]['real_time']['FIFO']['detail']}")
    write_json(options.json, {**origin, "size": options.size, "threads": found})


if __name__ == "__main__":
    main()
