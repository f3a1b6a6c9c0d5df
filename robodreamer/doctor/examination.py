"""The `doctor` command's work: all checks, one after the other, as a page and as JSON."""

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from robodreamer import __version__
from robodreamer.doctor.finding import Finding
from robodreamer.doctor.machine import check_machine
from robodreamer.doctor.packages import check_packages
from robodreamer.doctor.page import format_finding, format_summary

Check = Callable[[], Iterator[Finding]]


def check_simulation() -> Iterator[Finding]:
    """Examine the simulator where there is one."""
    if any(find_spec(package) is None for package in ("numpy", "mujoco", "gymnasium")):
        yield Finding("simulation", "ok", "not installed, so not examined")
        return
    from robodreamer.doctor.simulation import check_families, check_rendering

    yield from check_families()
    yield from check_rendering()


CHECKS: tuple[Check, ...] = (check_packages, check_simulation, check_machine)


def prepare_examination(
    say: Callable[[str], None], json_file: Path | None = None, checks: Sequence[Check] = CHECKS
) -> Callable[[], int]:
    """Return what examines the machine, says every finding, and returns the exit status.

    The status is 1 if anything has failed, else 0.

    Raises:
        ValueError: The file cannot be written where it is wanted.
    """
    if json_file and not json_file.parent.is_dir():
        raise ValueError(f"there is no folder {json_file.parent} for {json_file.name}")

    def job() -> int:
        say(f"robodreamer {__version__} on {platform.platform()}\n")
        findings = []
        for check in checks:
            for finding in check():
                say(format_finding(finding))
                findings.append(finding)
        say(f"\n{format_summary(findings)}")
        if json_file:
            rows = [finding._asdict() for finding in findings]
            json_file.write_text(json.dumps(rows, indent=2) + "\n")
        return int(any(finding.status == "failure" for finding in findings))

    return job
