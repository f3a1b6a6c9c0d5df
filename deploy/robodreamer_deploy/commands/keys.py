"""`robodreamer-deploy keys FOLDER`: make the keys of a robot and of who may drive it."""

import argparse
from collections.abc import Callable
from pathlib import Path

from robodreamer_deploy.robots.remote.keys import make_keys


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy keys", description="Make the keys of a robot and its driver."
    )
    result.add_argument("folder", type=Path, metavar="FOLDER", help="where they are written")
    return result


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Write them; return the exit code.

    Raises:
        RobotError: They cannot be made, or are there already.
    """
    robot, driver = make_keys(arguments.folder)
    say(f"the robot's key is {robot}, for its own computer alone; the driver's is {driver}")
    return 0
