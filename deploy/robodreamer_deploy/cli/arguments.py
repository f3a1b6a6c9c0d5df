"""Values on the command line, and what several commands say in the same words."""

import argparse
from pathlib import Path

POLICY = "folder that `robodreamer export` wrote"
ROBOTS = (
    "sim:TASK, tcp://HOST:PORT, dynamixel:FILE, lerobot:MODULE:CLASS, ros2:FILE, composite:FILE, "
    "path/to/file.py:Class or module:Class (:ARGUMENT may follow)"
)

DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"


def add_listening(parser: argparse.ArgumentParser) -> None:
    """Add the address to listen at, and the keys."""
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        default=DEFAULT_ADDRESS,
        help=f"address to listen at; by default {DEFAULT_ADDRESS}, which only this machine reaches",
    )
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FOLDER",
        help="robot's folder of `robodreamer-deploy keys`; without, all of this machine may drive",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add what bounds the motion: limits, the ramp after a hold, and the dead-man's switch."""
    part = parser.add_argument_group("motion", "docs/onboard.md explains what bounds it")
    limits = part.add_mutually_exclusive_group()
    limits.add_argument(
        "--limits", type=Path, metavar="FILE", help="range, rate, acceleration of each element"
    )
    limits.add_argument(
        "--max-rate",
        type=positive_float,
        nargs="+",
        metavar="R",
        help="largest change per second of the action, one or one per element; full range is 2",
    )
    add = part.add_argument
    add(
        "--max-speed",
        type=share,
        metavar="SHARE",
        help="of the range that each element has, for a first drive: 0.2 moves at a fifth of the "
        "speed where the action is a velocity or a displacement",
    )
    add("--ramp", type=duration, metavar="S", help="ramp-in from the pose (default 1 s)")
    add("--dead-man", type=Path, metavar="FILE", help="hold unless FILE is touched every 0.5 s")


def add_max_age(parser: "argparse._ActionsContainer") -> None:  # pyright: ignore[reportPrivateUsage]
    """Add how old the values of signals may be, where it is another age than in training."""
    parser.add_argument(
        "--max-age",
        type=age,
        nargs="+",
        default=[],
        metavar="SIGNAL=S",
        help="oldest value in seconds that is acted on, such as image/scene=0.08; default: what "
        "the policy was trained with",
    )


def positive_int(text: str) -> int:
    """Read a whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def periods(text: str) -> int:
    """Read a number of control periods without a command; the loop itself waits for one."""
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text} is below 2: the loop itself waits for one period")
    return value


def positive_float(text: str) -> float:
    """Read a finite number above 0."""
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and finite")
    return value


def duration(text: str) -> float:
    """Read a finite number of seconds, 0 or above."""
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not 0 or above, and finite")
    return value


def natural(text: str) -> int:
    """Read a whole number, 0 or above."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def seed(text: str) -> int:
    """Read a seed, from 0 to 2147483647."""
    value = int(text)
    if not 0 <= value < 1 << 31:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2147483647")
    return value


def share(text: str) -> float:
    """Read a share, above 0 and at most 1."""
    value = float(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def age(text: str) -> tuple[str, float]:
    """Read SIGNAL=SECONDS."""
    name, separator, seconds = text.rpartition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text} is not of the form image/scene=0.08")
    return name, positive_float(seconds)
