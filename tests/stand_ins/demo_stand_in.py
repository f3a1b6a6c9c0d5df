"""Stands in for `robodreamer` and `robodreamer-deploy`: same words and files, at once.

Every call is logged in $DEMO_LOG. $DEMO_FAILS names a subcommand that fails, $DEMO_WAITS one that
waits for Ctrl-C or SIGTERM and takes its time to end.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> int:
    program, *words = arguments
    name = words[0] if program == "robodreamer" else "drive"
    log = Path(os.environ["DEMO_LOG"])
    with log.open("a") as file:
        file.write(json.dumps([program, *words]) + "\n")
    if name == os.environ.get("DEMO_WAITS"):
        wait_for_signal(log)
    if name == os.environ.get("DEMO_FAILS"):
        print("stand-in: no luck", file=sys.stderr)  # noqa: T201
        return 7
    {"train": train, "evaluate": evaluate, "export": export, "drive": drive, "dream": dream,
     "report": report}[name](words)  # fmt: skip
    return 0


def wait_for_signal(log: Path) -> None:
    heard: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: heard.append(number))
    log.with_suffix(".waiting").touch()
    while not heard:
        time.sleep(0.01)
    time.sleep(0.3)
    log.with_suffix(".ended").touch()


def option(words: list[str], name: str) -> Path:
    return Path(words[words.index(name) + 1])


def write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data) + "\n")


def train(words: list[str]) -> None:
    run, minutes = option(words, "--run"), float(str(option(words, "--minutes")))
    if "--resume" not in words:
        seed = int(str(option(words, "--seed")))
        write(run / "config.json", {"config": {"task": words[-1], "seed": seed}})
        write(
            run / "contract.json", {"observations": [{"name": "image/scene"}, {"name": "goal/a"}]}
        )
    write(run / "metrics.jsonl", {"step": 1, "minutes": minutes})


def evaluate(words: list[str]) -> None:
    write(option(words, "--json"), {})


def export(words: list[str]) -> None:
    write(option(words, "--out") / "manifest.json", {})


def drive(words: list[str]) -> None:
    scores = {"num_episodes": 50, "success_rate": 0.94, "success_interval_95": [0.84, 0.98]}
    write(option(words, "--report"), {"return_mean": -3.25, **scores})


def dream(words: list[str]) -> None:
    write(Path(words[1]) / "videos" / "step-000000001-episode.mp4", {})


def report(words: list[str]) -> None:
    write(option(words, "--out"), {})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
