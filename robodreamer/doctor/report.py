"""The doctor's report: all findings as text of 80 columns, and as JSON."""

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from robodreamer.doctor.checks import Finding, check_machine, check_packages, check_simulation
from robodreamer.version import __version__
from robodreamer_deploy.utils.streams import Say
from robodreamer_deploy.utils.table import format_row

Check = Callable[[], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (check_packages, check_simulation, check_machine)
STATUS_COLUMN, NAME_COLUMN, ARROW_COLUMN = 9, 22, 3
LABELS = {"ok": "ok", "warning": "warning", "failure": "FAILURE"}


def prepare_examination(
    say: Say, json_file: Path | None = None, checks: Sequence[Check] = CHECKS
) -> Callable[[], int]:
    """Return the function that runs all checks, reports each finding, and returns the exit status.

    The status is 1 after a failure, else 0.

    Raises:
        ValueError: The folder of `json_file` does not exist.
    """
    if json_file and not json_file.parent.is_dir():
        raise ValueError(f"there is no folder {json_file.parent} for {json_file.name}")

    def examine() -> int:
        say(f"robodreamer {__version__} on {platform.platform()}\n")
        findings = []
        for check in checks:
            for finding in check():
                say(format_finding(finding))  # at once, as some checks take seconds
                findings.append(finding)
        say(f"\n{format_summary(findings)}")
        if json_file:
            rows = [finding._asdict() for finding in findings]
            json_file.write_text(json.dumps(rows, indent=2) + "\n")
        return int(any(finding.status == "failure" for finding in findings))

    return examine


def format_finding(finding: Finding) -> str:
    """Return a finding as a table row, with the advice below it after an arrow."""
    cells = (LABELS[finding.status], finding.name, finding.found)
    text = format_row(cells, (STATUS_COLUMN, NAME_COLUMN))
    if not finding.advice:
        return text
    indent = STATUS_COLUMN + NAME_COLUMN - ARROW_COLUMN
    return f"{text}\n{format_row(('', '->', finding.advice), (indent, ARROW_COLUMN))}"


def format_summary(findings: Sequence[Finding]) -> str:
    """Return the numbers of failures and warnings in one line."""
    counts = [
        f"{number} {status}{'s' if number > 1 else ''}"
        for status in ("failure", "warning")
        if (number := sum(finding.status == status for finding in findings))
    ]
    if not counts:
        return "Everything works."
    return f"{' and '.join(counts)}; what to do stands after the arrows."
