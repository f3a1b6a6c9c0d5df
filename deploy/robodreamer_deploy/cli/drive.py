"""`robodreamer-deploy POLICY --robot SPEC`: drive; or repeat a log, or measure, in its place."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from robodreamer_deploy.cli.arguments import (
    POLICY,
    ROBOTS,
    add_limits,
    add_max_age,
    natural,
    periods,
    positive_float,
    positive_int,
    seed,
)
from robodreamer_deploy.utils.streams import Say

BENCH_SECONDS = 5.0
OTHER_COMMANDS = """\
other commands, each with a --help: inspect, check-robot, label, serve, keys

examples:
  robodreamer-deploy inspect policies/reach
  robodreamer-deploy check-robot policies/reach --robot my_robot.py:MyRobot
  robodreamer-deploy policies/reach --robot sim:fetch_reach --fast
  robodreamer-deploy policies/reach --robot my_robot.py:MyRobot --dry-run"""
OBEYED = {"replay": {"provider"}, "bench": {"provider", "seconds", "report"}}
"""Options by what is done in place of driving, where all others would change nothing."""


class _Version(argparse.Action):
    """Prints the version of the installed package; looks it up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            text = f"robodreamer-deploy {version('robodreamer')}"
        except PackageNotFoundError:
            text = "robodreamer-deploy, a bare copy that is not installed"
        sys.stdout.write(f"{text}\n")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy",
        description="Drive a robot, or a simulator in its place, with an exported policy.\n"
        "Needs numpy and onnxruntime, no torch.",
        epilog=OTHER_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,  # examples can be copied by the line
    )
    add = result.add_argument
    version = "print the version, and stop"
    add("--version", action=_Version, nargs=0, dest=argparse.SUPPRESS, help=version)
    add("policy", type=Path, help=POLICY)
    what = result.add_mutually_exclusive_group(required=True)
    what.add_argument("--robot", metavar="SPEC", help=ROBOTS)
    what.add_argument(
        "--replay", type=Path, metavar="LOG", help="repeat a log without a robot, bit for bit"
    )
    what.add_argument("--bench", action="store_true", help="measure the policy on this computer")
    length = result.add_mutually_exclusive_group()
    length.add_argument(
        "--episodes", type=positive_int, metavar="N", help="episodes to drive (default 10)"
    )
    length.add_argument(
        "--seconds", type=positive_float, metavar="S", help="seconds to drive, or per measurement"
    )
    add("--seed", type=seed, default=0, metavar="N", help="of episode 0; episode i has N + i")
    add(
        "--provider",
        choices=("cpu", "cuda", "tensorrt"),
        default="cpu",
        help="where the graphs are computed (default cpu)",
    )
    add("--draw", choices=("mode", "sample"), help="default: what the manifest found better")
    add("--fast", action="store_true", help="do not wait for the clock (simulators only)")
    add("--dry-run", action="store_true", help="read and decide, never write (5 s by default)")
    _add_driving(result)
    add("--log", type=Path, metavar="FILE", help="record everything (MCAP, opens in Foxglove)")
    add("--report", type=Path, metavar="FILE", help="write the figures as JSON")
    return result


def _add_driving(parser: argparse.ArgumentParser) -> None:
    """Describe the part about how the robot is driven; `driving.options` says more."""
    add_limits(parser)
    part = parser.add_argument_group("safety and timing", "docs/onboard.md explains them")
    add = part.add_argument
    add_max_age(part)
    add("--on-surprise", choices=("slow", "stop"), help="default: measure it, do nothing")
    add(
        "--watchdog",
        type=periods,
        default=10,
        metavar="N",
        help="stop after N control periods without a command (default 10)",
    )
    add("--core", type=natural, metavar="N", help="keep the loop on this CPU")
    add(
        "--no-real-time",
        dest="real_time",
        action="store_false",
        help="do not ask for FIFO scheduling and locked memory",
    )


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do what the words ask for; return the exit code.

    Raises:
        BundleError: The policy must not drive.
        RobotError: The robot or the log cannot be used, or a file cannot be written.
    """
    from robodreamer_deploy.errors import RobotError

    if problem := _why_without_effect(arguments):
        raise RobotError(problem)
    for option in ("report", "log"):
        path: Path | None = getattr(arguments, option)
        if path is not None and (problem := _why_not_writable(path)):
            raise RobotError(f"--{option}: {problem}")
    if arguments.replay is not None:
        return _replay(arguments, say)
    if arguments.bench:
        return _bench(arguments, say)
    return _drive(arguments, say)


def _drive(arguments: argparse.Namespace, say: Say) -> int:
    from robodreamer_deploy.drive import Options, run

    options = vars(arguments).copy()
    del options["replay"], options["bench"]
    if options["max_rate"] is not None:
        options["max_rate"] = tuple(options["max_rate"])
    options["max_age"] = dict(options["max_age"])
    code = run(Options(**options), say)
    if str(arguments.robot).startswith("sim:") and "torch" in sys.modules:
        say("FAULT       torch was imported, which no policy needs; please report this")
        return 1
    return code


def _replay(arguments: argparse.Namespace, say: Say) -> int:
    from robodreamer_deploy.drive import load_policy
    from robodreamer_deploy.recording.replay_report import replay_log

    policy = load_policy(arguments.policy, say, arguments.provider)
    return replay_log(policy, arguments.replay, say)


def _bench(arguments: argparse.Namespace, say: Say) -> int:
    from robodreamer_deploy.benchmark import bench, format_bench
    from robodreamer_deploy.drive import load_policy
    from robodreamer_deploy.policy.golden import load_golden

    policy = load_policy(arguments.policy, say, arguments.provider)
    seconds = BENCH_SECONDS if arguments.seconds is None else arguments.seconds
    figures = bench(policy, load_golden(policy.bundle), seconds=seconds)
    for line in format_bench(figures):
        say(line)
    if arguments.report is not None:
        arguments.report.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _why_without_effect(arguments: argparse.Namespace) -> str | None:
    options = parser()
    for mode, obeyed in OBEYED.items():
        for name, value in vars(arguments).items():
            is_given = value != options.get_default(name)
            if getattr(arguments, mode) and is_given and name not in {"policy", mode, *obeyed}:
                option = {"real_time": "no-real-time"}.get(name, name.replace("_", "-"))
                return f"--{option} changes nothing about --{mode}: leave it out"
    return None


def _why_not_writable(path: Path) -> str | None:
    if path.is_dir():
        return f"{path} is a folder"
    return None if path.parent.is_dir() else f"there is no folder {path.parent}"
