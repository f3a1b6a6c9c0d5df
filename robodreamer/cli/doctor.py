"""`robodreamer doctor`: the examination of this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robodreamer.cli.parsing import Job, parse, say


@dataclass(frozen=True, kw_only=True)
class DoctorArguments:
    """Examine this machine: packages, simulation, rendering, GPU, real-time rights, disk.

    Advises on everything that fails; the exit status is then 1.
    """

    json: Path | None = None
    """File for the findings."""


def doctor(words: Sequence[str]) -> Job:
    """Prepare the examination."""
    arguments = parse(DoctorArguments, "doctor", words)
    from robodreamer.doctor.report import prepare_examination

    return prepare_examination(say, arguments.json)
