"""`robodreamer-deploy inspect POLICY`: all that is known about a policy."""

import argparse
from pathlib import Path

from robodreamer_deploy.cli.arguments import POLICY
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.describe import describe
from robodreamer_deploy.utils.streams import Say


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy inspect",
        description="Check a policy's files, and print what it reads, sends and achieved.",
    )
    result.add_argument("policy", type=Path, help=POLICY)
    return result


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Print it; return the exit code.

    Raises:
        BundleError: It must not drive.
    """
    for line in describe(load_bundle(arguments.policy).manifest):
        say(line)
    return 0
