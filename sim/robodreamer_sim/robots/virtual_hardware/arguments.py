"""Command line of the virtual hardware; its help loads no simulator."""

import argparse
from pathlib import Path

from robodreamer_deploy.cli.arguments import add_listening
from robodreamer_sim.robots.virtual_hardware import WATCHDOG_PERIODS


def parser(prog: str) -> argparse.ArgumentParser:
    """Describe the command line of a program that is called `prog`."""
    result = argparse.ArgumentParser(
        prog=prog,
        description="A simulated robot in a process of its own, in place of hardware: it has its "
        "own clock, imperfect sensors, and a watchdog that holds it when commands cease. It checks "
        "every command, and prints the verdict at its end.",
    )
    add = result.add_argument
    add("task", metavar="TASK", help="what is simulated; `robodreamer tasks` lists all")
    add_listening(result)
    add(
        "--policy", type=Path, metavar="FOLDER",
        help="policy that will drive it: the task is made as it was for its training",
    )  # fmt: skip
    add(
        "--randomize", metavar="PRESET",
        help="randomisation of signals and physics: none, mild, strong, or a JSON file; by default "
        "what the policy was trained with",
    )  # fmt: skip
    add("--camera-drop", type=float, default=0.0, metavar="P", help="share of lost pictures")
    for name, what in {
        "camera-delay": "age of every picture",
        "measurement-delay": "age of every measurement",
        "action-delay": "delay of every action",
    }.items():
        add(f"--{name}", type=int, default=0, metavar="N", help=f"{what}, in control periods")
    add(
        "--watchdog", type=int, default=WATCHDOG_PERIODS, metavar="N",
        help=f"control periods without a command before it holds (default {WATCHDOG_PERIODS})",
    )  # fmt: skip
    add(
        "--check-limits", type=Path, metavar="FILE",
        help='JSON of what the monitor allows per element, such as {"max_rate": [10, 10, 10, 10], '
        '"max_acceleration": [400, 400, 400, 400]}',
    )  # fmt: skip
    return result
