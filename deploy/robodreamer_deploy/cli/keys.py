"""`robodreamer-deploy keys FOLDER`: make the keys of a robot and of its driver."""

import argparse
from pathlib import Path

from robodreamer_deploy.robots.remote.keys import make_keys
from robodreamer_deploy.utils.streams import Say


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy keys",
        description="Make two folders of keys: FOLDER/robot for `serve --key`, and FOLDER/driver "
        "for the computer that drives.",
    )
    result.add_argument("folder", type=Path, metavar="FOLDER", help="folder that gets them")
    return result


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Make the keys; return the exit code.

    Raises:
        RobotError: They exist already, or cannot be written.
    """
    robot, driver = make_keys(arguments.folder)
    say(f"the robot's keys are in {robot}, for its own computer alone; the driver's in {driver}")
    return 0
