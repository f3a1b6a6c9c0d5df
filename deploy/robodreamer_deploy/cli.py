"""The command `robodreamer-deploy`. Parses; `session` does the work, and is imported after."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

USER_ERROR = 2
INTERRUPTED = 130


class _Version(argparse.Action):
    """Prints the version of the installed package; looks it up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"robodreamer-deploy {version('robodreamer')}")
        except PackageNotFoundError:
            print("robodreamer-deploy, a bare copy that is not installed")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy",
        description="Drive a robot, or a simulator in its place, with an exported policy. "
        "Needs numpy and onnxruntime, no torch.",
        epilog="examples: robodreamer-deploy inspect policies/reach; "
        "robodreamer-deploy policies/reach --robot sim:fetch_reach --fast; "
        "robodreamer-deploy policies/reach --robot my_robot.py:MyRobot --dry-run",
    )
    add = result.add_argument
    version = "print the version, and stop"
    add("--version", action=_Version, nargs=0, dest=argparse.SUPPRESS, help=version)
    add("policy", type=Path, help="folder that `robodreamer export` wrote")
    what = result.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--robot",
        metavar="SPEC",
        help="sim:TASK, path/to/file.py:Class or module:Class (:ARGUMENT may follow)",
    )
    what.add_argument(
        "--replay", type=Path, metavar="LOG", help="repeat a log without a robot, bit for bit"
    )
    length = result.add_mutually_exclusive_group()
    length.add_argument(
        "--episodes", type=_positive_int, metavar="N", help="episodes to drive (default 10)"
    )
    length.add_argument("--seconds", type=_positive_float, metavar="S", help="seconds to drive")
    add("--seed", type=_seed, default=0, metavar="N", help="of episode 0; episode i has N + i")
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
    part = parser.add_argument_group("safety and timing", "docs/onboard.md explains them")
    limits = part.add_mutually_exclusive_group()
    limits.add_argument(
        "--limits", type=Path, metavar="FILE", help="range, rate, acceleration of each element"
    )
    limits.add_argument(
        "--max-rate",
        type=_positive_float,
        nargs="+",
        metavar="R",
        help="largest change per second of the action, one or one per element; full range is 2",
    )
    add = part.add_argument
    add("--ramp", type=_duration, metavar="S", help="ramp-in from the pose (default 1 s)")
    add("--dead-man", type=Path, metavar="FILE", help="hold unless FILE is touched every 0.5 s")
    add("--on-surprise", choices=("slow", "stop"), help="default: measure it, do nothing")
    add(
        "--watchdog",
        type=_positive_int,
        default=10,
        metavar="N",
        help="stop after N control periods without a command (default 10)",
    )
    add("--core", type=_natural, metavar="N", help="keep the loop on this CPU")
    add(
        "--no-real-time",
        dest="real_time",
        action="store_false",
        help="do not ask for FIFO scheduling and locked memory",
    )


def inspect_parser() -> argparse.ArgumentParser:
    """Describe the command line of `robodreamer-deploy inspect`."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy inspect",
        description="Check a policy's files, and print what it reads, sends and achieved.",
    )
    result.add_argument("policy", type=Path, help="folder that `robodreamer export` wrote")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, 1 fault, 2 user error, 128 + signal."""
    words = sys.argv[1:] if argv is None else argv
    commands = {"inspect": _inspect, "mark": _mark}
    if words and words[0] in commands:
        return commands[words[0]](words[1:])
    arguments = parser().parse_args(words)
    logging.basicConfig(format="%(levelname)s %(message)s")
    for option in ("report", "log"):
        path: Path | None = getattr(arguments, option)
        if path is not None and (problem := _why_not_writable(path)):
            return _fail(f"--{option}: {problem}")

    from robodreamer_deploy.bundle.bundle import BundleError
    from robodreamer_deploy.robots import RobotError

    try:
        code = _run(arguments) if arguments.replay is None else _replay(arguments)
    except (BundleError, RobotError, OSError) as error:  # OSError: a file that cannot be read
        return _fail(str(error))
    except KeyboardInterrupt:  # before the robot is connected, or long after a first one
        return INTERRUPTED
    if str(arguments.robot).startswith("sim:") and "torch" in sys.modules:
        _fail("torch was imported, which no policy needs; please report this")
        return 1
    return code


def _run(arguments: argparse.Namespace) -> int:
    from robodreamer_deploy.session import Options, run

    options = vars(arguments).copy()
    del options["replay"]
    if options["max_rate"] is not None:
        options["max_rate"] = tuple(options["max_rate"])
    return run(Options(**options), _say)


def _inspect(words: Sequence[str]) -> int:
    folder: Path = inspect_parser().parse_args(words).policy
    from robodreamer_deploy.bundle.bundle import BundleError, load_bundle
    from robodreamer_deploy.bundle.describe import describe

    try:
        manifest = load_bundle(folder).manifest
    except (BundleError, OSError) as error:
        return _fail(str(error))
    for line in describe(manifest):
        _say(line)
    return 0


def _why_not_writable(path: Path) -> str | None:
    if path.is_dir():
        return f"{path} is a folder"
    return None if path.parent.is_dir() else f"there is no folder {path.parent}"


def _replay(arguments: argparse.Namespace) -> int:
    from robodreamer_deploy.recording.replay_session import replay_log
    from robodreamer_deploy.session import load_policy

    policy = load_policy(arguments.policy, _say, arguments.provider)
    return replay_log(policy, arguments.replay, _say)


def _mark(words: Sequence[str]) -> int:
    from robodreamer_deploy.recording.mark_command import mark
    from robodreamer_deploy.robots import RobotError

    try:
        _say(mark(words))
    except RobotError as error:
        return _fail(str(error))
    return 0


def _say(line: str) -> None:
    """Print a line; where nobody reads any more, go on in silence: a robot may be moving."""
    try:
        print(line, flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # what is still in the buffer goes there too
        os.close(nowhere)


def _fail(message: str) -> int:
    print(f"robodreamer-deploy: {' '.join(message.split())}", file=sys.stderr)
    return USER_ERROR


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and finite")
    return value


def _duration(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not 0 or above, and finite")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 31:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2147483647")
    return value
