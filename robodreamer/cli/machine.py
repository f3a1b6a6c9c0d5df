"""`robodreamer doctor`, `demo`, `robot`: whether it works here, all of it, a robot to drive."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robodreamer.cli.parsing import Job, parse, say


@dataclass(frozen=True, kw_only=True)
class DoctorArguments:
    """Examine this machine: packages, simulation, rendering, GPU, real-time rights, disk.

    Says what to do about everything that fails; the exit status is then 1.
    """

    json: Path | None = None
    """File for the findings."""


def doctor(words: Sequence[str]) -> Job:
    """Build the examination."""
    arguments = parse(DoctorArguments, "doctor", words)
    from robodreamer.doctor.report import prepare_examination

    return prepare_examination(say, arguments.json)


@dataclass(frozen=True, kw_only=True)
class DemoArguments:
    """Learn, evaluate, export, drive and report, one public command after the other.

    What is done already is not repeated, so the same words go on after an interruption.
    """

    minutes: float = 15.0
    """Minutes of training; everything else takes a few more."""
    task: str = "fetch_reach"
    """Task to learn."""
    out: Path = Path("runs/demo")
    """Folder for everything."""
    seed: int = 0
    """Of training."""
    fresh: bool = False
    """Delete what an earlier demo left in the folder, and begin again."""


def demo(words: Sequence[str]) -> Job:
    """Build the demonstration."""
    arguments = parse(DemoArguments, "demo", words)
    from robodreamer.demo.demo import prepare_demo

    return prepare_demo(
        arguments.task,
        arguments.out,
        minutes=arguments.minutes,
        seed=arguments.seed,
        fresh=arguments.fresh,
        say=say,
    )


def robot(words: Sequence[str]) -> Job:
    """Build a simulated robot in this process, for a driver in another one."""
    from robodreamer_sim.robots.virtual_hardware.arguments import parser

    program = "robodreamer robot"
    arguments = parser(program).parse_args(words)
    from robodreamer_sim.robots.virtual_hardware.process import run

    return lambda: run(arguments, program)
