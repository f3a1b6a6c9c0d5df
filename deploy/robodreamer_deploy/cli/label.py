"""`robodreamer-deploy label LOG --episode N success`: an operator's label for an episode."""

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

from robodreamer_deploy.control.events import EpisodeStart
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.recording.event_stream import LogEvent
from robodreamer_deploy.recording.labels import OUTCOMES, EpisodeLabel, labels_path, write_label
from robodreamer_deploy.recording.reader import LogReader
from robodreamer_deploy.utils.streams import Say

REWARDS = {"success": 1.0, "failure": 0.0}


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy label",
        description="Label an episode of a log as a success or a failure, for `robodreamer "
        "import-log`. Labels are written beside the log, into LOG.labels.json.",
    )
    add = result.add_argument
    add("log", type=Path, help="file that --log wrote")
    add("outcome", choices=OUTCOMES)
    add(
        "--episode",
        type=int,
        required=True,
        metavar="N",
        help="its number, as the drive printed it",
    )
    add(
        "--reward",
        type=float,
        metavar="R",
        help="reward of its last step (default 1 for success, 0 for failure)",
    )
    add("--terminal", action="store_true", help="no reward could have followed")
    return result


def episode_numbers(events: Iterable[LogEvent]) -> set[int]:
    """Return the numbers of all episodes of a log, incomplete ones too."""
    starts = (event.snapshot.start if event.snapshot else event.payload for event in events)
    return {start.number for start in starts if isinstance(start, EpisodeStart)}


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Write a label and print it; return the exit code.

    Raises:
        RobotError: The log or the episode does not exist, or the label cannot be written.
    """
    log: Path = arguments.log
    outcome = arguments.outcome
    reward = REWARDS[outcome] if arguments.reward is None else arguments.reward
    if not math.isfinite(reward):
        raise RobotError(f"--reward {reward} is not finite")
    numbers = episode_numbers(LogReader(log).events())
    if arguments.episode not in numbers:
        there = sorted({min(numbers), max(numbers)}) if numbers else ["none"]
        held = " to ".join(map(str, there))
        raise RobotError(f"{log} has no episode {arguments.episode}; it holds {held}")
    label = EpisodeLabel(outcome=outcome, reward=reward, is_terminal=arguments.terminal)
    write_label(log, arguments.episode, label)
    say(f"{labels_path(log)}: episode {arguments.episode} is a {outcome}, reward {reward:g}")
    return 0
