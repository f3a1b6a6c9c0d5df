"""`robodreamer-deploy mark LOG --episode N success`: what an operator saw."""

import argparse
import math
from collections.abc import Callable, Iterable
from pathlib import Path

from robodreamer_deploy.control.events import EpisodeStart
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.recording.event_stream import Entry
from robodreamer_deploy.recording.labels import OUTCOMES, Mark, marks_path, write_mark
from robodreamer_deploy.recording.reader import LogReader

REWARDS = {"success": 1.0, "failure": 0.0}


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy mark",
        description="Say how an episode of a log went, for `robodreamer import-log`. It is "
        "written beside the log, into LOG.marks.json.",
    )
    add = result.add_argument
    add("log", type=Path, help="file that --log wrote")
    add("outcome", choices=OUTCOMES)
    add(
        "--episode", type=int, required=True, metavar="N", help="as the drive printed it, from 0 on"
    )
    add(
        "--reward",
        type=float,
        metavar="R",
        help="for arriving at its last step (default 1 for success, 0 for failure)",
    )
    add("--terminal", action="store_true", help="nothing could have been earned afterwards")
    return result


def episode_numbers(entries: Iterable[Entry]) -> set[int]:
    """Return the numbers of all episodes of which there is something in a log."""
    starts = (entry.state.start if entry.state else entry.event for entry in entries)
    return {start.number for start in starts if isinstance(start, EpisodeStart)}


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Write a mark, say so; return the exit code.

    Raises:
        RobotError: There is no such log or episode, or the mark cannot be written.
    """
    log: Path = arguments.log
    outcome = arguments.outcome
    reward = REWARDS[outcome] if arguments.reward is None else arguments.reward
    if not math.isfinite(reward):
        raise RobotError(f"--reward {reward} is not finite")
    numbers = episode_numbers(LogReader(log).entries())
    if arguments.episode not in numbers:
        there = sorted({min(numbers), max(numbers)}) if numbers else ["none"]
        held = " to ".join(map(str, there))
        raise RobotError(f"{log} has no episode {arguments.episode}; it holds {held}")
    said = Mark(outcome=outcome, reward=reward, is_terminal=arguments.terminal)
    write_mark(log, arguments.episode, said)
    say(f"{marks_path(log)}: episode {arguments.episode} is a {outcome}, reward {reward:g}")
    return 0
