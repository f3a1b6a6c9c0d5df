"""`robodreamer-deploy keys FOLDER`: make the keys of a robot and of who drives it."""

import argparse
from collections.abc import Callable
from pathlib import Path

from robodreamer_deploy.robots.remote.keys import make_keys


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy keys",
        description="Make two key files: robot.key for `serve --key`, driver.key for who drives.",
    )
    result.add_argument("folder", type=Path, metavar="FOLDER", help="where they are written")
    return result


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Make them; return the exit code.

    Raises:
        RobotError: They exist already, or cannot be written.
    """
    robot, driver = make_keys(arguments.folder)
    say(f"the robot's key is {robot}, for its own computer alone; the driver's is {driver}")
    return 0
